//! `get` and `get_all`: the first tier, then a flight that the caller leads or waits for ([page](super)).
//!
//! The waiter's half is here too: it waits until the flight is DONE or ABANDONED or its patience is over, and tries again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cacheme_storage::SmallBox;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::background;
use crate::counter::count;
use crate::error::{Error, Result};
use crate::flight::outcome::Failure;
use crate::flight::outcome::Outcome;
use crate::flight::{self, Done, End, FullKey, Joined};
use crate::instance::Cacheme;
use crate::kind::dynamic::KINDS_AT_ONCE;
use crate::kind::dynamic::{by_kind, is_one_kind};
use crate::kind::found::FoundKind;
use crate::kind::pieces::{Call, Operation, Stopped};
use crate::kind::tier::Tier;
use crate::kind::{Kind, SharedFlight};
use crate::load::Load;
use crate::node::Node;
use crate::node::key::KeyWriter;
use crate::read::batch::{Batch, FirstLook, Lookup};
use crate::read::drive::load_and_land;

/// How a bulk call loads what is missing.
pub(super) trait BulkLoads<N: Node> {
    /// Loads the open flights of a batch.
    fn load(&self, cacheme: &Cacheme, batch: &mut Batch<N>) -> impl Future<Output = ()>;
}

/// By the nodes' own loader, in the background.
struct InBackground;

impl<N: Load> BulkLoads<N> for InBackground {
    async fn load(&self, cacheme: &Cacheme, batch: &mut Batch<N>) {
        cacheme.load(batch).await;
    }
}

/// A lookup in the first tier: the value, or the kind and the full key for the slow half.
pub(crate) enum FirstTier<'c, N: Node> {
    Hit(N::Value),
    Miss(FoundKind<'c, N>, FullKey),
}

/// The future of [`Cacheme::get`].
///
/// Its type asks for a [`Node`] only, so that the compiler reports a node without a loader once, where it is passed. The type of an
/// `async fn` repeats the bounds of the function wherever the future is used.
#[must_use = "futures do nothing unless polled"]
pub struct Get<'c, N: Node> {
    cacheme: &'c Cacheme,
    node: &'c N,
    state: GetState<'c, N>,
}

enum GetState<'c, N: Node> {
    /// The first tier has not been asked. The function begins what follows a miss.
    Begun(Begin<'c, N>),
    /// Boxed so that a hit does not carry the space of a load.
    Missed(Missed<'c, N>),
}

type Begin<'c, N> = fn(&'c Cacheme, Arc<Kind<N>>, FullKey, &'c N) -> Missed<'c, N>;

type Missed<'c, N> = BoxFuture<'c, Result<SmallBox<<N as Node>::Value>>>;

impl<N: Node> Future for Get<'_, N> {
    type Output = Result<N::Value>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.state {
                GetState::Missed(missed) => {
                    let value = ready!(missed.as_mut().poll(cx));
                    return Poll::Ready(value.map(SmallBox::into_inner));
                }
                GetState::Begun(begin) => {
                    let begin = *begin;
                    match self.cacheme.look(self.node)? {
                        FirstTier::Hit(value) => return Poll::Ready(Ok(value)),
                        FirstTier::Miss(kind, key) => {
                            let missed = begin(self.cacheme, kind.into_arc(), key, self.node);
                            self.state = GetState::Missed(missed);
                        }
                    }
                }
            }
        }
    }
}

impl<N: Node> fmt::Debug for Get<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("key", &self.node.key())
            .finish_non_exhaustive()
    }
}

impl Cacheme {
    /// The value of `node`: from the nearest tier that has it, else loaded.
    ///
    /// A hit in a local tier allocates nothing and takes no lock that other keys wait for. On a miss, concurrent callers for
    /// one node share one load.
    ///
    /// # Errors
    ///
    /// What the load ended with ([`Error::Load`], [`Error::LoadPanicked`], [`Error::LoadTimedOut`]), [`Error::CircularLoad`] inside of
    /// a load that `node` waits for, or a set-up that
    /// cannot work ([`Error::StorageNotRegistered`], [`Error::NoSerializer`], [`Error::SameKey`]), or
    /// [`Error::ShuttingDown`] when the runtime drops every load. Trouble of a remote storage is none.
    ///
    /// # Panics
    ///
    /// On a miss, outside of a tokio runtime with its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future harms no other caller: a load under way goes on in the background, for those that wait or come next.
    pub fn get<'c, N: Load>(&'c self, node: &'c N) -> Get<'c, N> {
        Get {
            cacheme: self,
            node,
            state: GetState::Begun(|cacheme, kind, key, node| Box::pin(cacheme.get_missed(kind, key, node))),
        }
    }

