//! The tiers of a kind, with the storages found: each owns what belongs to it.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{Bytes, Chain, LocalStorage, RemoteEntry, RemoteStorage};
use tokio::time::Instant;

use crate::bus::Bus;
use crate::counter::count;
use crate::error::Error;
use crate::kind::pending::PendingRemovals;
use crate::kind::pieces::PieceSizes;
use crate::kind::releases::{Releases, Stranded};
use crate::kind::stats::{TierCounters, TierStats};
use crate::kind::storages::{Found, Registered};
use crate::log_limiter::LogLimiter;
use crate::node::policy::{self, NodeInfo};

/// One step of a chain.
#[allow(
    clippy::large_enum_variant,
    reason = "a hit finds a local tier without another step, and a kind has few tiers"
)]
pub(crate) enum Tier {
    Local(LocalTier),
    /// Shared with tasks in the background.
    Remote(Arc<RemoteTier>),
    /// A remote tier that is switched off: nothing is read from it or stored in it, and changes remove keys from it, so that other processes
    /// read nothing older. A local tier that is switched off is left out of the chain.
    Off(Arc<RemoteTier>),
}

/// The part that every tier has.
pub(crate) struct TierBase {
    pub(crate) name: Cow<'static, str>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) counters: TierCounters,
}

/// A tier in this process.
pub(crate) struct LocalTier {
    pub(crate) storage: Arc<dyn LocalStorage>,
    pub(crate) base: TierBase,
}

/// A tier in a storage that other processes may share.
pub(crate) struct RemoteTier {
    pub(crate) base: TierBase,
    pub(crate) storage: Arc<dyn RemoteStorage>,
    pub(crate) timeout: Duration,
    pub(crate) largest_value: usize,
    /// The lease time, where both the node and the storage have leases.
    pub(crate) lease: Option<Duration>,
    /// Whether leases last as long as the loads that they are for.
    pub(crate) renews: bool,
    pub(crate) bus: Option<Arc<Bus>>,
    /// Old values that could not be removed yet.
    pub(crate) pending: PendingRemovals,
    /// Leases that are to be given back.
    pub(crate) releases: Releases,
    /// Leases that kinds on this storage have to give back without a runtime.
    pub(crate) stranded: Arc<Stranded>,
    /// How much one call carries.
    pub(crate) pieces: PieceSizes,
    log: LogLimiter,
}

impl Tier {
    /// A tier of this node, over the storage that is registered under its name; `None` for a local one that is switched off. With the tier
    /// of that name of an older kind, it goes on with what that one has to do and has counted.
    ///
    /// # Errors
    ///
    /// [`Error::NoSerializer`] for a remote storage, where the node has none.
    pub(crate) fn new(
        tier: &policy::Tier,
        node: &NodeInfo,
        found: Found,
        older: Option<&Self>,
    ) -> Result<Option<Self>, Error> {
        let Found { registered, is_on } = found;
        let Registered {
            storage,
            bus,
            stranded,
            is_default: _,
        } = registered;
        let of = if is_on { Self::Remote } else { Self::Off };
        let older_remote = older.and_then(Self::any_remote);
        if let Some(older) = older_remote.filter(|older| Arc::ptr_eq(&older.stranded, &stranded)) {
            return Ok(Some(of(Arc::clone(older))));
        }
        let base = TierBase {
            name: tier.storage.clone(),
            ttl: tier.ttl,
            counters: older.map_or_else(TierCounters::default, |older| older.base().counters.continued()),
        };
        if let Some(local) = storage.as_local() {
            let storage = Arc::clone(local);
            return Ok(is_on.then_some(Self::Local(LocalTier { storage, base })));
        }
        let remote = storage.as_remote().expect("a storage is local or remote");
        if !node.serializable {
            return Err(node.no_serializer(&tier.storage));
        }
        let capabilities = remote.capabilities();
        let pending = older_remote.map(|older| older.pending.take_over());
        Ok(Some(of(Arc::new(RemoteTier {
            base,
            storage: Arc::clone(remote),
            timeout: storage.timeout(),
            largest_value: storage.largest_value(),
            lease: node.lease.filter(|_| capabilities.leases),
            renews: capabilities.renewals,
            bus,
            pending: pending.unwrap_or_default(),
            releases: Releases::default(),
            stranded,
            pieces: PieceSizes::default(),
            log: LogLimiter::default(),
        }))))
    }

