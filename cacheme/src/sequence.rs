//! The order in which loads begin in this process, and the marks that make them old.
//!
//! A count instead of a clock: two events are told apart however fast they follow each other.

use std::sync::atomic::{AtomicU64, Ordering};

static NOW: AtomicU64 = AtomicU64::new(1);

/// The moment of what begins now: later than every [mark](mark()) that was made before.
#[inline]
pub(crate) fn now() -> u64 {
    // A load that does not see the last mark yet counts as begun before it.
    NOW.load(Ordering::Relaxed)
}

/// Ends the moment: what has begun until now is no later than the number returned.
pub(crate) fn mark() -> u64 {
    NOW.fetch_add(1, Ordering::SeqCst)
}