    /// The values of `nodes`, in their order, duplicates included.
    ///
    /// Each tier is asked once for all nodes that the tiers before it did not have; nodes that no tier has are loaded by one
    /// [`Load::load_all`], which is a load for each node unless it is implemented; nodes in flight already are joined. All that for each
    /// kind, where the nodes are of several [`DynamicKind`](crate::DynamicKind)s. More than 2 000 keys go to a remote storage
    /// [in pieces](crate::docs::storages#how-to-size).
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) for the first node in order that failed, and [`Error::LeftOut`]; with several kinds,
    /// those of the first kind that failed. The values that were loaded for the others are cached all the same.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get).
    pub async fn get_all<N: Load>(&self, nodes: &[N]) -> Result<Vec<N::Value>> {
        self.get_all_by(nodes, &InBackground).await
    }

    pub(super) async fn get_all_by<N: Node>(
        &self,
        nodes: &[N],
        loads: &impl BulkLoads<N>,
    ) -> Result<Vec<N::Value>> {
        if is_one_kind(nodes) {
            self.get_all_of_kind(nodes, loads).await
        } else {
            Box::pin(self.get_all_of_kinds(nodes, loads)).await
        }
    }

    async fn get_all_of_kinds<N: Node>(
        &self,
        nodes: &[N],
        loads: &impl BulkLoads<N>,
    ) -> Result<Vec<N::Value>> {
        let kinds = by_kind(nodes).into_iter().map(|positions| async move {
            let nodes: Vec<N> = positions
                .iter()
                .map(|position| nodes[*position].clone())
                .collect();
            let values = self.get_all_of_kind(&nodes, loads).await?;
            Ok(positions.into_iter().zip(values).collect::<Vec<_>>())
        });
        // Those that are left when one fails go on: they are to be cached all the same.
        let found: Vec<Result<Vec<_>>> = stream::iter(kinds).buffered(KINDS_AT_ONCE).collect().await;
        let found: Result<Vec<_>> = found.into_iter().collect();
        let mut found: Vec<_> = found?.into_iter().flatten().collect();
        found.sort_unstable_by_key(|(position, _)| *position);
        Ok(found.into_iter().map(|(_, value)| value).collect())
    }

    async fn get_all_of_kind<N: Node>(
        &self,
        nodes: &[N],
        loads: &impl BulkLoads<N>,
    ) -> Result<Vec<N::Value>> {
        let mut values: Vec<Option<N::Value>> = Vec::with_capacity(nodes.len());
        let mut missed = MissingKeys::default();
        let mut kind = None;
        for (position, node) in nodes.iter().enumerate() {
            let mut key = KeyWriter::new();
            values.push(None);
            if let Some(of) = self.look_by(node, &mut key, &mut values[position])? {
                missed.add(key.as_bytes(), position, nodes.len());
                kind = Some(of);
            }
        }
        if let Some(kind) = kind {
            Box::pin(self.get_all_missed(kind.into_arc(), nodes, missed, &mut values, loads)).await?;
        }
        Ok(values
            .into_iter()
            .map(|value| value.expect("every node was hit or waited for"))
            .collect())
    }

    /// Looks into the first tier, if it is local, without a flight.
    #[inline]
    pub(crate) fn look<N: Node>(&self, node: &N) -> Result<FirstTier<'_, N>> {
        let kind = self.kind_of(node)?;
        Ok(look_in(kind, |key| node.write_key(key)))
    }

    /// Looks into the first local tier, with the caller's places for the full key and the value. Returns the kind on a miss.
    #[inline]
    fn look_by<N: Node>(
        &self,
        node: &N,
        key: &mut KeyWriter,
        hit: &mut Option<N::Value>,
    ) -> Result<Option<FoundKind<'_, N>>> {
        let kind = self.kind_of(node)?;
        Ok(look_by(kind, |key| node.write_key(key), key, hit))
    }

    async fn get_missed<N: Load>(
        &self,
        kind: Arc<Kind<N>>,
        key: FullKey,
        node: &N,
    ) -> Result<SmallBox<N::Value>> {
        let mut abandoned = 0;
        while abandoned < MAX_ABANDONED_LOADS {
            let now = Instant::now();
            let joined = kind.join(&key, now + kind.info.load_timeout);
            let _waits = flight::wait_for(kind.flights.id(), [joined.flight()])?;
            let (flight, ours) = match joined {
                Joined::Wait { flight, .. } => (flight, false),
                Joined::Lead(lead) => {
                    let flights = [(lead, node.clone())];
                    let mut batch = Batch::new(Arc::clone(&kind), flights, now);
                    batch.pass().await;
                    match batch.take(0) {
                        Lookup::Found(value) => return Ok(value),
                        Lookup::Pending(flight) => {
                            self.load(&mut batch).await;
                            (flight, true)
                        }
                    }
                }
            };
            match wait(&kind, flight).await {
                Some(End::Done(outcome)) => {
                    if let Some(result) = shared_result(outcome, &key) {
                        return result;
                    }
                }
                _ => abandoned += usize::from(ours),
            }
        }
        Err(Error::ShuttingDown)
    }

    async fn get_all_missed<N: Node>(
        &self,
        kind: Arc<Kind<N>>,
        nodes: &[N],
        missed: MissingKeys,
        values: &mut [Option<N::Value>],
        loads: &impl BulkLoads<N>,
    ) -> Result<()> {
        let mut abandoned = 0;
        // By their numbers among those missed.
        let mut waiting: Vec<usize> = (0..missed.places.len()).collect();
        let (mut looked, mut flights) = kind.look_first(&missed, &mut waiting, values).await;
        while !(waiting.is_empty() && flights.is_empty()) {
            if abandoned == MAX_ABANDONED_LOADS {
                return Err(Error::ShuttingDown);
            }
            let now = Instant::now();
            let patience = now + kind.info.load_timeout;
            let joined = kind.join_all(waiting.iter().map(|number| missed.key(*number)), patience);
            let awaited = flights.iter().map(|(_, flight, _)| flight);
            let awaited = awaited.chain(joined.iter().map(Joined::flight));
            let waits = flight::wait_for(kind.flights.id(), awaited)?;
            // Flights that our own look into the tiers does not end go to `flights`.
            let mut leads = Vec::with_capacity(waiting.len());
            let mut led = Vec::with_capacity(waiting.len());
            for (number, joined) in waiting.drain(..).zip(joined) {
                match joined {
                    Joined::Wait { flight, ours } => flights.push((number, flight, ours)),
                    Joined::Lead(lead) => {
                        led.push(number);
                        leads.push((lead, nodes[missed.position(number)].clone()));
                    }
                }
            }
            if !leads.is_empty() {
                let mut batch = Batch::new(Arc::clone(&kind), leads, now);
                batch.begin_after(std::mem::replace(&mut looked, FirstLook::None));
                batch.pass().await;
                for (item, number) in led.into_iter().enumerate() {
                    match batch.take(item) {
                        Lookup::Found(value) => values[missed.position(number)] = Some(value.into_inner()),
                        Lookup::Pending(flight) => flights.push((number, flight, true)),
                    }
                }
                if batch.is_open() {
                    loads.load(self, &mut batch).await;
                }
            }
            // Others' loads that queue have to begin for us: all of them where a load of ours waits for all, else one by one.
            let others = flights.iter().filter(|(.., ours)| waits.is_some() && !ours);
            others.for_each(|(_, flight, _)| flight.want());
            // The first in order is the one whose error is returned.
            flights.sort_unstable_by_key(|(number, ..)| *number);
            let mut lost_ours = false;
            for (number, flight, ours) in flights.drain(..) {
                if !ours {
                    flight.want();
                }
                let Some(End::Done(outcome)) = wait(&kind, flight).await else {
                    lost_ours |= ours;
                    waiting.push(number);
                    continue;
                };
                match shared_result(outcome, missed.key(number)) {
                    Some(Ok(value)) => values[missed.position(number)] = Some(value.into_inner()),
                    Some(Err(error)) => return Err(error),
                    None => waiting.push(number),
                }
            }
            abandoned += usize::from(lost_ours);
            looked = FirstLook::None;
        }
        Ok(())
    }

    /// Takes a batch through the tiers, here; flights that must be loaded go on in the background.
    pub(crate) async fn lead<N: Load>(&self, batch: &mut Batch<N>) {
        batch.pass().await;
        if batch.is_open() {
            self.load(batch).await;
        }
    }

    /// Loads the open flights of a batch, in the background.
    ///
    /// Another executor than tokio has no background: there the load goes away with its caller, and a waiter takes over.
    async fn load<N: Load>(&self, batch: &mut Batch<N>) {
        for loading in self.begin_loading(batch) {
            loading.await;
        }
    }

    /// Begins to load the open flights of a batch. Returns the loads that the caller has to drive itself.
    fn begin_loading<N: Load>(&self, batch: &mut Batch<N>) -> Vec<BoxFuture<'static, ()>> {
        let parts = [batch.split_ready(), batch.split_waiting()];
        let loading = parts
            .into_iter()
            .flatten()
            .map(|batch| load_and_land(self.clone(), batch));
        loading
            .filter_map(|loading| background::spawn(loading).err())
            .collect()
    }
}

