//! MongoDB: entries in a collection.

mod builder;
mod collection;
mod connection;
mod entries;
mod fault;
mod health;
mod leases;
mod speech;

use std::sync::Arc;
use std::time::Duration;

pub use builder::MongoDbBuilder;

use crate::error::Result;
use crate::remote::database::{Gate, Ready, Upkeep, UpkeepTask, remote_storage};
use crate::remote::server_clock::ServerClock;
use connection::Connector;

/// A [`RemoteStorage`](crate::RemoteStorage) in a collection of a MongoDB database, from version 4.2 on.
///
/// Opened by URL or with [`builder`](Self::builder). A call is one command, and atomic for each key; calls of more than
/// 1000 keys or 16 MiB are sent in parts, some of them side by side. Asking for the lease of one key is one command if
/// it has a value, and two if not: the first one writes nothing, and so waits for no replica.
///
/// # URL
///
/// `mongodb://[user[:password]@]host[:port][,host[:port]…]/database[?options]`, percent-encoded where needed.
///
/// | option | meaning | default |
/// |---|---|---|
/// | `collection` | the collection | `cacheme` |
/// | `create` | `false`: the index is not made; an absent one is an error that says what to run | `true` |
/// | `connections` | how many commands run at once | `10` |
/// | `acquire_timeout` | how long a call waits for a server, and for a connection when all are in use | `2s` |
/// | `ca` | with TLS: a PEM file with the authorities to trust | those of browsers |
/// | `cert` | with TLS: a PEM file with a certificate for the server and its key, both in one file | – |
/// | `key` | the same file as `cert`, if it is given at all | – |
/// | `timeout` | see [`Storage::with_timeout`](crate::Storage::with_timeout) | `500ms` |
///
/// These go to the driver, and mean what its documentation says: `appName`, `authMechanism`, `authMechanismProperties`,
/// `authSource`, `connectTimeoutMS`, `directConnection`, `heartbeatFrequencyMS` (1 s unless given), `journal`, `loadBalanced`,
/// `localThresholdMS`, `maxIdleTimeMS` (30 s unless given), `minPoolSize`, `replicaSet`, `serverSelectionTimeoutMS`, `tls`, `tlsAllowInvalidCertificates`,
/// `tlsCAFile`, `tlsCertificateKeyFile`, `w`, `wTimeoutMS`. As the driver has it, a user is looked for in the database
/// that the path names unless `authSource` says otherwise. `tls=true` needs no feature: the driver brings TLS along.
///
/// Reads go to the primary: a secondary may not yet know of an invalidation. With less than `w=majority`, a fail-over
/// may bring back what was invalidated just before. Names of `mongodb+srv://` need a name server; pass a client that
/// has looked them up to the builder.
///
/// # Documents
///
/// ```js
/// db.cacheme.createIndex({ expires_at: 1 }, { name: "cacheme_expiry", expireAfterSeconds: 0 })
/// // a value and a lease:
/// { _id: "cacheme:user:1:v1", value: BinData(0, "…"), expires_at: ISODate("…") }
/// { _id: "cacheme:user:2:v1", lease: BinData(0, "…"), expires_at: ISODate("…") }
/// ```
///
/// In `_id` each byte of the key is the character with its number: ASCII is what it is. What has expired is not seen
/// any more, by the server's clock, and the server removes it within a minute or so. The user needs the role
/// `readWrite`.
///
/// # Limits
///
/// Keys from 1024 bytes on are [shortened](crate::shorten_key); values have up to 16 MiB less 16 KiB.
///
/// # Runtimes
///
/// The storage may be used from several tokio runtimes, one after the other; a client of the application's only from
/// the one that it was made in. Calls must be made, and their futures dropped, within one.
///
/// # Examples
///
/// ```no_run
/// use cacheme_storage::{MongoDb, RemoteStorage, Storage};
///
/// # async fn example(client: mongodb::Client) -> cacheme_storage::Result<()> {
/// let by_url = Storage::open("mongodb://app:secret@db1.example,db2.example/app?replicaSet=rs0")?;
/// let with_the_client_of_the_application =
///     MongoDb::builder().client(client).database("app").collection("sessions").build()?;
/// with_the_client_of_the_application.connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MongoDb {
    inner: Arc<Inner>,
}

/// Shared with the upkeep task, which holds it weakly.
#[derive(Debug)]
struct Inner {
    location: String,
    connector: Connector,
    database: String,
    collection: String,
    create: bool,
    ready: Ready,
    gate: Gate,
    clock: ServerClock,
    upkeep: UpkeepTask,
}

impl MongoDb {
    /// A builder, which also takes a client that the application has.
    pub fn builder() -> MongoDbBuilder {
        MongoDbBuilder::new()
    }
}

remote_storage!(MongoDb, with limit);

impl Inner {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Bounds commands at the server as callers bound them.
    fn set_timeout(&self, timeout: Duration) {
        self.connector.set_limit(timeout);
    }

    /// Closes the connections that are our own.
    async fn disconnect(&self) -> Result<()> {
        self.connector.close().await;
        Ok(())
    }
}

impl Upkeep for Inner {
    async fn round(&self) -> Result<bool> {
        let _pass = self.gate.enter(&self.location).await?;
        // Expired documents are the business of the server, by the index: a collection that somebody dropped comes back without.
        self.prepare().await?;
        Ok(false)
    }

    fn location(&self) -> &str {
        &self.location
    }
}
