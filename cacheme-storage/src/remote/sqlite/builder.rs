use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::{Mutex, Semaphore};

use crate::error::{Error, Result};
use crate::remote::database::{Gate, Ready, TableName, TableOptions, UpkeepTask, table_setters};
use crate::url::StorageUrl;

use super::connection::Pool;
use super::damage::OnCorruption;
use super::file::DatabaseFile;
use super::table::Table;
use super::{Inner, Sqlite};

/// Says how a [`Sqlite`] storage is to be; the meaning of settings and their defaults are those of its URL.
#[derive(Clone, Debug)]
#[must_use]
pub struct SqliteBuilder {
    database: Database,
    options: TableOptions,
    busy_timeout: Duration,
    on_corruption: OnCorruption,
    synchronous: SqliteSynchronous,
}

#[derive(Clone)]
enum Database {
    Unset,
    Memory,
    File(PathBuf),
    Pool(SqlitePool),
}

impl SqliteBuilder {
    pub(super) fn new() -> Self {
        Self {
            database: Database::Unset,
            options: TableOptions::new(4),
            busy_timeout: Duration::from_secs(5),
            on_corruption: OnCorruption::default(),
            synchronous: SqliteSynchronous::Normal,
        }
    }

    /// The settings in a URL.
    pub(crate) fn from_url(url: &mut StorageUrl) -> Result<Self> {
        let mut builder = Self::new();
        if url.user().is_some() || url.password().is_some() {
            return Err(url.error("SQLite has no users; write `@` in a path as `%40`"));
        }
        let host = percent_decode_str(url.hosts()).decode_utf8();
        let host = host.map_err(|_| url.error("is not UTF-8 once percent-decoded"))?;
        builder.database = match format!("{host}{}", url.path()).as_str() {
            "" | "/" => {
                return Err(url.error(
                    "names no file; write `sqlite:///absolute/path.db`, `sqlite://relative/path.db` or `sqlite://:memory:`",
                ));
            }
            ":memory:" => Database::Memory,
            path => Database::File(path.into()),
        };
        builder.options.take(url, false)?;
        if let Some(timeout) = url.take_duration("busy_timeout")? {
            builder = builder.busy_timeout(timeout);
        }
        let corrupt = |text: &str| match text {
            "reset" => Some(OnCorruption::Reset),
            "refuse" => Some(OnCorruption::Refuse),
            _ => None,
        };
        if let Some(corrupt) = url.take_with("corrupt", "`reset` or `refuse`", corrupt)? {
            builder.on_corruption = corrupt;
        }
        let durable = |text: &str| match text {
            "full" => Some(true),
            "normal" => Some(false),
            _ => None,
        };
        if let Some(durable) = url.take_with("synchronous", "`full` or `normal`", durable)? {
            builder = builder.durable(durable);
        }
        Ok(builder)
    }

    /// Keeps the entries in this file.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.database = Database::File(path.as_ref().into());
        self
    }

    /// Keeps the entries in memory, for this storage alone and as long as it lives.
    pub fn in_memory(mut self) -> Self {
        self.database = Database::Memory;
        self
    }

    /// Uses a pool that the application has. Its own settings hold: `connections` and `acquire_timeout` of this
    /// builder mean nothing then, and [`close`](crate::RemoteStorage::close) leaves it open.
    pub fn pool(mut self, pool: SqlitePool) -> Self {
        self.database = Database::Pool(pool);
        self
    }

    table_setters! {
        /// The name of the table, of at most 48 bytes, as it is: quotes are put around it.
        table,
        /// Sets whether file and table are made when they are absent.
        create,
        /// Sets how many statements run at once. A storage in memory has one connection whatever is said here.
        connections,
    }

    /// Sets how long a statement waits for the lock of another process. A day is the longest. Statements on a pool of the application
    /// wait as long as its own options say, and only opening one of its connections as long as this.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        // SQLite counts it in milliseconds, of which it takes 2^31.
        self.busy_timeout = timeout.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// Sets the treatment of a file that turns out to be damaged. Of an application's pool, the file is always left as it is.
    pub fn corrupt(mut self, on_corruption: OnCorruption) -> Self {
        self.on_corruption = on_corruption;
        self
    }

    /// Sets whether a change outlives a power cut as soon as it is made (`synchronous = FULL`), which costs a write to the disk each
    /// time. Otherwise the last changes before a power cut or a crash of the operating system may be undone by it, and with them
    /// invalidations: values come back that were invalidated. A crash of the process undoes nothing either way.
    pub fn durable(mut self, durable: bool) -> Self {
        self.synchronous = if durable {
            SqliteSynchronous::Full
        } else {
            SqliteSynchronous::Normal
        };
        self
    }

    /// The storage. Nothing is opened yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if no database was named, or the name of the table cannot be one.
    pub fn build(self) -> Result<Sqlite> {
        let location = self.location();
        let config = |reason: String| Error::Config {
            storage: location.clone(),
            reason,
        };
        let Some(table) = TableName::parse(&self.options.table, false) else {
            return Err(config(format!("`table` must be {}", TableName::SYNTAX)));
        };
        let in_memory = matches!(self.database, Database::Memory);
        let (options, pool) = match &self.database {
            Database::Unset => {
                return Err(config("no database: call `file`, `in_memory` or `pool`".into()));
            }
            Database::Pool(pool) => (
                pool.connect_options(),
                Pool::foreign(pool.clone(), self.busy_timeout),
            ),
            Database::Memory => {
                // Gives each its own name, under which the pool's connection and the anchor find the same database.
                let options = SqliteConnectOptions::from_str("sqlite::memory:")
                    .map_err(|error| config(error.to_string()))?;
                self.open(options, None, 1)
            }
            Database::File(path) => {
                let file = DatabaseFile::new(path, self.options.create);
                let file = file.map_err(|error| config(format!("the path cannot be one: {error}")))?;
                let options = SqliteConnectOptions::new()
                    .filename(file.path())
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(self.synchronous);
                self.open(options, Some(file), self.options.connections)
            }
        };
        Ok(Sqlite {
            inner: Arc::new(Inner {
                location,
                pool,
                options,
                table: Table::new(table),
                create: self.options.create,
                busy_timeout: self.busy_timeout,
                ready: Ready::default(),
                gate: Gate::new(),
                writer: Semaphore::new(1),
                anchor: Mutex::new(None),
                in_memory,
                on_corruption: self.on_corruption,
                known: parking_lot::Mutex::default(),
                used_at_ms: AtomicI64::new(0),
                upkeep: UpkeepTask::new(self.options.purge_every),
            }),
        })
    }

    fn open(
        &self,
        options: SqliteConnectOptions,
        file: Option<DatabaseFile>,
        connections: u32,
    ) -> (Arc<SqliteConnectOptions>, Pool) {
        let options = options
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(256);
        let pool = Pool::own(
            options.clone(),
            file,
            connections,
            self.options.acquire_timeout,
            self.busy_timeout,
        );
        (Arc::new(options), pool)
    }

    fn location(&self) -> String {
        match &self.database {
            Database::Unset => "sqlite://".into(),
            Database::Memory => "sqlite://:memory:".into(),
            Database::File(path) => format!("sqlite://{}", path.display()),
            Database::Pool(pool) => {
                let options = pool.connect_options();
                format!("sqlite://{}", options.get_filename().display())
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("Unset"),
            Self::Memory => f.write_str("Memory"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Pool(_) => f.write_str("Pool"),
        }
    }
}
