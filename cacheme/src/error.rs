//! The errors of this crate.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{BoxError, Chain};

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of this crate.
///
/// A miss is never an error. Trouble of a storage is one only where a promise depends on it.
///
/// Cheap to clone: every caller that waited for one failed load gets the same error.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The node's loader returned an error.
    Load {
        /// The full key.
        key: String,
        /// The error of the loader. [`Error::downcast_load`] returns it by its type.
        source: Arc<dyn StdError + Send + Sync>,
    },

    /// The node's loader panicked.
    LoadPanicked {
        /// The full key.
        key: String,
        /// The message of the panic.
        message: String,
    },

    /// The load took longer than the node's `load_timeout`.
    LoadTimedOut {
        /// The full key.
        key: String,
        /// The node's `load_timeout`.
        after: Duration,
    },

    /// A load asked for a key whose load waits for it, so neither could have ended. The loader that asked gets this error at once.
    ///
    /// **Limit:** a loader that asks in a task that it spawns is not recognised, nor is a circle through another process. Such a circle ends as
    /// [`LoadTimedOut`](Self::LoadTimedOut).
    CircularLoad {
        /// The full keys of the circle, beginning with that of the load. Each waits for the next, and the last for the first.
        keys: Vec<String>,
    },

    /// `load_all` gave no value for a node that was asked for.
    LeftOut {
        /// The name of the node's type.
        node: String,
        /// The full key.
        key: String,
    },

    /// A tier names a storage that is not registered.
    StorageNotRegistered {
        /// The name of the node's type.
        node: String,
        /// The name of the storage.
        storage: String,
    },

    /// A name is registered already.
    StorageRegistered {
        /// The name of the storage.
        storage: String,
    },

    /// The storage was made when a memoized function needed it, since nobody had registered one. Register it before the first call.
    DefaultStorageInUse {
        /// The name of the storage.
        storage: String,
    },

    /// The loader of a node needs a value of the application's that the instance was not built with.
    StateMissing {
        /// The name of the node's type.
        node: String,
        /// The type of the value.
        state: &'static str,
    },

    /// No storage is registered under a name.
    UnknownStorage {
        /// The name.
        storage: String,
    },

    /// A node without serializer has a remote tier.
    NoSerializer {
        /// The name of the node's type.
        node: String,
        /// The name of the storage.
        storage: String,
    },

    /// Two kinds of nodes would share entries: their keys can be the same.
    SameKey {
        /// The name of one node's type.
        node: String,
        /// The name of the other's.
        other: String,
        /// The templates of their keys, in this order.
        keys: Box<[String; 2]>,
        /// The version of both.
        version: String,
        /// A key that both can have.
        example: String,
    },

    /// A policy that cannot work.
    Policy {
        /// The name of the node's type.
        node: String,
        /// The mistake, and what to write instead.
        reason: String,
    },

    /// A prefix that is empty or has other characters than `A-Z a-z 0-9 _ . - @`.
    Prefix {
        /// The prefix.
        prefix: String,
        /// The mistake.
        reason: String,
    },

    /// The process-wide default instance is in use already.
    DefaultInUse,

    /// A storage is registered under its name, but could not be reached.
    ///
    /// Reads go on without it, and it is tried again whenever it is needed.
    Unreached {
        /// The name of the storage.
        name: String,
        /// The error of the storage.
        source: Arc<cacheme_storage::Error>,
    },

    /// A storage may still have old values, or other processes may still have copies of them.
    ///
    /// The storage could not remove or replace them, or the change could not be published on its bus. That is tried again in the background
    /// until it succeeds or the values have expired.
    NotInvalidated {
        /// The name of the storage.
        name: String,
        /// The number of keys.
        keys: usize,
        /// The error of the storage.
        source: Arc<cacheme_storage::Error>,
    },

    /// The instance is [closed](crate::Cacheme::close).
    Closed,

    /// Calls or loads were still under way when [`close`](crate::Cacheme::close) had waited for its time.
    StillBusy {
        /// The names of the nodes' types.
        nodes: Vec<String>,
        /// How long it waited.
        after: Duration,
    },

    /// A storage has old values, or other processes copies of them, when [`close`](crate::Cacheme::close) ends: they could not be removed
    /// or the change could not be published, also not at the last try.
    OldValuesLeft {
        /// The name of the storage.
        name: String,
        /// The full keys.
        keys: Vec<String>,
    },

    /// A storage could not be closed in time.
    NotClosed {
        /// The name of the storage.
        name: String,
        /// The error of the storage.
        source: Arc<cacheme_storage::Error>,
    },

    /// The runtime is shutting down; the call may not have been carried out.
    ShuttingDown,

    /// Several errors of one call.
    Several(Vec<Error>),

    /// All mistakes that [`check`](crate::Cacheme::check) found.
    Check(Vec<Error>),
}

