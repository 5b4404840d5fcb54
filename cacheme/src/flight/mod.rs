//! Singleflight: at most one load is under way for a key, and other callers wait for its outcome.
//!
//! A [`FlightTable`] maps full keys to flights. A caller that finds no flight gets a [`Lead`] and must finish it. A caller that finds one
//! waits for its end. A lead that is dropped unfinished ends its flight as abandoned: all waiters try again, and one of them leads next.
//! A flight leaves the table before its waiters get the outcome, so a later caller finds the tiers filled or begins a flight of its own.
//! A leader that no caller has joined by then keeps the outcome for itself.
//!
//! Fencing (C1): a caller that invalidates, sets or refreshes a key takes its flight out of the table and raises its fence in one step.
//! The flight still answers its waiters. No new caller joins it, and its value is stored nowhere.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use foldhash::quality::FixedState;
use slab::Slab;
use smallvec::SmallVec;

use self::sync::Mutex;
use crate::sequence;

/// A full key that outlives the call.
pub(crate) type FullKey = Arc<[u8]>;

/// Hashes full keys. The operating system seeds it, so that no outsider can choose keys that collide.
pub(crate) fn key_hasher() -> FixedState {
    use std::hash::{BuildHasher, RandomState};

    static SEED: OnceLock<u64> = OnceLock::new();
    FixedState::with_seed(*SEED.get_or_init(|| RandomState::new().hash_one(())))
}

#[cfg(cacheme_loom)]
mod sync {
    pub(crate) use loom::sync::atomic::AtomicU8;

    /// loom's mutex with parking_lot's signature.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics under the lock")
        }
    }
}

#[cfg(not(cacheme_loom))]
mod sync {
    pub(crate) use std::sync::atomic::AtomicU8;

    pub(crate) use parking_lot::Mutex;
}

mod fence;
mod loads;
pub(crate) mod outcome;
mod queue;
pub(crate) mod store;
mod table;

use self::fence::Fenced;
pub(crate) use self::fence::FlightFence;
use self::loads::LoadedBy;
pub(crate) use self::loads::{Parent, RunningLoad, current, refuse_refresh, running, wait_for};
use self::queue::Demand;
pub(crate) use self::queue::LoadQueue;
pub(crate) use self::table::{FlightTable, Joined, Lead};

#[cfg(all(test, cacheme_loom))]
mod model;

/// How a flight ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// With an outcome for all waiters.
    Done(Done<T>),
    /// Its leader went away. Its waiters try again.
    Abandoned,
}

/// A flight that ended with an outcome.
#[derive(Debug)]
pub(crate) struct Done<T>(Arc<Flight<T>>);

impl<T> Deref for Done<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
            .outcome
            .get()
            .expect("the outcome is set before the flight ends")
    }
}

impl<T: Clone> Done<T> {
    /// The outcome. The last holder of the flight gets it without a clone.
    pub(crate) fn into_outcome(self) -> T {
        match Arc::try_unwrap(self.0) {
            Ok(flight) => flight
                .outcome
                .into_inner()
                .expect("the outcome is set before the flight ends"),
            Err(flight) => Self(flight).clone(),
        }
    }
}

/// The one load under way for a key. `T` is its outcome.
pub(crate) struct Flight<T> {
    /// Stored in place: one allocation less for each flight.
    key: SmallVec<[u8; 64]>,
    /// The bulk call that began it, 0 for none. A bulk call that names a key twice is not another caller.
    call: u64,
    /// When its load or `set` [began](crate::sequence).
    began: AtomicU64,
    work: Work,
    fence: FlightFence,
    loaded_by: LoadedBy,
    state: Mutex<FlightState<T>>,
    /// Set before the flight ends, if it ends with an outcome.
    outcome: OnceLock<T>,
}

/// The work of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Looks for a value, or loads it.
    Load,
    /// Stores a value that its caller brought.
    Set,
}

struct FlightState<T> {
    ended: bool,
    waiting: Slab<Waker>,
    /// The leader is writing to tiers. A caller that fences the flight now waits for its end, then removes what was written.
    storing: bool,
    /// The older flight that a `refresh` is queued behind until that one has stored. The `refresh` has begun nothing yet.
    waits_for: Option<Arc<Flight<T>>>,
    /// A waiter deposes the leader when this has passed.
    patience: tokio::time::Instant,
    demand: Demand,
}

