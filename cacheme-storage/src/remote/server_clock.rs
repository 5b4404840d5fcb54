use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An estimate of a server's clock that costs no round trip.
///
/// Keeps the offset between the server's wall clock and this process's monotonic clock, so an hour's jump of our own
/// wall clock changes nothing. Until the server was first asked, our own wall clock stands in for it.
#[derive(Debug)]
pub struct ServerClock {
    start: Instant,
    /// Server's milliseconds since the epoch at `start`.
    at_start_ms: AtomicI64,
}

impl ServerClock {
    /// A clock that takes this machine's wall clock for the server's until [`observe`](Self::observe) is called.
    #[must_use]
    pub fn new() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            start: Instant::now(),
            at_start_ms: AtomicI64::new(millis(wall)),
        }
    }

    /// Takes note that the server said `server_ms`, asked at `asked`: the answer is taken to be from half way between
    /// then and now.
    pub fn observe(&self, server_ms: u64, asked: Instant) {
        self.observe_between(server_ms, asked, Instant::now());
    }

    /// Takes note of the server's time in an answer that came at `answered`.
    pub(crate) fn observe_between(&self, server_ms: u64, asked: Instant, answered: Instant) {
        let middle = asked + answered.saturating_duration_since(asked) / 2;
        let since_start = millis(middle.saturating_duration_since(self.start));
        let server_ms = i64::try_from(server_ms).unwrap_or(i64::MAX);
        self.at_start_ms
            .store(server_ms.saturating_sub(since_start), Ordering::Relaxed);
    }

    /// The server's time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let now = self
            .at_start_ms
            .load(Ordering::Relaxed)
            .saturating_add(millis(self.start.elapsed()));
        u64::try_from(now).unwrap_or(0)
    }
}

impl Default for ServerClock {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
