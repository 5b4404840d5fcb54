//! Work that a storage does once before its first operation, and again and again in the background.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use crate::error::{Chain, Result};

/// Work that a storage does in the background: collects expired rows, and looks at its server's clock again.
pub(crate) trait Upkeep: Send + Sync + 'static {
    /// One bounded round; says whether there is more to collect at once.
    fn round(&self) -> impl Future<Output = Result<bool>> + Send;

    /// For messages.
    fn location(&self) -> &str;
}

/// The number of rounds that follow each other while there is more to collect; bounds what upkeep takes from the readers.
const ROUNDS: usize = 20;

/// The task that does the upkeep. Stops when the storage is closed or dropped.
///
/// It lives in the runtime of whoever used the storage first; when that runtime is gone, the next use starts it again.
#[derive(Debug)]
pub(crate) struct UpkeepTask {
    every: Duration,
    running: Arc<AtomicBool>,
    stop: Arc<Stop>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    wake: Notify,
}

impl UpkeepTask {
    pub(crate) fn new(every: Duration) -> Self {
        Self {
            // Without a pause there would be nothing but upkeep.
            every: every.max(Duration::from_millis(1)),
            running: Arc::default(),
            stop: Arc::default(),
        }
    }

    /// Starts the task in the current runtime unless it runs already.
    pub(crate) fn ensure<U: Upkeep>(&self, upkeep: &Arc<U>) {
        if self.running.load(Ordering::Relaxed) || self.stop.asked.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        // Made here and not in the task: a runtime that ends before the first poll drops it as well.
        let running = Running(Arc::clone(&self.running));
        let (every, stop, upkeep) = (self.every, Arc::clone(&self.stop), Arc::downgrade(upkeep));
        runtime.spawn(async move {
            keep_up(upkeep, every, &stop).await;
            drop(running);
        });
    }

    /// Ends the task for good, once the round that it is at is over.
    pub(crate) fn stop(&self) {
        self.stop.asked.store(true, Ordering::Release);
        self.stop.wake.notify_one();
    }
}

impl Drop for UpkeepTask {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes note that the task is over, also when its runtime dropped it.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn keep_up<U: Upkeep>(upkeep: Weak<U>, every: Duration, stop: &Stop) {
    while timeout(every, stop.wake.notified()).await.is_err() {
        for _ in 0..ROUNDS {
            let Some(storage) = upkeep.upgrade() else {
                return;
            };
            let round = storage.round().await;
            if stop.asked.load(Ordering::Acquire) {
                return;
            }
            match round {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(storage = storage.location(), error = %Chain(&error), "collecting expired entries failed");
                    break;
                }
            }
        }
    }
}

/// Remembers that the table was made sure of. One caller does it, others wait for it.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    done: AtomicBool,
    /// Held by the caller who is at it.
    turn: Mutex<()>,
}

impl Ready {
    /// Runs `prepare` unless that was done. After an error, the next caller tries again.
    pub(crate) async fn ensure<F>(&self, prepare: impl FnOnce() -> F + Send) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send,
    {
        match self.done.load(Ordering::Acquire) {
            true => Ok(()),
            // Boxed: what is done once takes kilobytes of space, which every call would carry around.
            false => Box::pin(self.prepare(prepare)).await,
        }
    }

    async fn prepare<F>(&self, prepare: impl FnOnce() -> F + Send) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send,
    {
        let _turn = self.turn.lock().await;
        if !self.done.load(Ordering::Acquire) {
            prepare().await?;
            self.done.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Prepares the table anew at the next call, because it was dropped.
    pub(crate) fn reset(&self) {
        self.done.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Rounds(AtomicUsize);

    impl Upkeep for Rounds {
        async fn round(&self) -> Result<bool> {
            Ok(self.0.fetch_add(1, Ordering::SeqCst) < 2)
        }

        fn location(&self) -> &str {
            "here"
        }
    }

    const EVERY: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn rounds_follow_while_there_is_more_and_end_with_the_storage() {
        let (task, rounds) = (UpkeepTask::new(EVERY), Arc::new(Rounds::default()));
        task.ensure(&rounds);
        task.ensure(&rounds);
        tokio::time::sleep(EVERY + Duration::from_secs(1)).await;
        assert_eq!(rounds.0.load(Ordering::SeqCst), 3);
        tokio::time::sleep(EVERY).await;
        assert_eq!(rounds.0.load(Ordering::SeqCst), 4);
        task.stop();
        tokio::time::sleep(EVERY * 3).await;
        assert_eq!(rounds.0.load(Ordering::SeqCst), 4);
        assert!(!task.running.load(Ordering::SeqCst));
    }

    #[test]
    fn a_runtime_that_ended_is_replaced_by_the_next() {
        let (task, rounds) = (UpkeepTask::new(EVERY), Arc::new(Rounds::default()));
        task.ensure(&rounds);
        assert!(!task.running.load(Ordering::SeqCst), "nowhere to run yet");
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.block_on(async { task.ensure(&rounds) });
            assert!(task.running.load(Ordering::SeqCst));
            drop(runtime);
            assert!(!task.running.load(Ordering::SeqCst));
        }
    }
}
