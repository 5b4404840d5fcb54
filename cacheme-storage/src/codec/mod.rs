//! Values of one type to the bytes of a remote storage and back.
//!
//! `writing` and `reading` stand between the value and its serializer; `proofs` and `digest` find values that would not come
//! back; `limits` bounds both ways.

mod digest;
pub(crate) mod envelope;
mod error;
pub(crate) mod fingerprint;
pub(crate) mod limits;
mod proofs;
mod reading;
pub(crate) mod serializer;
mod typed;
mod writing;

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::typed::{ErasedSerializer, Typed};
use crate::codec::envelope::{Envelope, EnvelopeWriter};
use crate::codec::fingerprint::Fingerprint;
use crate::codec::serializer::Serializer;
use crate::small_box::SmallBox;

pub use self::error::{CodecError, DecodeError};

/// Room for the payload of a small value, so that it does not grow byte by byte.
const PAYLOAD_ROOM: usize = 216;

/// Writes values of one type as envelopes and reads them back, whatever the serializer.
///
/// The bounds on `V` are asked for where a codec is made, so code that only passes codecs on needs none. Cheap to
/// clone; clones share what they learnt.
///
/// ```
/// # #[cfg(feature = "msgpack")] {
/// use cacheme_storage::{Codec, MsgPack};
///
/// let codec = Codec::<Vec<String>>::new(MsgPack, "users:v1");
/// let bytes = codec.encode(&vec!["Ada".to_owned()], 1_000, Some(61_000))?;
/// let decoded = codec.decode(&bytes)?;
/// assert_eq!(decoded.value, ["Ada"]);
/// assert_eq!(decoded.expires_ms, Some(61_000));
///
/// let other = Codec::<Vec<u64>>::new(MsgPack, "users:v1");
/// assert!(other.decode(&bytes).is_err(), "another type is a miss");
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// # What comes back
///
/// A value that was written comes back as one that asks the same of serde, but for the order of hash maps and sets, and but for
/// what its own `Serialize` leaves out; otherwise it is not written. A value is read back and compared before it is handed out if
/// nothing like it came back before: another variant, a `Some` where there were only `None`s, a field that was always
/// there and now is not. So is each value of a type whose reading says nothing of the next one: untagged and internally tagged
/// enums, `flatten`, fields that are written but not read. All other values cost one serialization.
///
/// **Limit:** `serialize_with` and `deserialize_with` (or `Serialize` and `Deserialize` written by hand) that mirror each other for
/// some values of one shape and not for others are found only if one of the first is among those.
///
/// # Bounds
///
/// A value is nested [128 levels](CodecError::TooDeep) deep at most and takes at most as many bytes as [it
/// may](Self::LARGEST_VALUE). What bytes from a storage claim does not matter: reading them takes stack and time in bounds, and memory
/// of about four times the largest value at most. All this holds for serializers of other crates too.
pub struct Codec<V> {
    erased: Arc<dyn ErasedSerializer<V>>,
}

/// A value read back, with the times of its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<V> {
    /// The value.
    pub value: V,
    /// The time at which it was created, in milliseconds since the Unix epoch by the storage's clock.
    pub created_ms: u64,
    /// The time at which it expires, in milliseconds since the Unix epoch by the storage's clock; `None` is never.
    pub expires_ms: Option<u64>,
}

impl<V> Codec<V> {
    /// The bytes that a value may take when nothing else is said: 256 MiB, before and after compression.
    pub const LARGEST_VALUE: usize = limits::LARGEST_VALUE;

