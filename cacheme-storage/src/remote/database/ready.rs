use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use crate::error::Result;

/// Whether the table was made sure of; one caller does it, others wait for it.
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

    /// What was made sure of is gone: somebody dropped the table.
    pub(crate) fn reset(&self) {
        self.done.store(false, Ordering::Release);
    }
}
