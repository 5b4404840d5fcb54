//! What all connections of a storage share and learn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use redis::{FromRedisValue, Pipeline, Value};

use super::lease::Scripts;
use crate::ServerClock;

/// What a value may weigh where a server does not say: `proto-max-bulk-len`, as servers come.
const VALUE_LIMIT: usize = 512 * 1024 * 1024;

/// The servers' clock and limits, and the scripts that they are to know.
pub(super) struct Facts {
    pub(super) clock: ServerClock,
    pub(super) scripts: Scripts,
    /// In bytes; of a cluster, where servers may differ, the least.
    value_limit: AtomicUsize,
}

impl Facts {
    /// With `tells`, scripts that tell of fills.
    pub(super) fn new(tells: bool) -> Self {
        Self {
            clock: ServerClock::new(),
            scripts: Scripts::new(tells),
            value_limit: AtomicUsize::new(VALUE_LIMIT),
        }
    }

    /// What a value may weigh in bytes.
    pub(super) fn value_limit(&self) -> usize {
        self.value_limit.load(Ordering::Relaxed)
    }

    /// What every new connection is told and asked.
    pub(super) fn greeting(&self) -> Pipeline {
        let mut greeting = redis::pipe();
        greeting.cmd("TIME");
        greeting.cmd("CONFIG").arg("GET").arg("proto-max-bulk-len");
        for script in self.scripts.all() {
            greeting.add_command(script.load());
        }
        greeting
    }

    /// Learns from the answers to the greeting, which was sent at `asked`.
    ///
    /// Each may be an error: a user without the right to load scripts may still run them, one without the right to ask
    /// for the time gets ours, and one who may not ask for settings is trusted to have left them alone.
    pub(super) fn learn(&self, answers: &[Value], asked: Instant) {
        let [time, settings, ..] = answers else { return };
        self.observe(time, asked);
        if let Ok((_, limit)) = <(String, usize)>::from_redis_value_ref(settings) {
            self.value_limit.fetch_min(limit, Ordering::Relaxed);
        }
    }

    /// Takes note of an answer to `TIME`, asked for at `asked`.
    pub(super) fn observe(&self, time: &Value, asked: Instant) {
        match <(u64, u64)>::from_redis_value_ref(time) {
            Ok((seconds, micros)) => self.clock.observe(seconds * 1_000 + micros / 1_000, asked),
            Err(error) => tracing::debug!(%error, "no time from the server"),
        }
    }
}
