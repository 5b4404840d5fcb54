use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::database::{
    Gate, Protocol, Ready, Server, ServerKind, TableName, TableOptions, UpkeepTask, host_and_port,
    table_setters,
};
use crate::url::StorageUrl;
use crate::{Error, Result, ServerClock};

use super::connection::{PgDial, PgSession, behind_pooler};
use super::finds::Finds;
use super::table::Table;
use super::{Inner, Postgres};

/// Says how a [`Postgres`] storage is to be; the meaning of settings and their defaults are those of its URL.
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresBuilder {
    server: Server<sqlx::Postgres>,
    options: TableOptions,
}

impl PostgresBuilder {
    pub(super) fn new() -> Self {
        Self {
            server: Server::Options(Box::default()),
            options: TableOptions::new(10),
        }
    }

    /// The settings in a URL.
    pub(crate) fn from_url(url: &mut StorageUrl) -> Result<Self> {
        let mut server = PgConnectOptions::new();
        if let Some((host, port)) = host_and_port(url)? {
            server = server.host(&host);
            if let Some(port) = port {
                server = server.port(port);
            }
        }
        if let Some(user) = url.user() {
            server = server.username(user);
        }
        if let Some(password) = url.password() {
            server = server.password(password);
        }
        let database = url.path().trim_start_matches('/');
        if !database.is_empty() {
            server = server.database(database);
        }
        if let Some(socket) = url.take::<PathBuf>("socket", "a directory")? {
            server = server.socket(socket);
        }
        let modes = "`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`";
        if let Some(mode) = url.take::<PgSslMode>("sslmode", modes)? {
            server = server.ssl_mode(mode);
        }
        if let Some(file) = url.take::<PathBuf>("sslrootcert", "a file")? {
            server = server.ssl_root_cert(file);
        }
        let mut builder = Self::new().options(server);
        builder.options.take(url, true)?;
        Ok(builder)
    }

    /// Connects with these options of the driver.
    pub fn options(mut self, options: PgConnectOptions) -> Self {
        self.server = Server::Options(Box::new(options));
        self
    }

    /// Uses a pool that the application has. Its own settings hold: `connections` and `acquire_timeout` of this
    /// builder mean nothing then, and [`close`](crate::RemoteStorage::close) leaves it open.
    pub fn pool(mut self, pool: PgPool) -> Self {
        self.server = Server::Pool(pool);
        self
    }

    table_setters! {
        /// The name of the table, `table` or `schema.table`, each of at most 48 bytes, as it is: quotes are put around it.
        table,
        /// Whether the table is made when it is absent.
        create,
        /// How many statements run at once.
        connections,
    }

    /// The storage. Nothing is reached yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the name of the table cannot be one.
    pub fn build(self) -> Result<Postgres> {
        let location = self.server.location();
        let Some(table) = TableName::parse(&self.options.table, true) else {
            return Err(Error::Config {
                storage: location,
                reason: format!("`table` must be {}", TableName::SYNTAX),
            });
        };
        let pool = self.server.open(&self.options, PgDial::new);
        Ok(Postgres {
            inner: Arc::new(Inner {
                location,
                pool,
                table: Table::new(table),
                finds: Finds::default(),
                create: self.options.create,
                ready: Ready::default(),
                gate: Gate::new(),
                clock: ServerClock::new(),
                upkeep: UpkeepTask::new(self.options.purge_every),
            }),
        })
    }
}

impl ServerKind for sqlx::Postgres {
    type Dial = PgDial;
    type Session = PgSession;

    fn safe_protocol() -> Protocol {
        behind_pooler(None)
    }

    fn location(options: &PgConnectOptions) -> String {
        let database = options.get_database().unwrap_or(options.get_username());
        match options.get_socket() {
            Some(socket) => format!("postgres:///{database} at {}", socket.display()),
            None => format!(
                "postgres://{}:{}/{database}",
                options.get_host(),
                options.get_port()
            ),
        }
    }
}
