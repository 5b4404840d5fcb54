//! Times as databases store them: milliseconds, bounded to a thousand years.

use std::time::Duration;

use crate::contract::lease::{Acquire, Acquired};

/// A thousand years: what lives longer lives for ever. Keeps sums with the time of day far from overflow.
const FOREVER_MS: u128 = 1000 * 365 * 24 * 3600 * 1000;

/// The longest lease, for a caller who asks for more than a thousand years.
#[expect(clippy::cast_possible_truncation, reason = "a thousand years are 3e13 ms")]
pub(crate) const LEASE_LIMIT_MS: i64 = FOREVER_MS as i64;

/// A time to live in milliseconds, rounded up; `None` is for ever.
pub(crate) fn ttl_millis(ttl: Option<Duration>) -> Option<i64> {
    millis(ttl?)
}

/// The duration in milliseconds, rounded up; `None` from a thousand years on.
pub(crate) fn millis(duration: Duration) -> Option<i64> {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    (millis < FOREVER_MS).then(|| i64::try_from(millis).expect("a thousand years of milliseconds fit"))
}

/// The server's time after which nothing is granted; past the end of time where there is no deadline.
pub(crate) fn deadline_millis(request: &Acquire) -> i64 {
    let deadline = request.deadline_ms.map(i64::try_from);
    deadline.and_then(Result::ok).unwrap_or(i64::MAX)
}

/// Answers for keys without one, once the deadline has passed.
pub(crate) fn too_late(answers: &mut [Option<Acquired>]) {
    let unanswered = answers.iter_mut().filter(|answer| answer.is_none());
    unanswered.for_each(|answer| *answer = Some(Acquired::TooLate));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_and_ends_at_a_thousand_years() {
        assert_eq!(millis(Duration::from_nanos(1)), Some(1));
        assert_eq!(millis(Duration::from_micros(1001)), Some(2));
        assert_eq!(millis(Duration::ZERO), Some(0));
        assert_eq!(millis(Duration::MAX), None);
        assert_eq!(ttl_millis(None), None);
    }
}
