use crate::database::Trouble;
use crate::{Error, Result};

use super::Inner;

impl Inner {
    /// What an error of the driver means to us.
    pub(super) fn fault(&self, error: sqlx::Error) -> Error {
        let storage = self.location.clone();
        match Trouble::of(&error) {
            Trouble::DeadConnection | Trouble::Unreachable => Error::Unreachable {
                storage,
                source: error.into(),
            },
            Trouble::Conflict | Trouble::Refusal => {
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
                    source: error.into(),
                }
            }
        }
    }

    /// The same over a result.
    pub(super) fn checked<T>(&self, result: sqlx::Result<T>) -> Result<T> {
        result.map_err(|error| self.fault(error))
    }
}
