//! Registering a storage: it gets a name and a bus, and connects. It can be replaced and taken away.

use std::sync::Arc;

use cacheme_storage::{Chain, Storage};
use tokio::time::Instant;

use super::close::{close_storage, end_work, into_result};
use crate::background;
use crate::bus::Bus;
use crate::error::{Error, Result};
use crate::instance::Cacheme;
use crate::kind::storages::Registered;
use crate::kind::table::Renewal;
use crate::kind::table::derived::derived;
use crate::node::policy::NodeInfo;

impl Cacheme {
    /// Registers a storage under a name and connects to it.
    ///
    /// If the storage has a bus, this instance listens to it when the call returns.
    ///
    /// # Errors
    ///
    /// [`Error::SameKey`] on the process-wide instance, if two derived nodes would share entries, [`Error::StorageRegistered`] for a name that is taken,
    /// [`Error::DefaultStorageInUse`] for `local` after a memoized function has used it, and [`Error::Closed`] after
    /// [`close`](Self::close): then nothing is registered. [`Error::Unreached`] if the storage cannot be reached: it is registered all the same, reads go on
    /// without it, and it is tried again whenever it is needed. Trouble with its bus alone is logged.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped after its first poll may have registered the storage.
    pub async fn register_storage(&self, name: impl Into<String>, storage: Storage) -> Result<()> {
        let name = name.into();
        let bus = self.insert_storage(&name, &storage)?;
        let connected = connect(&storage, bus.as_ref()).await;
        connected.map_err(|source| Error::Unreached {
            name,
            source: Arc::new(source),
        })
    }

    /// Registers a storage under a name, and connects to it in the background: a service starts while its Redis is down.
    ///
    /// Reads go on without the storage until it is reached, and its bus is listened to from then on. A connection that fails is logged, and
    /// tried again whenever the storage is needed.
    ///
    /// ```
    /// # #[cfg(feature = "redis")] {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// let cacheme = cacheme::Cacheme::builder().build()?;
    /// let redis = cacheme::Storage::open("redis://127.0.0.1:1?timeout=100ms")?;
    /// cacheme.register_storage_lazy("redis", redis)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::SameKey`] on the process-wide instance, if two derived nodes would share entries, [`Error::StorageRegistered`] or
    /// [`Error::DefaultStorageInUse`] for a name that is taken, and [`Error::Closed`] after [`close`](Self::close).
    pub fn register_storage_lazy(&self, name: impl Into<String>, storage: Storage) -> Result<()> {
        let name = name.into();
        let bus = self.insert_storage(&name, &storage)?;
        let connecting = async move {
            if let Err(error) = connect(&storage, bus.as_ref()).await {
                tracing::warn!(storage = name, error = %Chain(&error), "storage cannot be reached; going on without it");
            }
        };
        // Without a runtime, the first call that needs the storage connects.
        let _ = background::spawn(connecting);
        Ok(())
    }

    /// Gives a storage its name, and its bus if it has one.
    fn insert_storage(&self, name: &str, storage: &Storage) -> Result<Option<Arc<Bus>>> {
        if self.inner.kinds.is_closed() {
            return Err(Error::Closed);
        }
        if self.inner.kinds.is_default()
            && let Some(conflict) = derived().conflicts().next()
        {
            return Err(conflict.clone());
        }
        let mut storages = self.inner.storages.write();
        if let Some(known) = storages.get(name) {
            let storage = name.into();
            return Err(if known.is_default {
                Error::DefaultStorageInUse { storage }
            } else {
                Error::StorageRegistered { storage }
            });
        }
        let registered = self.with_bus(name, storage);
        let bus = registered.bus.clone();
        storages.insert(name.into(), registered);
        Ok(bus)
    }

    /// A storage with its bus, if it has one.
    fn with_bus(&self, name: &str, storage: &Storage) -> Registered {
        let remote = storage.as_remote().filter(|_| storage.has_bus());
        let bus = remote.map(|remote| {
            let (prefix, kinds) = (&self.inner.prefix, &self.inner.kinds);
            Bus::new(name, Arc::clone(remote), prefix, Arc::downgrade(kinds) as _)
        });
        Registered {
            storage: storage.clone(),
            bus,
            stranded: Arc::default(),
            is_default: false,
        }
    }