impl fmt::Display for Error {
    /// The error without its source, which [`source`](StdError::source) returns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load { key, .. } => write!(f, "loading `{key}` failed"),
            Self::LoadPanicked { key, message } => write!(f, "loading `{key}` panicked: {message}"),
            Self::CircularLoad { keys } => {
                f.write_str("a load waits for itself: ")?;
                for key in keys {
                    write!(f, "`{key}` → ")?;
                }
                write!(f, "`{}`", keys.first().map_or("", |key| key))
            }
            Self::LoadTimedOut { key, after } => write!(f, "loading `{key}` took longer than {after:?}"),
            Self::LeftOut { node, key } => write!(f, "`load_all` of `{node}` left out `{key}`"),
            Self::StorageNotRegistered { node, storage } => write!(
                f,
                "node `{node}` has a tier on storage `{storage}`, which is not registered; call \
                 `register_storage(\"{storage}\", …)` at start-up"
            ),
            Self::StorageRegistered { storage } => {
                write!(f, "a storage named `{storage}` is registered already")
            }
            Self::DefaultStorageInUse { storage } => write!(
                f,
                "a memoized function has used storage `{storage}` already, which was made with 10 000 entries; register it before the \
                 first call"
            ),
            Self::StateMissing { node, state } => write!(
                f,
                "the loader of node `{node}` needs a `{state}`, which this instance does not have; build it with \
                 `Cacheme::builder().state(…)`, and make that the default instance with `set_default`"
            ),
            Self::UnknownStorage { storage } => write!(f, "no storage named `{storage}` is registered"),
            Self::NoSerializer { node, storage } => write!(
                f,
                "node `{node}` has a tier on the remote storage `{storage}` but no serializer; remove `serializer = none` \
                 or name one"
            ),
            Self::SameKey {
                node,
                other,
                keys,
                version,
                example,
            } => write!(
                f,
                "nodes `{node}` (key `{}`) and `{other}` (key `{}`) can both have the key `{example}`, and both have version \
                 `{version}`; change the key or the version of one of them",
                keys[0], keys[1],
            ),
            Self::Policy { node, reason } => write!(f, "node `{node}`: {reason}"),
            Self::Prefix { prefix, reason } => write!(f, "prefix `{prefix}`: {reason}"),
            Self::DefaultInUse => {
                f.write_str("the default instance is in use already; set it up before anything else")
            }
            Self::Unreached { name, .. } => {
                write!(
                    f,
                    "storage `{name}` is registered but does without its server for now"
                )
            }
            Self::NotInvalidated { name, keys, .. } => {
                write!(f, "storage `{name}` may still hold {keys} old value(s)")
            }
            Self::Closed => f.write_str("the instance of the cache is closed"),
            Self::StillBusy { nodes, after } => write!(
                f,
                "calls of nodes `{}` were still under way after {after:?}",
                nodes.join("`, `")
            ),
            Self::OldValuesLeft { name, keys } => {
                const SHOWN: usize = 10;
                let shown = keys[..keys.len().min(SHOWN)].join("`, `");
                write!(f, "storage `{name}` still has old values of `{shown}`")?;
                match keys.len().checked_sub(SHOWN) {
                    Some(more @ 1..) => write!(f, " and {more} more"),
                    _ => Ok(()),
                }
            }
            Self::NotClosed { name, .. } => write!(f, "storage `{name}` could not be closed"),
            Self::ShuttingDown => f.write_str("the runtime is shutting down"),
            Self::Several(errors) | Self::Check(errors) => {
                for (at, error) in errors.iter().enumerate() {
                    write!(f, "{}{}", if at > 0 { "\n" } else { "" }, Chain(error))?;
                }
                Ok(())
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // The type of the `Arc` would hide that of the error.
            Self::Load { source, .. } => Some(match source.downcast_ref::<SharedError>() {
                Some(shared) => shared.as_error(),
                None => &**source,
            }),
            Self::Unreached { source, .. }
            | Self::NotInvalidated { source, .. }
            | Self::NotClosed { source, .. } => Some(&**source),
            Self::LoadPanicked { .. }
            | Self::LoadTimedOut { .. }
            | Self::CircularLoad { .. }
            | Self::LeftOut { .. }
            | Self::StorageNotRegistered { .. }
            | Self::StorageRegistered { .. }
            | Self::UnknownStorage { .. }
            | Self::DefaultStorageInUse { .. }
            | Self::StateMissing { .. }
            | Self::NoSerializer { .. }
            | Self::SameKey { .. }
            | Self::Policy { .. }
            | Self::Prefix { .. }
            | Self::DefaultInUse
            | Self::Closed
            | Self::StillBusy { .. }
            | Self::OldValuesLeft { .. }
            | Self::ShuttingDown
            | Self::Several(_)
            | Self::Check(_) => None,
        }
    }
}

