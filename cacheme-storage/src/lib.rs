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
//! Serializers: `msgpack` (default), `bincode`, `json`, each alone or with `compression`. Storages: `local` (default), and
//! one feature for each remote one. `testing` has a remote storage in memory for tests, and the suite that every storage has to pass. A build without remote features pulls in no driver.

mod codec;
#[cfg(feature = "testing")]
pub mod conformance;
mod contain;
mod contract;
mod error;
mod memory;
mod random;
mod remote;
mod small_box;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "each storage reads other parts of its URL")
)]
mod url;

/// Writes the asynchronous functions of [`RemoteStorage`] in a storage of your own.
pub use async_trait::async_trait;
pub use bytes::Bytes;
pub use codec::envelope::{
    ENVELOPE_MAGIC, Envelope, EnvelopeError, EnvelopeWriter, LEASE_MAGIC, PayloadTooLarge,
};
pub use codec::fingerprint::Fingerprint;
#[cfg(feature = "bincode")]
pub use codec::serializer::Bincode;
#[cfg(feature = "compression")]
pub use codec::serializer::Compressed;
#[cfg(feature = "json")]
pub use codec::serializer::Json;
#[cfg(feature = "msgpack")]
pub use codec::serializer::MsgPack;
pub use codec::serializer::{Flags, Serializer};
pub use codec::{Codec, CodecError, DecodeError, Decoded};
pub use contract::fence::Fence;
pub use contract::lease::{Acquire, AcquireMode, Acquired, Filled, FoundValue, Grant, LeaseToken};
pub use contract::local::{LocalEntry, LocalStorage};
pub use contract::local_value::LocalValue;
pub use contract::remote::{BUS_MESSAGE_LIMIT, Capabilities, Heard, RemoteEntry, RemoteStorage};
pub use error::{BoxError, Chain, Error, Result};
pub use memory::bloom::BloomFilter;
#[cfg(feature = "local")]
pub use memory::{
    Cache, CacheBuilder, Clock, Evicted, Listener, LocalCache, LocalCacheBuilder, Lru, LruBuilder, TinyLfu,
    TinyLfuBuilder,
};
pub use remote::*;
#[doc(hidden)]
pub use small_box::SmallBox;
pub use storage::Storage;
