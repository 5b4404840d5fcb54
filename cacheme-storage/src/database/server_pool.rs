use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Connection, Database, Either, Executor, IntoArguments, Pool};

use super::connections::{Connections, Lent};

/// A statement with its arguments.
pub(crate) type Statement<DB> = Query<'static, DB, <DB as Database>::Arguments>;

/// How often a statement is sent again after trouble that sending it again may mend.
const REPEATS: usize = 5;

/// Connections to a database server, and how statements are run on them.
///
/// Every statement of ours may be run twice: what it does the second time is what it did the first time, or loses a
/// lease. So a statement whose connection turned out to be dead (the server was started anew, or the connection belongs
/// to a runtime that is gone) is sent again on another, and nobody has to ask a connection whether it lives before
/// each use, which would double the round trips.
#[derive(Debug)]
pub(crate) enum ServerPool<DB: Database> {
    /// Made for the storage.
    Own(Connections<DB>),
    /// Given to us by the application, and so not ours to close.
    Foreign(Pool<DB>),
}

impl<DB: Database> ServerPool<DB>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Connections of our own. Nothing is reached yet.
    pub(crate) fn open(
        options: <DB::Connection as Connection>::Options,
        connections: u32,
        acquire_timeout: Duration,
    ) -> Self {
        Self::Own(Connections::new(options, connections, acquire_timeout))
    }

    /// A pool that the application has.
    pub(crate) fn foreign(pool: Pool<DB>) -> Self {
        Self::Foreign(pool)
    }

    /// Runs a statement and gives its rows to `on_row`.
    ///
    /// The statement is made when a connection is at hand: it holds a copy of the values that it carries, and so there
    /// are never more such copies than connections. Both closures may be called anew when the statement is sent again.
    pub(crate) async fn run(
        &self,
        statement: impl Fn() -> Statement<DB>,
        mut on_row: impl FnMut(&DB::Row) -> sqlx::Result<()>,
    ) -> sqlx::Result<DB::QueryResult> {
        let mut after_dead = false;
        for left in (0..=REPEATS).rev() {
            let mut taken = self.acquire(after_dead).await?;
            match run_on(taken.connection(), statement(), &mut on_row).await {
                Ok(result) => {
                    taken.give_back();
                    return Ok(result);
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::DeadConnection if left > 0 => after_dead = true,
                    Trouble::Conflict if left > 0 => taken.give_back(),
                    Trouble::Conflict | Trouble::Refusal if leaves_connection(&error) => {
                        // The server said no in good order; the connection is as good as before.
                        taken.give_back();
                        return Err(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        unreachable!("the last turn returns")
    }

    /// A connection; with `tested`, one that answers.
    async fn acquire(&self, tested: bool) -> sqlx::Result<Taken<'_, DB>> {
        loop {
            let mut taken = match self {
                Self::Own(connections) => Taken::Own(connections.lend().await?),
                // Boxed, here and below, so that a statement does not carry the space.
                Self::Foreign(pool) => Taken::Foreign(Borrowed(Some(Box::pin(pool.acquire()).await?))),
            };
            // Each that fails is closed, so this ends at the latest with a connection made just now.
            if !tested || Box::pin(taken.connection().ping()).await.is_ok() {
                return Ok(taken);
            }
        }
    }

    /// How a connection is made.
    #[cfg(feature = "postgres")]
    pub(crate) fn options(&self) -> <DB::Connection as Connection>::Options {
        match self {
            Self::Own(connections) => connections.options().clone(),
            Self::Foreign(pool) => (*pool.connect_options()).clone(),
        }
    }

    /// How many statements run at once.
    pub(crate) fn width(&self) -> usize {
        let connections = match self {
            Self::Own(connections) => connections.most(),
            Self::Foreign(pool) => pool.options().get_max_connections(),
        };
        usize::try_from(connections).unwrap_or(usize::MAX)
    }

    /// Waits for statements under way and closes the connections, unless the pool is the application's.
    pub(crate) async fn close(&self) {
        if let Self::Own(connections) = self {
            connections.close().await;
        }
    }
}

async fn run_on<DB: Database>(
    connection: &mut DB::Connection,
    statement: Statement<DB>,
    on_row: &mut impl FnMut(&DB::Row) -> sqlx::Result<()>,
) -> sqlx::Result<DB::QueryResult>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let mut steps = connection.fetch_many(statement);
    let mut result = DB::QueryResult::default();
    while let Some(step) = steps.try_next().await? {
        match step {
            Either::Left(done) => result.extend([done]),
            Either::Right(row) => on_row(&row)?,
        }
    }
    Ok(result)
}

/// Whether the connection is as good after the error as it was before.
fn leaves_connection(error: &sqlx::Error) -> bool {
    match error {
        // A session of MySQL keeps the rights that its user had when it began: denied to a user, to a command, to a
        // column, without a privilege.
        #[cfg(feature = "mysql")]
        sqlx::Error::Database(error)
            if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() =>
        {
            !matches!(error.number(), 1044 | 1142 | 1143 | 1227)
        }
        sqlx::Error::Database(_) => true,
        _ => false,
    }
}

/// A connection that is closed unless it is given back.
///
/// A caller who goes away in the middle of a statement leaves an answer under way that may be large, or never come;
/// the next one would wait for it.
enum Taken<'p, DB: Database> {
    Own(Lent<'p, DB>),
    Foreign(Borrowed<DB>),
}

/// A connection of the application's pool.
struct Borrowed<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Taken<'_, DB> {
    fn connection(&mut self) -> &mut DB::Connection {
        match self {
            Self::Own(lent) => &mut lent.connection,
            Self::Foreign(borrowed) => borrowed.0.as_mut().expect("is there until it is given back"),
        }
    }

    fn give_back(self) {
        match self {
            Self::Own(lent) => lent.give_back(),
            Self::Foreign(mut borrowed) => drop(borrowed.0.take()),
        }
    }
}

impl<DB: Database> Drop for Borrowed<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// What an error says about the connection and about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection broke, or the server is shutting it down.
    DeadConnection,
    /// The server chose this statement to give way to another.
    Conflict,
    /// No connection was to be had.
    Unreachable,
    /// The server said no.
    Refusal,
}