    /// A codec for the values of the node that `node` stands for.
    ///
    /// `node` names the kind of node (its key template and version, say): values of different nodes are not read for each
    /// other. The fingerprint is computed when it is first needed.
    #[must_use]
    pub fn new<S: Serializer>(serializer: S, node: impl Into<String>) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self {
            erased: Arc::new(Typed::new(serializer, node.into())),
        }
    }

    /// The name of the serializer.
    #[must_use]
    pub fn serializer(&self) -> &str {
        self.erased.name()
    }

    /// The fingerprint that envelopes carry for type, serializer and node. The first call traces the type's shape.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.erased.fingerprint()
    }

    /// The value as an envelope. Times are in milliseconds since the Unix epoch by the storage's clock;
    /// no expiry is never.
    ///
    /// # Errors
    ///
    /// [`CodecError`]. The next value may do better.
    pub fn encode(&self, value: &V, created_ms: u64, expires_ms: Option<u64>) -> Result<Bytes, CodecError> {
        self.encode_within(Self::LARGEST_VALUE, value, created_ms, expires_ms)
    }

    /// The value as an envelope, if it takes `largest` bytes at most (and under 4 GiB, which an envelope can record).
    ///
    /// # Errors
    ///
    /// [`CodecError`]. The next value may do better.
    pub fn encode_within(
        &self,
        largest: usize,
        value: &V,
        created_ms: u64,
        expires_ms: Option<u64>,
    ) -> Result<Bytes, CodecError> {
        let mut writer = EnvelopeWriter::with_capacity(PAYLOAD_ROOM);
        let flags = self.erased.write(value, writer.payload(), largest, false)?;
        writer
            .finish(flags, self.fingerprint(), created_ms, expires_ms)
            .map_err(|_| CodecError::TooLarge {
                value_type: type_name::<V>(),
                largest: u32::MAX as usize,
            })
    }

    /// The value in an envelope. Says nothing about whether it has expired.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: to the reader of a cache, a miss.
    pub fn decode(&self, bytes: &[u8]) -> Result<Decoded<V>, DecodeError> {
        self.decode_within(Self::LARGEST_VALUE, bytes)
    }

    /// The value in an envelope, if it takes `largest` bytes at most.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: to the reader of a cache, a miss.
    pub fn decode_within(&self, largest: usize, bytes: &[u8]) -> Result<Decoded<V>, DecodeError> {
        let Decoded {
            value,
            created_ms,
            expires_ms,
        } = self.decode_boxed(largest, bytes)?;
        Ok(Decoded {
            value: value.into_inner(),
            created_ms,
            expires_ms,
        })
    }

    /// [`decode_within`](Self::decode_within), for whoever passes the value on.
    #[doc(hidden)]
    pub fn decode_boxed(&self, largest: usize, bytes: &[u8]) -> Result<Decoded<SmallBox<V>>, DecodeError> {
        let envelope = Envelope::decode(bytes)?.expect(self.fingerprint())?;
        Ok(Decoded {
            value: self.erased.read(envelope.payload, envelope.flags, largest)?,
            created_ms: envelope.created_ms,
            expires_ms: envelope.expires_ms,
        })
    }

    /// Writes the value, reads it back, and compares, whatever came back before.
    ///
    /// For tests: does this serializer do for my type?
    ///
    /// # Errors
    ///
    /// [`CodecError`], as [`encode`](Self::encode).
    pub fn check(&self, value: &V) -> Result<(), CodecError> {
        self.erased
            .write(value, &mut Vec::new(), Self::LARGEST_VALUE, true)
            .map(|_| ())
    }

    /// Says whether the serializer can read values of this type at all, as far as the type's shape tells.
    ///
    /// # Errors
    ///
    /// [`CodecError::NotReadable`] for a serializer that is not [self-describing](Serializer::is_self_describing) and a type that
    /// finds out what it is while it is read.
    pub fn check_type(&self) -> Result<(), CodecError> {
        self.erased.check_type()
    }
}

impl<V> Clone for Codec<V> {
    fn clone(&self) -> Self {
        Self {
            erased: Arc::clone(&self.erased),
        }
    }
}

impl<V> fmt::Debug for Codec<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("serializer", &self.serializer())
            .field("value_type", &type_name::<V>())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(feature = "full")]
mod bounds_tests;
#[cfg(test)]
#[cfg(feature = "full")]
mod round_trip_tests;
#[cfg(test)]
#[cfg(any(feature = "bincode", feature = "msgpack", feature = "json"))]
mod tests;
