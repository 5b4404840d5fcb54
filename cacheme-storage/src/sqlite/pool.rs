//! Connections to the database.

use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::{Sqlite as Driver, SqliteConnection, SqlitePool};

use crate::database::{Connections, Lent};

/// Our own connections, or the application's.
///
/// Why ours are not in a pool of the driver's: it asks each that comes back whether it still lives, in a task of its own. A
/// connection is a thread here, and waking it costs more than most of our statements.
#[derive(Debug)]
pub(super) enum Pool {
    Own(Arc<Connections<Driver>>),
    /// Given to us by the application, and so not ours to close.
    Foreign(SqlitePool),
}

/// A connection in use.
///
/// One of ours that is dropped without [`end`](Self::end) may still be busy with what its caller gave up, waiting for another
/// process's lock, say. It comes back when it answers, and nobody gets its turn before: so there are never more threads than
/// connections were asked for.
pub(super) struct Taken<'p> {
    pool: &'p Pool,
    /// `None` once it has ended.
    connection: Option<Connection<'p>>,
}

enum Connection<'p> {
    Own(Lent<'p, Driver>),
    Foreign(PoolConnection<Driver>),
}

impl Pool {
    /// A connection. Waits for others to give theirs back, but not for ever.
    pub(super) async fn take(&self) -> sqlx::Result<Taken<'_>> {
        let connection = match self {
            Self::Own(connections) => Connection::Own(connections.lend().await?),
            // Boxed, so that a statement does not carry its space.
            Self::Foreign(pool) => Connection::Foreign(Box::pin(pool.acquire()).await?),
        };
        Ok(Taken {
            pool: self,
            connection: Some(connection),
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
        match self.connection.as_mut().expect("it is used before it ends") {
            Connection::Own(lent) => &mut lent.connection,
            Connection::Foreign(connection) => connection,
        }
    }

    /// Gives it back after what `done` says, unless its thread is gone. What the database refused leaves it as good as before.
    pub(super) fn end<T>(mut self, done: sqlx::Result<T>) -> sqlx::Result<T> {
        if let Some(Connection::Own(lent)) = self.connection.take()
            && !matches!(done, Err(sqlx::Error::WorkerCrashed | sqlx::Error::Io(_)))
        {
            lent.give_back();
        }
        done
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let (Some(Connection::Own(lent)), Pool::Own(connections)) = (self.connection.take(), self.pool) {
            lent.give_back_once_it_answers(Arc::clone(connections));
        }
    }
}