/// Looks into the first tier of a kind, if it is local, for the key that `write_key` writes.
#[inline]
pub(crate) fn look_in<N: Node>(
    kind: FoundKind<'_, N>,
    write_key: impl FnOnce(&mut KeyWriter),
) -> FirstTier<'_, N> {
    let mut key = KeyWriter::new();
    let mut hit = None;
    match look_by(kind, write_key, &mut key, &mut hit) {
        Some(kind) => FirstTier::Miss(kind, key.as_bytes().into()),
        None => FirstTier::Hit(hit.expect("without a value the kind is given")),
    }
}

#[inline]
fn look_by<'c, N: Node>(
    found_kind: FoundKind<'c, N>,
    write_key: impl FnOnce(&mut KeyWriter),
    key: &mut KeyWriter,
    hit: &mut Option<N::Value>,
) -> Option<FoundKind<'c, N>> {
    let kind: &Kind<N> = &found_kind;
    kind.write_full_key_by(write_key, key);
    let key = key.as_bytes();
    // Only the first: a value of a later tier goes into the tiers before it, under a flight, which orders that with
    // invalidations.
    if let Some(Tier::Local(tier)) = kind.tiers.first() {
        tier.storage.read(key, &mut |value| {
            *hit = kind.held(key, value).cloned();
        });
        if hit.is_some() {
            tier.base.counters.hits.add_one();
            return None;
        }
    }
    Some(found_kind)
}

