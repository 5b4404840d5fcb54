//! Registering a storage: it gets a name and a bus, and connects.

use std::sync::Arc;

use cacheme_storage::Storage;

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
    /// [`Error::SameKey`] if two derived nodes would share entries, and [`Error::StorageRegistered`] for a name that is taken: then
    /// nothing is registered. [`Error::Unreached`] if the storage cannot be reached: it is registered all the same, reads go on
    /// without it, and it is tried again whenever it is needed. Trouble with its bus alone is logged.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped after its first poll may have registered the storage.
    pub async fn register_storage(&self, name: impl Into<String>, storage: Storage) -> Result<()> {
        let name = name.into();
        if let Some(conflict) = derived().conflicts().next() {
            return Err(conflict.clone());
        }
        let remote = storage.as_remote();
        let bus = remote.filter(|_| storage.has_bus());
        let bus = bus.map(|remote| {
            let (prefix, kinds) = (&self.inner.prefix, &self.inner.kinds);
            Bus::new(&name, Arc::clone(remote), prefix, Arc::downgrade(kinds) as _)
        });
        {
            let mut storages = self.inner.storages.write();
            if storages.contains_key(&name) {
                return Err(Error::StorageRegistered { storage: name });
            }
            let registered = Registered {
                storage: storage.clone(),
                bus: bus.clone(),
                stranded: Arc::default(),
            };
            storages.insert(name.clone(), registered);
        }
        let Some(remote) = remote else { return Ok(()) };
        let bound = storage.timeout() * 10;
        let connected = tokio::time::timeout(bound, remote.connect())
            .await
            .unwrap_or_else(|_| {
                Err(cacheme_storage::Error::Timeout {
                    storage: remote.location(),
                    after: bound,
                })
            });
        connected.map_err(|source| Error::Unreached {
            name,
            source: Arc::new(source),
        })?;
        if let Some(bus) = bus {
            bus.ensure();
            // Trouble with the bus alone is logged: the storage can be used without it.
            bus.settled(bound).await;
        }
        Ok(())
    }
}
