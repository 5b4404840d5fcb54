//! The in-memory engine: values, locks and shards.

mod clock;
mod deadlines;
mod entry;
mod key_bytes;
mod lru;
mod reader_lock;
mod sampler;
mod shard;
mod slab;
mod storage;
mod store;
mod sweeper;
mod table;
mod tlfu;
mod tlfu_builder;

pub use clock::Clock;
pub use entry::{Evicted, Listener};
pub use lru::{Lru, LruBuilder};
pub use storage::{LocalCache, LocalCacheBuilder};
pub use tlfu::TinyLfu;
pub use tlfu_builder::TinyLfuBuilder;
