use std::any::{Any, type_name};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    BoxError, Envelope, EnvelopeError, EnvelopeWriter, Fingerprint, Flags, PayloadTooLarge, Serializer,
};

/// Room for the payload of a small value, so that it does not grow byte by byte.
const PAYLOAD_ROOM: usize = 216;

/// Writes values of one type as envelopes and reads them back, whatever the serializer.
///
/// The bounds on `V` are asked for where a codec is made, so code that only passes codecs on needs none. Cheap to
/// clone.
///
/// ```
/// # #[cfg(feature = "bincode")] {
/// use cacheme_storage::{Bincode, Codec};
///
/// let codec = Codec::<Vec<String>>::new(Bincode, "users:v1");
/// let bytes = codec.encode(&vec!["Ada".to_owned()], 1_000, Some(61_000))?;
/// let decoded = codec.decode(&bytes)?;
/// assert_eq!(decoded.value, ["Ada"]);
/// assert_eq!(decoded.expires_ms, Some(61_000));
///
/// let other = Codec::<Vec<u64>>::new(Bincode, "users:v1");
/// assert!(other.decode(&bytes).is_err(), "another type is a miss");
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct Codec<V> {
    erased: Arc<dyn ErasedSerializer<V>>,
}

/// A value read back, with the times of its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded<V> {
    /// The value.
    pub value: V,
    /// When it was created, in milliseconds since the Unix epoch by the storage's clock.
    pub created_ms: u64,
    /// When it expires, in milliseconds since the Unix epoch by the storage's clock; `None` is never.
    pub expires_ms: Option<u64>,
}

/// Why a value cannot be written to a remote storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The serializer cannot express this value.
    #[error(
        "serializer `{serializer}` cannot write `{value_type}`; {}",
        advice(serializer)
    )]
    Serialize {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// What the serializer says.
        source: BoxError,
    },

    /// `Serialize`, `Deserialize` or the serializer panicked.
    #[error("serializer `{serializer}` panicked on `{value_type}`: {message}")]
    Panicked {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// What the panic says.
        message: String,
    },

    /// The value is too large for an envelope.
    #[error(transparent)]
    TooLarge(#[from] PayloadTooLarge),

    /// The serializer wrote the value and cannot read it back, or reads back another.
    #[error(
        "serializer `{serializer}` can write `{value_type}` but not read it back; {}",
        advice(serializer)
    )]
    NotReadable {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// What went wrong while reading.
        source: BoxError,
    },
}

/// Which serializer would do instead.
fn advice(serializer: &str) -> &'static str {
    match serializer {
        "bincode2" => {
            "use `serializer = MsgPack` or `serializer = Json`; bincode takes no untagged or internally tagged enum, no \
             `flatten`, no `skip_serializing_if`, nor other types that find out what they are while being read"
        }
        "json" => "use `serializer = MsgPack`, which keeps all floats and has map keys of any type",
        "msgpack" => {
            "use `serializer = Json`, or check that its `Serialize` and `Deserialize` mirror each other"
        }
        _ => "use `serializer = MsgPack` or `serializer = Json`",
    }
}

/// Why bytes are not a value of the codec's type. Each is a miss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Foreign, torn, or written for something else.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),

    /// The envelope is right and the serializer cannot read the payload.
    #[error("serializer `{serializer}` cannot read `{value_type}`")]
    Deserialize {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// What the serializer says.
        source: BoxError,
    },

    /// `Deserialize` or the serializer panicked.
    #[error("serializer `{serializer}` panicked on `{value_type}`: {message}")]
    Panicked {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// What the panic says.
        message: String,
    },
}

