//! Removals from remote tiers, and the task that tries failed ones again ([page](super)).
//!
//! [`pending`](crate::kind::pending) has the keys of failed removals.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::flight::FullKey;
use crate::kind::Kind;
use crate::kind::table::Retrying;
use crate::kind::tier::RemoteTier;
use crate::node::Node;

/// The pause after a failure, before the next try. It doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// After this, the removal of an old value that does not expire is no longer tried.
const LONGEST_RETRY: Duration = Duration::from_secs(86_400);

/// Counts `keys` as absent in a tier from now on, and tries in the background to remove them.
///
/// That ends when a try succeeds, or when the old values have expired.
pub(crate) fn retry_removal<N: Node>(kind: &Arc<Kind<N>>, tier: &Arc<RemoteTier>, keys: &[FullKey]) {
    let ttl = tier.base.ttl;
    let longest = ttl.map_or(LONGEST_RETRY, |ttl| ttl.min(LONGEST_RETRY));
    if tier.pending.add(keys, Instant::now() + longest) {
        begin(kind, tier);
    }
}

fn begin<N: Node>(kind: &Arc<Kind<N>>, tier: &Arc<RemoteTier>) {
    let task = RetryTask {
        kind: Arc::clone(kind),
        tier: Arc::clone(tier),
    };
    // Without a runtime there is no task; the keys count as absent all the same.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { task.run().await });
    }
}

/// Tries pending removals of one tier again. Dropped at its end, or with its runtime, it lets the next failure begin another.
struct RetryTask<N: Node> {
    kind: Arc<Kind<N>>,
    tier: Arc<RemoteTier>,
}

impl<N: Node> RetryTask<N> {
    async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if tokio::time::timeout(pause, self.tier.pending.ended())
                .await
                .is_ok()
            {
                return;
            }
            let pending = self.tier.pending.all();
            if pending.is_empty() {
                return;
            }
            pause = match try_removals(&self.kind, &self.tier, &pending).await {
                0 => Duration::ZERO,
                _ => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            };
        }
    }
}

/// Removes keys and publishes them. Those for which both succeeded are pending no longer. Returns how many are left.
async fn try_removals<N: Node>(kind: &Kind<N>, tier: &RemoteTier, pending: &[(FullKey, u64)]) -> usize {
    let keys: Vec<FullKey> = pending.iter().map(|(key, _)| Arc::clone(key)).collect();
    // Failures are counted and logged by `bounded`.
    let failed = tier.remove_all(&keys).await;
    let failed: HashSet<&FullKey> = failed.into_iter().flat_map(|(keys, _)| keys).collect();
    let mut removed: Vec<_> = pending.iter().filter(|(key, _)| !failed.contains(key)).collect();
    let keys: Vec<FullKey> = removed.iter().map(|(key, _)| Arc::clone(key)).collect();
    removed.truncate(kind.publish_removed(&keys).await);
    for (key, number) in &removed {
        tier.pending.forget(key, Some(*number));
    }
    pending.len() - removed.len()
}

impl<N: Node> Retrying for Kind<N> {
    fn try_pending(self: Arc<Self>) -> BoxFuture<'static, Vec<(Arc<RemoteTier>, Vec<FullKey>)>> {
        Box::pin(async move {
            let mut left = Vec::new();
            // Back to front, as every change.
            for tier in self.all_remotes().rev() {
                try_removals(&self, tier, &tier.pending.all()).await;
                let keys: Vec<FullKey> = tier.pending.all().into_iter().map(|(key, _)| key).collect();
                if !keys.is_empty() {
                    left.push((Arc::clone(tier), keys));
                }
            }
            left
        })
    }

    fn begin_retrying(self: Arc<Self>) {
        let tiers = self.all_remotes().filter(|tier| tier.pending.begin());
        tiers.for_each(|tier| begin(&self, tier));
    }
}

impl<N: Node> Drop for RetryTask<N> {
    fn drop(&mut self) {
        self.tier.pending.task_ended();
    }
}

/// Removes `keys` from one tier. A removal that fails becomes pending.
pub(crate) async fn remove_from<N: Node>(
    kind: &Arc<Kind<N>>,
    tier: &Arc<RemoteTier>,
    keys: &[FullKey],
) -> Result<()> {
    let numbers: Vec<_> = keys.iter().map(|key| tier.pending.number(key)).collect();
    let failed = tier.remove_all(keys).await;
    for (keys, _) in &failed {
        let keys: Vec<FullKey> = keys.iter().map(|key| Arc::clone(key)).collect();
        retry_removal(kind, tier, &keys);
    }
    // A removal that became pending meanwhile has another number.
    let removed = keys.iter().zip(numbers);
    removed.for_each(|(key, number)| tier.pending.forget(key, number));
    let count = failed.iter().map(|(keys, _)| keys.len()).sum();
    match failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(not_invalidated(tier, count, error)),
    }
}

/// The error for keys whose old values a storage may still have.
pub(crate) fn not_invalidated(tier: &RemoteTier, keys: usize, source: cacheme_storage::Error) -> Error {
    Error::NotInvalidated {
        name: tier.base.name.to_string(),
        keys,
        source: Arc::new(source),
    }
}
