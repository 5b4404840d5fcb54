use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. A miss is never an error, and trouble of a storage is one only where a promise hangs on it.
///
/// Cheap to clone: every caller that waited for one failed load gets the same error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The node's loader returned an error.
    #[error("loading `{key}` failed: {source}")]
    Load {
        /// The full key.
        key: String,
        /// What the loader returned. [`Error::downcast_load`] gives it back by its type.
        source: Arc<dyn StdError + Send + Sync>,
    },

    /// The node's loader panicked.
    #[error("loading `{key}` panicked: {message}")]
    LoadPanicked {
        /// The full key.
        key: String,
        /// What the panic said.
        message: String,
    },

    /// The load took longer than the node's `load_timeout`.
    #[error("loading `{key}` took longer than {after:?}")]
    LoadTimedOut {
        /// The full key.
        key: String,
        /// The node's `load_timeout`.
        after: Duration,
    },

    /// `load_all` gave no value for a node that was asked for.
    #[error("`load_all` of `{node}` left out `{key}`")]
    LeftOut {
        /// The name of the node's type.
        node: String,
        /// The full key.
        key: String,
    },

    /// A tier names a storage that is not registered.
    #[error(
        "node `{node}` has a tier on storage `{storage}`, which is not registered; call `register_storage(\"{storage}\", …)` at start-up"
    )]
    StorageNotRegistered {
        /// The name of the node's type.
        node: String,
        /// The name of the storage.
        storage: String,
    },

    /// A name is registered already.
    #[error("a storage named `{storage}` is registered already")]
    StorageRegistered {
        /// The name of the storage.
        storage: String,
    },

    /// A node without serializer has a remote tier.
    #[error(
        "node `{node}` has a tier on the remote storage `{storage}` but no serializer; remove `serializer = none` or name one"
    )]
    NoSerializer {
        /// The name of the node's type.
        node: String,
        /// The name of the storage.
        storage: String,
    },

    /// Two kinds of nodes would share entries.
    #[error(
        "nodes `{node}` and `{other}` have one key `{key}` and one version `{version}`; change one of them"
    )]
    SameKey {
        /// The name of one node's type.
        node: String,
        /// The name of the other's.
        other: String,
        /// The key both have.
        key: String,
        /// The version both have.
        version: String,
    },

    /// A policy that cannot work.
    #[error("node `{node}`: {reason}")]
    Policy {
        /// The name of the node's type.
        node: String,
        /// What is wrong and what to write instead.
        reason: String,
    },

    /// A prefix that cannot be, or that comes too late.
    #[error("prefix `{prefix}`: {reason}")]
    Prefix {
        /// The prefix.
        prefix: String,
        /// What is wrong.
        reason: String,
    },

    /// The process-wide default instance is in use already.
    #[error("the default instance is in use already; set it up before anything else")]
    DefaultInUse,

    /// A storage is registered under its name, but could not be reached: reads go on without it, and it is tried again
    /// whenever it is needed.
    #[error("storage `{name}` is registered but does without its server for now: {source}")]
    Unreached {
        /// The name of the storage.
        name: String,
        /// What the storage said.
        source: Arc<cacheme_storage::Error>,
    },

    /// Old values may still be in a storage: it could not be told to remove or replace them. Removal goes on in the
    /// background until it succeeds or the values have expired.
    #[error("storage `{name}` may still hold {keys} old value(s): {source}")]
    NotInvalidated {
        /// The name of the storage.
        name: String,
        /// How many keys.
        keys: usize,
        /// What the storage said.
        source: Arc<cacheme_storage::Error>,
    },

    /// The runtime is shutting down; the call may not have been carried out.
    #[error("the runtime is shutting down")]
    ShuttingDown,

    /// Everything that [`check`](crate::Cacheme::check) found.
    #[error("{}", lines(.0))]
    Check(Vec<Error>),
}

impl Error {
    /// The error of a failed load, if that is what this is and the loader returned an `E`.
    #[must_use]
    pub fn downcast_load<E: StdError + 'static>(&self) -> Option<&E> {
        match self {
            Self::Load { source, .. } => source.downcast_ref(),
            _ => None,
        }
    }
}

fn lines(errors: &[Error]) -> impl fmt::Display + '_ {
    struct Lines<'a>(&'a [Error]);
    impl fmt::Display for Lines<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for (at, error) in self.0.iter().enumerate() {
                write!(f, "{}{error}", if at > 0 { "\n" } else { "" })?;
            }
            Ok(())
        }
    }
    Lines(errors)
}
