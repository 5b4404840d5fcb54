//! `close`: work under way ends, and what is left is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::RemoteStorage;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::instance::{Cacheme, Inner};
use crate::kind::storages::Registered;
use crate::kind::table::LastKind;
use crate::kind::tier::RemoteTier;

/// The pause between two looks at work that is under way.
const PAUSE: Duration = Duration::from_millis(5);
/// A longer time limit is none: tokio's clock cannot count it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Cacheme {
    /// Closes the instance: ends what is under way, and gives back what it holds. For the shutdown of a service.
    ///
    /// From the beginning on, every new call fails with [`Error::Closed`], hits in local tiers included: nobody would tell this process of
    /// changes any more. [`get_with`](Self::get_with) and memoized functions go on without a cache. Then, in this order:
    ///
    /// 1. Loads and changes under way are waited for, until `timeout`.
    /// 2. Removals that failed before are tried once more.
    /// 3. Leases are given back, until `timeout`.
    /// 4. The subscriptions to other processes end, and remote storages are closed. One of them that another instance uses as well is closed
    ///    for it too.
    ///
    /// A call to an instance that is closed, or is being closed, waits for the first and has its result.
    ///
    /// **Limit:** a load that is waited for and reads another node gets [`Error::Closed`] for that. A load that calls `close` waits for
    /// itself, until `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::StillBusy`] if something was still under way after `timeout`; it goes on, without remote storages. [`Error::OldValuesLeft`]
    /// for each storage with removals that failed again: other processes may read these values until they expire.
    /// [`Error::NotClosed`] for a storage that could not be closed within its time limit. [`Error::Several`] for more than one of these. The
    /// instance is closed all the same.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with its timer enabled.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped leaves an instance without new calls. The next call of `close` does the rest.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cacheme::{Cacheme, Error, Node, Storage};
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "visits:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
    /// struct VisitsNode(u64);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cacheme = Cacheme::builder().build()?;
    /// cacheme.register_storage("local", Storage::open("local://lru?size=100")?).await?;
    /// cacheme.set(&VisitsNode(1), 7).await?;
    /// cacheme.close(Duration::from_secs(10)).await?;
    /// assert!(matches!(cacheme.peek(&VisitsNode(1)).await, Err(Error::Closed)));
    /// # Ok(()) }
    /// ```
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        let closing = self.inner.closed.get_or_init(|| close(&self.inner, timeout));
        Box::pin(closing).await.clone()
    }
}

async fn close(inner: &Inner, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout.min(LONGEST);
    let kinds = inner.kinds.close();
    let tiers: Vec<_> = kinds.iter().flat_map(|last| last.kind.remote_tiers()).collect();
    let mut errors = end_work(&kinds, &tiers, deadline).await;
    errors.extend(close_storages(inner).await);
    into_result(errors)
}

/// Waits for the work of kinds that new calls find no longer. Then does what is left to do in these tiers of theirs.
pub(super) async fn end_work(kinds: &[LastKind], tiers: &[Arc<RemoteTier>], deadline: Instant) -> Vec<Error> {
    let began = Instant::now();
    // These tasks are no work to wait for: what they try is tried below.
    tiers.iter().for_each(|tier| tier.pending.end_task());
    let mut errors = Vec::new();
    if !until(deadline, || !kinds.iter().any(LastKind::is_busy)).await {
        let busy = kinds.iter().filter(|last| last.is_busy());
        let mut nodes: Vec<_> = busy.map(|last| last.kind.info().name.to_string()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let after = began.elapsed();
        errors.push(Error::StillBusy { nodes, after });
    }
    errors.extend(remove_pending(kinds, tiers).await);
    tiers.iter().for_each(|tier| tier.stranded.resume());
    // Leases that are left end by themselves.
    until(deadline, || tiers.iter().all(|tier| tier.releases.is_done())).await;
    errors
}

/// The result of a call that went on after each error.
pub(super) fn into_result(mut errors: Vec<Error>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Several(errors)),
    }
}

/// Waits until `is_done`. `false` if it is not until the deadline.
async fn until(deadline: Instant, is_done: impl Fn() -> bool) -> bool {
    loop {
        if is_done() {
            return true;
        }
        let now = Instant::now();
        if now >= deadline {
            return false;
        }
        tokio::time::sleep_until(deadline.min(now + PAUSE)).await;
    }
}

/// Tries the pending removals of all kinds. Returns an error for each storage that has some left.
async fn remove_pending(kinds: &[LastKind], tiers: &[Arc<RemoteTier>]) -> Vec<Error> {
    let tries = kinds.iter().map(|last| Arc::clone(&last.kind).try_pending());
    let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let tried = join_all(tries).await.into_iter().flatten();
    for (tier, keys) in tried.filter(|(tier, _)| tiers.iter().any(|of| Arc::ptr_eq(of, tier))) {
        let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
        left.entry(tier.base.name.to_string()).or_default().extend(keys);
    }
    left.into_iter()
        .map(|(name, mut keys)| {
            keys.sort_unstable();
            keys.dedup();
            Error::OldValuesLeft { name, keys }
        })
        .collect()
}

/// Ends all subscriptions and closes all remote storages. Returns an error for each that could not be closed.
async fn close_storages(inner: &Inner) -> Vec<Error> {
    let storages = inner.storages.read().clone();
    let closing = storages
        .into_iter()
        .map(|(name, known)| async move { close_storage(name, &known, true).await });
    join_all(closing).await.into_iter().flatten().collect()
}

/// Ends the subscription to a storage, and closes the storage itself if it `is_last` of its name. Returns the error of that.
pub(super) async fn close_storage(name: String, known: &Registered, is_last: bool) -> Option<Error> {
    known.bus.iter().for_each(|bus| bus.end());
    let remote = known.storage.as_remote().filter(|_| is_last)?;
    let source = close_within(&**remote, known.storage.timeout()).await.err()?;
    let source = Arc::new(source);
    Some(Error::NotClosed { name, source })
}

async fn close_within(remote: &dyn RemoteStorage, bound: Duration) -> cacheme_storage::Result<()> {
    let closed = tokio::time::timeout(bound, remote.close()).await;
    closed.unwrap_or_else(|_| {
        Err(cacheme_storage::Error::Timeout {
            storage: remote.location(),
            after: bound,
        })
    })
}
