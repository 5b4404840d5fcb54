//! The outcome of a load that comes with its call, and what the callers that wait for that load get of its error (L2).

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use cacheme_storage::Chain;

use crate::error::{Error, SharedError};
use crate::flight::outcome::LoadError;

/// The return type of a loader for [`get_with`](crate::get_with): the node's value, or a `Result` of it.
///
/// | error type | callers that waited for a failed load |
/// |---|---|
/// | `Clone + Send + Sync + 'static` | get a clone |
/// | `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>` | get it as a [`SharedError`], as does the caller whose load failed |
/// | [`std::io::Error`], and `sqlx::Error` with the feature `sqlx` | run loads of their own, one at a time |
///
/// `M` is one of the types that tell these apart, which the compiler finds. [`memoize`](macro@crate::memoize) takes every error type.
#[diagnostic::on_unimplemented(
    message = "this returns `{Self}`, but its node caches `{V}`, or its error cannot be shared",
    label = "expected `{V}` or `Result<{V}, E>`",
    note = "every caller that waited for a failed load gets its error, so `E` is `Clone + Send + Sync + 'static`, `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>` or `io::Error`; `Arc<E>` is one that is"
)]
pub trait LoadOutcome<V, M>: Sized {
    #[doc(hidden)]
    const SHARING: Sharing<V, Self>;
}

/// The loader returns the value, so it cannot fail.
#[derive(Debug)]
pub struct NoError;

/// An error that every waiter gets a clone of.
#[derive(Debug)]
pub struct ByClone;

/// An error that every caller gets as a [`SharedError`].
#[derive(Debug)]
pub struct BySource;

/// An error that only the caller whose load failed gets.
#[derive(Debug)]
pub struct Alone;

impl<V> LoadOutcome<V, NoError> for V {
    const SHARING: Sharing<V, Self> = Sharing::infallible();
}

#[diagnostic::do_not_recommend]
impl<V: 'static, E: Clone + Send + Sync + 'static> LoadOutcome<V, ByClone> for Result<V, E> {
    const SHARING: Sharing<V, Self> = Sharing::by_clone();
}

#[diagnostic::do_not_recommend]
impl<V, E> LoadOutcome<V, BySource> for Result<V, E>
where
    E: AsRef<dyn StdError + Send + Sync> + From<SharedError> + Send + Sync + 'static,
{
    const SHARING: Sharing<V, Self> = Sharing::by_source();
}

#[diagnostic::do_not_recommend]
impl<V> LoadOutcome<V, Alone> for Result<V, io::Error> {
    const SHARING: Sharing<V, Self> = Sharing::alone().with_text(source_text);
}

#[cfg(feature = "sqlx")]
#[diagnostic::do_not_recommend]
impl<V> LoadOutcome<V, Alone> for Result<V, sqlx::Error> {
    const SHARING: Sharing<V, Self> = Sharing::alone().with_text(source_text);
}

fn source_text<V, E: StdError + 'static>(outcome: &Result<V, E>) -> Option<String> {
    outcome.as_ref().err().map(|error| Chain(error).to_string())
}

/// How an outcome `R` is taken apart, and what waiters get of its error.
///
/// These are functions, not bounds on `R`: the future of a load then has none that hold for some lifetimes only, and can be spawned
/// whatever lifetime the type of an error names.
pub struct Sharing<V, R> {
    from_value: fn(V) -> R,
    /// The value, or the outcome if it is an error.
    pub(crate) into_value: fn(R) -> Result<V, R>,
    /// The error for the caller whose load it was, and for its waiters.
    split: fn(R, TextOf<R>) -> Split<R>,
    /// What a waiter gets of an error that another caller shared.
    pub(crate) receive: fn(&(dyn LoadError + 'static)) -> Option<R>,
    /// The outcome of a call that is refused.
    pub(crate) refuse: fn(Error) -> Result<R, Error>,
    text: TextOf<R>,
}

/// An outcome that is an error: for the caller whose load it was, and for its waiters.
type Split<R> = (R, Arc<dyn LoadError>);

/// Gives the text of an error for the log, if its type has one.
pub(crate) type TextOf<R> = fn(&R) -> Option<String>;

impl<V, R> Clone for Sharing<V, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, R> Copy for Sharing<V, R> {}

impl<V, R> std::fmt::Debug for Sharing<V, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sharing").finish_non_exhaustive()
    }
}

