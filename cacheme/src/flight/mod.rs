//! Singleflight: at most one load under way for a key, and what everybody else does meanwhile.
//!
//! A [`FlightTable`] maps full keys to flights. Who finds no flight gets a [`Lead`] and must finish it; who finds one
//! waits for its end. A lead that is dropped unfinished ends its flight as abandoned, and all who waited try again, so
//! one of them leads next. A flight leaves the table before its end is told: who comes after that finds the tiers
//! filled or starts a flight of its own. A leader that nobody has joined by then keeps the outcome: there is nobody to tell.
//!
//! Fencing (C1): whoever invalidates, sets or refreshes a key takes its flight out of the table and raises its fence
//! in one step. The flight still answers who waits, is joined by nobody new, and stores nothing.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use cacheme_storage::Fence;
use foldhash::quality::FixedState;
use slab::Slab;
use smallvec::SmallVec;

use self::sync::Mutex;
use crate::sequence;

/// A full key, for those who keep it.
pub(crate) type FullKey = Arc<[u8]>;

/// Hashes full keys. Seeded by the operating system, so that nobody outside can choose keys that collide.
pub(crate) fn key_hasher() -> FixedState {
    use std::hash::{BuildHasher, RandomState};

    static SEED: OnceLock<u64> = OnceLock::new();
    FixedState::with_seed(*SEED.get_or_init(|| RandomState::new().hash_one(())))
}

#[cfg(cacheme_loom)]
mod sync {
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
    pub(crate) use parking_lot::Mutex;
}

mod loads;
pub(crate) mod outcome;
mod queue;
mod table;

use self::loads::LoadedBy;
pub(crate) use self::loads::{Parent, RunningLoad, current, refuse_refresh, wait_for};
pub(crate) use self::queue::Queue;
use self::queue::Turn;
pub(crate) use self::table::{FlightTable, Joined, Lead};

#[cfg(all(test, cacheme_loom))]
mod model;

/// How a flight ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// With an outcome for all who wait.
    Done(Done<T>),
    /// Its leader went away. Whoever waited tries again.
    Abandoned,
}

/// A flight that ended with an outcome.
#[derive(Debug)]
pub(crate) struct Done<T>(Arc<Flight<T>>);

impl<T> Deref for Done<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.outcome.get().expect("it is there before the end is told")
    }
}

impl<T: Clone> Done<T> {
    /// The outcome, to the last one who has it as it is.
    pub(crate) fn into_outcome(self) -> T {
        match Arc::try_unwrap(self.0) {
            Ok(flight) => flight
                .outcome
                .into_inner()
                .expect("it is there before the end is told"),
            Err(flight) => Self(flight).clone(),
        }
    }
}

/// The one load under way for a key; `T` is what comes out of it.
pub(crate) struct Flight<T> {
    /// In place: one allocation less, and few others need it.
    key: SmallVec<[u8; 64]>,
    /// Which bulk call began it, 0 for none: keys that it names again are no other callers.
    call: u64,
    /// When what it does [began](crate::sequence).
    began: AtomicU64,
    work: Work,
    fence: Fence,
    /// Raised with `fence`, or alone: then what the flight brings is kept out of local tiers only.
    local_fence: Fence,
    /// Raised when another process changed the key and this flight was removed from the table; a newer flight may be running.
    superseded_remotely: Fence,
    loaded_by: LoadedBy,
    state: Mutex<State<T>>,
    /// Set before the end is told, if there is one.
    outcome: OnceLock<T>,
}

/// What a flight does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Looks for a value, or loads it.
    Load,
    /// Stores a value that its caller brought.
    Set,
}

struct State<T> {
    ended: bool,
    waiting: Slab<Waker>,
    /// The leader is writing to tiers: who fences now waits for the end before removing what is written.
    storing: bool,
    /// Its leader waits until this one has stored, and has begun nothing.
    waits_for: Option<Arc<Flight<T>>>,
    /// Who waits deposes the leader when this has passed.
    patience: tokio::time::Instant,
    turn: Turn,
}

