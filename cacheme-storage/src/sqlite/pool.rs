//! Connections to the database.

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite as Driver, SqliteConnection, SqlitePool};

use crate::database::{Connections, Lent};

/// Our own connections, or the application's.
///
/// Why ours are not in a pool of the driver's: it asks each that comes back whether it still lives, in a task of its own. A
/// connection is a thread here, and waking it costs more than most of our statements.
#[derive(Debug)]
pub(super) enum Pool {
    Own(Box<Connections<Driver>>),
    /// Given to us by the application, and so not ours to close.
    Foreign(SqlitePool),
}

/// A connection in use. One of ours that is dropped without [`end`](Self::end) is closed: its thread may still be busy with
/// what its caller gave up.
pub(super) enum Taken<'p> {
    Own(Lent<'p, Driver>),
    Foreign(PoolConnection<Driver>),
}

impl Pool {
    /// A connection. Waits for others to give theirs back, but not for ever.
    pub(super) async fn take(&self) -> sqlx::Result<Taken<'_>> {
        Ok(match self {
            Self::Own(connections) => Taken::Own(connections.lend().await?),
            Self::Foreign(pool) => Taken::Foreign(pool.acquire().await?),
        })
    }

    /// Waits for connections in use and closes them, unless they are the application's.
    pub(super) async fn close(&self) {
        if let Self::Own(connections) = self {
            connections.close().await;
        }
    }
}

impl Taken<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Own(lent) => &mut lent.connection,
            Self::Foreign(connection) => connection,
        }
    }

    /// Gives it back after what `done` says, unless its thread is gone. What the database refused leaves it as good as before.
    pub(super) fn end<T>(self, done: sqlx::Result<T>) -> sqlx::Result<T> {
        if let Self::Own(lent) = self
            && !matches!(done, Err(sqlx::Error::WorkerCrashed | sqlx::Error::Io(_)))
        {
            lent.give_back();
        }
        done
    }
}
