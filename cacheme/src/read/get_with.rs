//! `get_with` and `#[memoize]`: LOADING by the caller itself ([page](super)).
//!
//! The load may borrow from its caller, so it cannot go on without it: a caller that goes away leaves the flight ABANDONED. That is why this
//! is not the loop of [`drive`](super::drive): one load, which no task can take over, which nothing bounds, and whose panic is its caller's.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::SmallBox;
use futures_util::FutureExt as _;

use crate::error::Error;
use crate::flight::outcome::Failure;
use crate::flight::{self, End, FullKey, Joined};
use crate::instance::Cacheme;
use crate::kind::Kind;
use crate::load::outcome::{LoadOutcome, Sharing};
use crate::node::Node;
use crate::read::batch::{Answer, Batch, Lookup};
use crate::read::get::{FirstTier, wait};

impl Cacheme {
    /// The value of `node`, from the nearest tier that has it, else from `load`, which may borrow.
    ///
    /// Concurrent callers for one node share one load, and its error. `load` returns the value or a `Result` of it, and so does this call:
    /// trouble of storages is no error here. [`LoadOutcome`] says which errors there can be.
    ///
    /// An error that callers cannot share is that of the caller whose load failed. The others run loads of their own, one at a time, until
    /// they have waited for the node's `load_timeout`; then each runs its load without the cache.
    ///
    /// # Panics
    ///
    /// When the load panics, here or in the caller that this one waited for. Also inside of a load that `node` waits for; where `load`
    /// returns [`Error`] or an error of any source (`anyhow::Error`), that is [`Error::CircularLoad`] and no panic.
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
    pub fn get_with<N, R, F, M>(&self, node: &N, load: impl FnOnce() -> F) -> impl Future<Output = R>
    where
        N: Node,
        R: LoadOutcome<N::Value, M>,
        F: Future<Output = R>,
    {
        self.get_or_load(node, load, R::SHARING)
    }

    async fn get_or_load<N, R, F>(
        &self,
        node: &N,
        load: impl FnOnce() -> F,
        sharing: Sharing<N::Value, R>,
    ) -> R
    where
        N: Node,
        F: Future<Output = R>,
    {
        match self.look(node) {
            Ok(FirstTier::Hit(value)) => sharing.hit(value),
            Ok(FirstTier::Miss(kind, key)) => {
                let missed = Missed::of(kind.into_arc(), key);
                missed.load(self, node, load, sharing, |_| false).await
            }
            Err(error) => {
                Missed::unusable(error)
                    .load(self, node, load, sharing, |_| false)
                    .await
            }
        }
    }
}

/// A key that the first tier does not have, for a caller with a loader of its own.
pub(crate) struct Missed<N: Node>(Result<(Arc<Kind<N>>, FullKey), Error>);

impl<N: Node> Missed<N> {
    pub(crate) fn of(kind: Arc<Kind<N>>, key: FullKey) -> Self {
        Self(Ok((kind, key)))
    }

    /// With a set-up that cannot work there is no caching, but an answer.
    pub(crate) fn unusable(error: Error) -> Self {
        Self(Err(error))
    }

    /// Looks into the other tiers, then loads. A value that `unless` is true for is not stored.
    pub(crate) async fn load<R, F>(
        self,
        cacheme: &Cacheme,
        node: &N,
        load: impl FnOnce() -> F,
        sharing: Sharing<N::Value, R>,
        unless: impl Fn(&N::Value) -> bool,
    ) -> R
    where
        F: Future<Output = R>,
    {
        // Boxed so that a hit does not carry the space of a load.
        let missed = Box::pin(async {
            match self.0 {
                Ok((kind, key)) => kind.get_with(key, node, load, sharing, unless).await,
                Err(error) => {
                    cacheme.log_once(&error);
                    // Boxed, so that a debug build has no room for its value beside a load with a cache.
                    Box::pin(alone(load, sharing)).await
                }
            }
        });
        match missed.await {
            Ok(value) => sharing.hit(value.into_inner()),
            Err(outcome) => outcome,
        }
    }
}

