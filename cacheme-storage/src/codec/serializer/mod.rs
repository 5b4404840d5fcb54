//! Serializers turn values into bytes and back.

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "compression")]
mod compressed;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;

use std::fmt;
use std::ops::BitOr;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::BoxError;

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
#[cfg(feature = "compression")]
pub use self::compressed::Compressed;
#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "msgpack")]
pub use self::msgpack::MsgPack;

/// Turns values into bytes and back.
///
/// A serializer that is named in a macro (`serializer = MySerializer`) is made with [`Default`].
///
/// A [`Codec`](crate::Codec) hands it values that count their depth and size while they are written and read, and finds out
/// whether they come back as they were. So a serializer of your own has to bound nothing, and may be as forgetful as its format is.
///
/// ```
/// use cacheme_storage::{BoxError, Flags, Serializer};
/// use serde::{Serialize, de::DeserializeOwned};
///
/// /// JSON that people can read.
/// #[derive(Clone, Default)]
/// struct PrettyJson;
///
/// impl Serializer for PrettyJson {
///     fn name(&self) -> &str {
///         "pretty-json"
///     }
///
///     fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
///         serde_json::to_writer_pretty(out, value)?;
///         Ok(Flags::NONE)
///     }
///
///     fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
///         flags.expect_none()?;
///         Ok(serde_json::from_slice(payload)?)
///     }
/// }
/// ```
pub trait Serializer: Send + Sync + 'static {
    /// The name of the format: part of the [`Fingerprint`](crate::Fingerprint), so payloads of one name are never read
    /// by a serializer of another. Change it when the bytes change their meaning.
    fn name(&self) -> &str;

    /// Says whether the bytes tell which types and fields they hold, as JSON, MessagePack and CBOR do; `true` unless told otherwise.
    ///
    /// Say `false` for a format that only the type itself can read (bincode, postcard, borsh). `check` of the `cacheme` crate then
    /// names nodes whose types cannot do that, and a value that leaves out a field (`skip_serializing_if`) is refused at once.
    fn is_self_describing(&self) -> bool {
        true
    }

    /// The number of bytes of its format that a payload stands for: more than its own where it is compressed.
    ///
    /// Asked before the payload is read. A value whose payload claims more than a value may take is not read, and neither
    /// is one with far more elements than these bytes. A serializer that compresses answers this from what it wrote, without decompressing.
    fn plain_len(&self, payload: &[u8], flags: Flags) -> usize {
        let _ = flags;
        payload.len()
    }

    /// Appends the bytes of `value` to `out` and says how they are to be read. Never touches what `out` holds already.
    ///
    /// # Errors
    ///
    /// When the format cannot express the value.
    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError>;

    /// The value that `payload` stands for.
    ///
    /// # Errors
    ///
    /// When `payload` is not exactly one value, down to its last byte, or `flags` holds a flag that the serializer does not
    /// know.
    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError>;
}

/// Flags say how a payload is to be read, beyond what the serializer's name says. Kept in the [`Envelope`](crate::Envelope).
///
/// The upper four bits ([`Flags::user`]) are free for serializers outside this crate.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// As the serializer's name says.
    pub const NONE: Self = Self(0);

    /// Compressed with LZ4: see `Compressed`.
    pub const COMPRESSED: Self = Self(1);

    /// One of four flags, 0 to 3, whose meaning a serializer outside this crate defines.
    ///
    /// # Panics
    ///
    /// For an `index` above 3.
    #[must_use]
    pub const fn user(index: u8) -> Self {
        assert!(index < 4, "a serializer has four flags of its own, 0 to 3");
        Self(0x10 << index)
    }

    /// The flags in a byte.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The flags as a byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Says whether all flags of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// For serializers that know no flag.
    ///
    /// # Errors
    ///
    /// When a flag is set; the message says which.
    pub fn expect_none(self) -> Result<(), BoxError> {
        if self == Self::NONE {
            return Ok(());
        }
        if self.contains(Self::COMPRESSED) {
            return Err("the payload is compressed and the serializer is not `Compressed<_>`".into());
        }
        Err(format!("the payload has flags that its serializer does not know: {self:?}").into())
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({:#010b})", self.0)
    }
}