impl<T> State<T> {
    fn of(patience: tokio::time::Instant) -> Self {
        Self {
            ended: false,
            waiting: Slab::new(),
            storing: false,
            waits_for: None,
            patience,
            turn: Turn::default(),
        }
    }
}

impl<T> Flight<T> {
    fn new(key: &[u8], call: u64, patience: tokio::time::Instant) -> Arc<Self> {
        Arc::new(Self {
            key: SmallVec::from_slice(key),
            call,
            began: AtomicU64::new(sequence::now()),
            work: Work::Load,
            fence: Fence::new(),
            local_fence: Fence::new(),
            superseded_remotely: Fence::new(),
            loaded_by: LoadedBy::default(),
            state: Mutex::new(State::of(patience)),
            outcome: OnceLock::new(),
        })
    }

    /// One that takes the place of others. A `set` stores from its beginning.
    fn writing(key: &[u8], work: Work, patience: tokio::time::Instant) -> Arc<Self> {
        let mut flight = Self::new(key, 0, patience);
        let unknown = Arc::get_mut(&mut flight).expect("nobody knows it yet");
        unknown.work = work;
        let mut state = State::of(patience);
        state.storing = work == Work::Set;
        unknown.state = Mutex::new(state);
        flight
    }

    /// The full key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Raised by whoever invalidates, sets or refreshes the key: nothing that this flight brings is stored.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Local tiers read this fence before they store what this flight brings.
    pub(crate) fn local_fence(&self) -> &Fence {
        &self.local_fence
    }

    fn raise(&self) {
        self.fence.raise();
        self.local_fence.raise();
    }

    /// Whether others may have begun since, though nobody in this process asked for it.
    pub(crate) fn was_superseded_remotely(&self) -> bool {
        self.superseded_remotely.is_raised()
    }

    /// Takes note that another process changed the value; says whether newcomers are to begin another flight.
    fn part(&self, guarded: bool) -> bool {
        // What has not begun will bring nothing older, and newcomers must not be let past what it waits for.
        if self.state.lock().waits_for.is_some() {
            return false;
        }
        self.local_fence.raise();
        // Of two writes at once the one stays that reaches the storage last; ours may. Whoever comes waits for it: what is
        // there before is older.
        if self.work == Work::Set {
            return false;
        }
        self.fence.raise();
        if guarded {
            self.superseded_remotely.raise();
        }
        guarded
    }

    /// Until when the leader may be waited for.
    pub(crate) fn patience(&self) -> tokio::time::Instant {
        self.state.lock().patience
    }

    /// Whether its leader is writing to tiers just now.
    pub(crate) fn is_storing(&self) -> bool {
        let state = self.state.lock();
        state.storing && !state.ended
    }

    /// Whichever is to be waited for by who writes next: this one if it is storing, else the one that it waits for.
    fn storing(self: &Arc<Self>) -> Option<Arc<Self>> {
        if self.is_storing() {
            return Some(Arc::clone(self));
        }
        let waits_for = self.state.lock().waits_for.clone();
        waits_for.filter(|older| older.is_storing())
    }

    /// Takes note that what it waited for is over.
    pub(crate) fn begin(&self) {
        self.began.store(sequence::now(), Ordering::Relaxed);
        self.state.lock().waits_for = None;
    }

    /// When what it does [began](crate::sequence).
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

    /// How it ended, if it has.
    pub(crate) fn ended(self: &Arc<Self>) -> Option<End<T>> {
        self.state.lock().ended.then(|| self.told())
    }

    fn told(self: &Arc<Self>) -> End<T> {
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
        // Wakers run code of whoever waits: not under the lock.
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
    /// Our place among those who wait.
    place: Option<usize>,
}

impl<T> Future for Ending<T> {
    type Output = End<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End<T>> {
        let flight = Arc::clone(&self.flight);
        let mut state = flight.state.lock();
        if state.ended {
            self.place = None;
            return Poll::Ready(flight.told());
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
