//! Gives the memory of expired entries back where a tokio runtime is there: one task a cache, which runs while something
//! may expire and ends with the cache.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::clock::NEVER;
use super::tlfu::Inner;

/// Time between two sweeps, at the most: an entry is gone within a second of its end, the sweep itself included.
const LONGEST_NAP: Duration = Duration::from_millis(500);
/// And at the least: a stream of deadlines is swept in batches.
const SHORTEST_NAP: Duration = Duration::from_millis(100);

/// The task, if it runs.
pub(super) struct Sweeper<K, V> {
    runs: Arc<AtomicBool>,
    task: Mutex<Option<AbortHandle>>,
    spawn: fn(&Handle, Weak<Inner<K, V>>, Running) -> AbortHandle,
}

impl<K, V> Sweeper<K, V> {
    pub(super) fn new() -> Self
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        Self {
            runs: Arc::new(AtomicBool::new(false)),
            task: Mutex::new(None),
            spawn: |runtime, cache, running| runtime.spawn(sweep(cache, running)).abort_handle(),
        }
    }

    /// Something may expire from now on.
    pub(super) fn wake(&self, cache: &Arc<Inner<K, V>>) {
        if !self.runs.load(Ordering::SeqCst) {
            self.start(cache);
        }
    }

    #[cold]
    fn start(&self, cache: &Arc<Inner<K, V>>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.runs.swap(true, Ordering::SeqCst) {
            let running = Running {
                runs: Arc::clone(&self.runs),
                said: true,
            };
            let task = (self.spawn)(&runtime, Arc::downgrade(cache), running);
            *self.task.lock() = Some(task);
        }
    }
}

impl<K, V> Drop for Sweeper<K, V> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

/// Says that a task runs, until it is dropped: at its end, or with its runtime.
pub(super) struct Running {
    runs: Arc<AtomicBool>,
    /// Whether it is this task of which it is said.
    said: bool,
}

impl Running {
    fn take_back(&mut self) {
        self.said = false;
        self.runs.store(false, Ordering::SeqCst);
    }

    /// Says it again, unless another task has begun meanwhile.
    fn say_again(&mut self) -> bool {
        self.said = !self.runs.swap(true, Ordering::SeqCst);
        self.said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.said {
            self.take_back();
        }
    }
}

async fn sweep<K, V>(cache: Weak<Inner<K, V>>, mut running: Running) {
    let mut nap = SHORTEST_NAP;
    loop {
        tokio::time::sleep(nap).await;
        let Some(cache) = cache.upgrade() else { return };
        let mut earliest = cache.sweep();
        if earliest == NEVER {
            // Whoever stores an entry from here on starts another task; what came before this line is seen below.
            running.take_back();
            earliest = cache.sweep();
            if earliest == NEVER || !running.say_again() {
                return;
            }
        }
        let left = cache.clock.left(earliest).unwrap_or(LONGEST_NAP);
        nap = left.clamp(SHORTEST_NAP, LONGEST_NAP);
    }
}
