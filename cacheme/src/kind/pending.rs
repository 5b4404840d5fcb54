//! Removals from a tier that failed and are tried again.
//!
//! Until an old value is removed or replaced, it counts as absent in this process: a load asks for the lease whatever is
//! there, and its fill replaces the old value. So C1 holds with a storage in trouble too. Other processes may still read
//! the old value, which is why the change returned an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::flight::FullKey;

/// The keys of one tier that may have an old value.
#[derive(Default)]
pub(crate) struct PendingRemovals {
    /// How many keys there are: looked at on every read of the tier, and nearly always zero.
    len: AtomicUsize,
    state: Mutex<State>,
    /// Notified when no task is to try again any more.
    ended: Notify,
}

#[derive(Default)]
struct State {
    keys: HashMap<FullKey, Pending>,
    /// How many removals became pending so far.
    added: u64,
    task: RetryTask,
}

/// The state of the task that tries removals again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RetryTask {
    #[default]
    None,
    Running,
    /// There will be none any more: the storage is about to be closed.
    Ended,
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
        drop(state);
        self.begin()
    }

    /// All keys with their numbers, without those whose old values have expired. With none left, the task that asks has ended.
    ///
    /// The keys go by shard and in pieces, so those of a dead shard do not hold up the others.
    pub(crate) fn all(&self) -> Vec<(FullKey, u64)> {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.keys.retain(|_, pending| pending.until > now);
        self.len.store(state.keys.len(), Ordering::SeqCst);
        if state.keys.is_empty() && state.task == RetryTask::Running {
            state.task = RetryTask::None;
        }
        let all = state.keys.iter();
        all.map(|(key, pending)| (Arc::clone(key), pending.number))
            .collect()
    }

    /// Takes all removals over to another tier, and ends the task of this one.
    pub(crate) fn take_over(&self) -> Self {
        self.end_task();
        let mut state = self.state.lock();
        let keys = std::mem::take(&mut state.keys);
        self.len.store(0, Ordering::SeqCst);
        Self {
            len: AtomicUsize::new(keys.len()),
            state: Mutex::new(State {
                keys,
                added: state.added,
                task: RetryTask::None,
            }),
            ended: Notify::new(),
        }
    }

    /// Whether the caller is to begin a task that tries again what is pending.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let begins = !state.keys.is_empty() && state.task == RetryTask::None;
        if begins {
            state.task = RetryTask::Running;
        }
        begins
    }

    /// Notes that the task has ended: the next removal that fails begins another.
    pub(crate) fn task_ended(&self) {
        let task = &mut self.state.lock().task;
        if *task == RetryTask::Running {
            *task = RetryTask::None;
        }
    }

    /// Ends the task for good. What is pending stays so.
    pub(crate) fn end_task(&self) {
        self.state.lock().task = RetryTask::Ended;
        self.ended.notify_waiters();
    }

    /// Resolves when the task is to end.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.state.lock().task == RetryTask::Ended {
                return;
            }
            ended.await;
        }
    }
}
