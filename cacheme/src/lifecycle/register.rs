//! Registering a storage: it gets a name and a bus, and connects.

use std::sync::Arc;

use cacheme_storage::{Chain, Storage};

use crate::background;
use crate::bus::Bus;
use crate::error::{Error, Result};
use crate::instance::Cacheme;
use crate::kind::storages::Registered;
use crate::kind::table::derived::derived;

impl Cacheme {
    /// Registers a storage under a name and connects to it.
    ///
    /// If the storage has a bus, this instance listens to it when the call returns.
    ///
    /// # Errors
    ///
    /// [`Error::SameKey`] if two derived nodes would share entries, [`Error::StorageRegistered`] for a name that is taken,
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
    /// [`Error::SameKey`] if two derived nodes would share entries, [`Error::StorageRegistered`] or
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
        if let Some(conflict) = derived().conflicts().next() {
            return Err(conflict.clone());
        }
        let remote = storage.as_remote();
        let bus = remote.filter(|_| storage.has_bus());
        let bus = bus.map(|remote| {
            let (prefix, kinds) = (&self.inner.prefix, &self.inner.kinds);
            Bus::new(name, Arc::clone(remote), prefix, Arc::downgrade(kinds) as _)
        });
        let mut storages = self.inner.storages.write();
        if let Some(known) = storages.get(name) {
            let storage = name.into();
            return Err(if known.is_default {
                Error::DefaultStorageInUse { storage }
            } else {
                Error::StorageRegistered { storage }
            });
        }
        let registered = Registered {
            storage: storage.clone(),
            bus: bus.clone(),
            stranded: Arc::default(),
            is_default: false,
        };
        storages.insert(name.into(), registered);
        Ok(bus)
    }
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
