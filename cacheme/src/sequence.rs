//! The order of loads in this process, and of the marks that make their values old.
//!
//! It is a count and not a clock, so it distinguishes two events however fast they follow each other.

use std::sync::atomic::{AtomicU64, Ordering};

static NOW: AtomicU64 = AtomicU64::new(1);

/// The moment of a load that begins now. It is later than every [mark](mark()) that was made before.
#[inline]
pub(crate) fn now() -> u64 {
    // A load that does not see the last mark yet counts as begun before it.
    NOW.load(Ordering::Relaxed)
}

/// Ends the moment. All loads that have begun by now have this number or a lower one.
pub(crate) fn mark() -> u64 {
    NOW.fetch_add(1, Ordering::SeqCst)
}
