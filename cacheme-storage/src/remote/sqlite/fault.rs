use crate::error::Error;

use super::Inner;
use super::file::{Inode, Moved};

/// The reason why an operation failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection has another file open than the one at the path.
    Moved(Moved),
    /// The file of a connection of the application's moved. Only the application can open it anew.
    MovedUnderItsPool,
    /// The file is no database, or its parts do not fit together.
    Damaged {
        /// The file, where that is certain.
        file: Option<Inode>,
        error: sqlx::Error,
    },
    /// The log is shorter than what others know of it who have it open.
    LogMissing {
        /// The file, where that is certain.
        file: Option<Inode>,
        error: sqlx::Error,
    },
    /// Somebody dropped the table while we ran.
    NoTable(sqlx::Error),
    /// The file could not be written to when the connection was opened, or cannot be now.
    ReadOnly(sqlx::Error),
    /// The connection is of no use any more.
    Lost(sqlx::Error),
    /// The database said no, and is well.
    Driver(sqlx::Error),
    /// The error is known already.
    Known(Error),
}

impl Trouble {
    /// Tells the kind of an error of the driver, on a connection to this file.
    pub(super) fn of(error: sqlx::Error, file: Option<Inode>) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return match error {
                sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) => Self::Lost(error),
                other => Self::Driver(other),
            };
        };
        if database.message().starts_with("no such table") {
            return Self::NoTable(error);
        }
        match code(&error) {
            // The file is there under another name, which only connections without a write-ahead log notice.
            Some(1032) => Self::Moved(Moved::Database),
            // A short read.
            Some(522) => Self::LogMissing { file, error },
            // The low byte is the primary result code, https://sqlite.org/rescode.html
            Some(code) => match code & 0xFF {
                11 | 26 => Self::Damaged { file, error },
                8 => Self::ReadOnly(error),
                10 | 14 => Self::Lost(error),
                _ => Self::Driver(error),
            },
            None => Self::Driver(error),
        }
    }

    /// Names the file that the connection was to.
    pub(super) fn on(self, file: Option<Inode>) -> Self {
        match self {
            Self::Damaged { file: None, error } => Self::Damaged { file, error },
            Self::LogMissing { file: None, error } => Self::LogMissing { file, error },
            other => other,
        }
    }

    /// Says whether the connection that met it may be used again.
    pub(super) fn leaves_the_connection_well(&self) -> bool {
        matches!(self, Self::NoTable(_) | Self::Driver(_) | Self::Known(_))
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::of(error, None)
    }
}

/// The extended result code.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Says whether another connection has the lock that is needed.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error).map(|code| code & 0xFF), Some(5 | 6))
}

impl Inner {
    /// Translates trouble into an error for callers.
    pub(super) fn fault(&self, trouble: Trouble) -> Error {
        let storage = self.location.clone();
        let error = match trouble {
            Trouble::Known(error) => return error,
            Trouble::Moved(_) => {
                return Error::Unreachable {
                    storage,
                    source: "the file is removed or replaced again and again".into(),
                };
            }
            Trouble::MovedUnderItsPool => {
                return Error::Config {
                    storage,
                    reason: "the file was removed or replaced while the application's pool has it open; what is \
                             written goes to the file that was there before. Open the pool and the storage anew"
                        .into(),
                };
            }
            Trouble::Damaged { error, .. }
            | Trouble::LogMissing { error, .. }
            | Trouble::NoTable(error)
            | Trouble::ReadOnly(error)
            | Trouble::Lost(error)
            | Trouble::Driver(error) => error,
        };
        match (&error, code(&error).map(|code| code & 0xFF)) {
            (
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed,
                _,
            )
            | (_, Some(14)) => Error::Unreachable {
                storage,
                source: error.into(),
            },
            _ if is_busy(&error) => Error::Timeout {
                storage,
                after: self.busy_timeout,
            },
            _ => Error::Refused {
                storage,
                source: error.into(),
            },
        }
    }
}
