//! SQLite: entries in a table of a database file.

mod builder;
mod connection;
mod damage;
mod entries;
mod fault;
mod file;
mod leases;
mod table;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

pub use builder::SqliteBuilder;
pub use damage::OnCorruption;

use crate::contract::remote::RemoteEntry;
use crate::error::{Error, Result};
use crate::remote::database::{Gate, Ready, Upkeep, UpkeepTask, remote_storage};
use connection::Pool;
use damage::Known;
use fault::Trouble;
use table::{Prepared, Table, Trusted};

/// A [`RemoteStorage`](crate::RemoteStorage) in a SQLite database: a file that processes of one machine share, or memory.
///
/// Opened by URL or with [`builder`](Self::builder). Statements run on threads of the driver's own, never on an async
/// one. The journal is a write-ahead log, so readers and the writer don't wait for each other; writers of one process
/// queue for each other, those of other processes wait as long as `busy_timeout`.
///
/// # URL
///
/// | URL | database |
/// |---|---|
/// | `sqlite:///var/lib/app/cache.db` | the file `/var/lib/app/cache.db` (three slashes: the path begins with one) |
/// | `sqlite://data/cache.db` | the file `data/cache.db` below the current directory |
/// | `sqlite://:memory:` | memory of this storage, gone when it is dropped |
///
/// Characters such as `?`, `%` and `@` in a path are percent-encoded. Options, after `?` and separated by `&`:
///
/// | option | meaning | default |
/// |---|---|---|
/// | `table` | name of the table | `cacheme` |
/// | `create` | `false`: neither file nor table are made; absent ones are an error that says what to run | `true` |
/// | `connections` | how many statements run at once | `4` |
/// | `busy_timeout` | how long a statement waits for the lock of another process | `5s` |
/// | `acquire_timeout` | how long a call waits for a connection when all are in use | `2s` |
/// | `purge` | time between two collections of expired rows | `30s` |
/// | `corrupt` | `refuse`: a damaged file is left as it is; `reset`: see [`OnCorruption`] | `reset` |
/// | `synchronous` | `full`: a change outlives a power cut, see [`SqliteBuilder::durable`] | `normal` |
/// | `timeout` | see [`Storage::with_timeout`](crate::Storage::with_timeout) | `500ms` |
///
/// # Table
///
/// ```sql
/// CREATE TABLE IF NOT EXISTS "cacheme" (
///     key BLOB NOT NULL PRIMARY KEY,
///     value BLOB,
///     expires_at_ms INTEGER,
///     lease BLOB
/// );
/// CREATE INDEX IF NOT EXISTS "cacheme_expiry" ON "cacheme" (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
/// ```
///
/// A row without a value is a lease. Times are milliseconds since the Unix epoch by the clock of the machine.
///
/// # Files that are removed, replaced or damaged
///
/// After each call, the storage looks whether the path still names the file that was read or written, and the log beside it. If
/// not, the call is repeated on the file that is there now, which is made if need be: what a process removes is removed for those
/// that start later too. A file that was copied into place is emptied first, since it may have what was invalidated after it was
/// copied. A process that makes no call finds out at its next collection of expired rows (`purge`).
///
/// A file that SQLite finds damaged is renamed to its name and `.corrupt`, and a new one is made, if it holds nothing but the
/// table of the storage. Others are refused, and not touched.
///
/// The pool of an application is the application's to open anew: calls are refused when its file was removed or replaced.
///
/// # Limits
///
/// Keys may have any length; values up to 999 MB. Until a process that has the file open looks, one that starts later reads what
/// was put in its place.
///
/// # Runtimes
///
/// The storage may be used from several tokio runtimes, one after the other or at once. Calls must be made, and their
/// futures dropped, within one.
///
/// # Examples
///
/// ```
/// use cacheme_storage::{RemoteEntry, RemoteStorage, Sqlite};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> cacheme_storage::Result<()> {
/// let storage = Sqlite::builder().in_memory().table("sessions").build()?;
/// let entry = RemoteEntry { key: b"key", value: "value".into(), ttl: None };
/// storage.set(&[entry]).await?;
/// assert_eq!(storage.get(&[b"key", b"other"]).await?, [Some("value".into()), None]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

