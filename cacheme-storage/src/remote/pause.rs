use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// A pause after something that is not to be done again at once. It takes no lock.
#[derive(Debug)]
pub(crate) struct Pause {
    born: Instant,
    /// The end of the pause, in nanoseconds since `born`.
    until: AtomicU64,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            born: Instant::now(),
            until: AtomicU64::new(0),
        }
    }
}

impl Pause {
    /// A pause of this length, which begins now.
    pub(crate) fn begun(length: Duration) -> Self {
        let pause = Self::default();
        pause.begin(length);
        pause
    }

    /// Begins a pause, also during another one.
    pub(crate) fn begin(&self, length: Duration) {
        self.until.store(self.now() + nanos(length), Relaxed);
    }

    /// Begins a pause unless one is on. Of several callers, one gets `true`.
    pub(crate) fn begin_if_over(&self, length: Duration) -> bool {
        let (until, now) = (self.until.load(Relaxed), self.now());
        let next = now + nanos(length);
        now >= until && self.until.compare_exchange(until, next, Relaxed, Relaxed).is_ok()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.now() < self.until.load(Relaxed)
    }

    fn now(&self) -> u64 {
        nanos(self.born.elapsed())
    }
}

/// The length in nanoseconds: 64 bits count 584 years.
fn nanos(length: Duration) -> u64 {
    length.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_lets_one_caller_through_when_it_is_over() {
        let (pause, second) = (Pause::default(), Duration::from_secs(1));
        assert!(!pause.is_on() && pause.begin_if_over(second));
        assert!(pause.is_on() && !pause.begin_if_over(second));
        tokio::time::advance(second).await;
        assert!(!pause.is_on() && pause.begin_if_over(second));
        pause.begin(second * 2);
        tokio::time::advance(second).await;
        assert!(pause.is_on());
    }
}
