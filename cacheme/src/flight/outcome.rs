//! The outcome of a flight: a value, or the failure of its load.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use cacheme_storage::{Chain, SmallBox};

use crate::error::Error;

/// The outcome of a flight.
pub(crate) type Outcome<V> = std::result::Result<SmallBox<V>, Failure>;

/// The reason why a flight brought no value.
#[derive(Clone)]
pub(crate) enum Failure {
    /// The load's own error: an [`Error`](crate::Error) of `get`, or the error of a memoized function. A caller with another error type
    /// runs a load of its own.
    Error(Arc<dyn LoadError>),
    /// The load panicked with this message.
    Panicked(String),
}

/// The error of a load, whatever its type is.
pub(crate) trait LoadError: Send + Sync {
    fn as_any(&self) -> &dyn Any;

    /// Its text for a log, if its type has one.
    fn text(&self) -> Option<String>;
}

impl dyn LoadError {
    pub(crate) fn downcast_ref<E: 'static>(&self) -> Option<&E> {
        self.as_any().downcast_ref()
    }
}

impl LoadError for Error {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn text(&self) -> Option<String> {
        Some(Chain(self).to_string())
    }
}

impl Failure {
    pub(crate) fn error(error: Error) -> Self {
        Self::Error(Arc::new(error))
    }

    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(message.unwrap_or_else(|| "a panic without a message".into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => match error.text() {
                Some(text) => f.write_str(&text),
                None => f.write_str("the caller's own loader returned an error"),
            },
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}
