use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::{Error, Result};
use crate::remote::database::{
    Gate, Protocol, Ready, Server, ServerKind, TableName, TableOptions, UpkeepTask, host_and_port,
    table_setters, tls_setters,
};
use crate::remote::server_clock::ServerClock;
use crate::remote::tls::{Credentials, DriversNames, Mode, TlsFiles};
use crate::url::StorageUrl;

use super::connection::{PgDial, PgSession, behind_pooler};
use super::hit_rate::HitRate;
use super::table::Table;
use super::{Inner, Postgres};

/// Says how a [`Postgres`] storage is to be; the meaning of settings and their defaults are those of its URL.
#[derive(Clone, Debug)]
#[must_use]
pub struct PostgresBuilder {
    server: Server<sqlx::Postgres>,
    options: TableOptions,
    credentials: Credentials,
}

impl PostgresBuilder {
    pub(super) fn new() -> Self {
        Self {
            server: Server::Options(Box::default()),
            options: TableOptions::new(10),
            credentials: Credentials::default(),
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
        let socket = url.take::<PathBuf>("socket", "a directory")?;
        let files = TlsFiles::take(url, Some(PG_NAMES))?;
        let modes = "`disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`";
        let mode = url.take::<PgSslMode>("sslmode", modes)?;
        files.check_mode(url, mode.map(strength), "verify-full", socket.is_some())?;
        if let Some(mode) = mode.or(files.any().then_some(PgSslMode::VerifyFull)) {
            server = server.ssl_mode(mode);
        }
        if let Some(ca) = files.ca {
            server = server.ssl_root_cert(ca.path);
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

    tls_setters! {
        /// Speaks TLS with a server whose certificate one of these authorities signed, or a well-known one: certificates as PEM. The
        /// server's name is looked at too, unless the options say `VerifyCa`. Needs the feature `tls`.
        authorities,
        /// Shows the server this certificate of ours, with its key: both as PEM. Speaks TLS, and looks at who answers as
        /// [`tls_authorities`](Self::tls_authorities) does. Needs the feature `tls`.
        ///
        /// ```no_run
        /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
        /// use cacheme_storage::Postgres;
        /// use sqlx::postgres::PgConnectOptions;
        ///
        /// let storage = Postgres::builder()
        ///     .options(PgConnectOptions::new().host("db.example").username("app").database("app"))
        ///     .tls_authorities(std::fs::read("ca.pem")?)
        ///     .tls_certificate(std::fs::read("cert.pem")?, std::fs::read("key.pem")?)
        ///     .build()?;
        /// # Ok(())
        /// # }
        /// ```
        certificate,
    }

    table_setters! {
        /// The name of the table, `table` or `schema.table`, each of at most 48 bytes, as it is: quotes are put around it.
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
    /// [`Error::Config`] if the name of the table cannot be one, or for certificates that cannot be used.
    pub fn build(self) -> Result<Postgres> {
        let location = self.server.location();
        let Some(table) = TableName::parse(&self.options.table, true) else {
            return Err(Error::Config {
                storage: location,
                reason: format!("`table` must be {}", TableName::SYNTAX),
            });
        };
        let pool = self
            .server
            .secured_by(self.credentials)?
            .open(&self.options, PgDial::new);
        Ok(Postgres {
            inner: Arc::new(Inner {
                location,
                pool,
                table: Table::new(table),
                hit_rate: HitRate::default(),
                create: self.options.create,
                ready: Ready::default(),
                gate: Gate::new(),
                clock: ServerClock::new(),
                upkeep: UpkeepTask::new(self.options.purge_every),
            }),
        })
    }
}

/// As PostgreSQL's own programs have it.
const PG_NAMES: DriversNames = DriversNames {
    ca: "sslrootcert",
    cert: "sslcert",
    key: Some("sslkey"),
};

fn strength(mode: PgSslMode) -> Mode {
    match mode {
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => Mode::MayBePlain,
        PgSslMode::Require => Mode::Unchecked,
        PgSslMode::VerifyCa | PgSslMode::VerifyFull => Mode::Checked,
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

    fn with_credentials(mut options: PgConnectOptions, credentials: Credentials) -> PgConnectOptions {
        if strength(options.get_ssl_mode()) != Mode::Checked {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(authorities) = credentials.authorities {
            options = options.ssl_root_cert_from_pem(authorities);
        }
        if let Some(client) = credentials.client {
            options = options
                .ssl_client_cert_from_pem(client.cert)
                .ssl_client_key_from_pem(client.key);
        }
        options
    }
}
