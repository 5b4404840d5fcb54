//! Storages elsewhere: a folder for each, and what several of them share.

pub(crate) mod coalesce;
#[cfg(feature = "_database")]
mod database;
#[cfg(feature = "_remote")]
mod gate;
mod long_key;
#[cfg(feature = "_network")]
mod pause;
mod server_clock;
#[cfg(feature = "_network")]
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "each storage needs other parts")
)]
mod tls;

pub use long_key::shorten_key;
pub use server_clock::ServerClock;

#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "mongodb")]
pub use self::mongodb::{MongoDb, MongoDbBuilder};

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "mysql")]
pub use self::mysql::{MySql, MySqlBuilder};

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
pub use self::postgres::{Postgres, PostgresBuilder};

#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisBuilder};

#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
pub use self::sqlite::{OnCorruption, Sqlite, SqliteBuilder};
