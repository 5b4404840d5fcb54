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
use crate::flight::outcome::{Failure, LoadError};
use crate::flight::store::Store;
use crate::flight::{self, End, FullKey, Joined};
use crate::instance::Cacheme;
use crate::kind::Kind;
use crate::load::loading::loading;
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
        let missed = match Looked::new(self, self.look(node), sharing) {
            Looked::Hit(outcome) => return outcome,
            Looked::Missed(missed) => missed,
        };
        missed.load(node, load, sharing, |_| false).await
    }
}

/// What a caller with a loader of its own, whose outcome is an `R`, finds in the first tier.
pub enum Looked<N: Node, R> {
    /// The value.
    Hit(R),
    /// The loader is to be run, unless another tier or another caller has the value.
    Missed(Missed<N>),
}

/// A value that the first tier does not have.
///
/// `None` for a call without a cache: with a set-up that cannot work there is no caching, but an answer.
pub struct Missed<N: Node>(Option<(Arc<Kind<N>>, FullKey)>);

impl<N: Node, R> Looked<N, R> {
    #[inline]
    pub(crate) fn new(
        cacheme: &Cacheme,
        looked: Result<FirstTier<'_, N>, Error>,
        sharing: Sharing<N::Value, R>,
    ) -> Self {
        match looked {
            Ok(FirstTier::Hit(value)) => Self::Hit(sharing.hit(value)),
            Ok(FirstTier::Miss(kind, key)) => Self::Missed(Missed(Some((kind.into_arc(), key)))),
            Err(error) => {
                cacheme.log_once(&error);
                Self::without_cache()
            }
        }
    }

    /// For a call without a cache.
    #[must_use]
    pub fn without_cache() -> Self {
        Self::Missed(Missed(None))
    }
}

impl<N: Node, R> std::fmt::Debug for Looked<N, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hit(_) => "Hit",
            Self::Missed(_) => "Missed",
        })
    }
}

impl<N: Node> std::fmt::Debug for Missed<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Missed").finish_non_exhaustive()
    }
}

impl<N: Node> Missed<N> {
    /// Looks into the other tiers, then loads. A value that `unless` is true for is not stored.
    pub async fn load<R, F>(
        self,
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
                Some((kind, key)) => kind.get_with(key, node, load, sharing, unless).await,
                // Boxed, so that a debug build has no room for its value beside a load with a cache.
                None => Box::pin(alone(load, sharing)).await,
            }
        });
        ended(missed.await, sharing)
    }
}

/// A value, or the outcome of a load that failed. The outcome has room for a value, which futures should not have.
type Loaded<V, R> = Result<SmallBox<V>, Box<R>>;

// These are functions, since a debug build has room in a future's `poll` for every value that it names.

fn ended<V, R>(loaded: Loaded<V, R>, sharing: Sharing<V, R>) -> R {
    match loaded {
        Ok(value) => sharing.hit(value.into_inner()),
        Err(outcome) => *outcome,
    }
}

fn received<V, R>(error: &(dyn LoadError + 'static), sharing: Sharing<V, R>) -> Option<Box<R>> {
    (sharing.receive)(error).map(Box::new)
}

#[expect(
    clippy::boxed_local,
    reason = "the outcome has room for a value, which its caller should not have"
)]
fn shared<V, R>(outcome: Box<R>, sharing: Sharing<V, R>) -> (Box<R>, Arc<dyn LoadError>) {
    let (outcome, shared) = sharing.share(*outcome);
    (Box::new(outcome), shared)
}

/// Loads without the cache.
async fn alone<V, R, F: Future<Output = R>>(
    load: impl FnOnce() -> F,
    sharing: Sharing<V, R>,
) -> Loaded<V, R> {
    loaded(load().await, sharing)
}

fn loaded<V, R>(outcome: R, sharing: Sharing<V, R>) -> Loaded<V, R> {
    match (sharing.into_value)(outcome) {
        Ok(value) => Ok(SmallBox::new(value)),
        Err(outcome) => Err(Box::new(outcome)),
    }
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
                Err(circle) => return Err(refused(circle, sharing)),
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
                        Err(Failure::Error(error)) => match received(&**error, sharing) {
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
            let load = async {
                let loaded = loaded(load().await, sharing);
                if loaded.as_ref().is_ok_and(|value| unless(value)) {
                    loading().do_not_store();
                }
                loaded
            };
            let (loaded, store) = batch.load_here(&[0], load).await;
            let (result, ended) = match loaded {
                Ok(Ok(value)) => (Ok(value.clone()), Ok(Ok(value))),
                Ok(Err(outcome)) => {
                    let (outcome, shared) = shared(outcome, sharing);
                    (Err(Failure::Error(shared)), Ok(Err(outcome)))
                }
                Err(panic) => (Err(Failure::panicked(&*panic)), Err(panic)),
            };
            let answer = Answer { result, store };
            batch.land(vec![(0, answer)]).await;
            return match ended {
                Ok(result) => result,
                Err(panic) => resume_unwind(panic),
            };
        }
    }
}

impl<N: Node> Batch<N> {
    /// Runs a load of the caller's for `items`. Returns its outcome or its panic, and how it wants the value to be stored.
    pub(super) async fn load_here<F: Future>(
        &self,
        items: &[usize],
        load: F,
    ) -> (std::thread::Result<F::Output>, Store) {
        let running = self.begin_load(items);
        // In a box: the future may be large.
        let load = running.run(Box::pin(load));
        let load = pin!(AssertUnwindSafe(load).catch_unwind());
        let loaded = self.renewing(items, load).await;
        (loaded, running.store.get())
    }
}

/// The outcome of a call that is refused. Without the cache it would call itself for ever.
fn refused<V, R>(circle: Error, sharing: Sharing<V, R>) -> Box<R> {
    match (sharing.refuse)(circle) {
        Ok(outcome) => Box::new(outcome),
        Err(circle) => panic!("{circle}"),
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
