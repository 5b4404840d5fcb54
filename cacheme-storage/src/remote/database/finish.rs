//! Work that goes on when its caller leaves.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

/// A future that a task of its own takes to its end when its caller drops it, for so long at most. Outside of a runtime it is
/// dropped.
pub(crate) struct Finish<F: Future<Output: Send> + Send + 'static> {
    /// `None` once it has ended.
    work: Option<Pin<Box<F>>>,
    limit: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> Finish<F> {
    /// Nothing is done before it is polled.
    pub(crate) fn new(work: F, limit: Duration) -> Self {
        Self {
            work: Some(Box::pin(work)),
            limit,
        }
    }

    /// Drops what is left of it.
    #[cfg(feature = "_server")]
    pub(crate) fn abandon(&mut self) {
        self.work = None;
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finish<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let work = self.work.as_mut().expect("it is not polled after its end");
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            runtime.spawn(timeout(self.limit, work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn t6_work_that_was_begun_ends_without_its_caller() {
        let ended = Arc::new(AtomicU32::new(0));
        let work = |after| {
            let ended = Arc::clone(&ended);
            let work = async move {
                tokio::time::sleep(after).await;
                ended.fetch_add(1, Ordering::SeqCst)
            };
            Finish::new(work, Duration::from_secs(10))
        };
        let second = Duration::from_secs(1);
        assert_eq!(work(second).await, 0);
        for after in [second, second * 9, second * 11] {
            let mut work = work(after);
            assert!(futures_util::poll!(&mut work).is_pending());
        }
        tokio::time::sleep(second * 20).await;
        assert_eq!(
            ended.load(Ordering::SeqCst),
            3,
            "but for the one that takes too long"
        );
    }
}
