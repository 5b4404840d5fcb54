//! The storages of Cacheme.

mod clock;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "_database")]
mod database;
mod error;
mod fence;
mod local_storage;
mod long_key;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod remote_storage;
#[cfg(feature = "sqlite")]
mod sqlite;
mod storage;
mod url;

#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisBuilder};
pub use bytes::Bytes;
pub use clock::ServerClock;
pub use error::{BoxError, Error, Result};
pub use fence::Fence;
pub use local_storage::{LocalEntry, LocalStorage, LocalValue};
pub use long_key::shorten_key;
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresBuilder};
pub use remote_storage::{Acquired, Capabilities, Filled, LeaseToken, RemoteEntry, RemoteStorage};
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteBuilder};
pub use storage::Storage;
