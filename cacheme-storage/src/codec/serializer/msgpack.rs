use std::io::ErrorKind;

use rmp_serde::decode::Error;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize as _, Serialize};

use crate::codec::serializer::{Flags, Serializer};
use crate::error::BoxError;

/// MessagePack with named fields, the default: reads back untagged enums, flattened structs and skipped fields, which
/// [`Bincode`] cannot, and is smaller and faster than JSON.
///
/// Floats are kept bit for bit, and keys of maps are of any type. `Some(None)` and `Some(())` are `nil` like `None`, and a
/// [`Codec`](crate::Codec) refuses values that hold them.
///
/// [`Bincode`]: https://docs.rs/cacheme-storage/latest/cacheme_storage/struct.Bincode.html
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MsgPack;

impl Serializer for MsgPack {
    fn name(&self) -> &str {
        "msgpack"
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        rmp_serde::encode::write_named(out, value)?;
        Ok(Flags::NONE)
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        flags.expect_none()?;
        let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
        let value = T::deserialize(&mut reader)?;
        // It does not say what it has left, but nothing is read from nothing.
        match IgnoredAny::deserialize(&mut reader) {
            Err(Error::InvalidMarkerRead(end)) if end.kind() == ErrorKind::UnexpectedEof => Ok(value),
            _ => Err("there are bytes after the value".into()),
        }
    }
}
