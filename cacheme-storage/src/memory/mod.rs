//! The in-memory engine: values, locks and shards. What stays is decided in `policy`.
//!
//! A read of a [`Cache`]:
//!
//! ```text
//! hash the key ─ upper half: shard ─▶ raise this thread's own slot of the shard's lock (reader_lock.rs)
//!    ─ lower half: line of the table (table.rs) ─▶ word ─▶ key and value (store.rs) ─ equal? ─▶
//!    if the word says so, compare the deadline (deadlines.rs) ─▶ the policy hears of the hit (a mark is set) ─▶
//!    clone the value, or show it ─▶ lower the slot ─▶ if the key is sampled, tell the shadows (sampler.rs)
//! ```
//!
//! For [`TinyLfu`] there is no list, no sketch, no counter and no clock in that; nothing is written that another thread reads, but for a mark on an entry
//! that had none and one key in hundreds that is sampled. For [`Lru`], a hit moves the entry to the end of the order, under a lock of its own.
//!
//! A write:
//!
//! ```text
//! hash, weigh, read the clock if there is a ttl ─▶ take the shard's lock ─▶ ask the fence ─▶
//!    key is there: replace, mark ─▶ unlock ─▶ the old value leaves
//!    else: the policy makes room (it takes marks off, evicts) ─▶ put the entry into a slot ─▶ unlock ─▶ who was evicted leaves
//! ```
//!
//! *Leaves*: the listener is told and the entry dropped, when no lock is held. User code that may run under a lock, and
//! what happens if it calls back or panics: `Eq` (under both), `Clone` and the closure of `read` (under the reader's).
//! The lock knows what this thread holds: it may read again, and a write is refused. A panic unwinds through the guard;
//! nothing was changed before `Eq` answered. A panic of a `Drop` or a listener is logged, and reaches nobody: an entry leaves
//! on behalf of somebody who knows nothing of it.
//!
//! | file | what |
//! |---|---|
//! | `cache`, `builder` | the public caches over their shards |
//! | `shard` | entries, policy and deadlines of a part, behind one lock |
//! | `store`, `table` | slots with keys and values, and the table that finds them; marks |
//! | `reader_lock` | the lock whose readers share nothing |
//! | `deadlines`, `sweeper` | expiry, and the task that gives memory back |
//! | `sampler` | the way from the threads to the policy's shadows |
//! | `lru` | the policy of [`Lru`]; that of [`TinyLfu`] lies in `policy` |
//! | `storage`, `key_bytes` | either of them as a [`LocalStorage`](crate::LocalStorage) of erased values |

pub(crate) mod bloom;
#[cfg(feature = "local")]
mod builder;
#[cfg(feature = "local")]
mod cache;
#[cfg(feature = "local")]
mod clock;
#[cfg(feature = "local")]
mod deadlines;
#[cfg(feature = "local")]
mod entry;
#[cfg(feature = "local")]
mod key_bytes;
#[cfg(feature = "local")]
mod lru;
#[cfg(feature = "local")]
mod policy;
#[cfg(feature = "local")]
mod reader_lock;
#[cfg(feature = "local")]
mod sampler;
#[cfg(feature = "local")]
mod shard;
#[cfg(feature = "local")]
mod simd;
#[cfg(feature = "local")]
mod storage;
#[cfg(feature = "local")]
mod store;
#[cfg(feature = "local")]
mod sweeper;
#[cfg(feature = "local")]
mod table;

#[cfg(feature = "local")]
pub use builder::{CacheBuilder, LruBuilder, TinyLfuBuilder};
#[cfg(feature = "local")]
pub use cache::{Cache, Lru, TinyLfu};
#[cfg(feature = "local")]
pub use clock::Clock;
#[cfg(feature = "local")]
pub use entry::{Evicted, Listener};
#[cfg(feature = "local")]
pub use storage::{LocalCache, LocalCacheBuilder};
