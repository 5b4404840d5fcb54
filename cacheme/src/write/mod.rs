//! Changes of a key from outside of a load: `set`, `invalidate`, `refresh` (the page of a change).
//!
//! Each change fences the flight of the key first. It writes remote tiers back to front: if a nearer one were cleared first, another process
//! could fill it again from the one behind. It publishes the change on the bus last.
//!
//! # The steps of a change
//!
//! | step | `invalidate` | `set` | `refresh` |
//! |---|---|---|---|
//! | 1 | fences the flight, drops the key from local tiers | takes the flight's place, fences it | takes the flight's place, fences it |
//! | 2 | waits until a flight that was storing has ended | the same | the same: QUEUED |
//! | 3 | removes the key from remote tiers | writes remote tiers; removes where that fails | takes all leases away, loads, then fills remote tiers |
//! | 4 | fences again, drops the key from local tiers again, waits for a flight that was storing | writes local tiers | fills local tiers |
//! | 5 | if such a flight may have copied the old value to a tier without leases: steps 3 and 4 again | | |
//! | 6 | | ends its flight | leaves the table of flights |
//! | 7 | publishes the key | publishes the key | publishes the key, then ends its flight |
//!
//! A removal that fails is [pending](crate::kind::pending): the key counts as absent in that tier, and a task tries again. So does a key that
//! could not be published.
//!
//! # The states of a change's flight
//!
//! `set` and `refresh` have flights, so a `get` meanwhile waits for the new value. `invalidate` has none. The states are those of
//! [`read`](crate::read), and two more:
//!
//! - QUEUED: a `refresh` behind an older flight that is storing (`waits_for` in the state of the [`Flight`]). It has begun nothing.
//! - SETTING: a `set`. It counts as storing from its birth, so every later change waits for it.
//!
//! | event | QUEUED refresh | SETTING | a refresh that has begun | case in `flight/model.rs` |
//! |---|---|---|---|---|
//! | another `get` | waits for the end | waits for the end | waits for the end | `c1_a_write_and_a_caller_end_and_leave_nothing` |
//! | another change here | leaves the table; the change waits for the older store | leaves the table; the change waits. The `set` still writes remote tiers, and drops the key from local ones | as a load | `c1_the_later_of_two_writes_stays`, `c1_a_change_waits_for_the_store_that_a_refresh_is_queued_behind` |
//! | the older store has ended, or its time is over | takes leases and loads | writes | | the same |
//! | a change in another process | nothing: what it will load is newer | not stored in local tiers; stays in the table | as a load; where it left the table, it drops local copies again at its end | `c1_nothing_older_is_nearby_after_a_set_during_which_a_message_came`, `…_after_a_refresh_…` |
//! | an older flight hands out what a remote tier has now | not stored in local tiers | the same | the same | none |
//! | a waiter's patience is over | leaves the table, is stored nowhere | leaves the table; still writes remote tiers, not local ones | as a load | `l3_…` for a load alone |
//! | its task is dropped (the runtime ends), or code of the value panics | ABANDONED | ABANDONED | ABANDONED; a value's panic is the outcome of a load in the background | `l1_…`, `l2_…` for a load alone |
//!
//! A refresh stores as a load does, but leaves nothing older behind: a tier that does not take its value loses the old one.

pub(crate) mod publish;
mod receive;

use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{RemoteEntry, SmallBox};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::background;
use crate::counter::count;
use crate::error::{Error, Result};
use crate::flight::outcome::Outcome;
use crate::flight::{self, End, Flight, FullKey, Work};
use crate::instance::Cacheme;
use crate::kind::drop_nearby;
use crate::kind::dynamic::KINDS_AT_ONCE;
use crate::kind::dynamic::by_kind;
use crate::kind::not_stored::NotStored;
use crate::kind::pending::not_invalidated;
use crate::kind::pending::remove_from;
use crate::kind::pending::{AFTER_FAILURE, owe};
use crate::kind::unreached::{Report, Unreached};
use crate::kind::{Kind, RemoteTier, Tier, TierStorage};
use crate::load::Load;
use crate::node::Node;
use crate::node::policy::{expires_ms, shortened};
use crate::read::batch::{Batch, insert};
use crate::read::get::{MAX_ABANDONED_LOADS, wait};

