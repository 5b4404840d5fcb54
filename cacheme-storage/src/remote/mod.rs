//! Storages elsewhere: a folder for each, and what several of them share.

pub(crate) mod coalesce;
#[cfg(feature = "_database")]
mod database;
#[cfg(any(feature = "redis", feature = "_database"))]
mod gate;
pub(crate) mod long_key;
#[cfg(feature = "mongodb")]
pub(crate) mod mongodb;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(any(feature = "redis", feature = "_server", feature = "mongodb"))]
mod pause;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod server_clock;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(any(feature = "redis", feature = "_server", feature = "mongodb"))]
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "each storage needs other parts")
)]
mod tls;
