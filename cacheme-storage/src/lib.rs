//! The storages of Cacheme.

mod clock;
#[cfg(feature = "testing")]
pub mod conformance;
mod error;
mod fence;
mod local_storage;
#[cfg(feature = "redis")]
mod redis;
mod remote_storage;
mod storage;
mod url;

#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisBuilder};
pub use bytes::Bytes;
pub use clock::ServerClock;
pub use error::{BoxError, Error, Result};
pub use fence::Fence;
pub use local_storage::{LocalEntry, LocalStorage, LocalValue};
pub use remote_storage::{Acquired, Capabilities, Filled, LeaseToken, RemoteEntry, RemoteStorage};
pub use storage::Storage;