impl<V> Codec<V> {
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
            erased: Arc::new(Typed {
                serializer,
                node: node.into(),
                fingerprint: OnceLock::new(),
            }),
        }
    }

    /// The name of the serializer.
    #[must_use]
    pub fn serializer(&self) -> &str {
        self.erased.name()
    }

    /// What the envelopes carry to tell type, serializer and node. Traces the type's shape the first time.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.erased.fingerprint()
    }

    /// The value as an envelope. Times are in milliseconds since the Unix epoch by the storage's clock;
    /// no expiry is never.
    ///
    /// # Errors
    ///
    /// [`CodecError`], but for [`NotReadable`](CodecError::NotReadable).
    pub fn encode(&self, value: &V, created_ms: u64, expires_ms: Option<u64>) -> Result<Bytes, CodecError> {
        let mut writer = EnvelopeWriter::with_capacity(PAYLOAD_ROOM);
        let flags = self.serialize(value, writer.payload())?;
        Ok(writer.finish(flags, self.fingerprint(), created_ms, expires_ms)?)
    }

    /// The value in an envelope. Says nothing about whether it has expired.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: to the reader of a cache, a miss.
    pub fn decode(&self, bytes: &[u8]) -> Result<Decoded<V>, DecodeError> {
        let envelope = Envelope::decode(bytes)?.expect(self.fingerprint())?;
        Ok(Decoded {
            value: self.deserialize(envelope.payload, envelope.flags)?,
            created_ms: envelope.created_ms,
            expires_ms: envelope.expires_ms,
        })
    }

    /// Writes the value, reads it back, and compares what both would be written as.
    ///
    /// Some types can be written but not read back, depending on the serializer. Call this with a node's first value to find out,
    /// rather than have every read of the node be a miss.
    ///
    /// # Errors
    ///
    /// [`CodecError::NotReadable`] when the value does not come back; else as [`encode`](Self::encode).
    pub fn check(&self, value: &V) -> Result<(), CodecError> {
        let not_readable = |source| CodecError::NotReadable {
            serializer: self.serializer().to_owned(),
            value_type: type_name::<V>(),
            source,
        };
        let mut written = Vec::new();
        let flags = self.serialize(value, &mut written)?;
        let back = match self.deserialize(&written, flags) {
            Ok(back) => back,
            Err(DecodeError::Deserialize { source, .. }) => return Err(not_readable(source)),
            Err(other) => return Err(not_readable(other.into())),
        };
        let mut again = Vec::new();
        let flags_again = self.serialize(&back, &mut again)?;
        // A hash map that is built anew has another order, so the bytes are compared regardless of theirs. Compression
        // hides them; the shape of a type does not depend on size, so a smaller value finds out what this one does not.
        let compressed = (flags | flags_again).contains(Flags::COMPRESSED);
        if !compressed && counted(&written) != counted(&again) {
            return Err(not_readable("it reads back as another value".into()));
        }
        Ok(())
    }

    fn serialize(&self, value: &V, out: &mut Vec<u8>) -> Result<Flags, CodecError> {
        match caught(|| self.erased.serialize(value, out)) {
            Ok(Ok(flags)) => Ok(flags),
            Ok(Err(source)) => Err(CodecError::Serialize {
                serializer: self.serializer().to_owned(),
                value_type: type_name::<V>(),
                source,
            }),
            Err(message) => Err(CodecError::Panicked {
                serializer: self.serializer().to_owned(),
                value_type: type_name::<V>(),
                message,
            }),
        }
    }

    fn deserialize(&self, payload: &[u8], flags: Flags) -> Result<V, DecodeError> {
        match caught(|| self.erased.deserialize(payload, flags)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(DecodeError::Deserialize {
                serializer: self.serializer().to_owned(),
                value_type: type_name::<V>(),
                source,
            }),
            Err(message) => Err(DecodeError::Panicked {
                serializer: self.serializer().to_owned(),
                value_type: type_name::<V>(),
                message,
            }),
        }
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

/// A serializer with the type it serializes fixed, which makes it a trait object.
trait ErasedSerializer<V>: Send + Sync {
    fn name(&self) -> &str;
    fn fingerprint(&self) -> Fingerprint;
    fn serialize(&self, value: &V, out: &mut Vec<u8>) -> Result<Flags, BoxError>;
    fn deserialize(&self, payload: &[u8], flags: Flags) -> Result<V, BoxError>;
}

struct Typed<S> {
    serializer: S,
    node: String,
    fingerprint: OnceLock<Fingerprint>,
}

impl<S: Serializer, V: Serialize + DeserializeOwned> ErasedSerializer<V> for Typed<S> {
    fn name(&self) -> &str {
        self.serializer.name()
    }

    fn fingerprint(&self) -> Fingerprint {
        *self
            .fingerprint
            .get_or_init(|| Fingerprint::of::<V>(self.serializer.name(), &self.node))
    }

    fn serialize(&self, value: &V, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        self.serializer.serialize(value, out)
    }

    fn deserialize(&self, payload: &[u8], flags: Flags) -> Result<V, BoxError> {
        self.serializer.deserialize(payload, flags)
    }
}

/// Runs code of the user's; a panic comes back as its message.
///
/// Unwind safety: what the closures may leave half done is a buffer or a value that is dropped here, unseen.
fn caught<R>(run: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_message(&*panic))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

/// How often each byte occurs.
fn counted(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    counts
}

#[cfg(test)]
#[cfg(any(feature = "bincode", feature = "msgpack", feature = "json"))]
mod tests;
