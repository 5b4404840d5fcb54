use crate::{Error, Result};

use super::Inner;

impl Inner {
    /// What an error of the driver means to us.
    pub(super) fn fault(&self, error: sqlx::Error) -> Error {
        let storage = self.location.clone();
        let code = match &error {
            sqlx::Error::Database(database) => {
                // Somebody dropped it while we ran; the next call makes it anew.
                if database.message().starts_with("no such table") {
                    self.ready.reset();
                }
                database.code().and_then(|code| code.parse::<u32>().ok())
            }
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => {
                return Error::Unreachable {
                    storage,
                    source: error.into(),
                };
            }
            _ => None,
        };
        // The low byte is the primary result code, https://sqlite.org/rescode.html
        match code.map(|code| code & 0xFF) {
            Some(5 | 6) => Error::Timeout {
                storage,
                after: self.busy_timeout,
            },
            Some(14) => Error::Unreachable {
                storage,
                source: error.into(),
            },
            _ => Error::Refused {
                storage,
                source: error.into(),
            },
        }
    }

    /// The same over a result.
    pub(super) fn checked<T>(&self, result: sqlx::Result<T>) -> Result<T> {
        result.map_err(|error| self.fault(error))
    }
}
