use sqlx::mysql::MySqlDatabaseError;

use crate::error::{Error, Result};
use crate::remote::database::{DriverError, Trouble};
use crate::remote::tls::explained;

use super::Inner;

/// The number of an error that the server sent.
/// <https://mariadb.com/docs/server/reference/error-codes>, the same in MySQL where both have it.
fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?;
    Some(error.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

impl Inner {
    /// The server knows no such table.
    pub(super) fn is_absent(&self, error: &sqlx::Error) -> bool {
        number(error) == Some(1146)
    }

    /// Translates an error of the driver.
    pub(super) fn fault(&self, error: DriverError) -> Error {
        let storage = self.location.clone();
        // Somebody dropped the table while we ran, or made the server take shorter messages: the next call looks anew.
        if matches!(number(&error), Some(1146 | 1153)) {
            self.ready.reset();
        }
        match Trouble::of(&error) {
            Trouble::DeadConnection | Trouble::Unreachable => Error::Unreachable {
                storage,
                source: explained(error.into()),
            },
            Trouble::TimedOut if let Some(after) = self.pool.limit() => Error::Timeout { storage, after },
            _ => Error::Refused {
                storage,
                source: explained(error.into()),
            },
        }
    }

    /// Translates the error of a result.
    pub(super) fn checked<T>(&self, result: Result<T, DriverError>) -> Result<T> {
        result.map_err(|error| self.fault(error))
    }
}
