use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::serializer::{Flags, Serializer};
use crate::error::BoxError;

/// JSON: reads back every shape that serde describes, and people can read it. Larger and slower than the binary ones.
///
/// All floats come back bit for bit but `NaN` and the infinities, which JSON does not have. Keys of maps must be strings, characters,
/// numbers, `bool`s or variants without content. `Some(None)` and `Some(())` are `null` like `None`. A [`Codec`](crate::Codec)
/// refuses values that hold what JSON does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl Serializer for Json {
    fn name(&self) -> &str {
        "json"
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        match serde_json::to_writer(out, value) {
            Ok(()) => Ok(Flags::NONE),
            // The format's own refusal: those of the value's `Serialize` are errors of data.
            Err(error) if error.is_syntax() => {
                Err(format!("{error}; `serializer = MsgPack` takes keys of any type").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        flags.expect_none()?;
        Ok(serde_json::from_slice(payload)?)
    }
}
