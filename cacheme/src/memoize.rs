//! Loads that come with the call: `get_with` and `#[memoize]`.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::sync::Arc;

use cacheme_storage::Chain;
use futures_util::FutureExt as _;

use crate::batch::{Answer, Batch, Taken};
use crate::error::Error;
use crate::flight::{self, End, Joined};
use crate::get::{Looked, wait};
use crate::instance::Cacheme;
use crate::load::Store;
use crate::node::Node;

/// What a loader passed to [`Cacheme::get_with`], or a `#[memoize]`d function, returns: the node's value, or a
/// `Result` of it.
#[diagnostic::on_unimplemented(
    message = "this returns `{Self}`, but its node caches `{V}`",
    label = "expected `{V}` or `Result<{V}, E>`",
    note = "the error type must be `Clone + Send + Sync + 'static`: every caller that waited for a failed load gets the error; `Arc<E>` is one that is"
)]
pub trait LoadOutcome<V>: Sized {
    /// The error type; [`Infallible`] where there is none.
    type Error: Clone + Send + Sync + 'static;

    /// Takes the outcome apart.
    fn into_result(self) -> Result<V, Self::Error>;

    /// Puts an outcome together.
    fn from_result(result: Result<V, Self::Error>) -> Self;
}

impl<V: Clone> LoadOutcome<V> for V {
    type Error = Infallible;

    fn into_result(self) -> Result<V, Infallible> {
        Ok(self)
    }

    fn from_result(result: Result<V, Infallible>) -> Self {
        match result {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

#[diagnostic::do_not_recommend]
impl<V, E: Clone + Send + Sync + 'static> LoadOutcome<V> for Result<V, E> {
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }
}

/// Why a flight brought no value.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The load's own error, an [`Error`](crate::Error) from `get` or what a memoized function returned. A caller whose
    /// error type is another cannot be given it and loads for itself.
    Error(Arc<dyn Any + Send + Sync>),
    /// The load panicked with this message.
    Panicked(String),
}

impl Failure {
    pub(crate) fn error<E: Clone + Send + Sync + 'static>(error: E) -> Self {
        Self::Error(Arc::new(error))
    }

    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panicked(message.unwrap_or_else(|| "a panic without a message".into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => match error.downcast_ref::<Error>() {
                Some(error) => write!(f, "{}", Chain(error)),
                // Of a type that only its caller knows, who is given it.
                None => f.write_str("the caller's own loader returned an error"),
            },
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl Cacheme {
    /// The value of `node`, from the nearest tier that has it, else from `load`, which may borrow.
    ///
    /// Concurrent callers for one node share one load, and its error. `load` returns the value or a `Result` of it, and
    /// so does this call: trouble of storages never shows up here.
    ///
    /// # Panics
    ///
    /// When the load panics, here or in the caller that this one waited for. And inside of a load that `node` waits for, which is
    /// [`Error::CircularLoad`] where `load` returns that type of error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the load if it is this call's own; who waited for it takes over with a loader of theirs.
    ///
    /// ```
    /// # use cacheme::{Cacheme, Node};
    /// #[derive(Node, Clone)]
    /// #[node(key = "length:{0}", value = usize)]
    /// struct LengthNode(String);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cacheme::Error> {
    /// let cacheme = Cacheme::builder().build()?;
    /// let text = String::from("borrowed");
    /// let length = cacheme.get_with(&LengthNode(text.clone()), || async { text.len() }).await;
    /// assert_eq!(length, 8);
    /// # Ok(()) }
    /// ```
    pub async fn get_with<N, R, F>(&self, node: &N, load: impl FnOnce() -> F) -> R
    where
        N: Node,
        R: LoadOutcome<N::Value>,
        F: Future<Output = R>,
    {
        match self.look(node) {
            Ok(Looked::Hit(value)) => R::from_result(Ok(value)),
            Ok(Looked::Missed(kind, key)) => {
                // Boxed so that a hit does not carry the space of a load.
                Box::pin(self.get_with_missed(kind.into_arc(), key, node, load)).await
            }
            Err(error) => {
                // A set-up that cannot work takes caching away, not the answer.
                self.tell_once(&error);
                load().await
            }
        }
    }

    async fn get_with_missed<N, R, F>(
        &self,
        kind: Arc<crate::kind::Kind<N>>,
        key: crate::flight::FullKey,
        node: &N,
        load: impl FnOnce() -> F,
    ) -> R
    where
        N: Node,
        R: LoadOutcome<N::Value>,
        F: Future<Output = R>,
    {
        loop {
            let now = tokio::time::Instant::now();
            let joined = kind.join(&key, now + kind.info.load_timeout);
            let _waits = match flight::wait_for(kind.flights.id(), [joined.flight()]) {
                Ok(waits) => waits,
                Err(circle) => return refused(circle),
            };
            let lead = match joined {
                Joined::Lead(lead) => lead,
                Joined::Wait(flight) | Joined::Again(flight) => {
                    let Some(End::Done(outcome)) = wait(&kind, flight).await else {
                        continue;
                    };
                    match &*outcome {
                        Ok(value) => return R::from_result(Ok(value.clone())),
                        Err(Failure::Panicked(message)) => {
                            panic!("the load that this call waited for panicked: {message}")
                        }
                        Err(Failure::Error(error)) => match error.downcast_ref::<R::Error>() {
                            Some(error) => return R::from_result(Err(error.clone())),
                            None => continue,
                        },
                    }
                }
            };
            let mut batch = Batch::new(kind, [(lead, node.clone())], now);
            batch.pass().await;
            let Some(_) = batch.advance().await else {
                let Taken::Found(value) = batch.take(0) else {
                    unreachable!("the batch ended every flight")
                };
                return R::from_result(Ok(value));
            };
            batch.extend();
            let loaded = {
                let load = batch.begin_load(&[0]).run(async { load().await });
                let load = pin!(AssertUnwindSafe(load).catch_unwind());
                batch.renewing(&[0], load).await
            };
            let (answer, ended) = match loaded {
                Ok(outcome) => {
                    let result = outcome.into_result();
                    let answer = match &result {
                        Ok(value) => Ok(value.clone()),
                        Err(error) => Err(Failure::error(error.clone())),
                    };
                    (answer, Ok(result))
                }
                Err(panic) => (Err(Failure::panicked(&*panic)), Err(panic)),
            };
            let answer = Answer {
                result: answer,
                store: Store::default(),
            };
            batch.land(vec![(0, answer)]).await;
            return match ended {
                Ok(result) => R::from_result(result),
                Err(panic) => resume_unwind(panic),
            };
        }
    }
}

/// The outcome of a call that is refused: its error where that is what it returns.
fn refused<V, R: LoadOutcome<V>>(error: Error) -> R {
    match (&error as &dyn Any).downcast_ref::<R::Error>() {
        Some(error) => R::from_result(Err(error.clone())),
        // Without a cache it would call itself for ever.
        None => panic!("{error}"),
    }
}

/// What `#[memoize]` expands to.
#[doc(hidden)]
pub async fn memoize<N, R, F>(cacheme: Option<&Cacheme>, node: N, load: impl FnOnce() -> F) -> R
where
    N: Node,
    R: LoadOutcome<N::Value>,
    F: Future<Output = R>,
{
    cacheme
        .unwrap_or_else(|| crate::default_instance())
        .get_with(&node, load)
        .await
}
