//! Connections to the database.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Sqlite as Driver, SqliteConnection, SqlitePool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::fault::{Trouble, is_busy};
use super::file::{DatabaseFile, Inode, Moved, OpenFile};
use crate::remote::database::Finish;

/// The number of times that a file is opened again that was replaced while it was opened.
const OPENINGS: usize = 5;

/// The time that a connection waits before it tries again to switch its file to a write-ahead log.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Our own connections, or the application's.
pub(super) enum Pool {
    Own(Arc<Connections>),
    /// Given to us by the application, and so not ours to close.
    Foreign(Foreign),
}

/// Connections of our own: made when there is none to spare, kept when they come back.
///
/// Why ours are not in a pool of the driver's: it asks each that comes back whether it still lives, in a task of its own. A
/// connection is a thread here, and waking it costs more than most of our statements.
pub(super) struct Connections {
    options: SqliteConnectOptions,
    /// `None` in memory.
    file: Option<DatabaseFile>,
    most: u32,
    /// A turn for each connection that there may be; in the order of asking.
    turns: Arc<Semaphore>,
    /// The one that came back last goes first: it has seen the newest statements.
    idle: Mutex<Vec<Open>>,
    patience: Duration,
    busy_timeout: Duration,
}

/// A connection, and what it has open.
struct Open {
    connection: SqliteConnection,
    file: Option<OpenFile>,
}

/// A pool of the application's.
pub(super) struct Foreign {
    pool: SqlitePool,
    /// `None` for a path that cannot be one.
    file: Option<DatabaseFile>,
    /// The file that the path named when the storage was made, or when it was first used. Nobody can say what each of the connections has
    /// open.
    first: OnceLock<Inode>,
    busy_timeout: Duration,
}

/// A connection in use.
///
/// One of ours that is dropped without [`end`](Self::end) may still be busy with what its caller gave up, waiting for another
/// process's lock, say. It comes back when it answers, and nobody gets its turn before: so there are never more threads than
/// connections were asked for.
pub(super) struct Taken<'p> {
    /// `None` once it has ended.
    lent: Option<Lent<'p>>,
}

enum Lent<'p> {
    Own {
        open: Open,
        turn: OwnedSemaphorePermit,
        connections: Arc<Connections>,
    },
    Foreign {
        connection: PoolConnection<Driver>,
        from: &'p Foreign,
    },
}

impl Pool {
    pub(super) fn own(
        options: SqliteConnectOptions,
        file: Option<DatabaseFile>,
        most: u32,
        patience: Duration,
        busy_timeout: Duration,
    ) -> Self {
        Self::Own(Arc::new(Connections {
            options,
            file,
            most,
            turns: Arc::new(Semaphore::new(
                usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            idle: Mutex::default(),
            patience,
            busy_timeout,
        }))
    }

    pub(super) fn foreign(pool: SqlitePool, busy_timeout: Duration) -> Self {
        let file = DatabaseFile::new(pool.connect_options().get_filename(), false).ok();
        let first = OnceLock::new();
        if let Some(inode) = file.as_ref().and_then(DatabaseFile::inode) {
            first.get_or_init(|| inode);
        }
        Self::Foreign(Foreign {
            pool,
            file,
            first,
            busy_timeout,
        })
    }

    /// The file, if it is ours to open and to make.
    pub(super) fn file(&self) -> Option<&DatabaseFile> {
        match self {
            Self::Own(connections) => connections.file.as_ref(),
            Self::Foreign(_) => None,
        }
    }

    /// A connection. Waits for others to give theirs back, but not for ever.
    pub(super) async fn take(&self) -> Result<Taken<'_>, Trouble> {
        match self {
            Self::Own(connections) => {
                let turn = connections.turn().await?;
                let idle = connections.idle.lock().pop();
                match idle {
                    Some(open) => Ok(Taken::own(open, turn, Arc::clone(connections))),
                    None => connections.take_new(turn).await,
                }
            }
            Self::Foreign(from) => {
                // Boxed: to connect takes kilobytes of space, which every statement would carry around.
                let connection = Box::pin(unless_busy(from.busy_timeout, || from.pool.acquire())).await?;
                Ok(Taken {
                    lent: Some(Lent::Foreign { connection, from }),
                })
            }
        }
    }

    /// Closes our own connections that nobody uses at the moment. Those in use are looked at when they come back.
    pub(super) fn discard(&self) {
        if let Self::Own(connections) = self {
            let idle = std::mem::take(&mut *connections.idle.lock());
            drop(idle);
        }
    }

    /// Waits for connections in use and closes them, unless they are the application's.
    pub(super) async fn close(&self) {
        if let Self::Own(connections) = self {
            connections.close().await;
        }
    }
}

impl Connections {
    async fn turn(&self) -> sqlx::Result<OwnedSemaphorePermit> {
        match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => Ok(turn),
            // Boxed, since mostly there is one to spare.
            Err(_) => match Box::pin(timeout(self.patience, Arc::clone(&self.turns).acquire_owned())).await {
                Ok(Ok(turn)) => Ok(turn),
                Ok(Err(_)) => Err(sqlx::Error::PoolClosed),
                Err(_) => Err(sqlx::Error::PoolTimedOut),
            },
        }
    }

