use std::fmt;
use std::time::Duration;

use crate::contract::fence::Fence;
use crate::contract::local_value::LocalValue;

/// A value on its way into or out of a [`LocalStorage`].
#[derive(Clone)]
#[non_exhaustive]
pub struct LocalEntry {
    /// The value.
    pub value: LocalValue,
    /// The longest time that it may live from now on; `None` is for ever.
    pub ttl: Option<Duration>,
    /// The weight against the capacity of a weighted storage, on the way in.
    ///
    /// A counted storage ignores it. No storage has to give it back.
    pub weight: u32,
}

impl LocalEntry {
    /// An entry of weight 1.
    #[must_use]
    pub fn new(value: LocalValue, ttl: Option<Duration>) -> Self {
        Self {
            value,
            ttl,
            weight: 1,
        }
    }

    /// Returns the entry with another weight.
    #[must_use]
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }
}

impl fmt::Debug for LocalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEntry")
            .field("ttl", &self.ttl)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

/// A storage in this process: keeps Rust values as they are.
///
/// Operations are synchronous and short. A value that leaves the storage is dropped after its locks are released; only
/// [`read`](Self::read) may hold one while code of the value's type runs.
pub trait LocalStorage: Send + Sync + 'static {
    /// The kind and settings of the storage, for messages: `local://tlfu?size=1000`.
    fn location(&self) -> String;

    /// The value under `key`, if there is one and it has not expired.
    fn get(&self, key: &[u8]) -> Option<LocalValue> {
        self.entry(key).map(|entry| entry.value)
    }

    /// Shows the value under `key` to `see`, if there is one and it has not expired; says whether it did.
    ///
    /// The way of a hit: a storage that can lends the value out under its guard, so that it is not cloned twice. What `see` writes
    /// to the storage may then be refused.
    fn read(&self, key: &[u8], see: &mut dyn FnMut(&LocalValue)) -> bool {
        match self.get(key) {
            Some(value) => {
                see(&value);
                true
            }
            None => false,
        }
    }

    /// The value under `key` with the life it has left.
    fn entry(&self, key: &[u8]) -> Option<LocalEntry>;

    /// Stores the entry under `key` in place of what is there, unless `fence` is raised; says whether it did.
    ///
    /// The fence must be looked at under the lock that orders this call with [`remove`](Self::remove) of the same key.
    /// An entry that the storage has no room for counts as not stored, and whatever was under the key before is gone.
    fn insert(&self, key: &[u8], entry: LocalEntry, fence: &Fence) -> bool;

    /// Removes the key; says whether it was there.
    fn remove(&self, key: &[u8]) -> bool;

    /// Removes everything.
    fn clear(&self);

    /// The number of entries; expired ones may be counted until they are collected.
    fn len(&self) -> usize;

    /// Says whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
