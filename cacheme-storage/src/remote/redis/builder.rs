//! The builder of a Redis storage, by a URL or step by step.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use redis::aio::{ConnectionManager, MultiplexedConnection};
use redis::{Client, RedisConnectionInfo};

use super::Redis;
use super::bus::Channel;
use super::cluster::Cluster;
use super::connection::Connection;
use super::connector::{Access, Connector};
use super::fault::translate;
use super::router::Router;
use super::sentinel::Sentinels;
use super::server_info::ServerInfo;
use crate::error::{Error, Result};
use crate::remote::tls::{ClientPem, TlsFiles};
use crate::url::StorageUrl;

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Makes a [`Redis`] storage.
///
/// The last of [`server`](Self::server), [`unix_socket`](Self::unix_socket), [`cluster`](Self::cluster),
/// [`sentinels`](Self::sentinels), [`client`](Self::client), [`connection`](Self::connection) and
/// [`manager`](Self::manager) counts.
///
/// # Examples
///
/// ```
/// use cacheme_storage::Redis;
///
/// let redis = Redis::builder()
///     .sentinels([("sentinel-1", 26379), ("sentinel-2", 26379)], "main")
///     .sentinel_password("another secret")
///     .user("app")
///     .password("secret")
///     .build()?;
/// # Ok::<(), cacheme_storage::Error>(())
/// ```
#[must_use]
pub struct RedisBuilder {
    place: Place,
    access: Access,
    sentinel_login: RedisConnectionInfo,
}

enum Place {
    Server(String, u16),
    UnixSocket(PathBuf),
    Cluster(Vec<(String, u16)>),
    Sentinels(Vec<(String, u16)>, String),
    Client(Client),
    Connection(MultiplexedConnection),
    Manager(ConnectionManager),
}