impl<N: Node> Kind<N> {
    /// Looks for the keys of a bulk call in the first tier, if that is remote and has leases.
    ///
    /// Values that are found go into `values`, at the positions that ask for them, and their keys no longer wait. Keys in flight are
    /// not looked for: their flights are joined.
    ///
    /// Returning a value straight from a storage needs no fence. A missing key still gets a flight, which asks for its lease and finds a
    /// value that was stored meanwhile; without leases that value would be loaded twice.
    async fn look_first(
        &self,
        missed: &MissingKeys,
        waiting: &mut Vec<usize>,
        values: &mut [Option<N::Value>],
    ) -> (FirstLook, Vec<JoinedFlight<N>>) {
        let nothing = (FirstLook::None, Vec::new());
        let Some(Tier::Remote(tier)) = self.tiers.first() else {
            return nothing;
        };
        // For one key, asking for the lease is a look as well.
        let is_old = |number: &usize| tier.pending.contains(missed.key(*number));
        if tier.lease.is_none() || waiting.len() < 2 || waiting.iter().any(is_old) {
            return nothing;
        }
        // Older copies behind this tier are dropped when a newer value is found: that takes a flight.
        if self.local_behind(0).next().is_some() {
            return nothing;
        }
        let joined = self.join_existing(waiting, |number| missed.key(number));
        let joined = joined
            .into_iter()
            .map(|(number, flight)| (number, flight, false))
            .collect();
        if waiting.is_empty() {
            return (FirstLook::None, joined);
        }
        let keys: Vec<&[u8]> = waiting.iter().map(|number| missed.key(*number)).collect();
        let calls = Call::new(tier, Operation::Get);
        let found = tier.read_all(&calls, &keys, &mut Stopped::new()).await;
        let unreachable = found.iter().filter(|found| found.is_none()).count();
        count(&tier.base.counters.misses, unreachable);
        if unreachable == keys.len() {
            return (FirstLook::Unavailable, joined);
        }
        let now_ms = tier.storage.now_ms();
        let mut found = found.into_iter();
        let (before, mut unreachable) = (waiting.len(), Vec::with_capacity(unreachable));
        waiting.retain(|&number| {
            let Some(found) = found.next().flatten() else {
                unreachable.push(FullKey::from(missed.key(number)));
                return true;
            };
            // A value that does not decode is found again with its lease, and counted then.
            let found = found.map(|bytes| self.decode_at(tier.largest_value, &bytes, now_ms));
            let Some(Ok(Some((value, _)))) = found else {
                return true;
            };
            values[missed.position(number)] = Some(value.into_inner());
            false
        });
        tier.base.counters.hits.add(before - waiting.len());
        unreachable.sort_unstable();
        (FirstLook::Absent { unreachable }, joined)
    }
}

