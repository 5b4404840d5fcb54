//! The job: a user's row of 100 bytes, loaded when it is not there.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::race::cpu_time;
use serde::{Deserialize, Serialize};

/// How many users there are; all of them fit.
pub(crate) const ENTRIES: usize = 100_000;

/// Room for all, however a cache divides it.
pub(crate) const CAPACITY: usize = 125_000;

/// The row: 100 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UserInfo {
    pub(crate) columns: [u32; 25],
}

pub(crate) type Row = Arc<UserInfo>;

static LOADS: AtomicU64 = AtomicU64::new(0);

/// How many rows were loaded.
pub(crate) fn loads() -> u64 {
    LOADS.load(Ordering::Relaxed)
}

/// Loads a row.
pub(crate) async fn load(id: u64) -> Row {
    Arc::new(load_plain(id).await)
}

/// The same without the `Arc`.
pub(crate) async fn load_plain(id: u64) -> UserInfo {
    LOADS.fetch_add(1, Ordering::Relaxed);
    UserInfo {
        columns: [id as u32; 25],
    }
}

/// `user:{id}:info`, written into a buffer on the stack.
pub(crate) struct StackKey {
    bytes: [u8; 32],
    len: usize,
}

impl StackKey {
    #[inline]
    pub(crate) fn new(id: u64) -> Self {
        let mut bytes = [0; 32];
        let mut rest = &mut bytes[..];
        rest.write_all(b"user:").expect("there is room");
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = id;
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        rest.write_all(&digits[at..]).expect("there is room");
        rest.write_all(b":info").expect("there is room");
        let len = 32 - rest.len();
        Self { bytes, len }
    }

    #[inline]
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("only ASCII was written")
    }
}

/// What a task took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// A task that is timed from its first line; hits do not wait, so it is on one thread throughout.
pub(crate) struct Clocks(Instant, Duration);

impl Clocks {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), cpu_time())
    }

    pub(crate) fn stop(self) -> Run {
        Run {
            wall: self.0.elapsed(),
            cpu: cpu_time().saturating_sub(self.1),
        }
    }
}