    /// A new connection. It is opened to the end even if its caller leaves in the middle, since its thread lives as long: it keeps
    /// its turn, and goes to the next caller.
    async fn take_new(self: &Arc<Self>, turn: OwnedSemaphorePermit) -> Result<Taken<'static>, Trouble> {
        let connections = Arc::clone(self);
        let open = async move {
            let open = connections.open().await?;
            Ok(Taken::own(open, turn, connections))
        };
        Finish::new(open, self.patience.saturating_mul(2)).await
    }

    async fn open(&self) -> Result<Open, Trouble> {
        let Some(file) = &self.file else {
            let connection = self.options.connect().await?;
            return Ok(Open {
                connection,
                file: None,
            });
        };
        let mut last = sqlx::Error::Io(io::Error::other(
            "the file is replaced again and again while it is opened",
        ));
        for _ in 0..OPENINGS {
            let before = file.inode();
            let Some(inode) = before else {
                if file.may_be_made() {
                    let made = file.make().await;
                    made.map_err(|error| {
                        let what = format!("unable to open the folder or to make the file: {error}");
                        sqlx::Error::Io(io::Error::new(error.kind(), what))
                    })?;
                    continue;
                }
                // The driver says what is amiss.
                self.connect().await?;
                continue;
            };
            let (connection, logs) = match self
                .connect()
                .await
                .map_err(|error| Trouble::of(error, Some(inode)))
            {
                Ok(connected) => connected,
                // Its parts may have been removed one after the other meanwhile.
                Err(Trouble::Lost(error)) => {
                    last = error;
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            match file.opened_on(inode) {
                // Another connection of this process may still share with it what was removed.
                Some(open) if logs && !open.has_log() => return Err(Trouble::Moved(Moved::Log(inode))),
                Some(open) => {
                    return Ok(Open {
                        connection,
                        file: Some(open),
                    });
                }
                // It was replaced meanwhile.
                None => {}
            }
        }
        Err(last.into())
    }

    /// A connection that has opened all its files, and whether it has a write-ahead log.
    async fn connect(&self) -> sqlx::Result<(SqliteConnection, bool)> {
        let connect = unless_busy(self.busy_timeout, || self.connect_once());
        match timeout(self.patience, connect).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    async fn connect_once(&self) -> sqlx::Result<(SqliteConnection, bool)> {
        let mut connection = self.options.connect().await?;
        // The log is opened by the first who reads.
        sqlx::query("SELECT count(*) FROM sqlite_master")
            .execute(&mut connection)
            .await?;
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut connection)
            .await?;
        Ok((connection, mode == "wal"))
    }

    /// Waits for connections in use, says goodbye on all, and lends no more.
    async fn close(&self) {
        if let Ok(all) = self.turns.acquire_many(self.most).await {
            self.turns.close();
            drop(all);
        }
        let idle = std::mem::take(&mut *self.idle.lock());
        for open in idle {
            // One that is dead already is closed all the same.
            let _ = open.connection.close().await;
        }
    }
}

/// Connects, and tries again while the file is busy, since SQLite waits for nobody when it switches a file to a write-ahead log:
/// two processes that switch it at once would wait for each other.
async fn unless_busy<T, F>(busy_timeout: Duration, connect: impl Fn() -> F) -> sqlx::Result<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    let begun = Instant::now();
    loop {
        match connect().await {
            Err(error) if is_busy(&error) && begun.elapsed() < busy_timeout => sleep(BUSY_PAUSE).await,
            done => return done,
        }
    }
}

impl Foreign {
    /// Says whether the path still names what it named at first.
    fn is_where_it_was(&self) -> bool {
        let Some(now) = self.file.as_ref().map(DatabaseFile::inode) else {
            return true;
        };
        match self.first.get() {
            Some(first) => now == Some(*first),
            None => {
                // In memory if it is not there.
                if let Some(now) = now {
                    self.first.get_or_init(|| now);
                }
                true
            }
        }
    }
}

impl Taken<'static> {
    fn own(open: Open, turn: OwnedSemaphorePermit, connections: Arc<Connections>) -> Self {
        Self {
            lent: Some(Lent::Own {
                open,
                turn,
                connections,
            }),
        }
    }
}

impl Taken<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        match self.lent.as_mut().expect("it is used before it ends") {
            Lent::Own { open, .. } => &mut open.connection,
            Lent::Foreign { connection, .. } => connection,
        }
    }

    /// The file that it has open, where that is known.
    pub(super) fn inode(&self) -> Option<Inode> {
        match &self.lent {
            Some(Lent::Own { open, .. }) => open.file.as_ref().map(|file| file.inode),
            _ => None,
        }
    }

    /// Gives it back after what `done` says, unless it is of no use any more. What was done to a file that is not where it was
    /// counts as not done: nobody who comes later sees it.
    pub(super) fn end<T>(mut self, done: Result<T, impl Into<Trouble>>) -> Result<T, Trouble> {
        let done = done.map_err(Into::into);
        match self.lent.take().expect("it ends once") {
            Lent::Own {
                open,
                turn,
                connections,
            } => {
                let file = connections.file.as_ref().zip(open.file.as_ref());
                if let Some(moved) = file.and_then(|(file, open)| file.moved(open)) {
                    return Err(Trouble::Moved(moved));
                }
                match done {
                    Err(trouble) => {
                        let trouble = trouble.on(open.file.as_ref().map(|file| file.inode));
                        if trouble.leaves_the_connection_well() {
                            connections.idle.lock().push(open);
                            drop(turn);
                        }
                        Err(trouble)
                    }
                    Ok(done) => {
                        connections.idle.lock().push(open);
                        drop(turn);
                        Ok(done)
                    }
                }
            }
            Lent::Foreign { from, .. } if !from.is_where_it_was() => Err(Trouble::MovedUnderItsPool),
            Lent::Foreign { .. } => done,
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(Lent::Own {
            open,
            turn,
            connections,
        }) = self.lent.take()
        else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            // A runtime that ends before the connection answers drops it together with its turn.
            let (mut open, _turn) = (open, turn);
            if open.connection.ping().await.is_ok() {
                connections.idle.lock().push(open);
            }
        });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Foreign(_) => "Foreign",
        })
    }
}
