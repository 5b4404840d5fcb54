mod all_fields;

use bincode::config;
use bincode::serde::{decode_from_slice, encode_into_std_write};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::all_fields::AllFields;
use crate::{BoxError, Flags, Serializer};

/// [bincode](https://docs.rs/bincode/2.0.1) 2 in its standard configuration: small and fast, the default.
///
/// The bytes name no field and no type, so shapes that are found out while reading do not work: untagged and internally
/// tagged enums, `flatten`, `serde_json::Value`. A value that leaves out a field with `skip_serializing_if` is refused
/// rather than read back as another one. `MsgPack` and `Json` take all of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bincode;

impl Serializer for Bincode {
    fn name(&self) -> &str {
        "bincode2"
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        encode_into_std_write(AllFields(value), out, config::standard())?;
        Ok(Flags::NONE)
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        flags.expect_none()?;
        // The limit counts the sizes of decoded numbers and the lengths of byte strings before they are allocated. A
        // byte of payload decodes to 16 at most (a small `u128`), so these limits hold for every honest payload, while
        // a length that was made up is refused. They are constants because bincode takes them as const generics.
        const SMALL: usize = 16 << 10;
        const MEDIUM: usize = 4 << 20;
        let (value, read) = if payload.len() <= SMALL {
            decode_from_slice(payload, config::standard().with_limit::<{ 16 * SMALL }>())?
        } else if payload.len() <= MEDIUM {
            decode_from_slice(payload, config::standard().with_limit::<{ 16 * MEDIUM }>())?
        } else {
            decode_from_slice(payload, config::standard().with_limit::<{ usize::MAX >> 1 }>())?
        };
        match payload.len() - read {
            0 => Ok(value),
            extra => Err(format!("{extra} bytes after the value").into()),
        }
    }
}