/// A value, or the outcome of a load that failed.
type Loaded<V, R> = Result<SmallBox<V>, R>;

/// Loads without the cache.
async fn alone<V, R, F: Future<Output = R>>(
    load: impl FnOnce() -> F,
    sharing: Sharing<V, R>,
) -> Loaded<V, R> {
    (sharing.into_value)(load().await).map(SmallBox::new)
}

impl<N: Node> Kind<N> {
    async fn get_with<R, F>(
        self: Arc<Self>,
        key: FullKey,
        node: &N,
        load: impl FnOnce() -> F,
        sharing: Sharing<N::Value, R>,
        unless: impl Fn(&N::Value) -> bool,
    ) -> Loaded<N::Value, R>
    where
        F: Future<Output = R>,
    {
        let mut queue = Queue::new(self.info.load_timeout);
        loop {
            let now = tokio::time::Instant::now();
            let joined = self.join(&key, now + self.info.load_timeout);
            let _waits = match flight::wait_for(self.flights.id(), [joined.flight()]) {
                Ok(waits) => waits,
                // Without the cache it would call itself for ever.
                Err(circle) => return Err((sharing.refuse)(circle).unwrap_or_else(|error| panic!("{error}"))),
            };
            let lead = match joined {
                Joined::Lead(lead) => lead,
                Joined::Wait { flight, .. } => {
                    let Ok(end) = queue.bound(wait(&self, flight)).await else {
                        return alone(load, sharing).await;
                    };
                    let Some(End::Done(outcome)) = end else {
                        continue;
                    };
                    match &*outcome {
                        Ok(value) => return Ok(value.clone()),
                        Err(Failure::Panicked(message)) => {
                            panic!("the load that this call waited for panicked: {message}")
                        }
                        Err(Failure::Error(error)) => match (sharing.receive)(&**error) {
                            Some(failed) => return Err(failed),
                            None => queue.begin(),
                        },
                    }
                    continue;
                }
            };
            let mut batch = Batch::new(self, [(lead, node.clone())], now);
            batch.pass().await;
            let Some(_) = batch.advance().await else {
                let Lookup::Found(value) = batch.take(0) else {
                    unreachable!("the batch ended every flight")
                };
                return Ok(value);
            };
            batch.extend();
            let running = batch.begin_load(&[0]);
            let loaded = {
                // In a box: the future may be large.
                let load = Box::pin(async {
                    let loaded = (sharing.into_value)(load().await);
                    if loaded.as_ref().is_ok_and(unless) {
                        running.store.skip();
                    }
                    loaded.map(SmallBox::new)
                });
                let load = pin!(AssertUnwindSafe(running.run(load)).catch_unwind());
                batch.renewing(&[0], load).await
            };
            let (result, ended) = match loaded {
                Ok(Ok(value)) => (Ok(value.clone()), Ok(Ok(value))),
                Ok(Err(outcome)) => {
                    let (outcome, shared) = sharing.share(outcome);
                    (Err(Failure::Error(shared)), Ok(Err(outcome)))
                }
                Err(panic) => (Err(Failure::panicked(&*panic)), Err(panic)),
            };
            let answer = Answer {
                result,
                store: running.store.get(),
            };
            batch.land(vec![(0, answer)]).await;
            return match ended {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            };
        }
    }
}

/// How long a caller waits for the loads of others once one failed with an error that it could not get.
struct Queue {
    until: tokio::time::Instant,
    begun: bool,
}

impl Queue {
    fn new(longest: Duration) -> Self {
        Self {
            until: tokio::time::Instant::now() + longest,
            begun: false,
        }
    }

    fn begin(&mut self) {
        self.begun = true;
    }

    /// Waits. `Err` if the caller has queued for long enough.
    async fn bound<F: Future>(&self, waiting: F) -> Result<F::Output, tokio::time::error::Elapsed> {
        if self.begun {
            tokio::time::timeout_at(self.until, waiting).await
        } else {
            Ok(waiting.await)
        }
    }
}
