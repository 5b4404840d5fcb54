use crate::error::{Error, Result};
use crate::remote::database::{DriverError, Trouble};
use crate::remote::tls::explained;

use super::Inner;

impl Inner {
    /// Translates an error of the driver.
    pub(super) fn fault(&self, error: DriverError) -> Error {
        let storage = self.location.clone();
        match Trouble::of(&error) {
            Trouble::DeadConnection | Trouble::Unreachable => Error::Unreachable {
                storage,
                source: explained(error.into()),
            },
            Trouble::TimedOut if let Some(after) = self.pool.limit() => Error::Timeout { storage, after },
            _ => {
                // Undefined table: somebody dropped it while we ran; the next call makes it anew.
                if error
                    .as_database_error()
                    .and_then(|error| error.code())
                    .as_deref()
                    == Some("42P01")
                {
                    self.ready.reset();
                }
                Error::Refused {
                    storage,
                    source: explained(error.into()),
                }
            }
        }
    }

    /// Translates the error of a result.
    pub(super) fn checked<T>(&self, result: Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| self.fault(error))
    }
}
