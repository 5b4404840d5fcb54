//! Pauses between attempts that fail.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first failure; each further failure doubles it.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause: so long a server that is well again is not noticed.
const LONGEST: Duration = Duration::from_secs(1);

/// The state of attempts to make connections.
///
/// After a failure nobody tries for a while, and then one caller at a time: a server that is down is not asked by every call,
/// and one that is coming up is not overrun.
#[derive(Debug)]
pub(crate) enum Backoff<E> {
    /// As far as we know.
    Well,
    /// The last attempts failed.
    Failing {
        error: E,
        /// The number of failures in a row.
        failures: u32,
        until: Instant,
        /// Somebody is trying.
        probing: bool,
    },
}

impl<E: Clone> Backoff<E> {
    /// The right to try, or why the last attempt failed.
    pub(crate) fn attempt(&mut self) -> Result<(), E> {
        match self {
            Self::Well => Ok(()),
            Self::Failing {
                until,
                probing: probing @ false,
                ..
            } if *until <= Instant::now() => {
                *probing = true;
                Ok(())
            }
            Self::Failing { error, .. } => Err(error.clone()),
        }
    }

    /// Says whether the last attempt succeeded.
    pub(crate) fn is_well(&self) -> bool {
        matches!(self, Self::Well)
    }

    /// An attempt succeeded.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::Well;
    }

    /// An attempt failed. `chance` is any number: processes that failed together do not try again together.
    pub(crate) fn failed(&mut self, error: E, chance: u64) {
        let failures = match self {
            Self::Well => 1,
            // Of attempts that were under way together only the first counts.
            Self::Failing { failures, until, .. } if *until > Instant::now() => *failures,
            Self::Failing { failures, .. } => failures.saturating_add(1),
        };
        let pause = FIRST.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST);
        // Half of it, and a part of the other half.
        let part = u32::try_from(chance % 1024).unwrap_or(0);
        *self = Self::Failing {
            error,
            failures,
            until: Instant::now() + pause / 2 + pause / 2048 * part,
            probing: false,
        };
    }

    /// An attempt was given up before it came to anything.
    pub(crate) fn given_up(&mut self) {
        if let Self::Failing { probing, .. } = self {
            *probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn t6_failing_attempts_pause_longer_and_longer_and_go_one_at_a_time() {
        let mut backoff = Backoff::Well;
        let mut attempts = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if backoff.attempt().is_ok() {
                assert!(attempts == 0 || backoff.attempt() == Err("down"), "one at a time");
                attempts += 1;
                backoff.failed("down", 512);
            }
            assert_eq!(backoff.attempt(), Err("down"), "a pause after each failure");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!((20..40).contains(&attempts), "{attempts} attempts in 20 s");
        tokio::time::sleep(LONGEST).await;
        assert_eq!(backoff.attempt(), Ok(()));
        backoff.given_up();
        assert_eq!(backoff.attempt(), Ok(()), "somebody else may try");
        backoff.succeeded();
        assert_eq!((backoff.attempt(), backoff.attempt()), (Ok(()), Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_at_the_same_moment_are_one() {
        let mut backoff = Backoff::Well;
        for _ in 0..10 {
            backoff.failed((), 1023);
        }
        assert_eq!(backoff.attempt(), Err(()));
        tokio::time::sleep(FIRST).await;
        assert_eq!(backoff.attempt(), Ok(()));
    }
}
