//! Background tasks, which go on when their caller is gone.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Runs `work` on a task of its own, within the span of its caller (L4). Returns it where there is no runtime.
pub(crate) fn spawn<F>(work: F) -> Result<JoinHandle<F::Output>, F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match Handle::try_current() {
        Ok(runtime) => Ok(runtime.spawn(work.in_current_span())),
        Err(_) => Err(work),
    }
}
