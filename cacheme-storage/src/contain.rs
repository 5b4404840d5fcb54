//! Code of the user's that runs on behalf of somebody else: a value's `Drop`, a cache's listener.

use std::any::Any;
use std::mem::needs_drop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Panics are logged once in this time at most.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Runs code that whoever calls knows nothing of. Its panic is logged, and ends there.
#[inline]
pub(crate) fn contain(run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        log(&*panic);
        // Its own `Drop` may panic as well.
        std::mem::forget(panic);
    }
}

/// Drops a value of which whoever calls knows nothing. A panic of its `Drop` is logged, and ends there.
#[inline]
pub(crate) fn drop_contained<T>(value: T) {
    if needs_drop::<T>() {
        contain(|| drop(value));
    }
}

#[cold]
fn log(panic: &(dyn Any + Send)) {
    /// The time of the last line, and the number of panics since.
    static LAST: Mutex<(Option<Instant>, u64)> = Mutex::new((None, 0));
    let times = {
        let (last, times) = &mut *LAST.lock();
        *times += 1;
        if last.is_some_and(|last| last.elapsed() < BETWEEN_LINES) {
            return;
        }
        *last = Some(Instant::now());
        std::mem::take(times)
    };
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        panic = message.unwrap_or("a panic without a message"),
        times,
        "the `Drop` of a cached value, or a listener, panicked",
    );
}
