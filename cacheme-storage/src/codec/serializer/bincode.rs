use bincode::config;
use bincode::error::EncodeError;
use bincode::serde::EncodeError as SerdeEncodeError;
use bincode::serde::{decode_from_slice, encode_into_std_write};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::serializer::{Flags, Serializer};
use crate::error::BoxError;

/// [bincode](https://docs.rs/bincode/2.0.1) 2 in its standard configuration: the smallest and fastest. Behind the feature `bincode`.
///
/// Its authors no longer maintain it ([RUSTSEC-2025-0141](https://rustsec.org/advisories/RUSTSEC-2025-0141)), so a check for
/// advisories names a build that has this feature.
///
/// The bytes name no field and no type, so types that find out what they are while they are read do not work: untagged and
/// internally tagged enums, `flatten`, `serde_json::Value`. A value that leaves out a field with `skip_serializing_if` is refused
/// rather than read back as another one. `MsgPack` and `Json` take all of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

impl Serializer for Bincode {
    fn name(&self) -> &str {
        "bincode2"
    }

    fn is_self_describing(&self) -> bool {
        false
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        match encode_into_std_write(value, out, config::standard()) {
            Ok(_) => Ok(Flags::NONE),
            Err(EncodeError::Serde(SerdeEncodeError::SequenceMustHaveLength)) => {
                Err("it holds a sequence or map that does not know its length (`flatten` makes such), which bincode \
                     cannot write; `serializer = MsgPack` and `serializer = Json` can"
                    .into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        flags.expect_none()?;
        let (value, read) = decode_from_slice(payload, config::standard())?;
        match payload.len() - read {
            0 => Ok(value),
            extra => Err(format!("{extra} bytes after the value").into()),
        }
    }
}
