//! Removals that failed are tried again in the background ([page](super)).
//!
//! [`pending`](crate::kind::pending) has the keys of such removals.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::flight::FullKey;
use crate::kind::{Kind, RemoteTier, Tier, TierStorage};
use crate::node::Node;

/// How long after a failure the next try is made; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// After this, an old value that does not expire is no longer chased.
const LONGEST_DEBT: Duration = Duration::from_secs(86_400);

/// Takes what is under `keys` in a tier for old from now on, and goes on removing it in the background until that works
/// or the values have expired. The first try is after `pause`.
pub(crate) fn owe<N: Node>(kind: &Arc<Kind<N>>, at: usize, keys: &[FullKey], pause: Duration) {
    let tier = &kind.tiers[at];
    let longest = tier.ttl.map_or(LONGEST_DEBT, |ttl| ttl.min(LONGEST_DEBT));
    let begins = tier.owed.add(keys, Instant::now() + longest);
    if !begins {
        return;
    }
    let mut turn = Turn {
        kind: Arc::clone(kind),
        at,
    };
    // Without a runtime there is no background: reads still know what is old.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { turn.pay(pause).await });
    }
}

/// How long after a removal that failed just now the next is tried.
pub(crate) const AFTER_FAILURE: Duration = FIRST_PAUSE;

/// Ends when dropped, also when the runtime ends: the next debt begins another.
struct Turn<N: Node> {
    kind: Arc<Kind<N>>,
    at: usize,
}

impl<N: Node> Turn<N> {
    async fn pay(&mut self, mut pause: Duration) {
        let tier = &self.kind.tiers[self.at];
        let TierStorage::Remote(remote) = &tier.storage else {
            return;
        };
        loop {
            tokio::time::sleep(pause).await;
            let owed = tier.owed.all();
            if owed.is_empty() {
                return;
            }
            // What goes wrong is counted and told by `bounded`.
            let removed = self.remove(tier, remote, &owed).await;
            removed
                .iter()
                .for_each(|(key, number)| tier.owed.settle(key, Some(*number)));
            pause = match removed.len() == owed.len() {
                true => Duration::ZERO,
                false => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            };
        }
    }

    /// Removes what it can, and tells of it; gives what is done.
    async fn remove<'o>(
        &self,
        tier: &Tier,
        remote: &RemoteTier,
        owed: &'o [(FullKey, u64)],
    ) -> Vec<&'o (FullKey, u64)> {
        let keys: Vec<FullKey> = owed.iter().map(|(key, _)| Arc::clone(key)).collect();
        let failed = tier.remove_all(remote, &keys).await;
        let failed: HashSet<&FullKey> = failed.into_iter().flat_map(|(keys, _)| keys).collect();
        let mut removed: Vec<_> = owed.iter().filter(|(key, _)| !failed.contains(key)).collect();
        let keys: Vec<FullKey> = removed.iter().map(|(key, _)| Arc::clone(key)).collect();
        removed.truncate(self.kind.tell_paid(&keys).await);
        removed
    }
}

impl<N: Node> Drop for Turn<N> {
    fn drop(&mut self) {
        self.kind.tiers[self.at].owed.abandon();
    }
}

/// Removes `keys` from one tier. Where that fails, they are owed to it.
pub(crate) async fn remove_from<N: Node>(kind: &Arc<Kind<N>>, at: usize, keys: &[FullKey]) -> Result<()> {
    let tier = &kind.tiers[at];
    let TierStorage::Remote(remote) = &tier.storage else {
        return Ok(());
    };
    let debts: Vec<_> = keys.iter().map(|key| tier.owed.number(key)).collect();
    let failed = tier.remove_all(remote, keys).await;
    for (keys, _) in &failed {
        let keys: Vec<FullKey> = keys.iter().map(|key| Arc::clone(key)).collect();
        owe(kind, at, &keys, AFTER_FAILURE);
    }
    // A debt that was made just now has another number.
    let removed = keys.iter().zip(debts);
    removed.for_each(|(key, debt)| tier.owed.settle(key, debt));
    let count = failed.iter().map(|(keys, _)| keys.len()).sum();
    match failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(not_invalidated(tier, count, error)),
    }
}

pub(crate) fn not_invalidated(tier: &Tier, keys: usize, source: cacheme_storage::Error) -> Error {
    Error::NotInvalidated {
        name: tier.name.to_string(),
        keys,
        source: Arc::new(source),
    }
}
