//! Storages that are registered.

use std::sync::Arc;

use cacheme_storage::Storage;

use crate::bus::Bus;
use crate::kind::releases::Stranded;

/// A storage under its name.
#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) storage: Storage,
    /// Where other processes are told of changes, if the storage has a bus.
    pub(crate) bus: Option<Arc<Bus>>,
    /// What its kinds have to give back, and no runtime for.
    pub(crate) stranded: Arc<Stranded>,
}