impl Cacheme {
    /// Removes the value of `node` from every tier. Once this has returned `Ok`, no later `get` in this process sees a value
    /// whose load began before; nor, where the remote tiers have leases, in any other process that has no local copy.
    ///
    /// # Errors
    ///
    /// [`Error::NotInvalidated`] names the storage that could not be told, or over whose bus other processes could not be. The
    /// other tiers are done, and the removal is tried again in the background; this process takes what that storage holds for
    /// absent until then, other processes may still read it. Also a set-up that cannot work, as for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Once polled, the removal goes through even if the future is dropped.
    pub async fn invalidate<N: Node>(&self, node: &N) -> Result<()> {
        self.invalidate_all(std::slice::from_ref(node)).await
    }

    /// [`invalidate`](Self::invalidate) for many nodes: each tier is told once, for each kind where the nodes are of several
    /// [`DynamicKind`](crate::DynamicKind)s.
    ///
    /// # Errors
    ///
    /// Those of [`invalidate`](Self::invalidate). What goes wrong with one storage or kind keeps nothing else from being
    /// invalidated; [`Error::Several`] names all where there is more than one.
    pub async fn invalidate_all<N: Node>(&self, nodes: &[N]) -> Result<()> {
        let mut unreached = Unreached::default();
        let mut invalidations = Vec::new();
        let is_local = |tier: &Tier| matches!(tier.storage, TierStorage::Local(_));
        for positions in by_kind(nodes) {
            let kind = match self.kind_of(&nodes[positions[0]]) {
                Ok(kind) => kind.into_arc(),
                Err(error) => {
                    unreached.note(error);
                    continue;
                }
            };
            let keys = positions.into_iter().map(|position| &nodes[position]);
            let mut keys: Vec<FullKey> = keys.map(|node| kind.full_key(node).as_bytes().into()).collect();
            keys.sort_unstable();
            keys.dedup();
            if kind.tiers.iter().all(is_local) {
                // Nothing to wait for: no need for a task.
                fence_and_drop(&kind, &keys);
            } else {
                invalidations.push(invalidate(kind, keys));
            }
        }
        if invalidations.is_empty() {
            return unreached.into_result();
        }
        detached(async move {
            let mut invalidations = stream::iter(invalidations).buffered(KINDS_AT_ONCE);
            while let Some(others) = invalidations.next().await {
                unreached.add(others);
            }
            unreached.into_result()
        })
        .await
    }

    /// Puts `value` in every tier in place of whatever is there.
    ///
    /// Once this has returned `Ok`, no later `get` in this process sees a value whose load began before.
    ///
    /// # Errors
    ///
    /// [`Error::NotInvalidated`] if a storage could neither take the value nor drop the old one, or other processes could not be
    /// told; that is tried again in the background, by removing what is there. A storage that dropped the old one without taking the new
    /// is none: it is a miss, counted in [`stats`](Self::stats). So it is with a value that is too large for the storage, cannot be
    /// serialized, or is too heavy for a local tier. Also a set-up that cannot work, as for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Once polled, the write goes through even if the future is dropped.
    pub fn set<N: Node>(&self, node: &N, value: N::Value) -> impl Future<Output = Result<()>> {
        self.set_for(node, SmallBox::new(value), None)
    }

    /// [`set`](Self::set) with a ttl of its own, which only ever shortens what the tiers say. It counts from now in every
    /// tier.
    ///
    /// # Errors
    ///
    /// Those of [`set`](Self::set), and [`Error::Policy`] for a ttl of zero.
    pub fn set_with_ttl<N: Node>(
        &self,
        node: &N,
        value: N::Value,
        ttl: Duration,
    ) -> impl Future<Output = Result<()>> {
        self.set_for(node, SmallBox::new(value), Some(ttl))
    }