/// By its number among those missed, a flight that is waited for, and whether we lead it.
type JoinedFlight<N> = (usize, SharedFlight<N>, bool);

/// The keys that a bulk call did not find in the first tier, one behind the other.
#[derive(Default)]
struct MissingKeys {
    keys: Vec<u8>,
    /// Where each key ends, and the position that asks for it.
    places: Vec<(usize, usize)>,
}

impl MissingKeys {
    /// Adds the key of a position, of so many in all.
    fn add(&mut self, key: &[u8], position: usize, of: usize) {
        if self.places.is_empty() {
            self.places.reserve(of - position);
            self.keys.reserve((of - position) * key.len());
        }
        self.keys.extend_from_slice(key);
        self.places.push((self.keys.len(), position));
    }

    fn key(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.places[before].0);
        &self.keys[start..self.places[number].0]
    }

    fn position(&self, number: usize) -> usize {
        self.places[number].1
    }
}

/// If this many of its own loads were dropped unfinished, a call concludes that the runtime is shutting down.
pub(crate) const MAX_ABANDONED_LOADS: usize = 3;

/// Waits for the end of a flight, as long as its leader may be waited for. `None` when that is over: the leader is
/// deposed and another can take over.
pub(crate) async fn wait<N: Node>(kind: &Kind<N>, flight: SharedFlight<N>) -> Option<End<Outcome<N::Value>>> {
    match flight.ended() {
        Some(end) => Some(end),
        // Boxed, since a flight that has ended is not waited for.
        None => Box::pin(wait_for(kind, flight)).await,
    }
}

async fn wait_for<N: Node>(kind: &Kind<N>, flight: SharedFlight<N>) -> Option<End<Outcome<N::Value>>> {
    let mut end = flight.end();
    loop {
        let patience = flight.patience();
        if let Ok(end) = tokio::time::timeout_at(patience, &mut end).await {
            return Some(end);
        }
        if flight.patience() <= patience {
            kind.flights.depose(&flight);
            kind.overdue(flight.key());
            return None;
        }
    }
}

/// The result of a flight as `get` gives it; `None` if it failed with an error of another type, which only the
/// memoized function that led it could understand: then we load for ourselves.
pub(crate) fn shared_result<V: Clone>(outcome: Done<Outcome<V>>, key: &[u8]) -> Option<Result<SmallBox<V>>> {
    match outcome.into_outcome() {
        Ok(value) => Some(Ok(value)),
        Err(Failure::Error(error)) => error.downcast_ref::<Error>().map(|error| Err(error.clone())),
        Err(Failure::Panicked(message)) => {
            let key = String::from_utf8_lossy(key).into_owned();
            Some(Err(Error::LoadPanicked { key, message }))
        }
    }
}
