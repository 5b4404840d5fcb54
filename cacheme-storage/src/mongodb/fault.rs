use mongodb::error::{Error as DriverError, ErrorKind, RETRYABLE_WRITE_ERROR};

use crate::{Error, Result};

use super::Inner;

/// What an error says about trying again.
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
            // Shutting down, no primary at the moment, not the primary any more: see the driver's specification
            // "server discovery and monitoring", section "not writable primary and node is recovering".
            ErrorKind::Command(error)
                if matches!(error.code, 91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436) =>
            {
                Self::Passing
            }
            _ if error.contains_label(RETRYABLE_WRITE_ERROR) => Self::Passing,
            _ => Self::Refusal,
        }
    }
}

impl Inner {
    /// What an error of the driver means to us.
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
                source: error.into(),
            },
            Trouble::Unreachable => Error::Unreachable {
                storage,
                source: error.into(),
            },
            Trouble::Passing | Trouble::Refusal => Error::Refused {
                storage,
                source: error.into(),
            },
        }
    }

    /// The same over a result.
    pub(super) fn checked<T>(&self, result: Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| self.fault(error))
    }
}
