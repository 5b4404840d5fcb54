//! STORING ([page](super)), the remote half: a piece of values is written to one tier, under its leases or without.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use cacheme_storage::{Error, Filled, LeaseToken, RemoteEntry};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::flight::FlightFence;
use crate::kind::not_stored::NotStored;
use crate::kind::shards::Items;
use crate::kind::tier::RemoteTier;

/// The results of entries, by their places.
pub(super) type Written = SmallVec<[(usize, Result<(), NotStored>); 1]>;

/// Entries of a call, less those that the storage refused.
struct Fitting<'e> {
    entries: &'e [RemoteEntry<'e>],
    places: Items,
    written: Written,
}

impl<'e> Fitting<'e> {
    fn new(entries: &'e [RemoteEntry<'e>], places: impl Iterator<Item = usize>) -> Self {
        Self {
            entries,
            places: places.collect(),
            written: Written::new(),
        }
    }

    fn entries(&self) -> SmallVec<[RemoteEntry<'e>; 1]> {
        self.places
            .iter()
            .map(|place| self.entries[*place].clone())
            .collect()
    }

    /// Takes out entries that are too large for the storage, which refuses the whole call for one of them.
    ///
    /// # Errors
    ///
    /// Gives the error back if none is.
    fn refuse(&mut self, error: Error) -> cacheme_storage::Result<()> {
        let Error::TooLarge { limit, .. } = error else {
            return Err(error);
        };
        let is_too_large = |place: &usize| self.entries[*place].value.len() > limit;
        let (refused, fitting): (Items, Items) = self.places.iter().copied().partition(is_too_large);
        if refused.is_empty() {
            return Err(error);
        }
        self.places = fitting;
        self.end(refused, |_| Err(NotStored::TooLarge));
        Ok(())
    }

    fn end(&mut self, places: Items, result: impl FnMut(usize) -> Result<(), NotStored>) {
        let results = (0..places.len()).map(result);
        self.written.extend(places.into_iter().zip(results));
    }

    /// Ends the entries that are left.
    fn ended(mut self, result: impl FnMut(usize) -> Result<(), NotStored>) -> Written {
        let places = std::mem::take(&mut self.places);
        self.end(places, result);
        self.written
    }
}

/// Fills the keys of entries that are under our lease.
pub(super) async fn fill(
    tier: &RemoteTier,
    entries: &[RemoteEntry<'_>],
    places: &[usize],
    token: LeaseToken,
) -> cacheme_storage::Result<Written> {
    let mut fitting = Fitting::new(entries, places.iter().copied());
    while !fitting.places.is_empty() {
        match tier.storage.fill(&fitting.entries(), token).await {
            Ok(filled) => {
                return Ok(fitting.ended(|at| match filled.get(at) {
                    Some(Filled::Stored) => Ok(()),
                    Some(Filled::Lost) | None => Err(NotStored::LeaseLost),
                }));
            }
            Err(error) => fitting.refuse(error)?,
        }
    }
    Ok(fitting.written)
}

/// Sets entries where there are no leases, but those whose flights were fenced meanwhile.
pub(super) async fn set<'f>(
    tier: &RemoteTier,
    entries: &[RemoteEntry<'_>],
    places: &[usize],
    fence: impl Fn(usize) -> &'f FlightFence,
) -> cacheme_storage::Result<Written> {
    let is_fenced = |place: &usize| fence(*place).is_raised();
    let (fenced, open): (Items, Items) = places.iter().copied().partition(is_fenced);
    let mut fitting = Fitting::new(entries, open.into_iter());
    fitting.end(fenced, |_| Err(NotStored::Fenced));
    while !fitting.places.is_empty() {
        let fences = fitting.places.iter().map(|place| fence(*place)).collect();
        let entries = fitting.entries();
        let set = pin!(tier.storage.set(&entries));
        match while_waited_for(set, fences, tier.timeout).await {
            Some(Ok(())) => return Ok(fitting.ended(|_| Ok(()))),
            None => return Ok(fitting.ended(|_| Err(NotStored::Fenced))),
            Some(Err(error)) => fitting.refuse(error)?,
        }
    }
    Ok(fitting.written)
}

/// Ends a write that no lease guards while a caller may still be waiting for it; `None` if it is given up.
///
/// A caller that fences a flight which is writing waits for the write, for as long as it may take. A write that is polled again only
/// later (its future lay in a `select!`) must not reach the storage after that.
async fn while_waited_for<T>(
    mut write: Pin<&mut impl Future<Output = T>>,
    fences: Vec<&FlightFence>,
    bound: Duration,
) -> Option<T> {
    let end = Instant::now() + bound;
    poll_fn(|cx| {
        if Instant::now() > end && fences.iter().any(|fence| fence.is_raised()) {
            return Poll::Ready(None);
        }
        write.as_mut().poll(cx).map(Some)
    })
    .await
}
