//! Connections to a database server, and how statements are run on them.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, Executor, IntoArguments};

use crate::remote::database::LET_GO;

use super::drive::drive;
use super::foreign::{Borrowed, Foreign};
use super::server_kind::ServerKind;
use super::statement::{Encode, Protocol};
use super::trouble::{Trouble, leaves_connection};
use super::{Connections, DriverError, Lent};

/// The number of times that a statement is sent again after trouble that sending it again may mend.
const REPEATS: usize = 5;

/// Connections to a database server, and how statements are run on them.
///
/// Every statement of ours may be run twice: what it does the second time is what it did the first time, or loses a
/// lease. So a statement whose connection turned out to be dead (the server was started anew, or the connection belongs
/// to a runtime that is gone) is sent again on another, and nobody has to ask a connection whether it lives before
/// each use, which would double the round trips.
pub(crate) enum ServerPool<DB: ServerKind> {
    /// Made for the storage.
    Own(Arc<Connections<DB::Dial>>),
    /// Given to us by the application, and so not ours to close.
    Foreign(Arc<Foreign<DB>>),
}

impl<DB: ServerKind> ServerPool<DB>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Runs a statement and gives its rows to `on_row`.
    ///
    /// The statement is made when a connection is at hand: it holds a copy of the values that it carries, and so there
    /// are never more such copies than connections. Both closures may be called anew when the statement is sent again.
    ///
    /// # Cancel safety
    ///
    /// A statement that was sent is run to its end by the server. Its connection keeps its turn until then.
    pub(crate) async fn run<S: Encode<DB>>(
        &self,
        statement: impl Fn() -> S,
        mut on_row: impl FnMut(&DB::Row) -> sqlx::Result<()>,
    ) -> Result<DB::QueryResult, DriverError> {
        let mut repeats = 0;
        let mut after_dead = false;
        let mut read_only = 0;
        loop {
            let taken = self.acquire(after_dead).await?;
            let statement = statement().encode(taken.protocol());
            let mut any_row = false;
            let seen = |row: &DB::Row| {
                any_row = true;
                on_row(row)
            };
            let (taken, done) = drive(taken, statement, self.let_go(), seen).await?;
            repeats += 1;
            if !taken.is_current() {
                // The answer is one of a server that was left meanwhile.
                if any_row || repeats > REPEATS {
                    let replaced = "the server was left for another one while it answered";
                    let replaced = io::Error::new(io::ErrorKind::ConnectionReset, replaced);
                    return Err(sqlx::Error::from(replaced).into());
                }
                continue;
            }
            let error = match done {
                Ok(result) => {
                    taken.end(None);
                    return Ok(result);
                }
                Err(error) => error,
            };
            match Trouble::of(&error) {
                Trouble::DeadConnection if repeats <= REPEATS => after_dead = true,
                Trouble::Conflict if repeats <= REPEATS => taken.end(Some(&error)),
                Trouble::ReadOnly if taken.demote(read_only) => {
                    read_only += 1;
                    taken.close();
                }
                _ => {
                    taken.end(Some(&error));
                    return Err(error.into());
                }
            }
        }
    }

    /// A connection; with `tested`, one that answers.
    async fn acquire(&self, tested: bool) -> Result<Taken<DB>, DriverError> {
        match self {
            Self::Own(connections) => connections.lend(tested).await.map(Taken::Own),
            // Boxed, so that a statement does not carry the space.
            Self::Foreign(foreign) => Box::pin(foreign.borrow(tested)).await.map(Taken::Foreign),
        }
    }
}

impl<DB: ServerKind> ServerPool<DB> {
    /// The time that callers wait for a statement.
    pub(crate) fn set_limit(&self, limit: Duration) {
        if let Self::Own(connections) = self {
            connections.set_limit(limit);
        }
    }

    /// The longest time that the server may be at a statement, if we said so.
    pub(crate) fn limit(&self) -> Option<Duration> {
        match self {
            Self::Own(connections) => connections.limit(),
            Self::Foreign(_) => None,
        }
    }

    fn let_go(&self) -> Duration {
        LET_GO + self.limit().unwrap_or_default()
    }

    /// The number of statements that run at once.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Own(connections) => connections.most(),
            Self::Foreign(foreign) => usize::try_from(foreign.most()).unwrap_or(usize::MAX),
        }
    }

    /// Waits for statements under way and closes the connections, unless the pool is the application's.
    pub(crate) async fn close(&self) {
        if let Self::Own(connections) = self {
            connections.close().await;
        }
    }
}

impl<DB: ServerKind> fmt::Debug for ServerPool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options would show the password.
        match self {
            Self::Own(connections) => f.debug_tuple("Own").field(connections).finish(),
            Self::Foreign(_) => f.write_str("Foreign"),
        }
    }
}

/// A connection in use. It is closed unless its last answer was one that leaves it as good as before.
pub(super) enum Taken<DB: ServerKind> {
    Own(Lent<DB::Dial>),
    Foreign(Borrowed<DB>),
}

impl<DB: ServerKind> Taken<DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        match self {
            Self::Own(lent) => &mut lent.connection().driver,
            Self::Foreign(borrowed) => borrowed.connection(),
        }
    }

    fn protocol(&self) -> &Protocol {
        match self {
            Self::Own(lent) => &lent.held().protocol,
            Self::Foreign(borrowed) => borrowed.protocol(),
        }
    }

    /// Says whether its server was not left for another one.
    fn is_current(&self) -> bool {
        match self {
            Self::Own(lent) => lent.is_current(),
            Self::Foreign(_) => true,
        }
    }

    /// The server takes no writes, as `before` others of this statement. Says whether to try another connection.
    fn demote(&self, before: u32) -> bool {
        match self {
            Self::Own(lent) => lent.demote(),
            Self::Foreign(borrowed) => borrowed.demote(before),
        }
    }

    /// Closes a connection that was given up.
    fn close(self) {
        match self {
            // It is of a generation that ended.
            Self::Own(lent) => lent.give_back(),
            Self::Foreign(borrowed) => drop(borrowed),
        }
    }

    /// The statement was answered, with an error perhaps.
    pub(super) fn end(self, error: Option<&sqlx::Error>) {
        if error.is_some_and(|error| !leaves_connection(error)) {
            return;
        }
        match self {
            Self::Own(lent) => lent.give_back(),
            Self::Foreign(borrowed) => borrowed.give_back(),
        }
    }
}

/// A connection to a database server.
pub(crate) struct ServerConnection<DB: ServerKind> {
    pub(crate) driver: DB::Connection,
    pub(crate) protocol: Protocol,
    pub(crate) session: Option<DB::Session>,
}

impl<DB: ServerKind> ServerConnection<DB> {
    pub(crate) async fn ping(&mut self) -> sqlx::Result<()> {
        self.driver.ping().await
    }

    pub(crate) async fn close(self) -> sqlx::Result<()> {
        self.driver.close().await
    }
}
