use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::serializer::{Flags, Serializer};
use crate::error::BoxError;

/// MessagePack with named fields: reads back untagged enums, flattened structs and skipped fields, which [`Bincode`]
/// cannot, and is smaller and faster than JSON.
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
        let mut unread = payload;
        let value = T::deserialize(&mut rmp_serde::Deserializer::new(&mut unread))?;
        match unread.len() {
            0 => Ok(value),
            extra => Err(format!("{extra} bytes after the value").into()),
        }
    }
}
