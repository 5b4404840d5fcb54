use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::local::LocalStorage;
use crate::contract::remote::RemoteStorage;
use crate::error::Result;
use crate::remote::coalesce::Coalesced;
use crate::url::StorageUrl;

/// A storage, not yet named: what [`register_storage`](https://docs.rs/cacheme) takes.
///
/// Cheap to clone; clones are the same storage.
#[derive(Clone)]
pub struct Storage {
    kind: StorageKind,
    timeout: Duration,
    largest_value: usize,
    bus: bool,
}

/// The two kinds of [`Storage`].
#[derive(Clone)]
pub(crate) enum StorageKind {
    Local(Arc<dyn LocalStorage>),
    Remote(Arc<dyn RemoteStorage>),
}

impl Storage {
    /// A storage by its URL. Nothing is reached yet: that happens when it is registered.
    ///
    /// Every remote storage takes the options `timeout` (see [`with_timeout`](Self::with_timeout)) and `largest_value` (see
    /// [`with_largest_value`](Self::with_largest_value)), and every one with a bus the option `bus` (see [`with_bus`](Self::with_bus)).
    ///
    /// # Errors
    ///
    /// [`Error::Url`](crate::Error::Url) for an unknown scheme (or one whose feature is off), an unknown option, or a
    /// value that an option cannot have. The message never holds user name or password.
    pub fn open(url: &str) -> Result<Self> {
        let mut url = StorageUrl::parse(url)?;
        let timeout = url.take_duration("timeout")?.unwrap_or(Self::DEFAULT_TIMEOUT);
        let largest_value = url.take_size("largest_value")?;
        let mut storage = by_scheme(&mut url)?.with_timeout(timeout);
        if let Some(largest_value) = largest_value {
            storage = storage.with_largest_value(largest_value);
        }
        if storage.has_bus()
            && let Some(bus) = url.take("bus", "`true` or `false`")?
        {
            storage = storage.with_bus(bus);
        }
        url.finish()?;
        Ok(storage)
    }

    /// The longest time that an operation of a remote storage may take when nothing else is said.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);

    /// A storage in this process.
    pub fn local(storage: impl LocalStorage) -> Self {
        Self {
            kind: StorageKind::Local(Arc::new(storage)),
            timeout: Self::DEFAULT_TIMEOUT,
            largest_value: Self::DEFAULT_LARGEST_VALUE,
            bus: true,
        }
    }

    /// A storage outside this process.
    ///
    /// Reads of one key each, of which many are under way at once, are asked of it together, as one
    /// [`get`](RemoteStorage::get) of up to 64 keys.
    pub fn remote(storage: impl RemoteStorage) -> Self {
        Self {
            kind: StorageKind::Remote(Arc::new(Coalesced::new(storage))),
            timeout: Self::DEFAULT_TIMEOUT,
            largest_value: Self::DEFAULT_LARGEST_VALUE,
            bus: true,
        }
        .with_timeout(Self::DEFAULT_TIMEOUT)
    }

    /// Bounds every operation of a remote storage; an operation that takes longer counts as trouble. A day is the longest
    /// bound. Operations over many keys go in pieces, each of which has the bound for itself.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        // Callers add and multiply it.
        self.timeout = timeout.min(Duration::from_secs(24 * 60 * 60));
        if let StorageKind::Remote(remote) = &self.kind {
            remote.set_timeout(self.timeout);
        }
        self
    }

    /// The bound of [`with_timeout`](Self::with_timeout).
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The bytes that a value may take in a remote storage when nothing else is said: 256 MiB.
    pub const DEFAULT_LARGEST_VALUE: usize = crate::codec::limits::LARGEST_VALUE;

    /// Bounds the bytes of a value in a remote storage, before and after compression.
    ///
    /// A larger value goes to its caller and is not stored; one that is found there is not read. The bound also keeps what
    /// others write into the storage from taking more than about four times as much memory when it is read (64 MiB at the least).
    #[must_use]
    pub fn with_largest_value(mut self, bytes: usize) -> Self {
        self.largest_value = bytes;
        self
    }

    /// The bound of [`with_largest_value`](Self::with_largest_value).
    #[must_use]
    pub fn largest_value(&self) -> usize {
        self.largest_value
    }

    /// Sets whether processes publish over this storage what they change, where it can
    /// ([`Capabilities::bus`](crate::Capabilities::bus)). They do by default; all that share the storage must do
    /// alike. Without, a local copy outlives a change by another process by its ttl at most, and a change costs a round trip
    /// less.
    #[must_use]
    pub fn with_bus(mut self, bus: bool) -> Self {
        self.bus = bus;
        self
    }

    /// Says whether it has a bus that is to be used.
    #[must_use]
    pub fn has_bus(&self) -> bool {
        self.bus && self.as_remote().is_some_and(|remote| remote.capabilities().bus)
    }

    /// The local storage, if it is one.
    #[must_use]
    pub fn as_local(&self) -> Option<&Arc<dyn LocalStorage>> {
        match &self.kind {
            StorageKind::Local(local) => Some(local),
            StorageKind::Remote(_) => None,
        }
    }

    /// The remote storage, if it is one.
    #[must_use]
    pub fn as_remote(&self) -> Option<&Arc<dyn RemoteStorage>> {
        match &self.kind {
            StorageKind::Local(_) => None,
            StorageKind::Remote(remote) => Some(remote),
        }
    }

    /// The kind and the address of the storage, without secrets.
    #[must_use]
    pub fn location(&self) -> String {
        match &self.kind {
            StorageKind::Local(local) => local.location(),
            StorageKind::Remote(remote) => remote.location(),
        }
    }
}

/// Makes `by_scheme` of rows: a feature, the schemes that it brings, and how a URL of theirs is opened.
macro_rules! schemes {
    (|$url:ident| $($feature:literal: $($scheme:literal)|+ => $open:expr,)+) => {
        fn by_scheme($url: &mut StorageUrl) -> Result<Storage> {
            let scheme = $url.scheme().to_owned();
            match scheme.as_str() {
                $(
                    #[cfg(feature = $feature)]
                    $($scheme)|+ => $open,
                    #[cfg(not(feature = $feature))]
                    $($scheme)|+ => Err($url.error(format!(concat!("`{}` needs the feature `", $feature, "`"), scheme))),
                )+
                "mongodb+srv" => Err($url.error(
                    "needs a name server; name the hosts with `mongodb://`, or pass a client of the driver to the builder",
                )),
                _ => {
                    let known = [$($($scheme),+),+].join(", ");
                    Err($url.error(format!("unknown scheme `{scheme}`; known are: {known}")))
                }
            }
        }
    };
}

schemes! {
    |url|
    "local": "local" => crate::memory::LocalCache::open(url).map(Storage::local),
    "redis": "redis" | "rediss" | "redis+unix" | "redis+cluster" | "rediss+cluster" | "redis+sentinel" | "rediss+sentinel" =>
        crate::remote::RedisBuilder::from_url(url)?.build().map(Storage::remote),
    "postgres": "postgres" | "postgresql" => crate::remote::PostgresBuilder::from_url(url)?.build().map(Storage::remote),
    "mysql": "mysql" | "mariadb" => crate::remote::MySqlBuilder::from_url(url)?.build().map(Storage::remote),
    "sqlite": "sqlite" => crate::remote::SqliteBuilder::from_url(url)?.build().map(Storage::remote),
    "mongodb": "mongodb" => crate::remote::MongoDbBuilder::from_url(url)?.build().map(Storage::remote),
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.location()).finish()
    }
}
