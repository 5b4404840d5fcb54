use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Decides when trouble is told: when it begins and when it is over, but for something that works now and then, a full
/// storage that still answers reads say, once a minute and not for each call.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// Whether trouble was told of, and not yet that it is over.
    raised: AtomicBool,
    /// When trouble was last told of.
    told: Mutex<Option<Instant>>,
}

/// How long nothing more is told of trouble that comes back.
const QUIET: Duration = Duration::from_secs(60);

impl Alarm {
    /// Takes note of trouble; says whether to tell of it.
    pub(crate) fn trouble(&self) -> bool {
        // Read first: in long trouble nobody waits for the lock.
        if self.raised.load(Ordering::Relaxed) {
            return false;
        }
        let mut told = self.told.lock();
        let is_due = told.is_none_or(|told| told.elapsed() >= QUIET);
        if is_due {
            *told = Some(Instant::now());
            self.raised.store(true, Ordering::Relaxed);
        }
        is_due
    }

    /// Takes note that it works; says whether to tell that trouble is over.
    pub(crate) fn works(&self) -> bool {
        self.raised.load(Ordering::Relaxed) && self.raised.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn t3_trouble_is_told_when_it_begins_and_ends_but_not_for_each_call() {
        let alarm = Alarm::default();
        assert!(!alarm.works());
        assert!(alarm.trouble());
        assert!(!alarm.trouble());
        assert!(alarm.works());
        assert!(!alarm.works());
        // What works now and then.
        for _ in 0..100 {
            assert!(!alarm.trouble() && !alarm.works());
        }
        tokio::time::advance(QUIET).await;
        assert!(alarm.trouble(), "lasting trouble is told of, if a minute late");
        tokio::time::advance(QUIET * 10).await;
        assert!(!alarm.trouble());
        assert!(alarm.works());
    }
}
