//! What was heard on a bus.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one instance has heard from other processes on the bus of one storage. What it publishes itself is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// The name of the storage.
    pub storage: String,
    /// Messages that were understood.
    pub heard: u64,
    /// Messages that tell of a change in a way that a later version may know and this one does not: all local copies that they
    /// may concern were dropped, those of a kind or those of all kinds that are told of on this bus.
    pub partly_understood: u64,
    /// Messages for another prefix. They change nothing.
    pub other_prefix: u64,
    /// Messages whose format has a version that this one does not know. They change nothing.
    pub other_version: u64,
    /// Messages that Cacheme has not written, or that are torn. They change nothing.
    pub unreadable: u64,
}

impl fmt::Display for BusStats {
    /// A line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            storage,
            heard,
            partly_understood,
            other_prefix,
            other_version,
            unreadable,
        } = self;
        write!(
            f,
            "{storage}: {heard} messages heard, {partly_understood} partly understood; passed over: {other_prefix} of other \
             prefixes, {other_version} of other versions, {unreadable} unreadable"
        )
    }
}

/// The counters behind [`BusStats`].
#[derive(Default)]
pub(crate) struct BusCounters {
    pub(crate) heard: AtomicU64,
    pub(crate) partly_understood: AtomicU64,
    pub(crate) other_prefix: AtomicU64,
    pub(crate) other_version: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

impl BusCounters {
    pub(crate) fn snapshot(&self, storage: &str) -> BusStats {
        BusStats {
            storage: storage.to_owned(),
            heard: self.heard.load(Ordering::Relaxed),
            partly_understood: self.partly_understood.load(Ordering::Relaxed),
            other_prefix: self.other_prefix.load(Ordering::Relaxed),
            other_version: self.other_version.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
        }
    }
}
