//! The flights under way, by key, and the duty to end one.
#![expect(
    clippy::mutable_key_type,
    reason = "a flight is found by its key, which stays as it is while the flight is in the table"
)]

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;
use tokio::time::Instant;

use super::sync::Mutex;
use super::{Fenced, Flight, Work, key_hasher};

/// How many keys of a bulk call are handled under one lock of the table, so that other callers get in between.
const KEYS_AT_ONCE: usize = 64;

/// All flights of one kind of node.
pub(crate) struct FlightTable<T> {
    flights: Mutex<FlightMap<T>>,
}

type FlightMap<T> = HashMap<Listed<T>, (), FixedState>;

/// A flight in the table, found by its key.
struct Listed<T>(Arc<Flight<T>>);

impl<T> Borrow<[u8]> for Listed<T> {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl<T> Hash for Listed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // `Borrow` promises the hash of the key itself.
        self.0.key().hash(state);
    }
}

impl<T> PartialEq for Listed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl<T> Eq for Listed<T> {}

/// The result of [`FlightTable::join`].
pub(crate) enum Joined<T> {
    /// There was no flight: the caller leads the new one.
    Lead(Lead<T>),
    /// There is a flight, whose leader the caller waits for.
    Wait {
        flight: Arc<Flight<T>>,
        /// That leader is the same bulk call, which named the key before.
        ours: bool,
    },
}

impl<T> Joined<T> {
    pub(crate) fn flight(&self) -> &Arc<Flight<T>> {
        match self {
            Self::Lead(lead) => lead.flight(),
            Self::Wait { flight, .. } => flight,
        }
    }
}

impl<T> FlightTable<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Mutex::new(HashMap::with_hasher(key_hasher())),
        })
    }

    /// Joins the flight for `key`, or begins one whose leader has until `patience`.
    pub(crate) fn join(self: &Arc<Self>, key: &[u8], patience: Instant) -> Joined<T> {
        // Made before the lock is taken. It is not needed if there is a flight, but then the caller waits anyway.
        let flight = Flight::new(key, 0, Work::Load, patience);
        self.enter(&mut self.flights.lock(), flight)
    }

    /// Joins or begins a flight for each of many keys, in their order.
    pub(crate) fn join_all<'k>(
        self: &Arc<Self>,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        patience: Instant,
    ) -> Vec<Joined<T>> {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let mut joined = Vec::with_capacity(keys.len());
        let mut flights = keys
            .map(|key| Flight::new(key, call, Work::Load, patience))
            .fuse();
        let mut part = Vec::with_capacity(flights.len().min(KEYS_AT_ONCE));
        loop {
            part.extend(flights.by_ref().take(KEYS_AT_ONCE));
            if part.is_empty() {
                break;
            }
            let mut table = self.flights.lock();
            joined.extend(part.drain(..).map(|flight| self.enter(&mut table, flight)));
        }
        joined
    }

    fn enter(self: &Arc<Self>, flights: &mut FlightMap<T>, flight: Arc<Flight<T>>) -> Joined<T> {
        let call = flight.call;
        match flights.entry(Listed(Arc::clone(&flight))) {
            Entry::Occupied(there) => {
                let flight = Arc::clone(&there.key().0);
                let ours = call != 0 && flight.call == call;
                Joined::Wait { flight, ours }
            }
            Entry::Vacant(place) => {
                place.insert(());
                Joined::Lead(Lead::of(self, flight))
            }
        }
    }

    /// Begins a flight in place of an older one, which is fenced. Returns the flight that may be storing still: the leader waits for
    /// its end before [`begin`](Flight::begin).
    pub(crate) fn supersede(
        self: &Arc<Self>,
        key: &[u8],
        work: Work,
        patience: Instant,
    ) -> (Lead<T>, Option<Arc<Flight<T>>>) {
        let flight = Flight::new(key, 0, work, patience);
        let mut flights = self.flights.lock();
        let older = take(&mut flights, key);
        flights.insert(Listed(Arc::clone(&flight)), ());
        // Under the lock of the table: nobody can join the older flight once it is fenced.
        older.iter().for_each(|older| older.fence.raise(Fenced::Nowhere));
        let storing = older.and_then(|older| older.storing());
        if work == Work::Load {
            flight.state.lock().waits_for.clone_from(&storing);
        }
        drop(flights);
        (Lead::of(self, flight), storing)
    }

    /// Fences the flight for `key`, if there is one, and takes it out of the table. Returns the flight that may be storing still.
    pub(crate) fn fence(&self, key: &[u8]) -> Option<Arc<Flight<T>>> {
        let mut flights = self.flights.lock();
        let older = take(&mut flights, key);
        older.iter().for_each(|older| older.fence.raise(Fenced::Nowhere));
        shrink(&mut flights);
        older.and_then(|older| older.storing())
    }

    /// Notes that another process changed `key`. Waiters still get the outcome of its flight, which is stored nowhere.
    ///
    /// If the key is `guarded` by leases in every remote tier, the flight leaves the table and new callers begin their own load. Else it
    /// stays, because a later change in this process must wait for its write. A `set` stays too: its value is out of date in local tiers
    /// only.
    pub(crate) fn supersede_remotely(&self, key: &[u8], guarded: bool) {
        let mut flights = self.flights.lock();
        if let Some((flight, ())) = flights.get_key_value(key)
            && flight.0.supersede_remotely(guarded)
        {
            flights.remove(key);
            shrink(&mut flights);
        }
    }

    /// Notes for every flight that another process changed its key ([`supersede_remotely`](Self::supersede_remotely)).
    pub(crate) fn supersede_all_remotely(&self, guarded: bool) {
        let mut flights = self.flights.lock();
        flights.retain(|flight, ()| !flight.0.supersede_remotely(guarded));
        shrink(&mut flights);
    }

    /// The flights under way whose keys are longer than `length`.
    pub(crate) fn longer_than(&self, length: usize) -> Vec<Arc<Flight<T>>> {
        let flights = self.flights.lock();
        let long = flights.keys().filter(|flight| flight.0.key().len() > length);
        long.map(|flight| Arc::clone(&flight.0)).collect()
    }

    /// Fences this flight, unless another has taken its place: the patience of its waiters is over.
    pub(crate) fn depose(&self, flight: &Arc<Flight<T>>) {
        if remove(&mut self.flights.lock(), flight) {
            flight.fence.raise(Fenced::Nowhere);
        }
    }

    /// Keeps the value of the flight for `key`, if there is one, out of local tiers. A caller is about to get the value of a remote
    /// tier, which may be newer.
    pub(crate) fn keep_from_local(&self, key: &[u8]) {
        if let Some((flight, ())) = self.flights.lock().get_key_value(key) {
            flight.0.fence.raise(Fenced::NotLocal);
        }
    }

    /// Joins the flights that are under way for keys of `numbers`, and takes these out of `numbers`.
    pub(crate) fn join_existing<'k>(
        &self,
        numbers: &mut Vec<usize>,
        key: impl Fn(usize) -> &'k [u8],
    ) -> Vec<(usize, Arc<Flight<T>>)> {
        let mut joined = Vec::new();
        let flights = self.flights.lock();
        if !flights.is_empty() {
            numbers.retain(|&number| {
                let there = flights.get_key_value(key(number));
                joined.extend(there.map(|(flight, ())| (number, Arc::clone(&flight.0))));
                there.is_none()
            });
        }
        joined
    }

    /// How many flights are under way.
    pub(crate) fn len(&self) -> usize {
        self.flights.lock().len()
    }

    /// Takes flights that end next out of the table, so that no new caller joins them.
    pub(crate) fn close<'l>(&self, leads: impl IntoIterator<Item = &'l mut Lead<T>>)
    where
        T: 'l,
    {
        let mut leads = leads.into_iter().peekable();
        while leads.peek().is_some() {
            let mut flights = self.flights.lock();
            for lead in leads.by_ref().take(KEYS_AT_ONCE) {
                if std::mem::take(&mut lead.listed) {
                    remove(&mut flights, lead.flight());
                }
            }
            shrink(&mut flights);
        }
    }
}

