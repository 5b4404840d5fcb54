//! Reaches a server.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisResult, Value,
};

use super::sentinel::Sentinels;
use crate::remote::tls::{Credentials, SPEAKS_NO_TLS, SPEAKS_TLS, answers, speaks_tls};

/// The longest time that a server may take to accept a connection and greet.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest time that a server may be at the greeting of TLS until it is asked in the clear whether it speaks that.
const TLS_PATIENCE: Duration = Duration::from_millis(250);
/// The longest time that data may stay unacknowledged by the other machine's kernel before the connection counts as broken.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(10);

/// Gets connections to a server that takes writes.
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

    /// Says whether there is one connection only, which is the application's.
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Self::Given(_) | Self::Managed(_))
    }

    /// Says whether another connection may lead to a server that takes writes, where this one leads to a replica.
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
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    match client.get_connection_info().addr() {
        ConnectionAddr::TcpTls { host, port, .. } => {
            match select(pin!(connecting), pin!(answers_in_the_clear(host, *port))).await {
                Either::Left((connected, _)) => connected,
                Either::Right(_) => Err(io::Error::other(SPEAKS_NO_TLS).into()),
            }
        }
        ConnectionAddr::Tcp(host, port) => match connecting.await {
            Err(error) if is_cut_off(&error) && speaks_tls(host, *port).await => {
                Err(io::Error::other(format!("{SPEAKS_TLS}; write `rediss`")).into())
            }
            connected => connected,
        },
        _ => connecting.await,
    }
}

/// Waits until a server that is slow to greet is found to answer in the clear; for ever if it does not.
///
/// It takes the greeting of TLS for the beginning of a command, and waits for the rest.
async fn answers_in_the_clear(host: &str, port: u16) {
    tokio::time::sleep(TLS_PATIENCE).await;
    // To a server that wants a password, an error is the answer.
    let is_redis = |answer: &[u8]| matches!(answer, [b'+' | b'-', ..]);
    if !answers(host, port, b"PING\r\n", is_redis).await {
        std::future::pending().await
    }
}

/// Says whether the server accepted the connection, and broke it off or said something else.
fn is_cut_off(error: &RedisError) -> bool {
    let is_broken = error.is_connection_dropped() && !error.is_connection_refusal();
    is_broken || error.kind() == redis::ErrorKind::Parse
}

/// The access to all servers of a storage: who we are to them, and whether we speak TLS.
#[derive(Clone, Default)]
pub(super) struct Access {
    pub(super) login: RedisConnectionInfo,
    /// The authorities that we trust in place of the usual ones, and who we are, where we speak TLS.
    pub(super) tls: Option<Credentials>,
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
    fn open_tls(&self, host: &str, port: u16, tls: &Credentials) -> RedisResult<Client> {
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
            client_tls: tls.client.as_ref().map(|client| redis::ClientTlsConfig {
                client_cert: client.cert.clone(),
                client_key: client.key.clone(),
            }),
            root_cert: tls.authorities.clone(),
        };
        Client::build_with_tls(self.info(address)?, certificates)
    }

    #[cfg(not(feature = "tls"))]
    fn open_tls(&self, _: &str, _: u16, _: &Credentials) -> RedisResult<Client> {
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
