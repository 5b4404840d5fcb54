use std::sync::Arc;

use crate::contain::{contain, drop_contained};

/// The reason why an entry left a cache.
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

/// The function that a cache calls for every entry that leaves it, after its locks are released.
///
/// Its panics are logged and go no further.
pub type Listener<K, V> = Arc<dyn Fn(&K, &V, Evicted) + Send + Sync>;

/// The function that gives a cache the weight of an entry, before the cache takes a lock.
pub(crate) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;

/// An entry on its way out: told to the listener and dropped when no lock is held any more.
pub(crate) type Leaver<K, V> = (K, V, Evicted);

/// Entries on their way out. One is the rule and allocates nothing.
pub(crate) struct Leavers<K, V> {
    first: Option<Leaver<K, V>>,
    more: Vec<Leaver<K, V>>,
}

impl<K, V> Leavers<K, V> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, (key, value): (K, V), why: Evicted) {
        let leaver = (key, value, why);
        if self.first.is_none() {
            self.first = Some(leaver);
        } else {
            self.more.push(leaver);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Lets each leave.
    #[inline]
    pub(crate) fn leave(self, listener: Option<&Listener<K, V>>) {
        if let Some(first) = self.first {
            leave(first, listener);
        }
        if !self.more.is_empty() {
            self.more.into_iter().for_each(|leaver| leave(leaver, listener));
        }
    }
}

/// Tells the listener of an entry and drops it. Whoever made it leave has nothing to do with what panics there.
#[inline]
pub(crate) fn leave<K, V>((key, value, why): Leaver<K, V>, listener: Option<&Listener<K, V>>) {
    if let Some(listener) = listener {
        contain(|| listener(&key, &value, why));
    }
    // One by one: a second panic, while the first unwinds, would end the process.
    drop_contained(value);
    drop_contained(key);
}

/// An entry that is to be stored, or to be dropped: what is not taken out is dropped as entries are that leave.
pub(crate) struct Arriver<K, V>(pub(crate) Option<(K, V)>);

impl<K, V> Drop for Arriver<K, V> {
    #[inline]
    fn drop(&mut self) {
        if let Some((key, value)) = self.0.take() {
            drop_contained(value);
            drop_contained(key);
        }
    }
}
