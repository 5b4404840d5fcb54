//! `set`: puts a value in every tier in place of what is there ([page](super)).

use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{RemoteEntry, SmallBox};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::invalidate::change_again;
use super::retry::{not_invalidated, remove_from, retry_removal};
use super::{detached, settle};
use crate::counter::count;
use crate::error::{Error, Result};
use crate::flight::{FullKey, Work};
use crate::instance::Cacheme;
use crate::kind::Kind;
use crate::kind::copies::insert;
use crate::kind::not_stored::NotStored;
use crate::kind::tier::{RemoteTier, Tier, TierBase};
use crate::kind::unreached::Unreached;
use crate::node::Node;
use crate::node::policy::{expires_ms, shortened};

impl Cacheme {
    /// Puts `value` in every tier in place of what is there.
    ///
    /// Once this has returned `Ok`, no later `get` in this process sees a value whose load began before.
    ///
    /// # Errors
    ///
    /// [`Error::NotInvalidated`] if a storage could neither take the value nor drop the old one, or if the change could not be published to
    /// other processes. The removal of the old value is then tried again in the background.
    ///
    /// It is no error if a storage dropped the old value without taking the new one: that is a miss, counted in [`stats`](Self::stats). A
    /// value that is too large for the storage, cannot be serialized, or is too heavy for a local tier has this result.
    ///
    /// A set-up that cannot work is an error, as for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Once polled, the write goes through even if the future is dropped.
    pub fn set<N: Node>(&self, node: &N, value: N::Value) -> impl Future<Output = Result<()>> {
        self.set_for(node, SmallBox::new(value), None)
    }

    /// Like [`set`](Self::set), with a ttl of its own. It only shortens the ttl of a tier, and counts from now in every tier.
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

    /// Puts many values in every tier in place of what is there: as [`set`](Self::set) for each, side by side.
    ///
    /// ```
    /// # use cacheme::{Cacheme, Node};
    /// #[derive(Node, Clone)]
    /// #[node(key = "rank:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
    /// struct RankNode(String);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cacheme = Cacheme::builder().build()?;
    /// # cacheme.register_storage("local", cacheme::Storage::open("local://tlfu?size=100")?).await?;
    /// let ranks = [("ann", 1), ("bob", 2)];
    /// cacheme.set_all(ranks.map(|(name, rank)| (RankNode(name.into()), rank))).await?;
    /// assert_eq!(cacheme.peek(&RankNode("bob".into())).await?, Some(2));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`set`](Self::set). Trouble with one value keeps no other from being set. [`Error::Several`] names all troubles where there is more
    /// than one.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the writes go through even if the future is dropped.
    pub fn set_all<N: Node>(
        &self,
        values: impl IntoIterator<Item = (N, N::Value)>,
    ) -> impl Future<Output = Result<()>> {
        let mut sets = Vec::new();
        let mut unreached = Unreached::default();
        for (node, value) in values {
            match self.kind_of(&node) {
                Ok(kind) => {
                    let key: FullKey = kind.full_key(&node).as_bytes().into();
                    sets.push(set(kind.into_arc(), key, SmallBox::new(value), None));
                }
                Err(error) => unreached.note(error),
            }
        }
        detached(async move {
            let mut sets = stream::iter(sets).buffered(SETS_AT_ONCE);
            while let Some(done) = sets.next().await {
                unreached.add(done.err().map(Unreached::from).unwrap_or_default());
            }
            unreached.into_result()
        })
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
}

/// How many values of one call are set side by side. Two of one key are set in their order: the later waits for the earlier.
const SETS_AT_ONCE: usize = 64;

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
    // A later change waits until this one is done, so that this value never lands on a newer one. So it is stored even if a later
    // change has raised the fence by then.
    settle(&kind, older).await;
    let (since, spread) = (Instant::now(), kind.info.spread());
    let life = kind.life(&value, said);
    let mut unreached = Unreached::default();
    let ttl = |tier: &TierBase| {
        let ttl = life.into_iter().chain(tier.ttl).min();
        ttl.map(|ttl| shortened(ttl, spread).saturating_sub(since.elapsed()))
    };
    for tier in kind.tiers.iter().rev() {
        match tier {
            Tier::Local(tier) => {
                let entry = kind.local_entry(&value, ttl(&tier.base), lead.flight().began());
                match insert(&*tier.storage, &key, entry, lead.flight().fence().local()) {
                    Ok(()) => count(&tier.base.counters.fills, 1),
                    Err(reason) => {
                        kind.not_stored(&tier.base, &key, reason);
                        // The copy that is there is older than this value, whichever change raised the fence.
                        tier.storage.remove(&key);
                    }
                }
            }
            Tier::Off(tier) => {
                if let Err(error) = remove_from(&kind, tier, std::slice::from_ref(&key)).await {
                    unreached.note(error);
                }
            }
            Tier::Remote(tier) => {
                if let Err(error) = set_remote(&kind, tier, &key, &value, ttl(&tier.base)).await {
                    retry_removal(&kind, tier, std::slice::from_ref(&key));
                    unreached.note(not_invalidated(tier, 1, error));
                }
            }
        }
    }
    lead.finish(Ok(value));
    let keys = [key];
    if let Err(error) = kind.publish(&keys).await {
        unreached.note(error);
    }
    unreached.add(change_again(&kind, &keys).await);
    unreached.into_result()
}

/// Stores `value` in one tier. Where that cannot be done it removes the old one.
async fn set_remote<N: Node>(
    kind: &Kind<N>,
    tier: &RemoteTier,
    key: &FullKey,
    value: &N::Value,
    ttl: Option<Duration>,
) -> cacheme_storage::Result<()> {
    let pending = tier.pending.number(key);
    let now_ms = tier.storage.now_ms();
    let expires_ms = expires_ms(now_ms, ttl);
    let encoded = match ttl {
        Some(Duration::ZERO) => Err(NotStored::LifeOver),
        _ => kind.encode(tier, key, value, now_ms, expires_ms),
    };
    let stored = match encoded {
        Ok(value) => {
            let entry = RemoteEntry { key, value, ttl };
            let set = tier.set(entry).await;
            set.map_err(|error| NotStored::of_storage(&error))
        }
        Err(reason) => Err(reason),
    };
    match stored {
        Ok(()) => {
            count(&tier.base.counters.fills, 1);
            tier.pending.forget(key, pending);
            return Ok(());
        }
        Err(reason) => kind.not_stored(&tier.base, key, reason),
    }
    tier.remove(key).await?;
    tier.pending.forget(key, pending);
    Ok(())
}
