use std::time::Duration;

/// Any error, boxed, as drivers and serializers report them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a storage can report. A miss is never an error.
///
/// `storage` is always the storage's [location](crate::RemoteStorage::location): where it is, without secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL given to [`Storage::open`](crate::Storage::open) cannot be understood, names an unknown scheme or option, or
    /// gives an option a value that it cannot have.
    #[error("storage url `{url}`: {reason}")]
    Url {
        /// The URL, without user name, password and query.
        url: String,
        /// What is wrong and what to write instead.
        reason: String,
    },

    /// The storage was built with settings it cannot work with, or finds on its server something it cannot use.
    #[error("storage {storage}: {reason}")]
    Config {
        /// Where the storage is.
        storage: String,
        /// What is wrong and what to do.
        reason: String,
    },

    /// The server does not answer: refused, reset, host unknown, pool exhausted.
    #[error("storage {storage} cannot be reached: {source}")]
    Unreachable {
        /// Where the storage is.
        storage: String,
        /// What the driver says.
        source: BoxError,
    },

    /// The operation took longer than the storage's timeout.
    #[error("storage {storage} did not answer within {after:?}")]
    Timeout {
        /// Where the storage is.
        storage: String,
        /// The bound that was reached.
        after: Duration,
    },

    /// The server answered and refused: wrong password, no permission, disk or memory full, read-only.
    #[error("storage {storage} refused: {source}")]
    Refused {
        /// Where the storage is.
        storage: String,
        /// What the server says.
        source: BoxError,
    },

    /// The value is larger than the storage can take.
    #[error("storage {storage} takes values up to {limit} bytes, this one has {size}")]
    TooLarge {
        /// Where the storage is.
        storage: String,
        /// Size of the value in bytes, envelope included.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// Where the trouble was, for errors that come from a storage.
    #[must_use]
    pub fn storage(&self) -> &str {
        match self {
            Self::Url { url, .. } => url,
            Self::Config { storage, .. }
            | Self::Unreachable { storage, .. }
            | Self::Timeout { storage, .. }
            | Self::Refused { storage, .. }
            | Self::TooLarge { storage, .. } => storage,
        }
    }
}
