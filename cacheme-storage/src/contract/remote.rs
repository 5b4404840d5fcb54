use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::error::{Error, Result};

/// One value to write to a [`RemoteStorage`].
#[derive(Clone, Debug)]
pub struct RemoteEntry<'a> {
    /// The full key.
    pub key: &'a [u8],
    /// The bytes to keep, envelope included.
    pub value: Bytes,
    /// The longest time that it may live by the server's clock; `None` is for ever. Storages round up to a millisecond.
    pub ttl: Option<Duration>,
}

/// The abilities of a remote storage beyond keeping bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`acquire`](RemoteStorage::acquire), [`fill`](RemoteStorage::fill) and [`release`](RemoteStorage::release) work
    /// and are atomic on the server.
    pub leases: bool,
    /// [`renew`](RemoteStorage::renew) works: a lease lasts as long as the load that it is for.
    pub renewals: bool,
    /// [`publish`](RemoteStorage::publish) and [`listen`](RemoteStorage::listen) work.
    pub bus: bool,
}

impl Capabilities {
    /// A storage that only keeps bytes.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            leases: false,
            renewals: false,
            bus: false,
        }
    }

    /// Returns these abilities and leases.
    #[must_use]
    pub const fn with_leases(mut self) -> Self {
        self.leases = true;
        self
    }

    /// Returns these abilities and leases that can be renewed.
    #[must_use]
    pub const fn with_renewals(mut self) -> Self {
        self.renewals = true;
        self.with_leases()
    }

    /// Returns these abilities and a bus.
    #[must_use]
    pub const fn with_bus(mut self) -> Self {
        self.bus = true;
        self
    }
}

/// The number of bytes that a message on a bus may have: PostgreSQL takes 8 000 characters, two of them for a byte.
pub const BUS_MESSAGE_LIMIT: usize = 3_900;

/// An event that reaches a caller that [listens](RemoteStorage::listen).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard<'a> {
    /// The server knows of us: every message that is published from now on reaches us, until the connection is lost.
    Joined,
    /// A message that some process published, this one perhaps.
    Message(&'a [u8]),
}

/// A storage outside this process: keeps bytes under full keys.
///
/// Every operation is bulk and one round trip, however many keys it has; answers come in the order of the keys. Callers cut
/// what is large into calls of up to 2 000 keys and 4 MiB of values, each with a time limit of its own. Keys
/// are any bytes (valid UTF-8 when written by Cacheme) of any length: a storage with a limit shortens longer keys with
/// [`shorten_key`](crate::shorten_key). The keys of one `get` may come from several callers, whose reads
/// [`Storage::remote`](crate::Storage::remote) combined. An implementation need not bound its own time: callers drop the future
/// at the storage's timeout.
///
/// A key is absent, a value, or a lease `(token, until)`. The lease is kept where the value would be, so that removing
/// or overwriting the key takes it away, whoever does so. `get` sees a lease as absent.
#[async_trait]
pub trait RemoteStorage: Send + Sync + 'static {
    /// The address of the storage, for messages and logs, without secrets: `redis://localhost:6379/0`.
    fn location(&self) -> String;

    /// The abilities of this storage.
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }

    /// Says how long callers wait for an operation; the last word counts.
    ///
    /// A storage passes it on to its server where it can, which then stops by itself at what nobody waits for any more.
    fn set_timeout(&self, timeout: Duration) {
        let _ = timeout;
    }

    /// Reaches the server, makes tables and indexes that are absent, and measures the server's clock.
    ///
    /// Called when the storage is registered. A storage that could not connect does so later by itself, when it is
    /// next used.
    async fn connect(&self) -> Result<()>;

    /// The server's time in milliseconds since the Unix epoch, estimated without asking it
    /// (see [`ServerClock`](crate::ServerClock)).
    fn now_ms(&self) -> u64;

    /// The number of the shard that keeps `key`, as far as it is known now, without asking anybody.
    ///
    /// Keys of one shard can be reached or not together; those of others may be well meanwhile. So callers send the keys of each
    /// shard as a call of its own, side by side. A storage that is one server has one shard, whatever its number.
    fn shard_of(&self, key: &[u8]) -> usize {
        let _ = key;
        0
    }

    /// The values under `keys`.
    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>>;

    /// Stores all entries in place of whatever is there, values or leases.
    ///
    /// [`Error::TooLarge`] says that a value is over the storage's own limit, and that nothing was stored. Callers try again without what is larger
    /// than the limit that it names. So it is with [`fill`](Self::fill).
    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()>;

    /// Removes whatever is under `keys`, values or leases.
    async fn remove(&self, keys: &[&[u8]]) -> Result<()>;

    /// Removes every key that begins with `prefix`.
    async fn clear(&self, prefix: &[u8]) -> Result<()>;

    /// The values under `keys`, or the leases to fill them.
    ///
    /// A key is granted for [`Acquire::time`] where [`Acquire::mode`] finds nothing in the way and
    /// [`Acquire::deadline_ms`] has not passed; both are judged together with the grant, atomically for each key. A storage
    /// that cannot judge the deadline grants for one second at most ([`Grant::time`](crate::Grant::time)), and the caller renews. A key that is
    /// under the lease of the same token already is granted again, so a call whose answer was lost can be repeated.
    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let _ = (keys, request);
        Err(self.without_leases())
    }

    /// Stores each entry whose key is still under the lease `token`, atomically for each key.
    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        let _ = (entries, token);
        Err(self.without_leases())
    }

    /// Gives up the leases that are still ours, so that others need not wait for their end.
    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let _ = (keys, token);
        Err(self.without_leases())
    }

    /// Lets the leases that are still ours last for `time` from now, atomically for each key. Whatever else is under the keys
    /// stays as it is.
    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        let _ = (keys, token, time);
        Err(self.without_leases())
    }

    /// Waits until what is under one of `keys` may have changed, each of which is under the lease of another process.
    ///
    /// Callers look by themselves now and then as well, so this may return too early, too late or, as it does where a storage
    /// cannot tell, never. They drop the future when they wait no longer.
    async fn changed(&self, keys: &[&[u8]]) {
        let _ = keys;
        std::future::pending().await
    }

    /// Sends messages of up to [`BUS_MESSAGE_LIMIT`] bytes each to every process that [listens](Self::listen) to the same
    /// place: this database, and the table or whatever else keeps neighbours apart.
    ///
    /// [`Error::Config`] says that there is no bus to be had here, and goes on until somebody changes the set-up.
    async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        let _ = messages;
        Err(self.without_bus())
    }

    /// Reports to `hear` what everybody publishes, on a connection of its own, until that is lost; gives why. A connection
    /// that has fallen silent must be noticed within a few seconds.
    ///
    /// Callers call again then, after a pause. They drop the future when they listen no longer; [`close`](Self::close) ends it.
    async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        let _ = hear;
        self.without_bus()
    }

    /// Waits for calls under way and closes connections. Later calls fail. Closing twice is no mistake.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    #[doc(hidden)]
    fn without_leases(&self) -> Error {
        Error::Config {
            storage: self.location(),
            reason: "has no leases, or none that can be renewed (see Capabilities)".into(),
        }
    }

    #[doc(hidden)]
    fn without_bus(&self) -> Error {
        Error::Config {
            storage: self.location(),
            reason: "has no bus (see Capabilities)".into(),
        }
    }
}
