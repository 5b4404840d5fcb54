//! The storages of Cacheme.

mod clock;
mod error;
mod fence;
#[cfg(feature = "local")]
mod local;
mod local_storage;
mod remote_storage;
mod storage;
mod url;

pub use bytes::Bytes;
pub use clock::ServerClock;
pub use error::{BoxError, Error, Result};
pub use fence::Fence;
#[cfg(feature = "local")]
pub use local::{Clock, Evicted, Listener, LocalCache, LocalCacheBuilder, Lru, LruBuilder};
pub use local_storage::{LocalEntry, LocalStorage, LocalValue};
pub use remote_storage::{Acquired, Capabilities, Filled, LeaseToken, RemoteEntry, RemoteStorage};
pub use storage::Storage;