    async fn set_for<N: Node>(
        &self,
        node: &N,
        value: SmallBox<N::Value>,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let kind = self.kind_of(node)?.into_arc();
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Error::Policy {
                node: kind.info.name.to_string(),
                reason: "a ttl of zero keeps nothing; use `invalidate`".into(),
            });
        }
        let key: FullKey = kind.full_key(node).as_bytes().into();
        detached(set(kind, key, value, ttl)).await
    }

    /// Loads the value of `node` anew and puts it in every tier, whatever is there. Never joins a load that began earlier.
    ///
    /// Meanwhile local tiers go on answering with what they have. If the load fails they keep it. What a remote tier has is
    /// out of sight from the beginning: other processes that ask for it wait for our load. A value that a tier does not take
    /// (too large, too heavy, `do_not_store`) is handed out, and the older one is removed there.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`Error::NotInvalidated`] where the value was loaded but an older one had to be left in a
    /// storage, or other processes could not be told: that is tried again in the background, as after
    /// [`invalidate`](Self::invalidate). This process reads the new value from then on.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get): the load goes on in the background.
    pub async fn refresh<N: Load>(&self, node: &N) -> Result<N::Value> {
        let kind = self.kind_of(node)?.into_arc();
        let key: FullKey = kind.full_key(node).as_bytes().into();
        flight::refuse_refresh(kind.flights.id(), &key)?;
        for _ in 0..MAX_ABANDONED_LOADS {
            // What is being stored is waited for first.
            let patience = Instant::now() + kind.info.load_timeout.max(kind.storing_patience() * 2);
            let (lead, older) = kind.flights.supersede(&key, Work::Load, patience);
            let flight = Arc::clone(lead.flight());
            let _waits = flight::wait_for(kind.flights.id(), [&flight])?;
            let report = Report::default();
            let mut batch = Batch::refreshing(Arc::clone(&kind), [(lead, node.clone())], Arc::clone(&report));
            match older {
                Some(older) => {
                    let (cacheme, kind) = (self.clone(), Arc::clone(&kind));
                    // Were it to go away with our caller, whoever comes next would be let past what is being stored.
                    let leading = background::spawn(async move {
                        settle(&kind, [older]).await;
                        cacheme.lead(&mut batch).await;
                    });
                    if let Err(leading) = leading {
                        leading.await;
                    }
                }
                None => self.lead(&mut batch).await,
            }
            if let Some(End::Done(outcome)) = wait(&kind, flight).await {
                let Some(result) = crate::read::get::shared_result(outcome, &key) else {
                    unreachable!("a refresh is led by this crate's own loader")
                };
                let value = result?;
                let unreached = std::mem::take(&mut *report.lock());
                return unreached.into_result().map(|()| value.into_inner());
            }
            // The runtime that our load was spawned on is gone.
        }
        Err(Error::ShuttingDown)
    }

    /// The value of `node` if some tier has it. Loads nothing, waits for no load, and fills no tier. (A local tier behind a remote
    /// one loses what is older than the value found there.)
    ///
    /// # Errors
    ///
    /// A set-up that cannot work, as for [`get`](Self::get). Trouble of a remote storage is a miss.
    pub async fn peek<N: Node>(&self, node: &N) -> Result<Option<N::Value>> {
        let kind = self.kind_of(node)?;
        let key = kind.full_key(node);
        let key = key.as_bytes();
        for (at, tier) in kind.tiers.iter().enumerate() {
            let value = match &tier.storage {
                TierStorage::Local(local) => {
                    let value = local.get(key);
                    value.as_ref().and_then(|value| kind.held(key, value)).cloned()
                }
                TierStorage::Remote(_) if tier.owed.contains(key) => None,
                TierStorage::Remote(remote) => {
                    let bytes = tier.bounded(remote, remote.storage.get(&[key])).await;
                    let bytes = bytes.ok().and_then(|values| values.into_iter().next().flatten());
                    bytes
                        .and_then(|bytes| kind.decode(tier, key, &bytes, remote.storage.now_ms()))
                        .map(|(value, _)| value.into_inner())
                }
            };
            match value {
                Some(value) => {
                    tier.counters.hits.add_one();
                    kind.local_behind(at).for_each(|local| _ = local.remove(key));
                    return Ok(Some(value));
                }
                None => count(&tier.counters.misses, 1),
            }
        }
        Ok(None)
    }
}

/// Runs `work` on a task of its own where there is a runtime, so that dropping the caller does not leave it half done.
async fn detached(work: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
    match background::spawn(work) {
        Ok(task) => match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::ShuttingDown),
            },
        },
        Err(work) => work.await,
    }
}

/// Fences what is under way for `keys`, then drops them from the local tiers, back to front. Gives what was under way.
fn fence_and_drop<N: Node>(kind: &Kind<N>, keys: &[FullKey]) -> Vec<Arc<Flight<Outcome<N::Value>>>> {
    let older = keys.iter().filter_map(|key| kind.flights.fence(key)).collect();
    drop_nearby(kind, keys);
    older
}

/// Waits until fenced flights have ended what they were writing: it is to be removed after that, not before. Says whether
/// one was writing.
async fn settle<N: Node>(
    kind: &Kind<N>,
    flights: impl IntoIterator<Item = Arc<Flight<Outcome<N::Value>>>>,
) -> bool {
    // A `set` may have waited for an older one before it writes.
    let bound = Instant::now() + kind.storing_patience() * 2;
    let mut stored = false;
    for flight in flights {
        if flight.is_storing() {
            stored = true;
            // A writer that outlives its own bounds is not polled just now, and writes nothing when it is again.
            let _ = tokio::time::timeout_at(bound, flight.end()).await;
        }
    }
    stored
}