impl Trouble {
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
                Self::DeadConnection
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => Self::Unreachable,
            #[cfg(feature = "mysql")]
            sqlx::Error::Database(error)
                if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() =>
            {
                Self::by_number(error.number())
            }
            sqlx::Error::Database(error) => match error.code().as_deref() {
                // Serialization failure, deadlock.
                Some("40001" | "40P01") => Self::Conflict,
                // Shut down by an administrator, crash of another session, not started yet.
                Some("57P01" | "57P02" | "57P03") => Self::DeadConnection,
                Some(code) if code.starts_with("08") => Self::DeadConnection,
                // Too many connections.
                Some("53300") => Self::Unreachable,
                _ => Self::Refusal,
            },
            _ => Self::Refusal,
        }
    }

    /// The same for the number of an error of MySQL or MariaDB, whose codes are too coarse.
    /// <https://mariadb.com/docs/server/reference/error-codes>, the same in MySQL where both have it.
    #[cfg(feature = "mysql")]
    fn by_number(number: u16) -> Self {
        match number {
            // Waited too long for a lock, deadlock, the row changed since the snapshot (MariaDB from version 11 on).
            1205 | 1213 | 1020 => Self::Conflict,
            // Shutting down, trouble with the network, killed (MariaDB), idle for too long (MySQL).
            1053 | 1152 | 1154..=1161 | 1184 | 1927 | 4031 => Self::DeadConnection,
            // Too many connections, of all or of this user; this host is blocked.
            1040 | 1129 | 1203 | 1226 => Self::Unreachable,
            _ => Self::Refusal,
        }
    }
}
