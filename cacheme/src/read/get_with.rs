//! `get_with` and `#[memoize]`: LOADING by the caller itself ([page](super)).
//!
//! The load may borrow from its caller, so it cannot go on without it: a caller that goes away leaves the flight ABANDONED. That is why this
//! is not the loop of [`drive`](super::drive): one load, which no task can take over, which nothing bounds, and whose panic is its caller's.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::sync::Arc;

use cacheme_storage::SmallBox;
use futures_util::FutureExt as _;

use crate::error::Error;
use crate::flight::outcome::Failure;
use crate::flight::{self, End, Joined};
use crate::instance::Cacheme;
use crate::load::context::Store;
use crate::node::Node;
use crate::read::batch::{Answer, Batch, Lookup};
use crate::read::get::{FirstTier, wait};

/// The return type of a loader for [`Cacheme::get_with`] or of a `#[memoize]`d function: the node's value, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "this returns `{Self}`, but its node caches `{V}`",
    label = "expected `{V}` or `Result<{V}, E>`",
    note = "the error type must be `Clone + Send + Sync + 'static`: every caller that waited for a failed load gets the error; `Arc<E>` is one that is"
)]
pub trait LoadOutcome<V>: Sized + 'static {
    /// The error type; [`Infallible`] where there is none.
    type Error: Clone + Send + Sync + 'static;

    /// Turns the outcome into a `Result`.
    fn into_result(self) -> Result<V, Self::Error>;

    /// Makes an outcome of a `Result`.
    fn from_result(result: Result<V, Self::Error>) -> Self;
}

impl<V: Clone + 'static> LoadOutcome<V> for V {
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
impl<V: 'static, E: Clone + Send + Sync + 'static> LoadOutcome<V> for Result<V, E> {
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn from_result(result: Self) -> Self {
        result
    }
}

impl Cacheme {
    /// The value of `node`, from the nearest tier that has it, else from `load`, which may borrow.
    ///
    /// Concurrent callers for one node share one load, and its error. `load` returns the value or a `Result` of it, and so does this call:
    /// trouble of storages is no error here.
    ///
    /// # Panics
    ///
    /// When the load panics, here or in the caller that this one waited for. Also inside of a load that `node` waits for; where `load`
    /// returns [`Error`], that is [`Error::CircularLoad`] and no panic.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the load if it is this call's own. Then one of its waiters takes over with its own loader.
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
        self.get_or_load(node, load, |_| None).await
    }

    pub(crate) async fn get_or_load<N, R, F>(&self, node: &N, load: impl FnOnce() -> F, text: TextOf<R>) -> R
    where
        N: Node,
        R: LoadOutcome<N::Value>,
        F: Future<Output = R>,
    {
        let looked = match self.look(node) {
            Ok(FirstTier::Hit(value)) => return R::from_result(Ok(value)),
            Ok(FirstTier::Miss(kind, key)) => Ok((kind.into_arc(), key)),
            Err(error) => Err(error),
        };
        // Boxed so that a hit does not carry the space of a load.
        let missed = Box::pin(async {
            match looked {
                Ok((kind, key)) => self.get_with_missed(kind, key, node, load, text).await,
                Err(error) => {
                    // With a set-up that cannot work there is no caching, but an answer.
                    self.log_once(&error);
                    // Boxed, so that a debug build has no room for its value beside a load with a cache.
                    Box::pin(async { load().await.into_result().map(SmallBox::new) }).await
                }
            }
        });
        unboxed(missed.await)
    }

    async fn get_with_missed<N, R, F>(
        &self,
        kind: Arc<crate::kind::Kind<N>>,
        key: crate::flight::FullKey,
        node: &N,
        load: impl FnOnce() -> F,
        text: TextOf<R>,
    ) -> Result<SmallBox<N::Value>, R::Error>
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
                Err(circle) => return Err(refused::<N::Value, R>(circle)),
            };
            let lead = match joined {
                Joined::Lead(lead) => lead,
                Joined::Wait { flight, .. } => {
                    let Some(End::Done(outcome)) = wait(&kind, flight).await else {
                        continue;
                    };
                    match &*outcome {
                        Ok(value) => return Ok(value.clone()),
                        Err(Failure::Panicked(message)) => {
                            panic!("the load that this call waited for panicked: {message}")
                        }
                        Err(Failure::Error(error)) => match error.downcast_ref::<R::Error>() {
                            Some(error) => return Err(error.clone()),
                            None => continue,
                        },
                    }
                }
            };
            let mut batch = Batch::new(kind, [(lead, node.clone())], now);
            batch.pass().await;
            let Some(_) = batch.advance().await else {
                let Lookup::Found(value) = batch.take(0) else {
                    unreachable!("the batch ended every flight")
                };
                return Ok(value);
            };
            batch.extend();
            let loaded = {
                // In a box: the future may be large.
                let load = Box::pin(async { load().await.into_result().map(SmallBox::new) });
                let load = batch.begin_load(&[0]).run(load);
                let load = pin!(AssertUnwindSafe(load).catch_unwind());
                batch.renewing(&[0], load).await
            };
            let (answer, ended) = match loaded {
                Ok(result) => {
                    let answer = match &result {
                        Ok(value) => Ok(value.clone()),
                        Err(error) => {
                            // The text is made when it is logged.
                            let text = move |error: &R::Error| text(&R::from_result(Err(error.clone())));
                            Err(Failure::own(error.clone(), text))
                        }
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
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            };
        }
    }
}

fn unboxed<V, R: LoadOutcome<V>>(result: Result<SmallBox<V>, R::Error>) -> R {
    R::from_result(result.map(SmallBox::into_inner))
}

/// The error of a call that is refused, if the call returns errors of that type.
fn refused<V, R: LoadOutcome<V>>(error: Error) -> R::Error {
    match (&error as &dyn Any).downcast_ref::<R::Error>() {
        Some(error) => error.clone(),
        // Without the cache it would call itself for ever.
        None => panic!("{error}"),
    }
}

/// Gives the text of a load's error for the log, if its type has one.
pub(crate) type TextOf<R> = fn(&R) -> Option<String>;
