use mongodb::error::{Error as DriverError, ErrorKind, RETRYABLE_WRITE_ERROR};

use crate::error::{Error, Result};
use crate::remote::tls::explained;

use super::Inner;

/// The meaning of an error for another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection broke, or the server gives way to another one: the next attempt may find a better one.
    Passing,
    /// No server was to be had.
    Unreachable,
    /// The server said no.
    Refusal,
}

impl Trouble {
    pub(super) fn of(error: &DriverError) -> Self {
        match &*error.kind {
            ErrorKind::Io(source) if source.kind() == std::io::ErrorKind::TimedOut => Self::Unreachable,
            ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => Self::Passing,
            ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } | ErrorKind::Shutdown => {
                Self::Unreachable
            }
            _ if is_not_primary(error) => Self::Passing,
            _ if error.contains_label(RETRYABLE_WRITE_ERROR) => Self::Passing,
            _ => Self::Refusal,
        }
    }
}

/// Says whether the server gives way to another one: it shuts down, or is not the primary any more. See the driver's specification
/// "server discovery and monitoring", section "not writable primary and node is recovering".
pub(super) fn is_not_primary(error: &DriverError) -> bool {
    let code = match &*error.kind {
        ErrorKind::Command(error) => error.code,
        _ => return false,
    };
    matches!(code, 91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436)
}

impl Inner {
    /// Translates an error of the driver.
    pub(super) fn fault(&self, error: DriverError) -> Error {
        let storage = self.location.clone();
        if let ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. } = &*error.kind {
            return Error::Config {
                storage,
                reason: error.kind.to_string(),
            };
        }
        match Trouble::of(&error) {
            Trouble::Passing if !matches!(&*error.kind, ErrorKind::Command(_)) => Error::Unreachable {
                storage,
                source: explained(error.into()),
            },
            Trouble::Unreachable => Error::Unreachable {
                storage,
                source: explained(error.into()),
            },
            Trouble::Passing | Trouble::Refusal => Error::Refused {
                storage,
                source: error.into(),
            },
        }
    }

    /// Translates the error of a result.
    pub(super) fn checked<T>(&self, result: Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| self.fault(error))
    }
}
