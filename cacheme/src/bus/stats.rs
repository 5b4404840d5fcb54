//! Counts of the messages received on a bus.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages that one instance received on the bus of one storage. Its own messages are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusStats {
    /// The name of the storage.
    pub storage: String,
    /// Messages that were understood.
    pub received: u64,
    /// Messages with a change that a later version may know and this one does not. All local copies that they may concern were
    /// dropped: those of one kind, or those of all kinds that are published on this bus.
    pub partly_understood: u64,
    /// Messages for another prefix. They change nothing.
    pub other_prefix: u64,
    /// Messages whose format has an unknown version. They change nothing.
    pub other_version: u64,
    /// Messages that Cacheme has not written, or that are torn. They change nothing.
    pub unreadable: u64,
}

impl fmt::Display for BusStats {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            storage,
            received,
            partly_understood,
            other_prefix,
            other_version,
            unreadable,
        } = self;
        write!(
            f,
            "{storage}: {received} messages received, {partly_understood} partly understood; passed over: {other_prefix} of other \
             prefixes, {other_version} of other versions, {unreadable} unreadable"
        )
    }
}

/// The counters behind [`BusStats`].
#[derive(Default)]
pub(crate) struct BusCounters {
    pub(crate) received: AtomicU64,
    pub(crate) partly_understood: AtomicU64,
    pub(crate) other_prefix: AtomicU64,
    pub(crate) other_version: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

impl BusCounters {
    pub(crate) fn snapshot(&self, storage: &str) -> BusStats {
        BusStats {
            storage: storage.to_owned(),
            received: self.received.load(Ordering::Relaxed),
            partly_understood: self.partly_understood.load(Ordering::Relaxed),
            other_prefix: self.other_prefix.load(Ordering::Relaxed),
            other_version: self.other_version.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
        }
    }
}
