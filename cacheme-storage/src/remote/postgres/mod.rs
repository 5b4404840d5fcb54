//! PostgreSQL: entries in a table.

mod builder;
mod bus;
mod connection;
mod entries;
mod fault;
mod hit_rate;
mod leases;
mod statement;
mod table;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Postgres as Driver;

pub use builder::PostgresBuilder;

use crate::error::Result;
use crate::remote::database::{Gate, Ready, ServerPool, Upkeep, UpkeepTask, remote_storage};
use crate::remote::server_clock::ServerClock;
use connection::protocol_of;
use hit_rate::HitRate;
use table::Table;

/// A [`RemoteStorage`](crate::RemoteStorage) in a PostgreSQL database, from version 10 on.
///
/// Opened by URL or with [`builder`](Self::builder). Every call is one statement, whatever the number of keys, and
/// atomic for each key; very large calls are sent in parts of 16 MiB, four of them side by side. Where single keys were mostly
/// found lately, an [`acquire`](crate::RemoteStorage::acquire) of one looks by a statement of its own first: that takes the
/// server four fifths of the time, and who finds nothing a round trip more.
///
/// # URL
///
/// `postgres://[user[:password]@][host[:port]][/database][?options]`, percent-encoded where needed. What is left out
/// is taken from the variables `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD` and `PGDATABASE` and from `~/.pgpass`, as
/// PostgreSQL's own programs do.
///
/// | option | meaning | default |
/// |---|---|---|
/// | `table` | the table, also as `schema.table` | `cacheme` |
/// | `create` | `false`: the table is not made; an absent one is an error that says what to run | `true` |
/// | `connections` | how many statements run at once | `10` |
/// | `acquire_timeout` | how long a call waits for a connection when all are in use | `2s` |
/// | `purge` | time between two collections of expired rows | `30s` |
/// | `socket` | directory of a Unix socket to use in place of host and port | – |
/// | `sslmode` | `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full` | `prefer`; `verify-full` with `ca` or `cert` |
/// | `ca` or `sslrootcert` | PEM file with authorities to trust besides the well-known ones | – |
/// | `cert` or `sslcert` | PEM file with our certificate, for servers that ask for one, and its key unless `key` has that | – |
/// | `key` or `sslkey` | PEM file with the key of `cert` | `cert` |
/// | `timeout` | see [`Storage::with_timeout`](crate::Storage::with_timeout) | `500ms` |
/// | `bus` | see [`Storage::with_bus`](crate::Storage::with_bus) | `true` |
///
/// The modes from `require` on need the feature `tls`; without it, `prefer` connects in the clear. A mode that would leave certificates
/// unused is refused.
///
/// # Table
///
/// ```sql
/// CREATE TABLE IF NOT EXISTS "cacheme" (
///     key bytea PRIMARY KEY,
///     value bytea,
///     expires_at_ms bigint,
///     lease bytea
/// );
/// CREATE INDEX IF NOT EXISTS "cacheme_expiry" ON "cacheme" (expires_at_ms);
/// ```
///
/// A row without a value is a lease. Times are milliseconds since the Unix epoch by the server's clock. A table that
/// you make yourself may be `UNLOGGED`, which makes writes cheaper: what a crash then loses was a cache.
///
/// A server that takes no writes (a standby, a disk that is full, a user who may only read) still answers
/// [`acquire`](crate::RemoteStorage::acquire) with the values that it has.
///
/// # Bus
///
/// Changes are published by `NOTIFY` on the channel `cacheme.` + name of the table, and received by `LISTEN` on a connection of its
/// own, which is not one of the pool. `NOTIFY` has commits wait for each other on the whole server, and poolers that lend
/// connections by the transaction do not pass it on: `bus=false` in the URL does without.
///
/// # Trouble
///
/// A storage with connections of its own has at most `connections` sessions at the server, and one that listens. A statement whose
/// caller has left is ended by the server after the [timeout](crate::Storage::with_timeout), and holds its connection until then. Connections
/// that lead to a server which takes no writes any more, or which was replaced behind its address, are given up with all
/// that were made before. Behind a pooler that lends connections by the transaction, statements are sent as text.
///
/// # Limits
///
/// Keys from 1024 bytes on are [shortened](crate::shorten_key); values have up to 1 GB.
///
/// # Runtimes
///
/// The storage may be used from several tokio runtimes, one after the other. Calls must be made, and their futures
/// dropped, within one.
///
/// # Examples
///
/// ```no_run
/// use cacheme_storage::{Postgres, RemoteStorage, Storage};
///
/// # async fn example(pool: sqlx::PgPool) -> cacheme_storage::Result<()> {
/// let by_url = Storage::open("postgres://app:secret@db.example/app?table=sessions")?;
/// let with_the_pool_of_the_application = Postgres::builder().pool(pool).table("sessions").build()?;
/// with_the_pool_of_the_application.connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres {
    inner: Arc<Inner>,
}

/// Shared with the upkeep task, which holds it weakly.
#[derive(Debug)]
struct Inner {
    location: String,
    pool: ServerPool<Driver>,
    table: Table,
    hit_rate: HitRate,
    create: bool,
    ready: Ready,
    gate: Gate,
    clock: ServerClock,
    upkeep: UpkeepTask,
}

impl Postgres {
    /// A builder, which also takes a pool that the application has.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::new()
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

    /// Reaches the server, makes sure of the table and looks at the clock.
    async fn prepare(&self) -> Result<()> {
        self.look_for_pooler().await;
        self.prepare_table().await?;
        self.look_at_clock().await
    }

    /// HitRate out whether the application's pool leads to a pooler. While that is not known, statements are sent as if it did.
    async fn look_for_pooler(&self) {
        if let ServerPool::Foreign(foreign) = &self.pool
            && !foreign.knows_protocol()
        {
            match protocol_of(foreign.options()).await {
                Ok(protocol) => foreign.set_protocol(protocol),
                Err(error) => tracing::debug!(%error, "cannot see whether there is a pooler"),
            }
        }
    }

    async fn look_at_clock(&self) -> Result<()> {
        let asked = Instant::now();
        let now = self.checked(self.server_now().await)?;
        self.clock.observe(u64::try_from(now).unwrap_or(0), asked);
        Ok(())
    }
}

remote_storage!(Postgres, with limit, with bus);

impl Upkeep for Inner {
    async fn round(&self) -> Result<bool> {
        let _pass = self.gate.enter(&self.location).await?;
        self.ready.ensure(|| self.prepare()).await?;
        self.look_at_clock().await?;
        self.purge().await
    }

    fn location(&self) -> &str {
        &self.location
    }
}
