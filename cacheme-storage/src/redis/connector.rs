//! How a server is reached.

use std::path::Path;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisResult, Value,
};

use super::sentinel::Sentinels;

/// How long a server may take to accept a connection and greet.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long data may stay unacknowledged by the other machine's kernel before the connection counts as broken.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(10);

/// How to get a connection to a server that takes writes.
pub(super) enum Connector {
    /// Whichever server is at an address.
    Client(Client),
    /// A server of a cluster, which says itself who has a key.
    Node(Client),
    /// Whichever server the sentinels say is the master.
    Sentinels(Sentinels),
    /// A connection that the application made; there is no other when it breaks.
    Given(MultiplexedConnection),
    /// A connection of the application that finds another by itself.
    Managed(ConnectionManager),
}

impl Connector {
    pub(super) async fn connect(&self) -> RedisResult<Wire> {
        Ok(Wire::Direct(match self {
            Self::Client(client) | Self::Node(client) => connect(client, CONNECT_LIMIT).await?,
            Self::Sentinels(sentinels) => connect(&sentinels.master().await?, CONNECT_LIMIT).await?,
            Self::Given(connection) => {
                let mut connection = connection.clone();
                // Callers bound their time themselves; another bound within theirs would only cut it short.
                connection.set_response_timeout(Duration::MAX);
                connection
            }
            Self::Managed(manager) => return Ok(Wire::Managed(manager.clone())),
        }))
    }

    /// A connection that listens to channels.
    pub(super) async fn pubsub(&self) -> RedisResult<redis::aio::PubSub> {
        match self {
            Self::Client(client) | Self::Node(client) => client.get_async_pubsub().await,
            Self::Sentinels(sentinels) => sentinels.master().await?.get_async_pubsub().await,
            Self::Given(_) | Self::Managed(_) => Err((
                redis::ErrorKind::InvalidClientConfig,
                "a connection of the application listens to no channels",
            )
                .into()),
        }
    }

    /// The name of the host, where there is a fixed one.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Client(client) | Self::Node(client) => match client.get_connection_info().addr() {
                ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => Some(host),
                _ => None,
            },
            Self::Sentinels(_) | Self::Given(_) | Self::Managed(_) => None,
        }
    }

    /// Whether there is one connection only, which is the application's.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Self::Given(_) | Self::Managed(_))
    }

    /// Whether another connection may lead to a server that takes writes, where this one leads to a replica.
    pub(super) fn is_left_by_replicas(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Sentinels(_))
    }
}

/// A connection that callers share: requests of all are written one behind the other, and answered in order.
#[derive(Clone)]
pub(super) enum Wire {
    Direct(MultiplexedConnection),
    Managed(ConnectionManager),
}

impl Wire {
    pub(super) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Direct(connection) => connection.req_packed_command(command).await,
            Self::Managed(manager) => manager.req_packed_command(command).await,
        }
    }

    /// An answer for each command of the pipeline.
    pub(super) async fn send_all(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = pipeline.len();
        match self {
            Self::Direct(connection) => connection.req_packed_commands(pipeline, 0, count).await,
            Self::Managed(manager) => manager.req_packed_commands(pipeline, 0, count).await,
        }
    }
}

/// A connection of this client that waits for answers as long as its callers do.
pub(super) async fn connect(client: &Client, limit: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// What all servers of a storage have in common: who we are to them, and whether we speak TLS.
#[derive(Clone, Default)]
pub(super) struct Access {
    pub(super) login: RedisConnectionInfo,
    pub(super) tls: Option<Tls>,
}

/// TLS, and what to trust.
#[derive(Clone, Default)]
pub(super) struct Tls {
    /// Certificates of authorities as PEM, in place of the usual ones.
    pub(super) authorities: Option<Vec<u8>>,
}

impl Access {
    pub(super) fn server(&self, host: &str, port: u16) -> RedisResult<Client> {
        match &self.tls {
            None => self.open(ConnectionAddr::Tcp(host.to_owned(), port)),
            Some(tls) => self.open_tls(host, port, tls),
        }
    }

    pub(super) fn unix_socket(&self, path: &Path) -> RedisResult<Client> {
        self.open(ConnectionAddr::Unix(path.to_owned()))
    }

    fn open(&self, address: ConnectionAddr) -> RedisResult<Client> {
        Client::open(self.info(address)?)
    }

    /// The address with our login, and with a socket that notices when the other side is gone.
    fn info(&self, address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5));
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(ACKNOWLEDGE_LIMIT);
        let info = address.into_connection_info()?;
        Ok(info.set_tcp_settings(tcp).set_redis_settings(self.login.clone()))
    }

    #[cfg(feature = "tls")]
    fn open_tls(&self, host: &str, port: u16, tls: &Tls) -> RedisResult<Client> {
        // rustls takes what the application chose; only where it chose nothing, and other crates brought more than
        // one, would it not know which to take.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: false,
            tls_params: None,
        };
        let certificates = redis::TlsCertificates {
            client_tls: None,
            root_cert: tls.authorities.clone(),
        };
        Client::build_with_tls(self.info(address)?, certificates)
    }

    #[cfg(not(feature = "tls"))]
    fn open_tls(&self, _: &str, _: u16, _: &Tls) -> RedisResult<Client> {
        Err((
            redis::ErrorKind::InvalidClientConfig,
            "TLS needs the feature `tls`",
        )
            .into())
    }
}

/// Sends one command and takes an error that the server answers for one.
pub(super) async fn ask(connection: &mut MultiplexedConnection, command: &redis::Cmd) -> RedisResult<Value> {
    connection.req_packed_command(command).await?.extract_error()
}
