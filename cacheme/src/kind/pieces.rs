//! How much one call to a storage carries.
//!
//! A call has the time limit of its storage, whatever its size. If calls of any size were made as one, no large one would end in time,
//! and nothing of it would be kept. So a call of more than [`MOST`] keys, or of more than [`BYTES`] of values, goes in pieces with a time limit each.
//! The result of each piece is kept. A piece that fails is the last one: a storage that is dead costs one time limit and not one for each piece.
//!
//! A storage that is slow takes smaller pieces. Each tier keeps the size for each operation: half of what took too long, and twice as many
//! keys once there is time for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::kind::tier::RemoteTier;

/// How many keys a piece has at most. A server that works on one at a time, as Redis does, is back for others in a few milliseconds.
pub(crate) const MOST: usize = 2_000;
/// How many bytes of values a piece has at most, unless it is a single value.
pub(crate) const BYTES: usize = 4 << 20;

/// An operation of a remote storage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Get,
    Set,
    Remove,
    Acquire,
    Fill,
    Release,
    Renew,
    Publish,
}

impl RemoteTier {
    /// The operation that stores values that were found or loaded.
    pub(crate) fn writes(&self) -> Operation {
        match self.lease {
            Some(_) => Operation::Fill,
            None => Operation::Set,
        }
    }
}

/// How many keys a piece has at most, by operation.
pub(crate) struct PieceSizes([AtomicUsize; 8]);

impl Default for PieceSizes {
    fn default() -> Self {
        Self([const { AtomicUsize::new(MOST) }; 8])
    }
}

impl PieceSizes {
    #[inline]
    pub(crate) fn of(&self, operation: Operation) -> usize {
        self.0[operation as usize].load(Ordering::Relaxed)
    }

    /// Learns from a call of `keys` that took so long, where `limit` was the longest that it could take.
    ///
    /// The size is halved after a call of more than three quarters of the limit. Twice as many keys must have taken less than that. A call that found no end in
    /// time speaks for all operations: they find the size that suits them by growing.
    fn learn(&self, operation: Operation, keys: usize, took: Duration, limit: Duration) {
        let size = self.of(operation);
        let eighths = |duration: Duration| duration.as_nanos() * 8;
        let learned = if eighths(took) > limit.as_nanos() * 6 {
            // One key cannot be halved: it says nothing about many.
            size.min(if keys > 1 { keys / 2 } else { size })
        } else if eighths(took) * (size as u128) < limit.as_nanos() * 3 * (keys as u128) {
            (size * 2).min(MOST)
        } else {
            size
        };
        if learned != size {
            self.0[operation as usize].store(learned, Ordering::Relaxed);
        }
        if took >= limit {
            self.0
                .iter()
                .for_each(|size| _ = size.fetch_min(learned, Ordering::Relaxed));
        }
    }
}

/// The shards that a call failed on: they get no further piece of it.
pub(crate) type Stopped = SmallVec<[usize; 1]>;

/// How the call of a piece ended.
pub(crate) enum PieceResult<T> {
    Done(T),
    Failed(cacheme_storage::Error),
    /// It was not made, since one before it failed.
    Spared,
}

impl<T> PieceResult<T> {
    pub(crate) fn done(self) -> Option<T> {
        match self {
            Self::Done(done) => Some(done),
            Self::Failed(_) | Self::Spared => None,
        }
    }
}

/// A call on its way to a tier.
pub(crate) struct Call<'t> {
    pub(crate) tier: &'t RemoteTier,
    pub(crate) operation: Operation,
    /// When it begins.
    pub(crate) now: Instant,
}

impl<'t> Call<'t> {
    pub(crate) fn new(tier: &'t RemoteTier, operation: Operation) -> Self {
        Self::at(Instant::now(), tier, operation)
    }

    /// A call that begins at `now`, for callers that have looked at the clock.
    pub(crate) fn at(now: Instant, tier: &'t RemoteTier, operation: Operation) -> Self {
        Self { tier, operation, now }
    }

    /// How many keys a piece has at most, just now.
    pub(crate) fn size(&self) -> usize {
        self.tier.pieces.of(self.operation)
    }

    /// Makes the call of a piece that has so many keys, and learns from it.
    pub(crate) async fn piece<T>(
        &self,
        now: Instant,
        keys: usize,
        call: impl Future<Output = cacheme_storage::Result<T>>,
    ) -> cacheme_storage::Result<T> {
        let done = self.tier.bounded_from(now, call).await;
        let (sizes, limit) = (&self.tier.pieces, self.tier.timeout);
        match &done {
            Err(cacheme_storage::Error::Timeout { .. }) => sizes.learn(self.operation, keys, limit, limit),
            // A small call of a storage that takes large ones teaches nothing.
            Ok(_) if self.size() < MOST || keys >= MOST => {
                sizes.learn(self.operation, keys, now.elapsed(), limit);
            }
            _ => {}
        }
        done
    }

    /// How many of `places` the next piece has; `weigh` knows the bytes of each.
    pub(crate) fn fitting(&self, places: &[usize], weigh: impl Fn(usize) -> usize) -> usize {
        let mut bytes = 0;
        let fitting = places.iter().take(self.size()).take_while(|place| {
            bytes += weigh(**place);
            bytes <= BYTES
        });
        // A single value may weigh more.
        fitting.count().max(1).min(places.len())
    }
}

/// For calls that carry keys only.
pub(crate) fn weightless(_: usize) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    /// The sizes of the pieces that a storage gets which takes so long for each key.
    fn sizes(sizes: &PieceSizes, a_key: Duration, calls: usize) -> Vec<usize> {
        let call = |_| {
            let keys = sizes.of(Operation::Fill);
            let took = a_key * u32::try_from(keys).unwrap();
            sizes.learn(Operation::Fill, keys, took.min(LIMIT), LIMIT);
            keys
        };
        (0..calls).map(call).collect()
    }

    #[test]
    fn r3_pieces_shrink_until_a_slow_storage_has_time_for_them_and_grow_again() {
        let learned = PieceSizes::default();
        let slow = Duration::from_millis(2);
        assert_eq!(
            sizes(&learned, slow, 6),
            [2_000, 1_000, 500, 250, 125, 125],
            "125 take half of the time"
        );
        assert_eq!(
            sizes(&learned, Duration::from_micros(1), 6),
            [125, 250, 500, 1_000, 2_000, 2_000]
        );
        assert_eq!(learned.of(Operation::Get), 125, "what found no end in time");
        learned.learn(Operation::Get, 125, Duration::from_millis(1), LIMIT);
        assert_eq!(learned.of(Operation::Get), 250, "each operation for itself");
        assert_eq!(learned.of(Operation::Fill), MOST);
    }

    #[test]
    fn r3_single_keys_and_a_dead_storage_leave_pieces_that_grow() {
        let learned = PieceSizes::default();
        learned.learn(Operation::Fill, 1, LIMIT, LIMIT);
        assert_eq!(learned.of(Operation::Fill), MOST);
        (0..20).for_each(|_| {
            let keys = learned.of(Operation::Fill);
            learned.learn(Operation::Fill, keys, LIMIT, LIMIT);
        });
        assert_eq!(learned.of(Operation::Fill), 1);
        // A long way to the server is no reason to stay small.
        let far = Duration::from_millis(150);
        (0..11).for_each(|_| {
            let keys = learned.of(Operation::Fill);
            learned.learn(Operation::Fill, keys, far, LIMIT);
        });
        assert_eq!(learned.of(Operation::Fill), MOST);
    }
}