async fn invalidate<N: Node>(kind: Arc<Kind<N>>, keys: Vec<FullKey>) -> Unreached {
    let mut unreached = Unreached::default();
    let older = fence_and_drop(&kind, &keys);
    settle(&kind, older).await;
    remove_everywhere(&kind, &keys, &mut unreached).await;
    // What began in between may have read the old remote value.
    let older = fence_and_drop(&kind, &keys);
    if settle(&kind, older).await && kind.copies_unguarded() {
        // And may have copied it, with no lease to stop it, to a nearer remote tier that was done already.
        remove_everywhere(&kind, &keys, &mut unreached).await;
        let older = fence_and_drop(&kind, &keys);
        settle(&kind, older).await;
    }
    if let Err(error) = kind.tell(&keys).await {
        unreached.note(error);
    }
    unreached
}

/// Removes `keys` from the remote tiers, back to front.
async fn remove_everywhere<N: Node>(kind: &Arc<Kind<N>>, keys: &[FullKey], unreached: &mut Unreached) {
    for (at, tier) in kind.tiers.iter().enumerate().rev() {
        if let TierStorage::Remote(_) = &tier.storage
            && let Err(error) = remove_from(kind, at, keys).await
        {
            unreached.note(error);
        }
    }
}

async fn set<N: Node>(
    kind: Arc<Kind<N>>,
    key: FullKey,
    value: SmallBox<N::Value>,
    said: Option<Duration>,
) -> Result<()> {
    let (lead, older) = kind.flights.supersede(
        &key,
        Work::Set,
        Instant::now() + kind.info.load_timeout.max(kind.storing_patience() * 3),
    );
    // Whoever comes after us waits until we are done, so that our value never lands on theirs: we store it even when we
    // are fenced by then.
    settle(&kind, older).await;
    let (since, spread) = (Instant::now(), kind.info.spread());
    let life = kind.life(&value, said);
    let mut unreached = Unreached::default();
    for (at, tier) in kind.tiers.iter().enumerate().rev() {
        let ttl = life.into_iter().chain(tier.ttl).min();
        let ttl = ttl.map(|ttl| shortened(ttl, spread).saturating_sub(since.elapsed()));
        match &tier.storage {
            TierStorage::Local(local) => {
                let entry = kind.local_entry(&value, ttl, lead.flight().began());
                match insert(&**local, &key, entry, lead.flight().local_fence()) {
                    Ok(()) => count(&tier.counters.fills, 1),
                    Err(reason) => {
                        kind.not_stored(tier, &key, reason);
                        // What is there is older than us, whoever fenced us.
                        local.remove(&key);
                    }
                }
            }
            TierStorage::Remote(remote) => {
                if let Err(error) = set_remote(&kind, tier, remote, &key, &value, ttl).await {
                    owe(&kind, at, std::slice::from_ref(&key), AFTER_FAILURE);
                    unreached.note(not_invalidated(tier, 1, error));
                }
            }
        }
    }
    lead.finish(Ok(value));
    if let Err(error) = kind.tell(&[key]).await {
        unreached.note(error);
    }
    unreached.into_result()
}

/// Stores `value`, or removes what is there if that cannot be done.
async fn set_remote<N: Node>(
    kind: &Kind<N>,
    tier: &Tier,
    remote: &RemoteTier,
    key: &FullKey,
    value: &N::Value,
    ttl: Option<Duration>,
) -> cacheme_storage::Result<()> {
    let debt = tier.owed.number(key);
    let now_ms = remote.storage.now_ms();
    let expires_ms = expires_ms(now_ms, ttl);
    let encoded = match ttl {
        Some(Duration::ZERO) => Err(NotStored::LifeOver),
        _ => kind.encode(tier, key, value, now_ms, expires_ms),
    };
    let stored = match encoded {
        Ok(value) => {
            let entry = RemoteEntry { key, value, ttl };
            let set = tier.bounded(remote, remote.storage.set(&[entry])).await;
            set.map_err(|error| NotStored::of_storage(&error))
        }
        Err(reason) => Err(reason),
    };
    match stored {
        Ok(()) => {
            count(&tier.counters.fills, 1);
            tier.owed.settle(key, debt);
            return Ok(());
        }
        Err(reason) => kind.not_stored(tier, key, reason),
    }
    remove(tier, remote, std::slice::from_ref(key)).await?;
    tier.owed.settle(key, debt);
    Ok(())
}

async fn remove(tier: &Tier, remote: &RemoteTier, keys: &[FullKey]) -> cacheme_storage::Result<()> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
    tier.bounded(remote, remote.storage.remove(&keys)).await
}