fn take<T>(flights: &mut FlightMap<T>, key: &[u8]) -> Option<Arc<Flight<T>>> {
    flights.remove_entry(key).map(|(listed, ())| listed.0)
}

/// Takes this flight out, unless it is out already or another has taken its place.
fn remove<T>(flights: &mut FlightMap<T>, flight: &Arc<Flight<T>>) -> bool {
    let Some(there) = take(flights, &flight.key) else {
        return false;
    };
    let is_it = Arc::ptr_eq(&there, flight);
    if !is_it {
        flights.insert(Listed(there), ());
    }
    is_it
}

/// Frees most of the memory that a rush of flights needed, once few of them are left.
fn shrink<T>(flights: &mut FlightMap<T>) {
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
    /// Whether the flight may be in the table still.
    listed: bool,
}

impl<T> Lead<T> {
    fn of(table: &Arc<FlightTable<T>>, flight: Arc<Flight<T>>) -> Self {
        Self {
            table: Arc::clone(table),
            flight: Some(flight),
            listed: true,
        }
    }

    pub(crate) fn flight(&self) -> &Arc<Flight<T>> {
        self.flight
            .as_ref()
            .expect("a lead is not used after it was finished")
    }

    /// Lets waiters be patient until `patience` at least.
    pub(crate) fn extend(&self, patience: Instant) {
        let mut state = self.flight().state.lock();
        state.patience = state.patience.max(patience);
    }

    /// Says that writing to tiers begins. `false` if the flight is fenced: then nothing may be written.
    pub(crate) fn begin_storing(&self) -> bool {
        // Set before the fence is read: a caller that raises the fence and then sees nobody storing can rely on it.
        self.flight().state.lock().storing = true;
        !self.flight().fence.is_raised()
    }

    /// Ends the flight.
    pub(crate) fn finish(mut self, outcome: T) {
        self.unlist();
        self.complete(Some(outcome));
    }

    /// Ends the flight for a leader that wants the outcome as well. It is cloned only where a waiter knows the flight.
    pub(crate) fn finish_and_keep(mut self, outcome: T) -> T
    where
        T: Clone,
    {
        self.unlist();
        // No caller can join the flight any more, and each waiter holds a count of it.
        if Arc::strong_count(self.flight()) == 1 {
            self.flight = None;
            return outcome;
        }
        // The clone is code of the user's: if it panics, this lead is dropped with the flight unfinished.
        let shared = outcome.clone();
        self.complete(Some(shared));
        outcome
    }

    fn unlist(&mut self) {
        if std::mem::take(&mut self.listed) {
            let mut flights = self.table.flights.lock();
            if remove(&mut flights, self.flight()) {
                shrink(&mut flights);
            }
        }
    }

    fn complete(&mut self, outcome: Option<T>) {
        if let Some(flight) = self.flight.take() {
            flight.finish(outcome);
        }
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        if self.flight.is_some() {
            self.unlist();
            self.complete(None);
        }
    }
}
