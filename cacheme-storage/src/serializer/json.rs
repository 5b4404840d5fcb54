use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{BoxError, Flags, Serializer};

/// JSON: reads back every shape that serde describes, and people can read it. Larger and slower than the binary ones.
///
/// Keys of maps must be strings or numbers; `NaN` and the infinities become `null`, which is an error when a float is
/// read and `None` when an `Option` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl Serializer for Json {
    fn name(&self) -> &str {
        "json"
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        serde_json::to_writer(out, value)?;
        Ok(Flags::NONE)
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        flags.expect_none()?;
        Ok(serde_json::from_slice(payload)?)
    }
}