impl<T> Flight<T> {
    fn new(key: &[u8], call: u64, work: Work, patience: tokio::time::Instant) -> Arc<Self> {
        let state = FlightState {
            ended: false,
            waiting: Slab::new(),
            // A `set` stores from its beginning.
            storing: work == Work::Set,
            waits_for: None,
            patience,
            demand: Demand::default(),
        };
        Arc::new(Self {
            key: SmallVec::from_slice(key),
            call,
            began: AtomicU64::new(sequence::now()),
            work,
            fence: FlightFence::new(),
            loaded_by: LoadedBy::default(),
            state: Mutex::new(state),
            outcome: OnceLock::new(),
        })
    }

    /// The full key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Raised by a caller that invalidates, sets or refreshes the key: the value of this flight is stored nowhere.
    pub(crate) fn fence(&self) -> &FlightFence {
        &self.fence
    }

    /// Notes that another process changed the key. Returns whether new callers begin another flight.
    fn supersede_remotely(&self, guarded: bool) -> bool {
        // A load that has not begun will bring nothing older, and new callers must not overtake the store that it waits for.
        if self.state.lock().waits_for.is_some() {
            return false;
        }
        let to = match self.work {
            // Of two writes at once the one stays that reaches the storage last, which may be ours. New callers wait for it, since
            // the storage has an older value until then.
            Work::Set => Fenced::NotLocal,
            Work::Load if guarded => Fenced::Superseded,
            Work::Load => Fenced::Nowhere,
        };
        self.fence.raise(to);
        to == Fenced::Superseded
    }

    /// Until when waiters wait for the leader.
    pub(crate) fn patience(&self) -> tokio::time::Instant {
        self.state.lock().patience
    }

    /// Whether its leader is writing to tiers just now.
    pub(crate) fn is_storing(&self) -> bool {
        let state = self.state.lock();
        state.storing && !state.ended
    }

    /// The flight that the next change waits for: this one if it is storing, else the older one that it is queued behind.
    fn storing(self: &Arc<Self>) -> Option<Arc<Self>> {
        if self.is_storing() {
            return Some(Arc::clone(self));
        }
        let waits_for = self.state.lock().waits_for.clone();
        waits_for.filter(|older| older.is_storing())
    }

    /// Notes that the older flight has ended and this one begins.
    pub(crate) fn begin(&self) {
        self.began.store(sequence::now(), Ordering::Relaxed);
        self.state.lock().waits_for = None;
    }

    /// When its load or `set` [began](crate::sequence).
    pub(crate) fn began(&self) -> u64 {
        self.began.load(Ordering::Relaxed)
    }

    /// Resolves when the flight ends.
    pub(crate) fn end(self: &Arc<Self>) -> Ending<T> {
        Ending {
            flight: Arc::clone(self),
            place: None,
        }
    }

    /// How the flight ended, if it has.
    pub(crate) fn ended(self: &Arc<Self>) -> Option<End<T>> {
        self.state.lock().ended.then(|| self.how_ended())
    }

    fn how_ended(self: &Arc<Self>) -> End<T> {
        match self.outcome.get() {
            Some(_) => End::Done(Done(Arc::clone(self))),
            None => End::Abandoned,
        }
    }

    fn finish(&self, outcome: Option<T>) {
        if let Some(outcome) = outcome {
            let first = self.outcome.set(outcome).is_ok();
            debug_assert!(first, "a flight ends once");
        }
        let waiting = {
            let mut state = self.state.lock();
            state.ended = true;
            std::mem::take(&mut state.waiting)
        };
        // Wakers run code of the waiters, so not under the lock.
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Flight")
            .field(&String::from_utf8_lossy(&self.key))
            .finish()
    }
}

/// Waits for the end of a flight. Dropping it leaves no trace.
pub(crate) struct Ending<T> {
    flight: Arc<Flight<T>>,
    /// Our place among the waiters.
    place: Option<usize>,
}

impl<T> Future for Ending<T> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End<T>> {
        let flight = Arc::clone(&self.flight);
        let mut state = flight.state.lock();
        if state.ended {
            self.place = None;
            return Poll::Ready(flight.how_ended());
        }
        match self.place {
            Some(place) => state.waiting[place].clone_from(cx.waker()),
            None => self.place = Some(state.waiting.insert(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            // After the end the list was taken whole, and with it our place.
            self.flight.state.lock().waiting.try_remove(place);
        }
    }
}
