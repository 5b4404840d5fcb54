use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mongodb::Client;
use mongodb::options::{Acknowledgment, ClientOptions, ConnectionString};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Result};
use crate::remote::database::{Gate, Ready, UpkeepTask};
use crate::remote::server_clock::ServerClock;
use crate::remote::tls::{DriversNames, TlsFiles};
use crate::url::StorageUrl;

use super::connection::Connector;
use super::{Inner, MongoDb};

/// Options that the driver understands, and what they must be. Those for reading from a secondary are not among them:
/// it would answer with what was invalidated.
const DRIVER_OPTIONS: [(&str, &str); 18] = [
    ("appName", "a name"),
    ("authMechanism", "the name of a mechanism"),
    (
        "authMechanismProperties",
        "`name:value`, several with commas between",
    ),
    ("authSource", "the name of a database"),
    ("connectTimeoutMS", "a number of milliseconds"),
    ("directConnection", "`true` or `false`"),
    ("heartbeatFrequencyMS", "a number of milliseconds"),
    ("journal", "`true` or `false`"),
    ("loadBalanced", "`true` or `false`"),
    ("localThresholdMS", "a number of milliseconds"),
    ("maxIdleTimeMS", "a number of milliseconds"),
    ("minPoolSize", "a number of connections"),
    ("replicaSet", "the name of a replica set"),
    ("serverSelectionTimeoutMS", "a number of milliseconds"),
    ("tls", "`true` or `false`"),
    ("tlsAllowInvalidCertificates", "`true` or `false`"),
    ("w", "a number of members, `majority` or a tag"),
    ("wTimeoutMS", "a number of milliseconds"),
];

/// The driver's names for certificates.
const DRIVERS_NAMES: DriversNames = DriversNames {
    ca: "tlsCAFile",
    cert: "tlsCertificateKeyFile",
    key: None,
};

/// The time between two looks of the driver at a server, unless told otherwise: that bounds how long a server that came back is not used.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The longest time that a connection may have been idle and still be used, unless told otherwise. Networks forget those that are silent for
/// longer, from a minute on, and tell nobody.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// Says how a [`MongoDb`] storage is to be; the meaning of settings and their defaults are those of its URL.
#[derive(Clone, Debug)]
#[must_use]
pub struct MongoDbBuilder {
    server: Server,
    database: Option<String>,
    collection: String,
    create: bool,
    connections: u32,
    acquire_timeout: Duration,
    upkeep_every: Duration,
}

#[derive(Clone)]
enum Server {
    Options(Box<ClientOptions>),
    Client(Client),
}

impl MongoDbBuilder {
    pub(super) fn new() -> Self {
        Self {
            server: Server::Options(Box::default()),
            database: None,
            collection: "cacheme".into(),
            create: true,
            connections: 10,
            acquire_timeout: Duration::from_secs(2),
            upkeep_every: Duration::from_secs(30),
        }
    }

    /// The settings in a URL.
    pub(crate) fn from_url(url: &mut StorageUrl) -> Result<Self> {
        let mut builder = Self::new().options(driver_options(url)?);
        let database = url.path().trim_start_matches('/');
        builder.database = Some(database.to_owned()).filter(|database| !database.is_empty());
        let valid = |text: &str| is_collection(text).then(|| text.to_owned());
        if let Some(collection) = url.take_with("collection", COLLECTION, valid)? {
            builder.collection = collection;
        }
        if let Some(create) = url.take("create", "`true` or `false`")? {
            builder.create = create;
        }
        let at_least_1 = |text: &str| text.parse().ok().filter(|&number| number > 0);
        if let Some(connections) = url.take_with("connections", "a number from 1 on", at_least_1)? {
            builder.connections = connections;
        }
        if let Some(timeout) = url.take_duration("acquire_timeout")? {
            builder.acquire_timeout = timeout;
        }
        Ok(builder)
    }

    /// Connects with these options of the driver. Their limit of connections is that of this builder, and events of servers
    /// (`sdam_event_handler`) go to the storage.
    pub fn options(mut self, options: ClientOptions) -> Self {
        self.server = Server::Options(Box::new(options));
        self
    }

    /// Uses a client that the application has. Its own settings hold: `connections` and `acquire_timeout` of this
    /// builder mean nothing then, and [`close`](crate::RemoteStorage::close) leaves it open. It belongs to the runtime
    /// that it was made in.
    pub fn client(mut self, client: Client) -> Self {
        self.server = Server::Client(client);
        self
    }

