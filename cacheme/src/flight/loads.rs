//! Which load waits for which flights, so that one that waits for itself is refused (L3).
//!
//! A task-local names the running load, so a `get` in the task of a loader is a `get` of its load. A flight names its load by a number, and
//! a table here says which flights each load waits for:
//!
//! ```text
//! load of `a` ──waits for──▶ flight `b` ──is loaded by──▶ load of `b` ──waits for──▶ flight `a` ──is loaded by──▶ load of `a`
//! ```
//!
//! A load that begins to wait follows these steps from the flights that it wants. If they lead back to the load itself, no load on the
//! way could ever end, and the wait is refused. The steps are followed and the wait is noted under one lock, so of the loads
//! that close a circle at the same moment one finds it. Callers outside of a load wait for others, but nobody waits for them: they take no part.
//!
//! A load of several keys is one load: each of its flights waits for all that it waits for.
//!
//! **Limit:** a loader that asks in a task that it spawns asks as a caller outside of a load. A circle through such a task or through another
//! process ends by `load_timeout`.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::store::StoreCell;
use super::{Flight, FlightTable};
use crate::error::{Error, Result};

/// Names a load. Zero names none.
type LoadId = u64;

tokio::task_local! {
    static CURRENT: Arc<RunningLoad>;
}

/// How far up a load looks among those that wait for it.
const MOST_ANCESTORS: usize = 64;

/// Names a flight table while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableId(usize);

impl<T> FlightTable<T> {
    pub(crate) fn id(self: &Arc<Self>) -> TableId {
        TableId(Arc::as_ptr(self).addr())
    }
}

/// The load of a flight, if it has begun.
#[derive(Debug, Default)]
pub(super) struct LoadedBy(AtomicU64);

/// A flight of any kind of node.
trait AnyFlight: Send + Sync {
    fn key(&self) -> &[u8];
    fn loaded_by(&self) -> &AtomicU64;
    fn is_fenced(&self) -> bool;
    fn has_ended(&self) -> bool;
}

impl<T: Send + Sync> AnyFlight for Flight<T> {
    fn key(&self) -> &[u8] {
        self.key()
    }

    fn loaded_by(&self) -> &AtomicU64 {
        &self.loaded_by.0
    }

    fn is_fenced(&self) -> bool {
        self.fence().is_raised()
    }

    fn has_ended(&self) -> bool {
        self.state.lock().ended
    }
}

type AnyFlights = SmallVec<[Arc<dyn AnyFlight>; 1]>;

fn any<'f, T: Send + Sync + 'static>(flights: impl IntoIterator<Item = &'f Arc<Flight<T>>>) -> AnyFlights {
    let any = |flight: &Arc<Flight<T>>| Arc::clone(flight) as Arc<dyn AnyFlight>;
    flights.into_iter().map(any).collect()
}

/// A load under way, as code inside of it sees it.
pub(crate) struct RunningLoad {
    id: LoadId,
    table: TableId,
    /// The flights that it loads, at least one.
    flights: AnyFlights,
    /// How its code wants the value to be stored.
    pub(crate) store: StoreCell,
    /// The load in which it was begun. That one may have ended since: a load does not wait for its children to end.
    parent: Parent,
}

/// The load in which another one was begun, if there is one.
pub(crate) type Parent = Weak<RunningLoad>;

/// The load in which the caller runs, if it runs in one, for a load that is begun in it.
pub(crate) fn current() -> Parent {
    CURRENT.try_with(Arc::downgrade).unwrap_or_default()
}

/// The load in which the caller runs, if it runs in one.
pub(crate) fn running() -> Option<Arc<RunningLoad>> {
    CURRENT.try_with(Arc::clone).ok()
}

impl RunningLoad {
    /// Begins a load for flights of one table.
    pub(crate) fn begin<'f, T: Send + Sync + 'static>(
        table: TableId,
        flights: impl IntoIterator<Item = &'f Arc<Flight<T>>>,
        parent: Parent,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let flights = any(flights);
        for flight in &flights {
            // Relaxed is enough: it matters only once this load waits, which takes the lock that every reader takes after it.
            flight.loaded_by().store(id, Ordering::Relaxed);
        }
        Arc::new(Self {
            id,
            table,
            flights,
            store: StoreCell::default(),
            parent,
        })
    }

    /// Runs the load: a `get` in the same task is inside of it.
    pub(crate) fn run<F: Future>(self: &Arc<Self>, load: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(Arc::clone(self), load)
    }

    /// Its key, the first of several.
    pub(crate) fn key(&self) -> &[u8] {
        self.flights.first().map_or(b"", |flight| flight.key())
    }

    /// Its own flight for `key`.
    fn own(&self, table: TableId, key: &[u8]) -> Option<&dyn AnyFlight> {
        let own = self.flights.iter().find(|flight| flight.key() == key);
        own.filter(|_| self.table == table).map(|flight| &**flight)
    }
}

/// The flights that each load waits for now.
#[derive(Default)]
struct Waits {
    by_load: HashMap<LoadId, SmallVec<[Wait; 1]>>,
    made: u64,
}

struct Wait {
    number: u64,
    flights: AnyFlights,
}

static WAITS: LazyLock<Mutex<Waits>> = LazyLock::new(Mutex::default);