    /// Replaces the storage of a name by another one: its URL changed, say. All nodes use the new one when the call returns.
    ///
    /// The new storage is connected to first, and its bus listened to. Then, at one moment, every node that names the storage begins anew: its copies in local
    /// tiers count as absent, loads under way answer their callers and are stored nowhere, and removals that failed are tried in the new
    /// storage. Last, leases in the old storage are given back, and it is closed, unless it is registered under another name as well.
    ///
    /// **Limit:** values that the new storage has already are read as they are. Changes that ended before were not sent to it.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStorage`] for a name that is not registered, and [`Error::Closed`] after [`close`](Self::close): nothing is replaced
    /// then. [`Error::Unreached`] if the new storage cannot be reached: it is there all the same, as with
    /// [`register_storage`](Self::register_storage). [`Error::NotClosed`] for the old one. [`Error::Several`] for more than one of these.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have replaced the storage, and have left the old one open.
    ///
    /// ```
    /// use cacheme::{Cacheme, Error, Node, Storage};
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "stock:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
    /// struct StockNode(u64);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cacheme = Cacheme::builder().build()?;
    /// cacheme.register_storage("local", Storage::open("local://lru?size=100")?).await?;
    /// cacheme.set(&StockNode(1), 7).await?;
    /// cacheme.replace_storage("local", Storage::open("local://tlfu?size=100000")?).await?;
    /// assert_eq!(cacheme.peek(&StockNode(1)).await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn replace_storage(&self, name: &str, storage: Storage) -> Result<()> {
        self.known(name)?;
        let newer = self.with_bus(name, &storage);
        let connected = connect(&storage, newer.bus.as_ref()).await;
        let unreached = connected.err().map(|source| Error::Unreached {
            name: name.into(),
            source: Arc::new(source),
        });
        let bus = newer.bus.clone();
        let exchanged = self.exchange(name, Some(newer)).await;
        if exchanged.is_err() {
            bus.iter().for_each(|bus| bus.end());
        }
        into_result(exchanged?.into_iter().chain(unreached).collect())
    }

    /// Takes a storage away. Nodes that name it fail with [`Error::StorageNotRegistered`] from then on, until the name is registered again.
    ///
    /// Loads under way answer their callers and are stored nowhere. Removals from the storage that failed are tried once more, leases are given
    /// back, and the storage is closed, unless it is registered under another name as well.
    ///
    /// ```
    /// # use cacheme::{Cacheme, Error, Storage};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cacheme = Cacheme::builder().build()?;
    /// cacheme.register_storage("local", Storage::open("local://lru?size=100")?).await?;
    /// cacheme.unregister_storage("local").await?;
    /// let again = cacheme.unregister_storage("local").await;
    /// assert!(matches!(again, Err(Error::UnknownStorage { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::UnknownStorage`] for a name that is not registered, and [`Error::Closed`] after [`close`](Self::close): nothing has changed
    /// then. [`Error::OldValuesLeft`] for removals that failed again, and [`Error::NotClosed`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have taken the storage away, and have left it open.
    pub async fn unregister_storage(&self, name: &str) -> Result<()> {
        into_result(self.exchange(name, None).await?)
    }

    /// The storage of a name.
    fn known(&self, name: &str) -> Result<Registered> {
        self.storage(name)
            .ok_or_else(|| Error::UnknownStorage { storage: name.into() })
    }

    /// Puts a storage in the place of another one, or none, and closes the old one. Returns what went wrong with that.
    async fn exchange(&self, name: &str, newer: Option<Registered>) -> Result<Vec<Error>> {
        let change = || {
            let older = self.known(name)?;
            let mut storages = self.inner.storages.write();
            match newer {
                Some(newer) => storages.insert(name.into(), newer),
                None => storages.remove(name),
            };
            Ok(older)
        };
        let names_it = |info: &NodeInfo| info.tiers.iter().any(|tier| tier.storage == name);
        let (older, renewal) = self.renew(change, names_it)?;
        let tiers = renewal.retired.iter().flat_map(|last| last.kind.remote_tiers());
        let tiers: Vec<_> = tiers
            .filter(|tier| Arc::ptr_eq(&tier.stranded, &older.stranded))
            .collect();
        let deadline = Instant::now() + older.storage.timeout() * 10;
        let mut errors = end_work(&renewal.retired, &tiers, deadline).await;
        // That calls are under way still is no mistake of this one.
        errors.retain(|error| !matches!(error, Error::StillBusy { .. }));
        let others = self.inner.storages.read().values().cloned().collect::<Vec<_>>();
        let is_it = |other: &Registered| same_remote(&other.storage, &older.storage);
        errors.extend(close_storage(name.into(), &older, !others.iter().any(is_it)).await);
        Ok(errors)
    }

    /// Carries out a change of the storages, and makes the kinds anew that it concerns.
    pub(super) fn renew<T>(
        &self,
        change: impl FnOnce() -> Result<T>,
        concerns: impl Fn(&NodeInfo) -> bool,
    ) -> Result<(T, Renewal)> {
        let find = |info: &NodeInfo, name: &str| self.find(info, name);
        let (changed, renewal) = self.inner.kinds.renew(change, concerns, &find)?;
        for kind in &renewal.renewed {
            Arc::clone(kind).begin_retrying();
        }
        Ok((changed, renewal))
    }
}

fn same_remote(one: &Storage, other: &Storage) -> bool {
    one.as_remote()
        .zip(other.as_remote())
        .is_some_and(|(one, other)| Arc::ptr_eq(one, other))
}

/// Connects to a storage and its bus, within ten times its `timeout`.
async fn connect(storage: &Storage, bus: Option<&Arc<Bus>>) -> cacheme_storage::Result<()> {
    let Some(remote) = storage.as_remote() else {
        return Ok(());
    };
    let bound = storage.timeout() * 10;
    let connected = tokio::time::timeout(bound, remote.connect()).await;
    connected.unwrap_or_else(|_| {
        Err(cacheme_storage::Error::Timeout {
            storage: remote.location(),
            after: bound,
        })
    })?;
    if let Some(bus) = bus {
        bus.ensure();
        // Trouble with the bus alone is logged: the storage can be used without it.
        bus.settled(bound).await;
    }
    Ok(())
}
