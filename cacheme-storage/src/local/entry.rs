use std::sync::Arc;

/// Why an entry left a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evicted {
    /// The cache was full and others were worth more.
    Size,
    /// Its time to live had passed.
    Expired,
    /// Another value was stored under its key.
    Replaced,
    /// It was removed, by key or by clearing the cache.
    Removed,
}

/// What a cache calls for every entry that leaves it, after its locks are released.
pub type Listener<K, V> = Arc<dyn Fn(&K, &V, Evicted) + Send + Sync>;

/// An entry on its way out: told to the listener and dropped when no lock is held any more.
pub(crate) type Leaver<K, V> = (K, V, Evicted);