/// Shared with the upkeep task, which holds it weakly.
#[derive(Debug)]
struct Inner {
    location: String,
    pool: Pool,
    /// The options by which it is opened.
    options: Arc<SqliteConnectOptions>,
    table: Table,
    create: bool,
    busy_timeout: Duration,
    ready: Ready,
    gate: Gate,
    /// SQLite has one writer at a time: ours queue here, in order and without polling the file's lock.
    writer: Semaphore,
    /// A database in memory lives as long as a connection to it does; those of the pool may go with a runtime.
    anchor: Mutex<Option<SqliteConnection>>,
    in_memory: bool,
    on_corruption: OnCorruption,
    known: parking_lot::Mutex<Known>,
    /// The time at which something was read from the file or written to it at last.
    used_at_ms: AtomicI64,
    upkeep: UpkeepTask,
}

/// The number of times that an operation is tried after trouble that opening the file anew may mend.
const ATTEMPTS: usize = 4;

impl Sqlite {
    /// A builder, which also takes a pool that the application has.
    pub fn builder() -> SqliteBuilder {
        SqliteBuilder::new()
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        u64::try_from(now_ms()).unwrap_or(0)
    }

    /// Closes the connections that are our own.
    async fn disconnect(&self) -> Result<()> {
        self.pool.close().await;
        if let Some(anchor) = self.anchor.lock().await.take() {
            sqlx::Connection::close(anchor)
                .await
                .map_err(|error| self.fault(error.into()))?;
        }
        Ok(())
    }

    /// Runs an operation, and runs it again on a file that is opened anew where that may help. What was done to a file that
    /// nobody finds any more is done again to the one that is there.
    async fn run<T, F>(&self, operation: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Trouble>>,
    {
        for _ in 1..ATTEMPTS {
            match operation().await {
                Ok(done) => {
                    self.used_at_ms.store(now_ms(), Ordering::Relaxed);
                    return Ok(done);
                }
                Err(trouble) => self.take_note(trouble)?,
            }
            self.ready.ensure(|| self.prepare()).await?;
        }
        operation().await.map_err(|trouble| self.fault(trouble))
    }

    /// Opens the database and makes sure of the table.
    async fn prepare(&self) -> Result<()> {
        for _ in 1..ATTEMPTS {
            self.see_to_damage().await?;
            match self.prepare_once().await {
                Ok(()) => return Ok(()),
                Err(trouble) => self.take_note(trouble)?,
            }
        }
        self.see_to_damage().await?;
        self.prepare_once().await.map_err(|trouble| self.fault(trouble))
    }

    async fn prepare_once(&self) -> Result<(), Trouble> {
        if self.in_memory {
            let mut anchor = self.anchor.lock().await;
            if anchor.is_none() {
                *anchor = Some(sqlx::ConnectOptions::connect(&*self.options).await?);
            }
        }
        let _turn = self.write_turn().await;
        let mut taken = self.pool.take().await?;
        let now = taken.inode();
        let (before, is_distrusted) = {
            let known = self.known.lock();
            (known.prepared, known.is_distrusted)
        };
        let is_another = before.is_some() && before != now;
        let trusted = match (is_distrusted, is_another) {
            (true, _) => Trusted::Nothing,
            // One that somebody put in the place of ours may have what was invalidated since it was written.
            (_, true) => Trusted::MadeAfter(self.used_at_ms.load(Ordering::Relaxed)),
            (false, false) => Trusted::All,
        };
        let prepared = self.prepare_table(taken.connection(), trusted).await;
        let Prepared {
            is_ours_alone,
            was_emptied,
        } = taken.end(prepared)?;
        if is_another {
            tracing::warn!(
                storage = self.location,
                was_emptied,
                "the file was removed or replaced while it was in use: the one that is there now is used"
            );
        }
        let mut known = self.known.lock();
        known.prepared = now;
        known.is_ours_alone = is_ours_alone;
        known.is_distrusted = false;
        Ok(())
    }

    /// The right to write, one at a time.
    async fn write_turn(&self) -> SemaphorePermit<'_> {
        self.writer
            .acquire()
            .await
            .expect("the semaphore is never closed")
    }
}

/// The clock of this machine, which all who share the file have in common.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

remote_storage!(Sqlite);

impl Upkeep for Inner {
    async fn round(&self) -> Result<bool> {
        let _pass = self.gate.enter(&self.location).await?;
        self.ready.ensure(|| self.prepare()).await?;
        self.purge().await
    }

    fn location(&self) -> &str {
        &self.location
    }
}

impl Inner {
    /// Refuses a value that no row can hold, before it is copied anywhere.
    fn check_size(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        /// A row has at most 1 000 000 000 bytes, the key and a header among them.
        const LIMIT: usize = 999_000_000;
        match entries.iter().find(|entry| entry.value.len() > LIMIT) {
            None => Ok(()),
            Some(entry) => Err(Error::TooLarge {
                storage: self.location.clone(),
                size: entry.value.len(),
                limit: LIMIT,
            }),
        }
    }
}