    /// The name of the database.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.database = Some(name.into());
        self
    }

    /// The name of the collection.
    pub fn collection(mut self, name: impl Into<String>) -> Self {
        self.collection = name.into();
        self
    }

    /// Sets whether collection and index are made when they are absent.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets how many commands run at once.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets how long a call waits for a server, and for a connection when all are in use.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// The time between two looks at the server's clock and at the collection's index, 30 s unless told otherwise.
    pub fn upkeep_every(mut self, every: Duration) -> Self {
        self.upkeep_every = every;
        self
    }

    /// The storage. Nothing is reached yet.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if no database is named, the name of the collection cannot be one, or writes are not to be
    /// acknowledged.
    pub fn build(self) -> Result<MongoDb> {
        let location = self.location();
        let config = |reason: &str| Error::Config {
            storage: location.clone(),
            reason: reason.into(),
        };
        let Some(database) = self.database.clone() else {
            return Err(config("names no database; write `mongodb://host/database`"));
        };
        if !is_collection(&self.collection) {
            return Err(config(&format!("`collection` must be {COLLECTION}")));
        }
        let connector = match self.server {
            Server::Client(client) => Connector::foreign(client),
            Server::Options(mut options) => {
                options.max_pool_size = Some(self.connections);
                options
                    .server_selection_timeout
                    .get_or_insert(self.acquire_timeout);
                options.connect_timeout.get_or_insert(self.acquire_timeout);
                options.heartbeat_freq.get_or_insert(HEARTBEAT);
                options.max_idle_time.get_or_insert(MAX_IDLE);
                let acknowledged = options
                    .write_concern
                    .as_ref()
                    .and_then(|concern| concern.w.as_ref());
                if acknowledged == Some(&Acknowledgment::Nodes(0)) {
                    return Err(config("cannot do without acknowledgement of writes (`w=0`)"));
                }
                Connector::own(*options, self.connections, self.acquire_timeout)
            }
        };
        Ok(MongoDb {
            inner: Arc::new(Inner {
                location,
                connector,
                database,
                collection: self.collection,
                create: self.create,
                ready: Ready::default(),
                gate: Gate::new(),
                clock: ServerClock::new(),
                upkeep: UpkeepTask::new(self.upkeep_every),
            }),
        })
    }

    fn location(&self) -> String {
        let database = self.database.as_deref().unwrap_or_default();
        match &self.server {
            Server::Options(options) => {
                let hosts: Vec<_> = options.hosts.iter().map(ToString::to_string).collect();
                format!("mongodb://{}/{database}", hosts.join(","))
            }
            Server::Client(_) => format!("mongodb://(a client of the application)/{database}"),
        }
    }
}

/// The allowed names of a collection, for messages.
const COLLECTION: &str =
    "the name of a collection: at most 120 bytes, none of them `$`, not beginning with `system.`";

fn is_collection(name: &str) -> bool {
    let inside = |c: char| c == '$' || c == '\0';
    (1..=120).contains(&name.len())
        && !name.contains(inside)
        && !name.starts_with(['.', '$'])
        && !name.starts_with("system.")
        && !name.contains("..")
}

/// The driver's part of a URL, read by the driver.
fn driver_options(url: &mut StorageUrl) -> Result<ClientOptions> {
    for host in url.hosts().split(',') {
        // The driver's message would show what stands in the place of a port, which may be a password.
        let port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        if let Some((_, port)) = port
            && port.parse::<u16>().is_err()
        {
            return Err(url.error("has a port that is no number from 0 to 65535"));
        }
        if host.is_empty() {
            return Err(url.error("names no host; write for example `localhost`"));
        }
    }
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut text = String::from("mongodb://");
    if let Some(user) = url.user() {
        text += &encode(user);
        if let Some(password) = url.password() {
            text += &format!(":{}", encode(password));
        }
        text += "@";
    }
    // The database is named by the path, and is where the user is known unless `authSource` says otherwise.
    text += &format!("{}/{}?", url.hosts(), encode(url.path().trim_start_matches('/')));
    let files = TlsFiles::take(url, Some(DRIVERS_NAMES))?;
    for (name, what) in DRIVER_OPTIONS {
        if let Some(value) = url.take::<String>(name, what)? {
            if name == "tls" && value == "false" && files.any() {
                return Err(
                    url.error("options `ca` and `cert` are of no use with `tls=false`; leave that out")
                );
            }
            // One by one, so that the message names the option and not its value.
            let option = format!("{name}={}", encode(&value));
            // Mechanisms ask for a user, for a password, or for none.
            let fits = |login: &str| ConnectionString::parse(format!("mongodb://{login}h/?{option}")).is_ok();
            if !["", "u@", "u:p@"].into_iter().any(fits) {
                return Err(url.error(format!("option `{name}` must be {what}")));
            }
            text += &format!("{option}&");
        }
    }
    let ca = files.ca.iter().map(|ca| (DRIVERS_NAMES.ca, ca));
    let client = files.client.iter().map(|(cert, _)| (DRIVERS_NAMES.cert, cert));
    for (name, file) in ca.chain(client) {
        text += &format!("{name}={}&", encode(&file.path));
    }
    let refused = |error: mongodb::error::Error| url.error(error.kind.to_string());
    let parsed = ConnectionString::parse(text.trim_end_matches(['&', '?'])).map_err(refused)?;
    // Only names that a name server would have to be asked for take time.
    match ClientOptions::parse(parsed).into_future().now_or_never() {
        Some(options) => options.map_err(refused),
        None => Err(url.error("cannot be read without a name server")),
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's options would print the password.
        f.write_str(match self {
            Self::Options(_) => "Options",
            Self::Client(_) => "Client",
        })
    }
}