/// A load waits, until this is dropped.
#[must_use]
pub(crate) struct Waiting {
    load: LoadId,
    number: u64,
}

/// Notes that the load in which the caller runs, if it runs in one, waits for `flights` until the result is dropped.
///
/// # Errors
///
/// [`Error::CircularLoad`] if one of them could then never end.
pub(crate) fn wait_for<'f, T: Send + Sync + 'static>(
    table: TableId,
    flights: impl IntoIterator<Item = &'f Arc<Flight<T>>>,
) -> Result<Option<Waiting>> {
    let Some(load) = running() else {
        return Ok(None);
    };
    let flights = any(flights);
    load.refuse_anew(table, &flights)?;
    let mut waits = WAITS.lock();
    if let Some(keys) = waits.circle(&flights, load.id) {
        return Err(circular(keys));
    }
    waits.made += 1;
    let number = waits.made;
    let wait = Wait { number, flights };
    waits.by_load.entry(load.id).or_default().push(wait);
    Ok(Some(Waiting {
        load: load.id,
        number,
    }))
}

/// Refuses a refresh of `key` inside of a load of it, or inside of a load that such a load waits for: each refresh would begin another.
///
/// # Errors
///
/// [`Error::CircularLoad`].
pub(crate) fn refuse_refresh(table: TableId, key: &[u8]) -> Result<()> {
    let Some(load) = running() else {
        return Ok(());
    };
    match load.way_up_to(table, key) {
        Some(keys) => Err(circular(keys)),
        None => Ok(()),
    }
}

impl RunningLoad {
    /// This load and those that wait for it, the nearest first.
    fn with_ancestors(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        let parent = |load: &Arc<Self>| load.parent.upgrade();
        std::iter::successors(Some(Arc::clone(self)), parent).take(MOST_ANCESTORS)
    }

    /// The keys from this load up to the nearest load of `key`.
    fn way_up_to(self: &Arc<Self>, table: TableId, key: &[u8]) -> Option<Vec<String>> {
        let mut keys = Vec::new();
        for load in self.with_ancestors() {
            let own = load.own(table, key);
            keys.push(text(own.map_or(load.key(), |own| own.key())));
            if own.is_some() {
                return Some(keys);
            }
        }
        None
    }

    /// Refuses new flights for keys that an ancestor loads. There are some where the ancestor's flight was fenced, for example by a load
    /// that invalidates its own key, and each would begin another without end.
    ///
    /// One repetition with other loads in between is allowed: the data may have changed and may no longer lead into a circle.
    fn refuse_anew(self: &Arc<Self>, table: TableId, flights: &[Arc<dyn AnyFlight>]) -> Result<()> {
        let mut fenced: HashMap<Vec<u8>, usize> = HashMap::new();
        for (distance, load) in self.with_ancestors().enumerate() {
            let own = load
                .flights
                .iter()
                .filter(|own| load.table == table && own.is_fenced());
            for own in own {
                *fenced.entry(own.key().to_vec()).or_default() += if distance == 0 { 2 } else { 1 };
            }
        }
        let is_circle =
            |flight: &&Arc<dyn AnyFlight>| fenced.get(flight.key()).is_some_and(|times| *times > 1);
        if fenced.is_empty() {
            return Ok(());
        }
        let Some(flight) = flights.iter().find(is_circle) else {
            return Ok(());
        };
        let keys = self.way_up_to(table, flight.key());
        Err(circular(keys.unwrap_or_else(|| vec![text(flight.key())])))
    }
}

impl Waits {
    /// The circle that `load` would close by waiting for `flights`, for [`circular`].
    fn circle(&self, flights: &[Arc<dyn AnyFlight>], load: LoadId) -> Option<Vec<String>> {
        // Each flight with the place of the one whose load waits for it. The nearest are found first, so the circle is a shortest.
        let mut found: Vec<(&dyn AnyFlight, Option<usize>)> =
            flights.iter().map(|flight| (&**flight, None)).collect();
        let mut seen = HashSet::new();
        let mut at = 0;
        while let Some((flight, _)) = found.get(at) {
            let by = flight.loaded_by().load(Ordering::Relaxed);
            if by == load {
                let mut path = vec![text(flight.key())];
                let mut before = found[at].1;
                while let Some(at) = before {
                    path.push(text(found[at].0.key()));
                    before = found[at].1;
                }
                return Some(path);
            }
            if by != 0 && !flight.has_ended() && seen.insert(by) {
                let waits = self.by_load.get(&by).into_iter().flatten();
                let flights = waits.flat_map(|wait| &wait.flights);
                found.extend(flights.map(|flight| (&**flight, Some(at))));
            }
            at += 1;
        }
        None
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// The error for a circle: the key of the load itself, then those on the way back, the nearest to it first.
fn circular(mut keys: Vec<String>) -> Error {
    keys[1..].reverse();
    Error::CircularLoad { keys }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waits = WAITS.lock();
        let mut waited_for = None;
        if let Some(of_load) = waits.by_load.get_mut(&self.load) {
            let at = of_load.iter().position(|wait| wait.number == self.number);
            waited_for = at.map(|at| of_load.swap_remove(at));
            if of_load.is_empty() {
                waits.by_load.remove(&self.load);
            }
        }
        drop(waits);
        // Not under the lock: the last holder of a flight drops its value, which runs code of the user's.
        drop(waited_for);
    }
}