impl RedisBuilder {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Server("localhost".into(), PORT),
            access: Access::default(),
            sentinel_login: RedisConnectionInfo::default(),
        }
    }

    /// One server.
    pub fn server(mut self, host: impl Into<String>, port: u16) -> Self {
        self.place = Place::Server(host.into(), port);
        self
    }

    /// One server on this machine, by its socket.
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Place::UnixSocket(path.into());
        self
    }

    /// A cluster, by some of its servers; the others are asked of them.
    pub fn cluster<H: Into<String>>(mut self, servers: impl IntoIterator<Item = (H, u16)>) -> Self {
        self.place = Place::Cluster(named(servers));
        self
    }

    /// The master of a group, by the sentinels that watch it and the name that they have for it. After a fail-over the
    /// new master is found. Sentinels that these name are asked as well from then on, so that one after the other may be
    /// replaced.
    pub fn sentinels<H: Into<String>>(
        mut self,
        sentinels: impl IntoIterator<Item = (H, u16)>,
        master: impl Into<String>,
    ) -> Self {
        self.place = Place::Sentinels(named(sentinels), master.into());
        self
    }

    /// A client that the application has: its address and login count, not those given here.
    pub fn client(mut self, client: Client) -> Self {
        self.place = Place::Client(client);
        self
    }

    /// A connection that the application has. When it breaks, the storage stays unreachable: prefer
    /// [`manager`](Self::manager) or [`client`](Self::client). It cannot listen, so there is no bus.
    pub fn connection(mut self, connection: MultiplexedConnection) -> Self {
        self.place = Place::Connection(connection);
        self
    }

    /// A connection that the application has and that finds another by itself. Its own settings hold: it gives up on an
    /// answer after its `response_timeout`, 500 ms by default. It cannot listen, so there is no bus. It stays with a server
    /// that was demoted until that closes the connection: behind an address that moves at a fail-over, prefer
    /// [`client`](Self::client).
    pub fn manager(mut self, manager: ConnectionManager) -> Self {
        self.place = Place::Manager(manager);
        self
    }

    /// The user to log in as at sentinels, with [`sentinel_password`](Self::sentinel_password). They are apart from
    /// [`user`](Self::user) and [`password`](Self::password), which are for the servers.
    pub fn sentinel_user(mut self, user: impl AsRef<str>) -> Self {
        self.sentinel_login = self.sentinel_login.set_username(user);
        self
    }

    /// The password to log in with at sentinels (their `requirepass`); without one, they are asked without a login.
    pub fn sentinel_password(mut self, password: impl AsRef<str>) -> Self {
        self.sentinel_login = self.sentinel_login.set_password(password);
        self
    }

    /// The user to log in as; without one, the server's default user.
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        self.access.login = self.access.login.set_username(user);
        self
    }

    /// The password to log in with.
    pub fn password(mut self, password: impl AsRef<str>) -> Self {
        self.access.login = self.access.login.set_password(password);
        self
    }

    /// The number of the database, 0 by default. A cluster has no other.
    pub fn database(mut self, number: u32) -> Self {
        self.access.login = self.access.login.set_db(number.into());
        self
    }

    /// Speaks TLS, and trusts the authorities that browsers trust. Needs the feature `tls`.
    pub fn tls(mut self) -> Self {
        self.access.tls.get_or_insert_default();
        self
    }

    /// Speaks TLS, and trusts only these authorities: certificates as PEM. Needs the feature `tls`.
    pub fn tls_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.access.tls.get_or_insert_default().authorities = Some(pem.into());
        self
    }

    /// Speaks TLS, and shows servers and sentinels this certificate of ours, with its key: both as PEM. Needs the feature `tls`.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use cacheme_storage::Redis;
    ///
    /// let redis = Redis::builder()
    ///     .server("redis.example", 6379)
    ///     .tls_authorities(std::fs::read("ca.pem")?)
    ///     .tls_certificate(std::fs::read("cert.pem")?, std::fs::read("key.pem")?)
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tls_certificate(mut self, cert: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.access.tls.get_or_insert_default().client = Some(ClientPem {
            cert: cert.into(),
            key: key.into(),
        });
        self
    }

    /// The storage. Nothing is reached yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for settings that contradict each other, certificates that cannot be read, and TLS without the
    /// feature `tls`.
    pub fn build(self) -> Result<Redis> {
        let location = self.location();
        let database = self.access.login.db();
        let refuse = |reason: &str| {
            Err(Error::Config {
                storage: location.clone(),
                reason: reason.into(),
            })
        };
        if let Some(credentials) = &self.access.tls
            && let Err(why) = credentials.check()
        {
            return refuse(&why);
        }
        let sentinel_user = self.sentinel_login.username().is_some();
        let sentinel_password = self.sentinel_login.password().is_some();
        if !matches!(self.place, Place::Sentinels(..)) && (sentinel_user || sentinel_password) {
            return refuse("names no sentinels, which a user or a password for sentinels is for");
        }
        if sentinel_user && !sentinel_password {
            return refuse("has a user for sentinels and no password; give `sentinel_password` too");
        }
        let server_info = Arc::new(ServerInfo::new(!matches!(self.place, Place::Cluster(_))));
        let channel = self.channel();
        let access = self.access;
        let connector = match self.place {
            Place::Server(host, port) => access.server(&host, port).map(Connector::Client),
            Place::UnixSocket(path) if path.as_os_str().is_empty() => {
                return refuse("a unix socket needs a path: `redis+unix:///run/redis.sock`");
            }
            Place::UnixSocket(_) if access.tls.is_some() => {
                return refuse("TLS goes over TCP, not a unix socket");
            }
            Place::UnixSocket(path) => access.unix_socket(&path).map(Connector::Client),
            Place::Sentinels(sentinels, _) if sentinels.is_empty() => return refuse("no sentinel is named"),
            Place::Sentinels(sentinels, master) => {
                Sentinels::new(&sentinels, master, self.sentinel_login, access).map(Connector::Sentinels)
            }
            Place::Client(client) => Ok(Connector::Client(client)),
            Place::Connection(connection) => Ok(Connector::Given(connection)),
            Place::Manager(manager) => Ok(Connector::Managed(manager)),
            Place::Cluster(_) if database != 0 => return refuse("a cluster has no database but 0"),
            Place::Cluster(seeds) if seeds.is_empty() => return refuse("no server of the cluster is named"),
            Place::Cluster(seeds) => {
                // Connections are made later; what is wrong with them is found now.
                for (host, port) in &seeds {
                    access
                        .server(host, *port)
                        .map_err(|error| translate(&location, error))?;
                }
                let cluster = Cluster::new(seeds, access, Arc::clone(&server_info));
                return Ok(Redis::new(
                    location,
                    Router::Cluster(cluster),
                    server_info,
                    channel,
                ));
            }
        };
        let connector = connector.map_err(|error| translate(&location, error))?;
        let connection = Connection::new(connector, Arc::clone(&server_info));
        Ok(Redis::new(
            location,
            Router::One(connection),
            server_info,
            channel,
        ))
    }

    /// The channel on which changes are published, shared by all processes on a database; `None` where none can listen.
    fn channel(&self) -> Option<Channel> {
        match &self.place {
            Place::Connection(_) | Place::Manager(_) => None,
            Place::Client(client) => Some(client.get_connection_info().redis_settings().db()),
            _ => Some(self.access.login.db()),
        }
        .map(Channel::of_database)
    }

    /// Reads a URL whose scheme is one of ours.
    pub(crate) fn from_url(url: &mut StorageUrl) -> Result<Self> {
        let mut builder = Self::new();
        if let Some(user) = url.user() {
            builder = builder.user(user);
        }
        if let Some(password) = url.password() {
            builder = builder.password(password);
        }
        let (kind, tls) = match url.scheme() {
            "rediss" => ("redis", true),
            "rediss+cluster" => ("redis+cluster", true),
            "rediss+sentinel" => ("redis+sentinel", true),
            plain => (plain, false),
        };
        let kind = kind.to_owned();
        if tls {
            let files = TlsFiles::take(url, None)?;
            builder = builder.tls();
            if let Some(ca) = files.ca {
                builder = builder.tls_authorities(ca.pem);
            }
            if let Some((cert, key)) = files.client {
                builder = builder.tls_certificate(cert.pem, key.pem);
            }
        } else if let Some(option) = ["ca", "cert", "key"].into_iter().find(|option| url.has(option)) {
            let cure = match kind.as_str() {
                "redis+unix" => "TLS goes over TCP, not a unix socket".into(),
                plain => format!("write `{}://`", plain.replacen("redis", "rediss", 1)),
            };
            return Err(url.error(format!("option `{option}` is for TLS; {cure}")));
        }
        if kind == "redis+unix" {
            let database = url.take::<u32>("db", "the number of a database")?;
            let path = url.path().to_owned();
            return Ok(builder.unix_socket(path).database(database.unwrap_or(0)));
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| {
                url.error(format!(
                    "`/{number}` is no database; write its number, as in `/0`"
                ))
            })?,
        };
        builder = builder.database(database);
        match kind.as_str() {
            "redis+cluster" => Ok(builder.cluster(hosts(url, PORT)?)),
            "redis+sentinel" => {
                let master = url
                    .take::<String>("master", "the name of a master")?
                    .ok_or_else(|| {
                        url.error("needs the name that the sentinels have for the master: `?master=…`")
                    })?;
                if let Some(user) = url.take::<String>("sentinel_user", "the name of a user")? {
                    builder = builder.sentinel_user(user);
                }
                if let Some(password) = url.take::<String>("sentinel_password", "a password")? {
                    builder = builder.sentinel_password(password);
                }
                Ok(builder.sentinels(hosts(url, SENTINEL_PORT)?, master))
            }
            _ => match hosts(url, PORT)?.as_slice() {
                [(host, port)] => Ok(builder.server(host, *port)),
                _ => Err(url.error("names more than one server; for a cluster write `redis+cluster://`")),
            },
        }
    }

    fn location(&self) -> String {
        let s = if self.access.tls.is_some() { "s" } else { "" };
        let database = self.access.login.db();
        let list = |hosts: &[(String, u16)]| {
            let hosts: Vec<_> = hosts.iter().map(|(host, port)| address(host, *port)).collect();
            hosts.join(",")
        };
        match &self.place {
            Place::Server(host, port) => format!("redis{s}://{}/{database}", address(host, *port)),
            Place::UnixSocket(path) => format!("redis+unix://{}?db={database}", path.display()),
            Place::Cluster(seeds) => format!("redis{s}+cluster://{}", list(seeds)),
            Place::Sentinels(sentinels, master) => {
                format!(
                    "redis{s}+sentinel://{}/{database}?master={master}",
                    list(sentinels)
                )
            }
            Place::Client(client) => {
                let info = client.get_connection_info();
                match info.addr() {
                    redis::ConnectionAddr::Unix(path) => {
                        format!(
                            "redis+unix://{}?db={}",
                            path.display(),
                            info.redis_settings().db()
                        )
                    }
                    other => format!("redis://{other}/{}", info.redis_settings().db()),
                }
            }
            Place::Connection(_) | Place::Manager(_) => "redis://(a connection of the application)".into(),
        }
    }
}

impl fmt::Debug for RedisBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The login would show the password.
        f.debug_tuple("RedisBuilder").field(&self.location()).finish()
    }
}

fn named<H: Into<String>>(hosts: impl IntoIterator<Item = (H, u16)>) -> Vec<(String, u16)> {
    hosts
        .into_iter()
        .map(|(host, port)| (host.into(), port))
        .collect()
}

/// `host:port`, with an IPv6 address in brackets.
fn address(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// The hosts of a URL: `a`, `a:6379`, `[::1]:6379`, several with commas between.
fn hosts(url: &StorageUrl, default_port: u16) -> Result<Vec<(String, u16)>> {
    let host = |text: &str| {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = match port {
            None => default_port,
            // It is not shown: it may be a password, as in `redis://user:password`.
            Some(port) => port.parse().map_err(|_| {
                url.error(
                    "has no number for a port; write `host:6379`, and `@` between a password and the host",
                )
            })?,
        };
        if host.is_empty() {
            return Err(url.error("names no host; write for example `localhost`"));
        }
        Ok((host.to_owned(), port))
    };
    url.hosts().split(',').map(host).collect()
}
