//! Storages that are registered, and whether they are on.

use std::sync::Arc;

use cacheme_storage::Storage;

use crate::bus::Bus;
use crate::kind::releases::Stranded;

/// A storage under its name.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) storage: Storage,
    /// The bus that publishes changes to other processes, if the storage has one.
    pub(crate) bus: Option<Arc<Bus>>,
    /// Leases that its kinds have to give back without a runtime.
    pub(crate) stranded: Arc<Stranded>,
    /// It was made because nobody had registered one.
    pub(crate) is_default: bool,
}

/// A storage as a kind finds it.
pub(crate) struct Found {
    pub(crate) registered: Registered,
    /// Whether values are read from it and stored in it. Else it gets changes only.
    pub(crate) is_on: bool,
}
