use super::limits::LEVELS;
use crate::codec::envelope::EnvelopeError;
use crate::error::BoxError;

/// The reason why a value is not written to a remote storage. Each concerns this one value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The serializer cannot express this value.
    #[error("serializer `{serializer}` cannot write `{value_type}`")]
    Serialize {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// The message of the serializer.
        source: BoxError,
    },

    /// The value is nested deeper than 128 levels.
    ///
    /// A sequence, map, tuple, struct, newtype, enum or `Some` at one level has its content at the next.
    #[error("`{value_type}` is nested deeper than {LEVELS} levels here")]
    TooDeep {
        /// Name of the value's type.
        value_type: &'static str,
    },

    /// The value takes more bytes than the largest value may, or has more elements than its bytes can stand for.
    #[error("`{value_type}` takes more here than the {largest} bytes that a value may")]
    TooLarge {
        /// Name of the value's type.
        value_type: &'static str,
        /// The number of bytes that a value may take.
        largest: usize,
    },

    /// The serializer wrote the value and cannot read it back, or reads back another.
    #[error("serializer `{serializer}` can write `{value_type}` but not read it back")]
    NotReadable {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// The reason why reading failed.
        source: BoxError,
    },

    /// `Serialize`, `Deserialize` or the serializer panicked.
    #[error("serializer `{serializer}` panicked on `{value_type}`: {message}")]
    Panicked {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// The message of the panic.
        message: String,
    },
}

/// The reason why bytes are not a value of the codec's type. Each is a miss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Foreign, torn, or written for something else.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),

    /// The value is nested deeper than 128 levels.
    #[error("`{value_type}` is nested deeper than {LEVELS} levels here")]
    TooDeep {
        /// Name of the value's type.
        value_type: &'static str,
    },

    /// The payload is larger than a value may be, once it is decompressed, or claims more than its bytes can stand for.
    #[error("`{value_type}` takes more here than the {largest} bytes that a value may")]
    TooLarge {
        /// Name of the value's type.
        value_type: &'static str,
        /// The number of bytes that a value may take.
        largest: usize,
    },

    /// The envelope is right and the serializer cannot read the payload.
    #[error("serializer `{serializer}` cannot read `{value_type}`")]
    Deserialize {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// The message of the serializer.
        source: BoxError,
    },

    /// `Deserialize` or the serializer panicked.
    #[error("serializer `{serializer}` panicked on `{value_type}`: {message}")]
    Panicked {
        /// Name of the serializer.
        serializer: String,
        /// Name of the value's type.
        value_type: &'static str,
        /// The message of the panic.
        message: String,
    },
}