    pub(crate) fn local(&self) -> Option<&LocalTier> {
        match self {
            Self::Local(local) => Some(local),
            Self::Remote(_) | Self::Off(_) => None,
        }
    }

    pub(crate) fn remote(&self) -> Option<&Arc<RemoteTier>> {
        match self {
            Self::Local(_) | Self::Off(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }

    /// The remote tier, also one that is switched off.
    pub(crate) fn any_remote(&self) -> Option<&Arc<RemoteTier>> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) | Self::Off(remote) => Some(remote),
        }
    }

    pub(crate) fn base(&self) -> &TierBase {
        match self {
            Self::Local(local) => &local.base,
            Self::Remote(remote) | Self::Off(remote) => &remote.base,
        }
    }

    pub(crate) fn stats(&self) -> TierStats {
        let base = self.base();
        base.counters.snapshot(base.name.clone())
    }
}

impl RemoteTier {
    /// Whether changes of this tier are published on this bus.
    pub(crate) fn publishes_on(&self, bus: &Bus) -> bool {
        let ours = self.bus.as_ref();
        ours.is_some_and(|ours| std::ptr::eq(&raw const **ours, bus))
    }

    /// Reads one key.
    pub(crate) async fn get(&self, key: &[u8]) -> cacheme_storage::Result<Option<Bytes>> {
        let found = self.bounded(self.storage.get(&[key])).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// Writes one entry.
    pub(crate) async fn set(&self, entry: RemoteEntry<'_>) -> cacheme_storage::Result<()> {
        self.bounded(self.storage.set(&[entry])).await
    }

    /// Removes one key.
    pub(crate) async fn remove(&self, key: &[u8]) -> cacheme_storage::Result<()> {
        self.bounded(self.storage.remove(&[key])).await
    }

    /// Bounds an operation by the time limit of the storage, and counts and logs how it went.
    pub(crate) fn bounded<T>(
        &self,
        operation: impl Future<Output = cacheme_storage::Result<T>>,
    ) -> impl Future<Output = cacheme_storage::Result<T>> {
        self.bounded_from(Instant::now(), operation)
    }

    /// Bounds an operation that begins at `now`, for callers that have looked at the clock.
    ///
    /// The future holds the operation twice, as an argument and while it runs: a large one is passed as a pinned reference.
    pub(crate) async fn bounded_from<T>(
        &self,
        now: Instant,
        operation: impl Future<Output = cacheme_storage::Result<T>>,
    ) -> cacheme_storage::Result<T> {
        self.stranded.resume();
        if let Some(bus) = &self.bus {
            bus.ensure();
        }
        let result = tokio::time::timeout_at(now + self.timeout, operation)
            .await
            .unwrap_or_else(|_| {
                Err(cacheme_storage::Error::Timeout {
                    storage: self.storage.location(),
                    after: self.timeout,
                })
            });
        match &result {
            Ok(_) => {
                if let Some(over) = self.log.works() {
                    tracing::info!(storage = %self.base.name, trouble = %over, "storage works again");
                }
            }
            // The value's fault: the storage works.
            Err(cacheme_storage::Error::TooLarge { .. }) => {}
            Err(error) => {
                count(&self.base.counters.troubles, 1);
                if let Some(trouble) = self.log.trouble() {
                    tracing::warn!(
                        storage = %self.base.name,
                        error = %Chain(error),
                        %trouble,
                        "storage in trouble; going on without it",
                    );
                }
            }
        }
        result
    }
}
