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
    Real {
        start: Instant,
        /// The coarse clock's time at `start`, in nanoseconds.
        coarse: u64,
    },
    Manual(Arc<AtomicU64>),
}

/// The most that the coarse clock is taken to lag behind. It is moved by the kernel's tick, every 1 to 10 ms; the rest is
/// for a machine that was held up.
const LAG: u64 = 1_000_000_000;

impl Clock {
    /// The machine's monotonic clock.
    #[must_use]
    pub fn real() -> Self {
        // The coarse one first: its time never seems later than it is.
        let coarse = coarse();
        Self(Kind::Real {
            start: Instant::now(),
            coarse: coarse.unwrap_or(0),
        })
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
            Kind::Real { .. } => {
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
            Kind::Real { start, .. } => nanos(start.elapsed()),
            Kind::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Says whether `deadline` has not come yet.
    ///
    /// Asked by every hit on an entry with a ttl. Where the system has a coarse clock, which costs a fraction of the exact
    /// one, that decides unless the deadline is near.
    #[inline]
    pub(crate) fn is_before(&self, deadline: u64) -> bool {
        if deadline == NEVER {
            return true;
        }
        if let Kind::Real { coarse: start, .. } = &self.0
            && let Some(coarse) = coarse()
            && coarse.saturating_sub(*start).saturating_add(LAG) < deadline
        {
            return true;
        }
        self.now() < deadline
    }

    /// The time `ttl` from `now`; [`NEVER`] when that is past what the clock can count (584 years).
    pub(crate) fn deadline_at(now: u64, ttl: Option<Duration>) -> u64 {
        ttl.map_or(NEVER, |ttl| now.saturating_add(nanos(ttl)))
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

/// The time by the system's coarse monotonic clock in nanoseconds, if it has one: that of [`Instant`], a tick late at most.
#[cfg(target_os = "linux")]
#[inline]
fn coarse() -> Option<u64> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // The time since the machine was started: never negative, and short of 584 years.
    Some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

#[cfg(not(target_os = "linux"))]
#[inline]
fn coarse() -> Option<u64> {
    None
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r5_near_and_far_deadlines_are_judged_alike_by_both_clocks() {
        for clock in [Clock::real(), Clock::manual()] {
            assert!(!clock.is_before(0));
            assert!(clock.is_before(Clock::deadline_at(clock.now(), Some(Duration::from_millis(900)))));
            assert!(clock.is_before(Clock::deadline_at(clock.now(), Some(Duration::from_secs(3600)))));
            assert!(clock.is_before(Clock::deadline_at(clock.now(), Some(Duration::MAX))));
            assert!(clock.is_before(NEVER));
            let near = Clock::deadline_at(clock.now(), Some(Duration::from_nanos(1)));
            if let Kind::Manual(_) = clock.0 {
                clock.advance(Duration::from_nanos(1));
            }
            while clock.now() < near {}
            assert!(!clock.is_before(near));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_coarse_clock_lags_less_than_is_allowed_for() {
        let Kind::Real { start, coarse: began } = Clock::real().0 else {
            unreachable!("made real")
        };
        let later = coarse().expect("Linux has one") - began;
        let lag = i128::from(nanos(start.elapsed())) - i128::from(later);
        assert!(lag < i128::from(LAG), "{lag} ns");
    }
}
