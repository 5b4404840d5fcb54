//! The in-memory engine: values, locks and shards.

mod clock;
mod entry;
mod lru;
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "for the engine that is being built on it")
)]
mod reader_lock;
mod seed;
mod slab;
mod storage;
mod table;

pub use clock::Clock;
pub use entry::{Evicted, Listener};
pub use lru::{Lru, LruBuilder};
pub use storage::{LocalCache, LocalCacheBuilder};
