//! Gives the memory of expired entries back where a tokio runtime is there: one task a cache, which runs while something
//! may expire and ends with the cache.
//!
//! The task belongs to the runtime that it was spawned on, which may end, or be left lying (a `current_thread` runtime that
//! nobody blocks on). So the task says until when it will have shown that it lives, and a store, or a read that meets an expired
//! entry, starts another one where that time has passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::cache::Inner;
use super::clock::{Clock, NEVER};
use super::policy::Policy;

/// Time between two sweeps, at the most: an entry is gone within a second of its end, the sweep itself included.
const LONGEST_NAP: Duration = Duration::from_millis(500);
/// And at the least: a stream of deadlines is swept in batches.
const SHORTEST_NAP: Duration = Duration::from_millis(100);
/// The most that a task may be late before it is taken for left lying. One that was only late loses nothing but its turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// The task, if there is one.
pub(super) struct Sweeper<K, V, P> {
    duty: Arc<Duty>,
    /// `None` where nothing is swept but by writes.
    spawn: Option<Spawn<K, V, P>>,
}

type Spawn<K, V, P> = fn(&Handle, Weak<Inner<K, V, P>>, Turn) -> AbortHandle;

/// Whose turn it is to sweep.
#[derive(Default)]
struct Duty {
    /// The time at which the task will have shown that it lives, by the cache's clock; 0 if there is none. Changed under the lock.
    alive_until: AtomicU64,
    task: Mutex<Task>,
}

#[derive(Default)]
struct Task {
    /// Counts the tasks that were started; only the last one has the turn.
    number: u64,
    handle: Option<AbortHandle>,
}

impl<K, V, P: Policy> Sweeper<K, V, P> {
    pub(super) fn new() -> Self
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        Self {
            duty: Arc::default(),
            spawn: Some(|runtime, cache, turn| runtime.spawn(sweep(cache, turn)).abort_handle()),
        }
    }

    /// Leaves it to writes.
    pub(super) fn none() -> Self {
        Self {
            duty: Arc::default(),
            spawn: None,
        }
    }

    /// Something may expire, or has; it is `now` by the cache's clock.
    #[inline]
    pub(super) fn wake(&self, cache: &Arc<Inner<K, V, P>>, now: u64) {
        if now >= self.duty.alive_until.load(Ordering::SeqCst) {
            self.start(cache, now);
        }
    }

    #[cold]
    fn start(&self, cache: &Arc<Inner<K, V, P>>, now: u64) {
        let (Some(spawn), Ok(runtime)) = (self.spawn, Handle::try_current()) else {
            return;
        };
        let number = {
            let mut task = self.duty.task.lock();
            if now < self.duty.alive_until.load(Ordering::SeqCst) {
                return;
            }
            task.number += 1;
            let until = Clock::deadline_at(now, Some(PATIENCE));
            self.duty.alive_until.store(until, Ordering::SeqCst);
            task.number
        };
        let duty = Arc::clone(&self.duty);
        // Not under the lock, which a turn takes when it is dropped: at once, if the runtime is ending.
        let handle = spawn(&runtime, Arc::downgrade(cache), Turn { duty, number });
        let left_over = {
            let mut task = self.duty.task.lock();
            if task.number == number {
                task.handle.replace(handle)
            } else {
                Some(handle)
            }
        };
        if let Some(task) = left_over {
            task.abort();
        }
    }
}

impl<K, V, P> Drop for Sweeper<K, V, P> {
    fn drop(&mut self) {
        let task = self.duty.task.lock().handle.take();
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// The turn of one task. It is over when dropped: at the task's end, or with its runtime.
pub(super) struct Turn {
    duty: Arc<Duty>,
    number: u64,
}

impl Turn {
    /// Says that the task will show itself within `pause` of `now`. `false` if another task has the turn.
    fn goes_on(&self, now: u64, pause: Duration) -> bool {
        let until = Clock::deadline_at(now, Some(pause + PATIENCE));
        self.say(until)
    }

    /// Lets the next caller that stores an entry start another task.
    fn rest(&self) {
        self.say(0);
    }

    fn say(&self, until: u64) -> bool {
        let task = self.duty.task.lock();
        let is_ours = task.number == self.number;
        if is_ours {
            self.duty.alive_until.store(until, Ordering::SeqCst);
        }
        is_ours
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.rest();
    }
}

async fn sweep<K, V, P: Policy>(cache: Weak<Inner<K, V, P>>, turn: Turn) {
    let mut nap = SHORTEST_NAP;
    loop {
        tokio::time::sleep(nap).await;
        let Some(mut earliest) = collect(&cache, &turn).await else {
            return;
        };
        let Some(cache) = cache.upgrade() else { return };
        if earliest == NEVER {
            turn.rest();
            // What came before that line is seen here, and what comes after it starts another task.
            earliest = cache.earliest();
            if earliest == NEVER {
                return;
            }
        }
        let left = cache.clock.left(earliest).unwrap_or(LONGEST_NAP);
        nap = left.clamp(SHORTEST_NAP, LONGEST_NAP);
        if !turn.goes_on(cache.clock.now(), nap) {
            return;
        }
    }
}

/// Collects what has expired, a little at a time, and lets other tasks run in between. Gives a time before which nothing else
/// expires; `None` if the cache is gone, or the turn is another's.
async fn collect<K, V, P: Policy>(cache: &Weak<Inner<K, V, P>>, turn: &Turn) -> Option<u64> {
    let mut earliest = NEVER;
    let mut shard = 0;
    loop {
        {
            let cache = cache.upgrade()?;
            while let Some(due) = cache.sweep_some(shard) {
                earliest = earliest.min(due);
                shard += 1;
                if shard == cache.shards.len() {
                    return Some(earliest);
                }
            }
            if !turn.goes_on(cache.clock.now(), Duration::ZERO) {
                return None;
            }
        }
        tokio::task::yield_now().await;
    }
}
