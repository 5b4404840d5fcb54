//! Unique tokens, and random pauses.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cacheme_storage::LeaseToken;

/// Between half and all of `pause`, so that processes that wait for one key do not ask in step.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 512;
    pause / 2 + pause * (random as u32) / 1024
}

/// A token that no other batch has, in this process or another.
pub(crate) fn unique_token() -> LeaseToken {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // RandomState is seeded by the operating system; the process id distinguishes forks that share a seed.
    let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    LeaseToken(u128::from(process) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}
