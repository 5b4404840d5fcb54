//! A serializer with the type it serializes fixed.

use std::any::{Any, type_name};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digest::Digest;
use super::error::{CodecError, DecodeError};
use super::limits::Exceeded;
use super::proofs::Proofs;
use super::reading::{Bounded, Read, Unsure};
use super::writing::{Findings, Pass};
use crate::codec::fingerprint::Fingerprint;
use crate::codec::fingerprint::Traced;
use crate::codec::serializer::{Flags, Serializer};
use crate::error::{BoxError, Chain};
use crate::small_box::SmallBox;

/// The trait object behind a [`Codec`](super::Codec).
pub(super) trait ErasedSerializer<V>: Send + Sync {
    fn name(&self) -> &str;
    fn fingerprint(&self) -> Fingerprint;
    fn check_type(&self) -> Result<(), CodecError>;
    /// Appends the payload to `out`. With `again` the value is read back even if the like of it came back before.
    fn write(&self, value: &V, out: &mut Vec<u8>, largest: usize, again: bool) -> Result<Flags, CodecError>;
    fn read(&self, payload: &[u8], flags: Flags, largest: usize) -> Result<SmallBox<V>, DecodeError>;
    /// Says whether a value like this one would be read back.
    #[cfg(test)]
    fn looks_twice(&self, value: &V) -> bool;
}

pub(super) struct Typed<S> {
    serializer: S,
    node: String,
    traced: OnceLock<Traced>,
    proofs: Proofs,
}

impl<S: Serializer, V: Serialize + DeserializeOwned> ErasedSerializer<V> for Typed<S> {
    fn name(&self) -> &str {
        self.serializer.name()
    }

    fn fingerprint(&self) -> Fingerprint {
        self.traced::<V>().fingerprint
    }

    fn check_type(&self) -> Result<(), CodecError> {
        match self.untold::<V>() {
            None => Ok(()),
            Some(reason) => Err(self.not_readable::<V>(reason.into())),
        }
    }

    fn write(&self, value: &V, out: &mut Vec<u8>, largest: usize, again: bool) -> Result<Flags, CodecError> {
        let start = out.len();
        let pass = Pass::new(self.proofs.keys(), self.serializer.is_self_describing(), largest);
        let too_large = || CodecError::TooLarge {
            value_type: type_name::<V>(),
            largest,
        };
        let flags = match caught(|| self.serializer.serialize(&pass.value(value), out)) {
            Ok(Ok(flags)) => flags,
            Ok(Err(source)) => {
                return Err(match pass.exceeded() {
                    Some(Exceeded::Depth) => CodecError::TooDeep {
                        value_type: type_name::<V>(),
                    },
                    Some(Exceeded::Size) => too_large(),
                    None => CodecError::Serialize {
                        serializer: self.serializer.name().to_owned(),
                        value_type: type_name::<V>(),
                        source,
                    },
                });
            }
            Err(message) => return Err(self.panicked::<V>(message)),
        };
        let payload = &out[start..];
        let plain = self.serializer.plain_len(payload, flags);
        if payload.len().max(plain) > largest || pass.overfills(plain) {
            return Err(too_large());
        }
        if again || pass.has_unproven() {
            self.prove(value, payload, flags, largest, pass)?;
        }
        Ok(flags)
    }

    fn read(&self, payload: &[u8], flags: Flags, largest: usize) -> Result<SmallBox<V>, DecodeError> {
        self.read_watched(payload, flags, largest).map(|(value, _)| value)
    }

    #[cfg(test)]
    fn looks_twice(&self, value: &V) -> bool {
        let pass = Pass::new(self.proofs.keys(), true, usize::MAX);
        let written = self.serializer.serialize(&pass.value(value), &mut Vec::new());
        written.is_ok() && pass.has_unproven()
    }
}

impl<S: Serializer> Typed<S> {
    pub(super) fn new(serializer: S, node: String) -> Self {
        Self {
            serializer,
            node,
            traced: OnceLock::new(),
            proofs: Proofs::default(),
        }
    }

    fn traced<V: DeserializeOwned>(&self) -> &Traced {
        self.traced
            .get_or_init(|| Traced::of::<V>(self.serializer.name(), &self.node))
    }

