//! The storages of Cacheme.

mod clock;
mod codec;
mod envelope;
mod error;
mod fence;
mod fingerprint;
mod local_storage;
mod remote_storage;
mod serializer;
mod storage;
mod url;

pub use bytes::Bytes;
pub use clock::ServerClock;
pub use codec::{Codec, CodecError, DecodeError, Decoded};
pub use envelope::{ENVELOPE_MAGIC, Envelope, EnvelopeError, EnvelopeWriter, LEASE_MAGIC, PayloadTooLarge};
pub use error::{BoxError, Error, Result};
pub use fence::Fence;
pub use fingerprint::Fingerprint;
pub use local_storage::{LocalEntry, LocalStorage, LocalValue};
pub use remote_storage::{Acquired, Capabilities, Filled, LeaseToken, RemoteEntry, RemoteStorage};
#[cfg(feature = "bincode")]
pub use serializer::Bincode;
#[cfg(feature = "compression")]
pub use serializer::Compressed;
#[cfg(feature = "json")]
pub use serializer::Json;
#[cfg(feature = "msgpack")]
pub use serializer::MsgPack;
pub use serializer::{Flags, Serializer};
pub use storage::Storage;