impl<V, R> Sharing<V, R> {
    /// The same, with a text of its errors for the log.
    #[must_use]
    pub const fn with_text(self, text: TextOf<R>) -> Self {
        Self { text, ..self }
    }

    /// The outcome of a hit.
    #[inline]
    pub fn hit(&self, value: V) -> R {
        (self.from_value)(value)
    }

    /// The value, or the outcome if it is an error, with the text of that.
    pub fn value(&self, outcome: R) -> Result<V, (R, Option<String>)> {
        (self.into_value)(outcome).map_err(|outcome| {
            let text = (self.text)(&outcome);
            (outcome, text)
        })
    }

    /// Shares the error of an outcome.
    pub(crate) fn share(&self, outcome: R) -> Split<R> {
        (self.split)(outcome, self.text)
    }
}

impl<V> Sharing<V, V> {
    /// For a load that cannot fail.
    #[must_use]
    pub const fn infallible() -> Self {
        Self {
            from_value: |value| value,
            into_value: Ok,
            split: |value, _| (value, Arc::new(Unshared(None))),
            receive: |_| None,
            refuse: Err,
            text: |_| None,
        }
    }
}

impl<V: 'static, E: Clone + Send + Sync + 'static> Sharing<V, Result<V, E>> {
    /// Waiters get a clone of the error.
    #[must_use]
    pub const fn by_clone() -> Self {
        Self {
            from_value: Ok,
            into_value: |outcome| outcome.map_err(Err),
            split: |outcome, text| {
                let Err(error) = &outcome else {
                    unreachable!("only an error is shared")
                };
                let shared = Arc::new(Cloned {
                    error: error.clone(),
                    text: Box::new(move |error| text(&Err(error.clone()))),
                });
                (outcome, shared)
            },
            receive: |error| error.downcast_ref().map(|error: &E| Err(error.clone())),
            refuse: |error| {
                let own = (&error as &dyn Any).downcast_ref().cloned();
                own.map(Err).ok_or(error)
            },
            text: |_| None,
        }
    }
}

impl<V, E> Sharing<V, Result<V, E>>
where
    E: AsRef<dyn StdError + Send + Sync> + From<SharedError> + Send + Sync + 'static,
{
    /// Every caller gets the error as a [`SharedError`].
    #[must_use]
    pub const fn by_source() -> Self {
        Self {
            from_value: Ok,
            into_value: |outcome| outcome.map_err(Err),
            split: |outcome, _| {
                let Err(error) = outcome else {
                    unreachable!("only an error is shared")
                };
                let shared = SharedError::new(error);
                (Err(shared.clone().into()), Arc::new(shared))
            },
            receive: |error| {
                let shared = error.downcast_ref::<SharedError>().cloned();
                let own = || error.downcast_ref::<Error>().cloned().map(SharedError::new);
                shared.or_else(own).map(|error| Err(error.into()))
            },
            refuse: |error| Ok(Err(SharedError::new(error).into())),
            text: |_| None,
        }
    }
}

impl<V, E> Sharing<V, Result<V, E>> {
    /// Only the caller whose load failed gets the error.
    #[must_use]
    pub const fn alone() -> Self {
        Self {
            from_value: Ok,
            into_value: |outcome| outcome.map_err(Err),
            split: |outcome, text| {
                let text = text(&outcome);
                (outcome, Arc::new(Unshared(text)))
            },
            receive: |_| None,
            refuse: Err,
            text: |_| None,
        }
    }
}

/// An error that waiters get clones of.
struct Cloned<E> {
    error: E,
    /// The text is made when it is logged.
    text: Describe<E>,
}

type Describe<E> = Box<dyn Fn(&E) -> Option<String> + Send + Sync>;

impl<E: Send + Sync + 'static> LoadError for Cloned<E> {
    fn as_any(&self) -> &dyn Any {
        &self.error
    }

    fn text(&self) -> Option<String> {
        let own = self.as_any().downcast_ref::<Error>();
        (self.text)(&self.error).or_else(|| own?.text())
    }
}

/// The text of an error that waiters do not get.
struct Unshared(Option<String>);

impl LoadError for Unshared {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn text(&self) -> Option<String> {
        self.0.clone()
    }
}

impl LoadError for SharedError {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn text(&self) -> Option<String> {
        Some(Chain(self).to_string())
    }
}
