//! MySQL and MariaDB: entries in a table.

mod builder;
mod connection;
mod entries;
mod fault;
mod leases;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::MySql as Driver;

pub use builder::MySqlBuilder;

use crate::error::{Error, Result};
use crate::remote::database::{Gate, Ready, ServerPool, Upkeep, UpkeepTask, remote_storage};
use crate::remote::server_clock::ServerClock;
use table::Table;

/// A [`RemoteStorage`](crate::RemoteStorage) in a MySQL database, from version 5.7 on, or in one of MariaDB, from version 10.2 on.
///
/// Opened by URL or with [`builder`](Self::builder). A call is one statement, and atomic for each key; calls of more
/// than 512 keys or 16 MiB are sent in parts, some of them side by side. Asking for the lease of one key is one
/// statement if it has a value, and two if not: the first one locks nothing, and is answered by a server that takes no
/// writes, too.
///
/// # URL
///
/// `mysql://[user[:password]@][host[:port]]/database[?options]`, percent-encoded where needed; `mariadb://` means the
/// same. Without a host it is `localhost`, without a user `root`.
///
/// | option | meaning | default |
/// |---|---|---|
/// | `table` | the table, also as `database.table` | `cacheme` |
/// | `create` | `false`: the table is not made; an absent one is an error that says what to run | `true` |
/// | `connections` | how many statements run at once | `10` |
/// | `acquire_timeout` | how long a call waits for a connection when all are in use | `2s` |
/// | `purge` | time between two collections of expired rows | `30s` |
/// | `socket` | path of a Unix socket to use in place of host and port | – |
/// | `sslmode` | `disabled`, `preferred`, `required`, `verify_ca` or `verify_identity` | `preferred`; `verify_identity` with `ca` or `cert` |
/// | `ca` or `sslca` | PEM file with authorities to trust besides the well-known ones | – |
/// | `cert` or `sslcert` | PEM file with our certificate, for servers that ask for one, and its key unless `key` has that | – |
/// | `key` or `sslkey` | PEM file with the key of `cert` | `cert` |
/// | `timeout` | see [`Storage::with_timeout`](crate::Storage::with_timeout) | `500ms` |
///
/// The modes from `required` on need the feature `tls`; without it, `preferred` connects in the clear. A mode that would leave
/// certificates unused is refused. From version 8
/// on, MySQL takes passwords over TLS or a socket only, unless told otherwise.
///
/// # Table
///
/// ```sql
/// CREATE TABLE IF NOT EXISTS `cacheme` (
///     `key` varbinary(1024) NOT NULL PRIMARY KEY,
///     `value` longblob,
///     expires_at_ms bigint,
///     lease varbinary(16),
///     INDEX `cacheme_expiry` (expires_at_ms)
/// ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC;
/// ```
///
/// A row without a value is a lease. Times are milliseconds since the Unix epoch by the server's clock, whatever time
/// zone a session has. The user needs the rights `SELECT`, `INSERT`, `UPDATE` and `DELETE`, and `CREATE` and `INDEX`
/// unless the table is there.
///
/// # Trouble
///
/// A storage with connections of its own has at most `connections` sessions at the server. A statement whose caller has left is
/// ended by the server after the [timeout](crate::Storage::with_timeout), or after a second where that counts in whole ones, and holds its
/// connection until then. Connections that lead to a server which takes no writes any more, or which was replaced behind its
/// address, are given up with all that were made before.
///
/// # Limits
///
/// Keys from 1024 bytes on are [shortened](crate::shorten_key). A value must fit with its key into a message of the
/// server, whose `max_allowed_packet` is looked up: less 18 KiB, that is the limit that
/// [`Error::TooLarge`](crate::Error::TooLarge) names.
///
/// # Runtimes
///
/// The storage may be used from several tokio runtimes, one after the other. Calls must be made, and their futures
/// dropped, within one.
///
/// # Examples
///
/// ```no_run
/// use cacheme_storage::{MySql, RemoteStorage, Storage};
///
/// # async fn example(pool: sqlx::MySqlPool) -> cacheme_storage::Result<()> {
/// let by_url = Storage::open("mysql://app:secret@db.example/app?table=sessions")?;
/// let with_the_pool_of_the_application = MySql::builder().pool(pool).table("sessions").build()?;
/// with_the_pool_of_the_application.connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MySql {
    inner: Arc<Inner>,
}

/// Shared with the upkeep task, which holds it weakly.
#[derive(Debug)]
struct Inner {
    location: String,
    pool: ServerPool<Driver>,
    table: Table,
    create: bool,
    /// The longest message that the server takes, in bytes.
    packet: AtomicUsize,
    ready: Ready,
    gate: Gate,
    clock: ServerClock,
    upkeep: UpkeepTask,
}

impl MySql {
    /// A builder, which also takes a pool that the application has.
    pub fn builder() -> MySqlBuilder {
        MySqlBuilder::new()
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Closes the connections that are our own.
    async fn disconnect(&self) -> Result<()> {
        self.pool.close().await;
        Ok(())
    }

    /// Bounds statements at the server as callers bound them.
    fn set_timeout(&self, timeout: Duration) {
        self.pool.set_limit(timeout);
    }

    /// Reaches the server, makes sure of the table and looks at clock and settings.
    async fn prepare(&self) -> Result<()> {
        self.prepare_table().await?;
        self.look_at_server().await
    }

    async fn look_at_server(&self) -> Result<()> {
        let asked = Instant::now();
        let settings = self.checked(self.settings().await)?;
        self.clock
            .observe(u64::try_from(settings.now).unwrap_or(0), asked);
        let packet = usize::try_from(settings.packet).unwrap_or(usize::MAX);
        self.packet.store(packet, Ordering::Relaxed);
        if settings.commits_by_itself {
            return Ok(());
        }
        Err(Error::Config {
            storage: self.location.clone(),
            reason: "has sessions with `autocommit` off, so no write would ever be seen; switch it on".into(),
        })
    }
}

remote_storage!(MySql, with limit);

impl Upkeep for Inner {
    async fn round(&self) -> Result<bool> {
        let _pass = self.gate.enter(&self.location).await?;
        self.ready.ensure(|| self.prepare()).await?;
        self.look_at_server().await?;
        self.purge().await
    }

    fn location(&self) -> &str {
        &self.location
    }
}
