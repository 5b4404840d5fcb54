//! Removals from a tier that failed and are tried again.
//!
//! Until an old value is removed or replaced, it counts as absent in this process: a load asks for the lease whatever is
//! there, and its fill replaces the old value. So C1 holds with a storage in trouble too. Other processes may still read
//! the old value, which is why the change returned an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::flight::FullKey;

/// The keys of one tier that may have an old value.
#[derive(Default)]
pub(crate) struct PendingRemovals {
    /// How many keys there are: looked at on every read of the tier, and nearly always zero.
    len: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: HashMap<FullKey, Pending>,
    /// How many removals became pending so far.
    added: u64,
    /// Whether a task tries them again.
    is_retried: bool,
}

#[derive(Clone, Copy)]
struct Pending {
    number: u64,
    /// The old value has expired by then.
    until: Instant,
}

impl PendingRemovals {
    /// Whether the value under `key` is old.
    #[inline]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.len.load(Ordering::SeqCst) > 0 && self.state.lock().keys.contains_key(key)
    }

    /// The number of the removal of `key`, to be [forgotten](Self::forget) after a write that begins now.
    pub(crate) fn number(&self, key: &[u8]) -> Option<u64> {
        if self.len.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.state.lock().keys.get(key).map(|pending| pending.number)
    }

    /// Forgets the removal of `key` with this number: the old value is gone. A removal that failed since then has another number.
    pub(crate) fn forget(&self, key: &[u8], number: Option<u64>) {
        let Some(number) = number else { return };
        let mut state = self.state.lock();
        if state
            .keys
            .get(key)
            .is_some_and(|pending| pending.number == number)
        {
            state.keys.remove(key);
        }
        self.len.store(state.keys.len(), Ordering::SeqCst);
    }

    /// Adds removals. Returns whether the caller is to begin a task that tries them again.
    pub(crate) fn add(&self, keys: &[FullKey], until: Instant) -> bool {
        let mut state = self.state.lock();
        for key in keys {
            state.added += 1;
            let number = state.added;
            state.keys.insert(Arc::clone(key), Pending { number, until });
        }
        self.len.store(state.keys.len(), Ordering::SeqCst);
        !std::mem::replace(&mut state.is_retried, true)
    }

    /// All keys with their numbers, without those whose old values have expired. With none left, the task that asks has ended.
    ///
    /// The keys go by shard and in pieces, so those of a dead shard do not hold up the others.
    pub(crate) fn all(&self) -> Vec<(FullKey, u64)> {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.keys.retain(|_, pending| pending.until > now);
        self.len.store(state.keys.len(), Ordering::SeqCst);
        state.is_retried = !state.keys.is_empty();
        let all = state.keys.iter();
        all.map(|(key, pending)| (Arc::clone(key), pending.number))
            .collect()
    }

    /// Notes that the task has ended: the next removal that fails begins another.
    pub(crate) fn task_ended(&self) {
        self.state.lock().is_retried = false;
    }
}
