//! Counters that many threads add to.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Adds to a counter, with no order relative to other memory.
pub(crate) fn count(counter: &AtomicU64, by: usize) {
    // A shared line is written only when there is something to add.
    if by > 0 {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }
}

const STRIPES: usize = 16;

/// A counter in stripes, so that threads seldom share a cache line. Hits are counted on the fastest path there is.
#[derive(Default)]
pub(crate) struct StripedCounter {
    stripes: [Stripe; STRIPES],
}

/// Two cache lines, since neighbours are fetched in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl StripedCounter {
    #[inline]
    pub(crate) fn add_one(&self) {
        self.add(1);
    }

    #[inline]
    pub(crate) fn add(&self, by: usize) {
        self.stripes[stripe_of_this_thread()]
            .0
            .fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        self.stripes
            .iter()
            .map(|stripe| stripe.0.load(Ordering::Relaxed))
            .sum()
    }
}

#[inline]
fn stripe_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    // A thread that is being torn down has no locals left; its last hits share a stripe.
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}
