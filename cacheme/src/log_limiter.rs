//! Limits how often trouble is logged: at its begin, once a minute while it lasts, and at its end.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Trouble is logged once in this time at most.
const BETWEEN_LINES: Duration = Duration::from_secs(60);
/// Trouble is over when nothing has gone wrong for this long.
pub(crate) const QUIET: Duration = Duration::from_secs(5);

/// Limits the log lines about one source of trouble, such as a storage or a loader.
///
/// The caller reports each failure and each success, and gets the line to log, if any. In long trouble neither takes a lock.
#[derive(Debug)]
pub(crate) struct LogLimiter {
    start: Instant,
    /// Whether there is trouble whose end was not noticed yet.
    troubled: AtomicBool,
    /// Failures since the last line.
    since_line: AtomicU64,
    /// When the last failure was, in milliseconds after `start`.
    last: AtomicU64,
    /// Until when failures are only counted, in milliseconds after `start`.
    silent_until: AtomicU64,
    phase: Mutex<Phase>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// There is no trouble, or none that was logged.
    Quiet,
    /// The begin of trouble was logged.
    Logged {
        /// When the trouble began.
        begun: Instant,
        /// The number of failures, up to the last line.
        times: u64,
    },
}

/// A line to be logged about trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It begins. More than one failure means that the first came too soon after the last line to be logged.
    Begins {
        /// The number of failures since the last line.
        times: u64,
    },
    /// It lasts.
    Lasts {
        /// The number of failures since the last line.
        times: u64,
        /// How long ago it began.
        lasted: Duration,
    },
}

/// Trouble that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    /// The number of failures.
    pub(crate) times: u64,
    /// The time from the first failure to the last.
    pub(crate) lasted: Duration,
}

impl fmt::Display for Trouble {
    /// For the field `trouble` of a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begins { times: 1 } => f.write_str("begins"),
            Self::Begins { times } => write!(f, "begins again, {times} times since the last line"),
            Self::Lasts { times, lasted } => {
                write!(f, "lasts for {lasted:.0?}, {times} times since the last line")
            }
        }
    }
}

impl fmt::Display for Over {
    /// For the field `trouble` of a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "over, {} times in {:.0?}", self.times, self.lasted)
    }
}

impl Default for LogLimiter {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            troubled: AtomicBool::new(false),
            since_line: AtomicU64::new(0),
            last: AtomicU64::new(0),
            silent_until: AtomicU64::new(0),
            phase: Mutex::new(Phase::Quiet),
        }
    }
}

impl LogLimiter {
    /// Notes a failure. Returns the line to log, if any.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let now = self.now();
        self.last.store(now, Ordering::Relaxed);
        self.troubled.store(true, Ordering::Relaxed);
        self.since_line.fetch_add(1, Ordering::Relaxed);
        if now < self.silent_until.load(Ordering::Relaxed) {
            return None;
        }
        let mut phase = self.phase.lock();
        if now < self.silent_until.load(Ordering::Relaxed) {
            return None;
        }
        let next_line = now.saturating_add(millis(BETWEEN_LINES));
        self.silent_until.store(next_line, Ordering::Relaxed);
        let news = self.since_line.swap(0, Ordering::Relaxed);
        match &mut *phase {
            Phase::Quiet => {
                *phase = Phase::Logged {
                    begun: Instant::now(),
                    times: news,
                };
                Some(Trouble::Begins { times: news })
            }
            Phase::Logged { begun, times } => {
                *times += news;
                Some(Trouble::Lasts {
                    times: news,
                    lasted: begun.elapsed(),
                })
            }
        }
    }

    /// Notes a success. Returns the line to log if trouble that was logged is over.
    pub(crate) fn works(&self) -> Option<Over> {
        // Read first: a shared line is written only when things change.
        if !self.troubled.load(Ordering::Relaxed) {
            return None;
        }
        let last = self.last.load(Ordering::Relaxed);
        if self.now() < last.saturating_add(millis(QUIET)) {
            return None;
        }
        let mut phase = self.phase.lock();
        if !self.troubled.swap(false, Ordering::Relaxed) {
            return None;
        }
        let Phase::Logged { begun, times } = std::mem::replace(&mut *phase, Phase::Quiet) else {
            return None;
        };
        let lasted = (self.start + Duration::from_millis(last)).saturating_duration_since(begun);
        Some(Over {
            times: times + self.since_line.swap(0, Ordering::Relaxed),
            lasted,
        })
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn t3_trouble_is_logged_when_it_begins_while_it_lasts_and_when_it_was_quiet_for_some_seconds() {
        let limiter = LogLimiter::default();
        assert_eq!(limiter.works(), None);
        assert_eq!(limiter.trouble(), Some(Trouble::Begins { times: 1 }));
        // It works now and then: that is not its end.
        for _ in 0..590 {
            tokio::time::advance(SECOND / 10).await;
            assert_eq!((limiter.works(), limiter.trouble()), (None, None));
        }
        tokio::time::advance(SECOND).await;
        let lasts = Trouble::Lasts {
            times: 591,
            lasted: 60 * SECOND,
        };
        assert_eq!(limiter.trouble(), Some(lasts));
        tokio::time::advance(QUIET - SECOND / 10).await;
        assert_eq!(limiter.works(), None, "that may still be luck");
        tokio::time::advance(SECOND / 10).await;
        let over = Over {
            times: 592,
            lasted: 60 * SECOND,
        };
        assert_eq!(limiter.works(), Some(over));
        assert_eq!(limiter.works(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn t3_trouble_that_comes_and_goes_is_a_line_a_minute() {
        let limiter = LogLimiter::default();
        let (mut begins, mut overs) = (Vec::new(), 0);
        for _ in 0..60 {
            if let Some(trouble) = limiter.trouble() {
                begins.push(trouble);
            }
            tokio::time::advance(10 * SECOND).await;
            overs += usize::from(limiter.works().is_some());
        }
        let first = Trouble::Begins { times: 1 };
        let later = Trouble::Begins { times: 6 };
        assert_eq!(begins[..2], [first, later]);
        assert_eq!((begins.len(), overs), (10, 10), "in ten minutes");
    }

    #[test]
    fn t3_no_trouble_is_lost_or_counted_twice_by_many_threads() {
        let limiter = LogLimiter::default();
        let logged: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| limiter.trouble().is_some()).count()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no thread panics"))
                .sum()
        });
        assert_eq!(logged, 1);
        let Phase::Logged { times, .. } = *limiter.phase.lock() else {
            panic!("it was logged")
        };
        assert_eq!(times + limiter.since_line.load(Ordering::Relaxed), 4_000);
    }
}