impl Error {
    /// The error of a failed load by its type: the first `E` among the error of the loader and its sources.
    ///
    /// A loader may return its error as it is, boxed, in an `Arc` or as an `anyhow::Error`, with or without context.
    ///
    /// **Limit:** in an `impl Load` that is written by hand, `?` turns an `anyhow::Error` into a [`BoxError`], and anyhow then hides the type
    /// of its outermost error. An error under a `context` is found; an error that is itself a `context` is not.
    ///
    /// ```
    /// use cacheme::{LoadContext, Node};
    ///
    /// #[derive(Debug)]
    /// struct NotFound;
    ///
    /// impl std::fmt::Display for NotFound {
    ///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    ///         f.write_str("there is no such user")
    ///     }
    /// }
    ///
    /// impl std::error::Error for NotFound {}
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "missing-user:{0}", value = String, load = load_user)]
    /// struct UserNode(u64);
    ///
    /// async fn load_user(_: &UserNode, _: &mut LoadContext<UserNode>) -> Result<String, NotFound> {
    ///     Err(NotFound)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let error = cacheme::get(&UserNode(1)).await.unwrap_err();
    /// assert!(error.downcast_load::<NotFound>().is_some());
    /// # }
    /// ```
    #[must_use]
    pub fn downcast_load<E: StdError + 'static>(&self) -> Option<&E> {
        match self {
            Self::Load { .. } => find_in_chain(self.source()?),
            _ => None,
        }
    }
}

/// An error of a load that several callers got.
///
/// `anyhow::Error`, `eyre::Report` and `Box<dyn Error + Send + Sync>` cannot be cloned. Where a load of [`get_with`](crate::get_with) or of a
/// memoized function fails with one of them, every caller gets an error of that type that is made of this one: with the text and the sources of
/// the first. [`find_error`] finds an error in it by its type.
#[derive(Clone)]
pub struct SharedError(Arc<dyn AsRef<dyn StdError + Send + Sync> + Send + Sync>);

impl SharedError {
    /// Shares an error that is one by reference. The conversions of such types into a [`BoxError`] hide the type of the error.
    pub(crate) fn new<E>(error: E) -> Self
    where
        E: AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static,
    {
        match error.as_ref().downcast_ref::<Self>() {
            Some(shared) => shared.clone(),
            None => Self(Arc::new(error)),
        }
    }

    /// Boxes an error that is one by reference, unless it is a box already.
    pub(crate) fn boxed<E>(error: E) -> BoxError
    where
        E: AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static,
    {
        let mut error = Some(error);
        let any: &mut dyn Any = &mut error;
        if let Some(boxed) = any.downcast_mut::<Option<BoxError>>().and_then(Option::take) {
            return boxed;
        }
        if let Some(own) = any.downcast_mut::<Option<Error>>().and_then(Option::take) {
            return Box::new(own);
        }
        Box::new(Self::new(error.expect("only these are taken")))
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        (*self.0).as_ref()
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_error(), f)
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_error(), f)
    }
}

impl StdError for SharedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.as_error().source()
    }
}

impl AsRef<dyn StdError + Send + Sync> for SharedError {
    fn as_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self.as_error()
    }
}

impl AsRef<dyn StdError + Send + Sync> for Error {
    fn as_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }
}

/// The first `E` among an error and its sources, also where the error is shared.
///
/// The error is an `anyhow::Error`, an `eyre::Report`, a `Box<dyn Error + Send + Sync>` or an [`Error`]. Such an error hides the type of the first one
/// of its chain once callers share it ([`SharedError`]); this function does not depend on that.
///
/// ```
/// # use cacheme::BoxError;
/// # #[derive(Debug)] struct NotFound;
/// # impl std::fmt::Display for NotFound {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("there is no such price") }
/// # }
/// # impl std::error::Error for NotFound {}
/// #[cacheme::memoize(key = "cost:{sku}", ttl = "30s")]
/// async fn cost(sku: &str) -> Result<u64, BoxError> {
///     Err(NotFound.into())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let error = cost("tea").await.unwrap_err();
/// assert!(cacheme::find_error::<NotFound>(&error).is_some());
/// assert_eq!(error.to_string(), "there is no such price");
/// # }
/// ```
#[must_use]
pub fn find_error<E: StdError + 'static>(
    error: &(impl AsRef<dyn StdError + Send + Sync> + ?Sized),
) -> Option<&E> {
    find_in_chain(error.as_ref())
}

fn find_in_chain<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        let error = unwrapped(error);
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An `io::Error` has the source of what it was made of as its own, and leaves that out.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref());
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The error itself, where the type of a shared error hides it.
fn unwrapped<'e>(mut error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    loop {
        error = if let Some(shared) = error.downcast_ref::<SharedError>() {
            shared.as_error()
        } else if let Some(shared) = error.downcast_ref::<Arc<dyn StdError + Send + Sync>>() {
            &**shared
        } else {
            return error;
        };
    }
}
