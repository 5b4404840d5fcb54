//! Removals that failed and are still owed to a tier.
//!
//! Until an old value is removed or replaced, this process takes it for absent: a load asks for the lease whatever is
//! there, and its fill replaces the old value. So C1 holds with a storage in trouble too. Other processes may still read
//! the old value; that is why the caller was told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::flight::FullKey;

/// The keys of one tier that may have an old value.
#[derive(Default)]
pub(crate) struct Owed {
    /// How many keys there are: looked at on every read of the tier, and zero as good as always.
    len: AtomicUsize,
    debts: Mutex<Debts>,
}

#[derive(Default)]
struct Debts {
    keys: HashMap<FullKey, Debt>,
    made: u64,
    /// Somebody is at it.
    paying: bool,
}

#[derive(Clone, Copy)]
struct Debt {
    number: u64,
    /// The old value has expired by then.
    until: Instant,
}

impl Owed {
    /// Whether what is under `key` is old.
    #[inline]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.len.load(Ordering::SeqCst) > 0 && self.debts.lock().keys.contains_key(key)
    }

    /// Names the debt for `key`, to be [settled](Self::settle) by a write that begins now.
    pub(crate) fn number(&self, key: &[u8]) -> Option<u64> {
        if self.len.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.debts.lock().keys.get(key).map(|debt| debt.number)
    }

    /// The old value is gone, unless another removal failed since the debt was named.
    pub(crate) fn settle(&self, key: &[u8], number: Option<u64>) {
        let Some(number) = number else { return };
        let mut debts = self.debts.lock();
        if debts.keys.get(key).is_some_and(|debt| debt.number == number) {
            debts.keys.remove(key);
        }
        self.len.store(debts.keys.len(), Ordering::SeqCst);
    }

    pub(crate) fn add(&self, keys: &[FullKey], until: Instant) -> bool {
        let mut debts = self.debts.lock();
        for key in keys {
            debts.made += 1;
            let number = debts.made;
            debts.keys.insert(Arc::clone(key), Debt { number, until });
        }
        self.len.store(debts.keys.len(), Ordering::SeqCst);
        !std::mem::replace(&mut debts.paying, true)
    }

    /// The keys with their debts, without those whose old values have expired. With none left, nobody is at it
    /// any more.
    ///
    /// All of them: they go by shard and in pieces, so those that a dead shard has are in nobody's way.
    pub(crate) fn all(&self) -> Vec<(FullKey, u64)> {
        let mut debts = self.debts.lock();
        let now = Instant::now();
        debts.keys.retain(|_, debt| debt.until > now);
        self.len.store(debts.keys.len(), Ordering::SeqCst);
        debts.paying = !debts.keys.is_empty();
        let all = debts.keys.iter();
        all.map(|(key, debt)| (Arc::clone(key), debt.number)).collect()
    }

    /// Says that nobody is at it any more.
    pub(crate) fn abandon(&self) {
        self.debts.lock().paying = false;
    }
}
