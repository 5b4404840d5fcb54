//! `invalidate`: removes a key from every tier ([page](super)).

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};

use super::retry::remove_from;
use super::{detached, settle};
use crate::error::Result;
use crate::flight::outcome::Outcome;
use crate::flight::{Flight, FullKey};
use crate::instance::Cacheme;
use crate::kind::drop_nearby;
use crate::kind::dynamic::KINDS_AT_ONCE;
use crate::kind::dynamic::by_kind;
use crate::kind::unreached::Unreached;
use crate::kind::{Kind, Tier, TierStorage};
use crate::node::Node;

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
}

/// Fences what is under way for `keys`, then drops them from the local tiers, back to front. Gives what was under way.
fn fence_and_drop<N: Node>(kind: &Kind<N>, keys: &[FullKey]) -> Vec<Arc<Flight<Outcome<N::Value>>>> {
    let older = keys.iter().filter_map(|key| kind.flights.fence(key)).collect();
    drop_nearby(kind, keys);
    older
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
