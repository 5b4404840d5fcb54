//! How a load wants its value to be stored.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a load said of its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Store {
    /// Bounds the ttl of every tier.
    pub(crate) ttl: Option<Duration>,
    /// The value is handed out and stored nowhere.
    pub(crate) skip: bool,
}

impl Store {
    /// Combines both: the shorter ttl, and no storing if one of them forbids it.
    pub(crate) fn and(self, other: Self) -> Self {
        let ttl = self.ttl.into_iter().chain(other.ttl).min();
        Self {
            ttl,
            skip: self.skip || other.skip,
        }
    }
}

/// A [`Store`] that the load sets while others hold it.
#[derive(Debug)]
pub(crate) struct StoreCell {
    /// In nanoseconds; [`NO_TTL`] for none.
    ttl: AtomicU64,
    skip: AtomicBool,
}

/// As nanoseconds these are 584 years.
const NO_TTL: u64 = u64::MAX;

impl Default for StoreCell {
    fn default() -> Self {
        Self {
            ttl: AtomicU64::new(NO_TTL),
            skip: AtomicBool::new(false),
        }
    }
}

// Relaxed everywhere: a load sets these before it ends, and its end is passed on by other means.
impl StoreCell {
    /// Shortens the ttl.
    pub(crate) fn shorten(&self, ttl: Duration) {
        let nanos = u64::try_from(ttl.as_nanos()).unwrap_or(NO_TTL);
        self.ttl.fetch_min(nanos, Ordering::Relaxed);
    }

    pub(crate) fn skip(&self) {
        self.skip.store(true, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Store {
        let nanos = self.ttl.load(Ordering::Relaxed);
        Store {
            ttl: (nanos != NO_TTL).then(|| Duration::from_nanos(nanos)),
            skip: self.skip.load(Ordering::Relaxed),
        }
    }
}

impl From<Store> for StoreCell {
    fn from(store: Store) -> Self {
        let cell = Self::default();
        store.ttl.into_iter().for_each(|ttl| cell.shorten(ttl));
        if store.skip {
            cell.skip();
        }
        cell
    }
}
