use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use sqlx::MySqlPool;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::error::{Error, Result};
use crate::remote::database::{
    Gate, Protocol, Ready, Server, ServerKind, TableName, TableOptions, UpkeepTask, host_and_port,
    table_setters, tls_setters,
};
use crate::remote::server_clock::ServerClock;
use crate::remote::tls::{Credentials, DriversNames, Mode, TlsFiles};
use crate::url::StorageUrl;

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
    credentials: Credentials,
}

impl MySqlBuilder {
    pub(super) fn new() -> Self {
        Self {
            server: Server::Options(Box::default()),
            options: TableOptions::new(10),
            credentials: Credentials::default(),
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
        let socket = url.take::<PathBuf>("socket", "the path of a socket")?;
        let files = TlsFiles::take(url, Some(MYSQL_NAMES))?;
        let modes = "`disabled`, `preferred`, `required`, `verify_ca` or `verify_identity`";
        let mode = url.take::<MySqlSslMode>("sslmode", modes)?;
        files.check_mode(url, mode.map(strength), "verify_identity", socket.is_some())?;
        if let Some(mode) = mode.or(files.any().then_some(MySqlSslMode::VerifyIdentity)) {
            server = server.ssl_mode(mode);
        }
        if let Some(ca) = files.ca {
            server = server.ssl_ca(ca.path);
        }
        if let Some((cert, key)) = files.client {
            server = server.ssl_client_cert(cert.path).ssl_client_key(key.path);
        }
        if let Some(socket) = socket {
            server = server.socket(socket);
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

    tls_setters! {
        /// Speaks TLS with a server whose certificate one of these authorities signed, or a well-known one: certificates as PEM. The
        /// server's name is looked at too, unless the options say `VerifyCa`. Needs the feature `tls`.
        authorities,
        /// Shows the server this certificate of ours, with its key: both as PEM. Speaks TLS, and looks at who answers as
        /// [`tls_authorities`](Self::tls_authorities) does. Needs the feature `tls`.
        ///
        /// ```no_run
        /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
        /// use cacheme_storage::MySql;
        /// use sqlx::mysql::MySqlConnectOptions;
        ///
        /// let storage = MySql::builder()
        ///     .options(MySqlConnectOptions::new().host("db.example").username("app").database("app"))
        ///     .tls_authorities(std::fs::read("ca.pem")?)
        ///     .tls_certificate(std::fs::read("cert.pem")?, std::fs::read("key.pem")?)
        ///     .build()?;
        /// # Ok(())
        /// # }
        /// ```
        certificate,
    }

    table_setters! {
        /// The name of the table, `table` or `database.table`, each of at most 48 bytes, as it is: quotes are put around it.
        table,
        /// Sets whether the table is made when it is absent.
        create,
        /// Sets how many statements run at once.
        connections,
    }

    /// The storage. Nothing is reached yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the name of the table cannot be one, if nothing names its database, or for certificates that
    /// cannot be used.
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
        let pool = self
            .server
            .secured_by(self.credentials)?
            .open(&self.options, dial);
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

/// As MySQL's own programs have it.
const MYSQL_NAMES: DriversNames = DriversNames {
    ca: "sslca",
    cert: "sslcert",
    key: Some("sslkey"),
};

fn strength(mode: MySqlSslMode) -> Mode {
    match mode {
        MySqlSslMode::Disabled | MySqlSslMode::Preferred => Mode::MayBePlain,
        MySqlSslMode::Required => Mode::Unchecked,
        MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity => Mode::Checked,
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

    fn with_credentials(mut options: MySqlConnectOptions, credentials: Credentials) -> MySqlConnectOptions {
        if strength(options.get_ssl_mode()) != Mode::Checked {
            options = options.ssl_mode(MySqlSslMode::VerifyIdentity);
        }
        if let Some(authorities) = credentials.authorities {
            options = options.ssl_ca_from_pem(authorities);
        }
        if let Some(client) = credentials.client {
            options = options
                .ssl_client_cert_from_pem(client.cert)
                .ssl_client_key_from_pem(client.key);
        }
        options
    }
}
