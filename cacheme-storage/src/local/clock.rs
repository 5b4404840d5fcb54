use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The monotonic clock that expiry goes by: the machine's, or one that a test moves.
///
/// Clones of a clock are the same clock.
///
/// ```
/// use std::time::Duration;
/// use cacheme_storage::{Clock, Lru};
///
/// let clock = Clock::manual();
/// let cache = Lru::builder(10).clock(clock.clone()).build();
/// cache.insert_with_ttl("k", 1, Duration::from_secs(60));
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.get("k"), Some(1));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get("k"), None);
/// ```
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Real(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's monotonic clock.
    #[must_use]
    pub fn real() -> Self {
        Self(Kind::Real(Instant::now()))
    }

    /// A clock that stands still until [`advance`](Self::advance) is called.
    #[must_use]
    pub fn manual() -> Self {
        Self(Kind::Manual(Arc::new(AtomicU64::new(0))))
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    ///
    /// If the clock is the machine's.
    pub fn advance(&self, by: Duration) {
        match &self.0 {
            Kind::Real(_) => {
                panic!("the machine's clock cannot be moved; build the cache with Clock::manual()")
            }
            Kind::Manual(now) => {
                let add = |now: u64| Some(now.saturating_add(nanos(by)));
                // The closure never declines, so there is no error to look at.
                let _ = now.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
            }
        }
    }

    /// Nanoseconds since the clock was made.
    pub(crate) fn now(&self) -> u64 {
        match &self.0 {
            Kind::Real(start) => nanos(start.elapsed()),
            Kind::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// The time `ttl` from now; [`NEVER`] when that is past what the clock can count (584 years).
    pub(crate) fn deadline(&self, ttl: Option<Duration>) -> u64 {
        ttl.map_or(NEVER, |ttl| self.now().saturating_add(nanos(ttl)))
    }

    /// The time left until `deadline`; `None` for [`NEVER`].
    pub(crate) fn left(&self, deadline: u64) -> Option<Duration> {
        (deadline != NEVER).then(|| Duration::from_nanos(deadline.saturating_sub(self.now())))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::real()
    }
}

/// The deadline of an entry that does not expire.
pub(crate) const NEVER: u64 = u64::MAX;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
