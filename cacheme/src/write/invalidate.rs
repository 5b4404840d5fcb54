//! `invalidate`: removes a key from every tier ([page](super)).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};

use super::retry::remove_from;
use super::{detached, settle};
use crate::error::Result;
use crate::flight::outcome::Outcome;
use crate::flight::{Flight, FullKey};
use crate::instance::Cacheme;
use crate::kind::Kind;
use crate::kind::drop_nearby;
use crate::kind::dynamic::KINDS_AT_ONCE;
use crate::kind::dynamic::by_kind;
use crate::kind::unreached::Unreached;
use crate::node::Node;

impl Cacheme {
    /// Removes the value of `node` from every tier.
    ///
    /// Once this has returned `Ok`, no later `get` in this process sees a value whose load began before. Where the remote tiers have
    /// leases, this holds for other processes too, unless they have a local copy.
    ///
    /// # Errors
    ///
    /// [`Error::NotInvalidated`](crate::Error::NotInvalidated) names the storage that could not be reached, or on whose bus the change could
    /// not be published. The other tiers are done, and the removal is tried again in the background. Until it succeeds the key counts as
    /// absent in that storage for this process; other processes may still read the old value.
    ///
    /// A set-up that cannot work is an error, as for [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Once polled, the removal goes through even if the future is dropped.
    pub async fn invalidate<N: Node>(&self, node: &N) -> Result<()> {
        self.invalidate_all(std::slice::from_ref(node)).await
    }

    /// Removes the values of many nodes from every tier.
    ///
    /// Each tier gets one call for all nodes, or one for each kind where the nodes are of several [`DynamicKind`](crate::DynamicKind)s.
    ///
    /// # Errors
    ///
    /// Those of [`invalidate`](Self::invalidate). Trouble with one storage or kind keeps no other from being invalidated.
    /// [`Error::Several`](crate::Error::Several) names all troubles where there is more than one.
    pub async fn invalidate_all<N: Node>(&self, nodes: &[N]) -> Result<()> {
        let mut unreached = Unreached::default();
        let mut removals = Vec::new();
        self.begin_removals(nodes, &mut removals, &mut unreached);
        finish_removals(removals, unreached).await
    }

    /// Removes nodes of kinds without remote tiers. Adds the removals of the others, which are still to be driven.
    pub(super) fn begin_removals<N: Node>(
        &self,
        nodes: &[N],
        removals: &mut Vec<Removal>,
        unreached: &mut Unreached,
    ) {
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
            if kind.all_remotes().next().is_none() {
                // There is nothing to wait for, so it needs no task.
                fence_and_drop(&kind, &keys);
                if let Some(newer) = kind.successor() {
                    removals.push(Box::pin(invalidate(newer, keys)));
                }
            } else {
                removals.push(Box::pin(invalidate(kind, keys)));
            }
        }
    }
}

/// The removal of keys of one kind.
pub(super) type Removal = BoxFuture<'static, Unreached>;

/// Drives removals to their end, also when the caller goes away.
pub(super) async fn finish_removals(removals: Vec<Removal>, mut unreached: Unreached) -> Result<()> {
    if removals.is_empty() {
        return unreached.into_result();
    }
    detached(async move {
        let mut removals = stream::iter(removals).buffered(KINDS_AT_ONCE);
        while let Some(others) = removals.next().await {
            unreached.add(others);
        }
        unreached.into_result()
    })
    .await
}

/// Fences the flights of `keys`, then drops the keys from the local tiers, back to front. Returns the flights.
fn fence_and_drop<N: Node>(kind: &Kind<N>, keys: &[FullKey]) -> Vec<Arc<Flight<Outcome<N::Value>>>> {
    let older = keys.iter().filter_map(|key| kind.flights.fence(key)).collect();
    drop_nearby(kind, keys);
    older
}

async fn invalidate<N: Node>(mut kind: Arc<Kind<N>>, keys: Vec<FullKey>) -> Unreached {
    let mut unreached = invalidate_in(&kind, &keys).await;
    // Storages may be replaced or switched meanwhile.
    while let Some(newer) = kind.successor() {
        kind = newer;
        unreached.add(invalidate_in(&kind, &keys).await);
    }
    unreached
}

async fn invalidate_in<N: Node>(kind: &Arc<Kind<N>>, keys: &[FullKey]) -> Unreached {
    let mut unreached = Unreached::default();
    let older = fence_and_drop(kind, keys);
    settle(kind, older).await;
    remove_everywhere(kind, keys, &mut unreached).await;
    // A flight that began in between may have read the old remote value.
    let older = fence_and_drop(kind, keys);
    if settle(kind, older).await && kind.copies_unguarded() {
        // Without a lease to stop it, it may have copied the value to a nearer remote tier that was done already.
        remove_everywhere(kind, keys, &mut unreached).await;
        let older = fence_and_drop(kind, keys);
        settle(kind, older).await;
    }
    if let Err(error) = kind.publish(keys).await {
        unreached.note(error);
    }
    unreached
}

/// Removes keys from the tiers of a kind that has taken the place of this one while a change was under way: its storages were replaced or switched.
pub(crate) async fn change_again<N: Node>(kind: &Kind<N>, keys: &[FullKey]) -> Unreached {
    match kind.successor() {
        // Boxed: mostly there is none.
        Some(newer) => Box::pin(invalidate(newer, keys.to_vec())).await,
        None => Unreached::default(),
    }
}

/// Removes `keys` from the remote tiers, back to front.
async fn remove_everywhere<N: Node>(kind: &Arc<Kind<N>>, keys: &[FullKey], unreached: &mut Unreached) {
    for tier in kind.all_remotes().rev() {
        if let Err(error) = remove_from(kind, tier, keys).await {
            unreached.note(error);
        }
    }
}
