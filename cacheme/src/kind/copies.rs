//! The copies of values that local tiers hold, each with when its flight began.

use std::time::Duration;

use cacheme_storage::{Fence, LocalEntry, LocalStorage, LocalValue};

use super::Kind;
use super::not_stored::NotStored;
use crate::node::Node;

/// A value as local tiers keep it: typed by its node, so that no other kind takes it for its own.
struct Stored<N: Node> {
    value: N::Value,
    /// When the flight or the change that brought it [began](crate::sequence).
    began: u64,
}

impl<N: Node> Clone for Stored<N> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            began: self.began,
        }
    }
}

impl<N: Node> Kind<N> {
    /// A copy of the value, on its way into a local tier. `began` is when its flight or change [began](crate::sequence).
    pub(crate) fn local_entry(&self, value: &N::Value, ttl: Option<Duration>, began: u64) -> LocalEntry {
        // What a kind stores whose place another has taken counts as absent there.
        let began = if self.is_retired() { 0 } else { began };
        let weight = self.values.weight(value);
        let value = value.clone();
        LocalEntry::new(LocalValue::new(Stored::<N> { value, began }), ttl).with_weight(weight)
    }

    /// The value in an entry of a local tier, if it is of this kind and no mark makes it absent.
    #[inline]
    pub(crate) fn held<'v>(&self, key: &[u8], value: &'v LocalValue) -> Option<&'v N::Value> {
        let stored = value.downcast_ref::<Stored<N>>()?;
        let passes = self.marks.pass(stored.began, || self.key_within(key));
        passes.then_some(&stored.value)
    }

    /// Drops everything that local tiers hold of this kind, or will be given by flights that have begun already.
    ///
    /// No storage is searched: from now on these copies count as absent, and the policy of the storage evicts them.
    pub(crate) fn drop_held(&self) {
        self.marks.mark_kind();
    }
}

/// Stores an entry in a local tier; says why not where that is refused.
pub(crate) fn insert(
    local: &dyn LocalStorage,
    key: &[u8],
    entry: LocalEntry,
    fence: &Fence,
) -> Result<(), NotStored> {
    if local.insert(key, entry, fence) {
        Ok(())
    } else if fence.is_raised() {
        Err(NotStored::Fenced)
    } else {
        Err(NotStored::NoRoom)
    }
}
