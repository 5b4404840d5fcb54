use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use sqlx::MySqlPool;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::database::{
    Gate, Protocol, Ready, Server, ServerKind, TableName, TableOptions, UpkeepTask, host_and_port,
    table_setters,
};
use crate::url::StorageUrl;
use crate::{Error, Result, ServerClock};

use super::connection::{MySqlDial, MySqlSession};
use super::entries::LEAST_PACKET;
use super::table::Table;
use super::{Inner, MySql};

/// Says how a [`MySql`] storage is to be; the meaning of settings and their defaults are those of its URL.
#[derive(Clone, Debug)]
#[must_use]
pub struct MySqlBuilder {
    server: Server<sqlx::MySql>,
    options: TableOptions,
}

impl MySqlBuilder {
    pub(super) fn new() -> Self {
        Self {
            server: Server::Options(Box::default()),
            options: TableOptions::new(10),
        }
    }

    /// The settings in a URL.
    pub(crate) fn from_url(url: &mut StorageUrl) -> Result<Self> {
        let mut server = MySqlConnectOptions::new();
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
        if let Some(socket) = url.take::<PathBuf>("socket", "the path of a socket")? {
            server = server.socket(socket);
        }
        let modes = "`disabled`, `preferred`, `required`, `verify_ca` or `verify_identity`";
        if let Some(mode) = url.take::<MySqlSslMode>("sslmode", modes)? {
            server = server.ssl_mode(mode);
        }
        if let Some(file) = url.take::<PathBuf>("sslca", "a file")? {
            server = server.ssl_ca(file);
        }
        let mut builder = Self::new().options(server);
        builder.options.take(url, true)?;
        Ok(builder)
    }

    /// Connects with these options of the driver.
    pub fn options(mut self, options: MySqlConnectOptions) -> Self {
        self.server = Server::Options(Box::new(options));
        self
    }

    /// Uses a pool that the application has. Its own settings hold: `connections` and `acquire_timeout` of this
    /// builder mean nothing then, and [`close`](crate::RemoteStorage::close) leaves it open.
    pub fn pool(mut self, pool: MySqlPool) -> Self {
        self.server = Server::Pool(pool);
        self
    }

    table_setters! {
        /// The name of the table, `table` or `database.table`, each of at most 48 bytes, as it is: quotes are put around it.
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
    /// [`Error::Config`] if the name of the table cannot be one, or if nothing names its database.
    pub fn build(self) -> Result<MySql> {
        let location = self.server.location();
        let config = |reason: String| Error::Config {
            storage: location.clone(),
            reason,
        };
        let Some(table) = TableName::parse(&self.options.table, true) else {
            return Err(config(format!("`table` must be {}", TableName::SYNTAX)));
        };
        if !table.has_schema() && self.server.ask(|server| server.get_database().is_none()) {
            return Err(config(
                "names no database; write `mysql://host/database`, or `database.table` for the table".into(),
            ));
        }
        // Each length of a list is a statement of its own, up to a point.
        let dial = |server: MySqlConnectOptions| MySqlDial::new(server.statement_cache_capacity(256));
        let pool = self.server.open(&self.options, dial);
        Ok(MySql {
            inner: Arc::new(Inner {
                location,
                pool,
                table: Table::new(table),
                create: self.options.create,
                packet: AtomicUsize::new(LEAST_PACKET),
                ready: Ready::default(),
                gate: Gate::new(),
                clock: ServerClock::new(),
                upkeep: UpkeepTask::new(self.options.purge_every),
            }),
        })
    }
}

impl ServerKind for sqlx::MySql {
    type Dial = MySqlDial;
    type Session = MySqlSession;

    fn safe_protocol() -> Protocol {
        Protocol::Prepared
    }

    fn location(options: &MySqlConnectOptions) -> String {
        let database = options.get_database().unwrap_or_default();
        match options.get_socket() {
            Some(socket) => format!("mysql:///{database} at {}", socket.display()),
            None => format!("mysql://{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }
}
