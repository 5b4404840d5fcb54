//! The storages of Cacheme, and what turns values into the bytes they keep. Usable without the `cacheme` crate.
//!
//! # Map
//!
//! | to find | look at |
//! |---|---|
//! | a storage by its URL, or one of your own | [`Storage`] |
//! | a cache in memory by itself, typed | [`TinyLfu`], [`Lru`] |
//! | whether a key was seen lately, in a few bits | [`BloomFilter`] |
//! | what a storage in this process promises | [`LocalStorage`], [`LocalEntry`], [`Fence`] |
//! | what a storage elsewhere promises, leases included | [`RemoteStorage`], [`Acquire`], [`Acquired`], [`Capabilities`], [`ServerClock`] |
//! | values to bytes and back | [`Codec`], [`Serializer`] and its implementations |
//! | the bytes, one by one | [`Envelope`] |
//! | when two types read each other's values (never) | [`Fingerprint`] |
//! | what goes wrong | [`Error`], [`CodecError`], [`DecodeError`], [`EnvelopeError`] |
//!
//! # Features
//!
//! Serializers: `bincode` (default), `msgpack`, `json`, each alone or with `compression`. Storages: `local` (default), and
//! one feature for each remote one. A build without remote features pulls in no driver.

mod bloom;
mod clock;
mod codec;
mod combined;
#[cfg(feature = "testing")]
pub mod conformance;
mod contain;
#[cfg(feature = "_database")]
mod database;
mod envelope;
mod error;
mod fence;
mod fingerprint;
#[cfg(any(feature = "redis", feature = "_database"))]
mod gate;
mod lease;
#[cfg(feature = "local")]
mod local;
mod local_storage;
mod local_value;
mod long_key;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "local")]
mod policy;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "local")]
mod processor;
#[cfg(feature = "redis")]
mod redis;
mod remote_storage;
mod seed;
mod serializer;
mod small_box;
#[cfg(feature = "sqlite")]
mod sqlite;
mod storage;
#[cfg(any(feature = "redis", feature = "_server", feature = "mongodb"))]
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "each storage needs other parts")
)]
mod tls;
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "each storage reads other parts of its URL")
)]
mod url;

#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisBuilder};
#[cfg(feature = "mongodb")]
pub use crate::mongodb::{MongoDb, MongoDbBuilder};
pub use bloom::BloomFilter;
pub use bytes::Bytes;
pub use clock::ServerClock;
pub use codec::{Codec, CodecError, DecodeError, Decoded};
pub use envelope::{ENVELOPE_MAGIC, Envelope, EnvelopeError, EnvelopeWriter, LEASE_MAGIC, PayloadTooLarge};
pub use error::{BoxError, Chain, Error, Result};
pub use fence::Fence;
pub use fingerprint::Fingerprint;
pub use lease::{Acquire, AcquireMode, Acquired, Filled, FoundValue, Grant, LeaseToken};
#[cfg(feature = "local")]
pub use local::{
    Clock, Evicted, Listener, LocalCache, LocalCacheBuilder, Lru, LruBuilder, TinyLfu, TinyLfuBuilder,
};
pub use local_storage::{LocalEntry, LocalStorage};
pub use local_value::LocalValue;
pub use long_key::shorten_key;
#[cfg(feature = "mysql")]
pub use mysql::{MySql, MySqlBuilder};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresBuilder};
pub use remote_storage::{BUS_MESSAGE_LIMIT, Capabilities, Heard, RemoteEntry, RemoteStorage};
#[cfg(feature = "bincode")]
pub use serializer::Bincode;
#[cfg(feature = "compression")]
pub use serializer::Compressed;
#[cfg(feature = "json")]
pub use serializer::Json;
#[cfg(feature = "msgpack")]
pub use serializer::MsgPack;
pub use serializer::{Flags, Serializer};
#[doc(hidden)]
pub use small_box::SmallBox;
#[cfg(feature = "sqlite")]
pub use sqlite::{OnCorruption, Sqlite, SqliteBuilder};
pub use storage::Storage;