    fn read_watched<V: DeserializeOwned>(
        &self,
        payload: &[u8],
        flags: Flags,
        largest: usize,
    ) -> Result<(SmallBox<V>, Option<Unsure>), DecodeError> {
        let (serializer, value_type) = (self.serializer.name(), type_name::<V>());
        let too_large = DecodeError::TooLarge { value_type, largest };
        let plain = self.serializer.plain_len(payload, flags);
        if payload.len().max(plain) > largest {
            return Err(too_large);
        }
        let read = Read::begin(plain, largest);
        match caught(|| self.serializer.deserialize::<Bounded<V>>(payload, flags)) {
            Ok(Ok(Bounded(value))) => Ok((value, read.unsure())),
            Ok(Err(source)) => Err(match read.exceeded() {
                Some(Exceeded::Depth) => DecodeError::TooDeep { value_type },
                Some(Exceeded::Size) => too_large,
                None => DecodeError::Deserialize {
                    serializer: serializer.to_owned(),
                    value_type,
                    source,
                },
            }),
            Err(message) => Err(DecodeError::Panicked {
                serializer: serializer.to_owned(),
                value_type,
                message,
            }),
        }
    }

    /// Reads back what was written as `payload`, compares, and remembers what was learnt.
    #[cold]
    fn prove<V: Serialize + DeserializeOwned>(
        &self,
        value: &V,
        payload: &[u8],
        flags: Flags,
        largest: usize,
        pass: Pass,
    ) -> Result<(), CodecError> {
        let findings = pass.findings();
        let (back, unsure) = self.read_watched::<V>(payload, flags, largest).map_err(|error| {
            let reason = match error {
                DecodeError::TooDeep { value_type } => return CodecError::TooDeep { value_type },
                DecodeError::TooLarge { value_type, largest } => {
                    return CodecError::TooLarge { value_type, largest };
                }
                DecodeError::Deserialize { source, .. } => Chain(&*source).to_string(),
                other => Chain(&other).to_string(),
            };
            self.not_readable::<V>(format!("{reason}; {}", self.explain::<V>(findings)).into())
        })?;
        let came_back = caught(move || {
            let written = Digest::of(value, findings.human_readable)?;
            let back = Digest::of(&*back, findings.human_readable)?;
            Ok::<_, BoxError>((written.sum == back.sum).then_some(written.structs))
        });
        let structs = match came_back {
            Ok(Ok(Some(structs))) => structs,
            Ok(Ok(None)) => {
                let reason = format!("it reads back as another value; {}", self.explain::<V>(findings));
                return Err(self.not_readable::<V>(reason.into()));
            }
            Ok(Err(source)) => return Err(self.not_readable::<V>(source)),
            Err(message) => return Err(self.panicked::<V>(message)),
        };
        // A field may have been read from another one that happened to hold the same.
        let same_fields = structs.iter().all(|fields| self.traced::<V>().has_struct(fields));
        if unsure.is_none() && same_fields {
            self.proofs.add(&pass.unproven());
        }
        Ok(())
    }

    /// The reason why a value did not come back, as far as that is known.
    fn explain<V: DeserializeOwned>(&self, findings: Findings) -> String {
        if let Some(untold) = self.untold::<V>() {
            untold
        } else if findings.empty_some && self.traced::<V>().found_out.is_none() {
            "it holds a `Some` of nothing (`Some(None)`, `Some(())`), which this format writes like `None`; `Bincode` keeps \
             them apart"
                .to_owned()
        } else if findings.not_finite {
            "it holds a float that is infinite or not a number, which JSON and its like do not have; `MsgPack` and `Bincode` do"
                .to_owned()
        } else {
            "its `Serialize` and `Deserialize` do not mirror each other in this format".to_owned()
        }
    }

    /// The part of the type that the format would have to record and does not, as text for an error.
    fn untold<V: DeserializeOwned>(&self) -> Option<String> {
        let found_out = self.traced::<V>().found_out?;
        (!self.serializer.is_self_describing()).then(|| {
            format!(
                "`{found_out}` finds out what it is while it is read (an untagged or internally tagged enum, `flatten`, \
                 `serde_json::Value`), which this format does not tell; `serializer = MsgPack` and `serializer = Json` do"
            )
        })
    }

    fn not_readable<V>(&self, source: BoxError) -> CodecError {
        CodecError::NotReadable {
            serializer: self.serializer.name().to_owned(),
            value_type: type_name::<V>(),
            source,
        }
    }

    fn panicked<V>(&self, message: String) -> CodecError {
        CodecError::Panicked {
            serializer: self.serializer.name().to_owned(),
            value_type: type_name::<V>(),
            message,
        }
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
