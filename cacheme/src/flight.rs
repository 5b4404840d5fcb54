//! Singleflight: at most one load under way for a key, and what everybody else does meanwhile.
//!
//! A [`FlightTable`] maps full keys to flights. Who finds no flight gets a [`Lead`] and must finish it; who finds one
//! waits for its end. A lead that is dropped unfinished ends its flight as abandoned, and all who waited try again, so
//! one of them leads next. A flight leaves the table before its end is told: who comes after that finds the tiers
//! filled or starts a flight of its own.
//!
//! Fencing (C1): whoever invalidates, sets or refreshes a key takes its flight out of the table and raises its fence
//! in one step. The flight still answers who waits, is joined by nobody new, and stores nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use cacheme_storage::Fence;
use foldhash::quality::FixedState;
use slab::Slab;

use self::sync::Mutex;

/// A full key, shared by all who deal with one flight.
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
    key: FullKey,
    fence: Fence,
    /// Raised with `fence`, or alone: then what the flight brings is kept out of local tiers only.
    local_fence: Fence,
    state: Mutex<State>,
    /// Set before the end is told, if there is one.
    outcome: OnceLock<T>,
}

struct State {
    ended: bool,
    waiting: Slab<Waker>,
    /// The leader is writing to tiers: who fences now waits for the end before removing what is written.
    storing: bool,
    /// Who waits deposes the leader when this has passed.
    patience: tokio::time::Instant,
}

impl<T> Flight<T> {
    fn new(key: FullKey, patience: tokio::time::Instant) -> Arc<Self> {
        let state = State {
            ended: false,
            waiting: Slab::new(),
            storing: false,
            patience,
        };
        Arc::new(Self {
            key,
            fence: Fence::new(),
            local_fence: Fence::new(),
            state: Mutex::new(state),
            outcome: OnceLock::new(),
        })
    }

    /// Raised by whoever invalidates, sets or refreshes the key: nothing that this flight brings is stored.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Looked at by local tiers before they store what this flight brings.
    pub(crate) fn local_fence(&self) -> &Fence {
        &self.local_fence
    }

    fn raise(&self) {
        self.fence.raise();
        self.local_fence.raise();
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

/// All flights of one kind of node.
pub(crate) struct FlightTable<T> {
    flights: Mutex<Flights<T>>,
}

type Flights<T> = HashMap<FullKey, Arc<Flight<T>>, FixedState>;

/// What [`FlightTable::join`] found.
pub(crate) enum Joined<T> {
    /// Nobody was there: the flight is ours to lead.
    Lead(Lead<T>),
    /// Somebody leads already.
    Wait(Arc<Flight<T>>),
}

impl<T> FlightTable<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Mutex::new(HashMap::with_hasher(key_hasher())),
        })
    }

    /// Joins the flight for `key`, or begins it, to be waited for until `patience`.
    pub(crate) fn join(self: &Arc<Self>, key: &FullKey, patience: tokio::time::Instant) -> Joined<T> {
        match self.flights.lock().entry(Arc::clone(key)) {
            Entry::Occupied(flight) => Joined::Wait(Arc::clone(flight.get())),
            Entry::Vacant(place) => {
                let flight = Flight::new(Arc::clone(key), patience);
                place.insert(Arc::clone(&flight));
                Joined::Lead(Lead {
                    table: Arc::clone(self),
                    flight: Some(flight),
                })
            }
        }
    }

    /// Begins a flight whatever is there; an older one is fenced and returned.
    pub(crate) fn supersede(
        self: &Arc<Self>,
        key: &FullKey,
        patience: tokio::time::Instant,
    ) -> (Lead<T>, Option<Arc<Flight<T>>>) {
        let flight = Flight::new(Arc::clone(key), patience);
        let mut flights = self.flights.lock();
        let older = flights.insert(Arc::clone(key), Arc::clone(&flight));
        // Under the lock of the table: nobody can join the older flight once it is fenced.
        older.iter().for_each(|older| older.raise());
        drop(flights);
        (
            Lead {
                table: Arc::clone(self),
                flight: Some(flight),
            },
            older,
        )
    }

    /// Fences the flight for `key`, if there is one, and takes it out of the table.
    pub(crate) fn fence(&self, key: &[u8]) -> Option<Arc<Flight<T>>> {
        let mut flights = self.flights.lock();
        let older = flights.remove(key);
        older.iter().for_each(|older| older.raise());
        give_back(&mut flights);
        older
    }

    /// Fences every flight, and empties the table.
    pub(crate) fn fence_all(&self) {
        let mut flights = self.flights.lock();
        flights.drain().for_each(|(_, flight)| flight.raise());
        give_back(&mut flights);
    }

    /// Fences this very flight, unless another has taken its place: its leader was waited for long enough.
    pub(crate) fn depose(&self, flight: &Arc<Flight<T>>) {
        let mut flights = self.flights.lock();
        if flights
            .get(&flight.key)
            .is_some_and(|there| Arc::ptr_eq(there, flight))
        {
            flights.remove(&flight.key);
            flight.raise();
        }
    }

    /// Keeps what the flight for `key` brings, if there is one, out of local tiers: somebody here is about to be given what a
    /// remote tier holds by now, which may be newer.
    pub(crate) fn keep_from_local(&self, key: &[u8]) {
        if let Some(flight) = self.flights.lock().get(key) {
            flight.local_fence.raise();
        }
    }

    /// How many flights are under way.
    pub(crate) fn len(&self) -> usize {
        self.flights.lock().len()
    }

    fn remove(&self, flight: &Arc<Flight<T>>) {
        let mut flights = self.flights.lock();
        if flights
            .get(&flight.key)
            .is_some_and(|there| Arc::ptr_eq(there, flight))
        {
            flights.remove(&flight.key);
            give_back(&mut flights);
        }
    }
}

/// Gives back most of the memory that a rush of flights needed, once few of them are left.
fn give_back<T>(flights: &mut Flights<T>) {
    const SMALL: usize = 1024;
    let (len, capacity) = (flights.len(), flights.capacity());
    // Room for twice as many as there are stays, so the next flights do not grow the table again at once.
    if capacity > SMALL && len < capacity / 8 {
        flights.shrink_to((capacity / 4).max(SMALL));
    }
}

/// The duty to end a flight. Dropped unfinished, it ends the flight as abandoned.
pub(crate) struct Lead<T> {
    table: Arc<FlightTable<T>>,
    /// `None` once finished.
    flight: Option<Arc<Flight<T>>>,
}

impl<T> Lead<T> {
    pub(crate) fn flight(&self) -> &Arc<Flight<T>> {
        self.flight
            .as_ref()
            .expect("a lead is not used after it was finished")
    }

    /// Lets those who wait be patient until `patience`, or longer where that was said already.
    pub(crate) fn extend(&self, patience: tokio::time::Instant) {
        let mut state = self.flight().state.lock();
        state.patience = state.patience.max(patience);
    }

    /// Says that writing to tiers begins. `false` if the flight is fenced: then nothing may be written.
    pub(crate) fn begin_storing(&self) -> bool {
        // Said before the fence is looked at: who raises the fence and sees nobody storing can rely on it.
        self.flight().state.lock().storing = true;
        !self.flight().fence.is_raised()
    }

    /// Ends the flight.
    pub(crate) fn finish(mut self, outcome: T) {
        self.end(Some(outcome));
    }

    fn end(&mut self, outcome: Option<T>) {
        if let Some(flight) = self.flight.take() {
            self.table.remove(&flight);
            flight.finish(outcome);
        }
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        self.end(None);
    }
}
