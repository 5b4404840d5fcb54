use std::fmt;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Database, Either, Executor, IntoArguments, Pool};

/// A statement with its arguments.
pub(crate) type Statement<DB> = Query<'static, DB, <DB as Database>::Arguments>;

/// How often a statement is sent again after trouble that sending it again may mend.
const REPEATS: usize = 5;

/// A pool of connections to a database server, and how statements are run on it.
///
/// Every statement of ours may be run twice: what it does the second time is what it did the first time, or loses a
/// lease. So a statement whose connection turned out to be dead (the server was started anew, or the connection belongs
/// to a runtime that is gone) is sent again on another, and nobody has to ask a connection whether it lives before
/// each use, which would double the round trips.
#[derive(Debug)]
pub(crate) struct ServerPool<DB: Database> {
    pool: Pool<DB>,
    /// Given to us by the application, and so not ours to close.
    foreign: bool,
}

impl<DB: Database> ServerPool<DB>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// A pool of our own. Nothing is reached yet.
    pub(crate) fn open(
        options: <DB::Connection as Connection>::Options,
        connections: u32,
        acquire_timeout: Duration,
    ) -> Self {
        // No limit to a connection's life or idleness: both would need a task of a runtime that may not live as long
        // as the storage, or not be there yet.
        let pool = sqlx::pool::PoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(acquire_timeout)
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Self { pool, foreign: false }
    }

    /// A pool that the application has.
    pub(crate) fn foreign(pool: Pool<DB>) -> Self {
        Self { pool, foreign: true }
    }

    /// Connects once by the side of our own pool, which would keep trying until its time is up and then not say why.
    pub(crate) async fn probe(&self) -> sqlx::Result<()> {
        if self.foreign {
            return Ok(());
        }
        let connection = self.pool.connect_options().connect().await?;
        connection.close().await
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
            let mut lent = Lent(Some(self.acquire(after_dead).await?));
            match run_on(&mut lent, statement(), &mut on_row).await {
                Ok(result) => {
                    lent.give_back();
                    return Ok(result);
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::DeadConnection if left > 0 => after_dead = true,
                    Trouble::Conflict if left > 0 => lent.give_back(),
                    _ => return Err(error),
                },
            }
        }
        unreachable!("the last turn returns")
    }

    /// A connection; with `tested`, one that answers.
    async fn acquire(&self, tested: bool) -> sqlx::Result<PoolConnection<DB>> {
        loop {
            let mut connection = self.pool.acquire().await?;
            // Each that fails is closed, so this ends at the latest with a connection made just now.
            if !tested || connection.ping().await.is_ok() {
                return Ok(connection);
            }
            connection.close_on_drop();
        }
    }

    /// Waits for statements under way and closes the connections, unless the pool is the application's.
    pub(crate) async fn close(&self) {
        if !self.foreign {
            self.pool.close().await;
        }
    }
}

async fn run_on<DB: Database>(
    lent: &mut Lent<DB>,
    statement: Statement<DB>,
    on_row: &mut impl FnMut(&DB::Row) -> sqlx::Result<()>,
) -> sqlx::Result<DB::QueryResult>
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    let connection = lent.0.as_mut().expect("is there until it is given back");
    let mut steps = (&mut **connection).fetch_many(statement);
    let mut result = DB::QueryResult::default();
    while let Some(step) = steps.try_next().await? {
        match step {
            Either::Left(done) => result.extend([done]),
            Either::Right(row) => on_row(&row)?,
        }
    }
    Ok(result)
}

/// A connection that is closed unless it is given back.
///
/// A caller who goes away in the middle of a statement leaves an answer under way that may be large, or never come;
/// the pool would wait for it and have one connection less meanwhile.
struct Lent<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Lent<DB> {
    fn give_back(mut self) {
        self.0 = None;
    }
}

impl<DB: Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

impl<DB: Database> fmt::Debug for Lent<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.0.is_some()).finish()
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
            sqlx::Error::Database(error) => match error.code().as_deref() {
                // PostgreSQL: serialization failure, deadlock. MySQL: deadlock has the first one's code.
                Some("40001" | "40P01") => Self::Conflict,
                // PostgreSQL: shut down by an administrator, crash of another session, not started yet; MySQL and
                // MariaDB: class 08, which PostgreSQL has too.
                Some("57P01" | "57P02" | "57P03") => Self::DeadConnection,
                Some(code) if code.starts_with("08") => Self::DeadConnection,
                // PostgreSQL: too many connections.
                Some("53300") => Self::Unreachable,
                _ => Self::Refusal,
            },
            _ => Self::Refusal,
        }
    }
}
