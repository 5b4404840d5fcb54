//! LOADING in the background ([page](super)): loads the missing values of a batch, renews its leases, extends its waiters' patience.
//!
//! A load of one node is one load with one bound, and so is a [`Load::load_all`] that a user wrote. The default `load_all` asks for a load
//! of its own for each node ([`singly`]).

mod singly;

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{BoxError, SmallBox};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::background;
use crate::error::Error;
use crate::flight::RunningLoad;
use crate::flight::outcome::Failure;
use crate::flight::store::Store;
use crate::instance::Cacheme;
use crate::kind::load_error;
use crate::load::context::LoadContext;
use crate::load::{Load, Loaded, LoadedNode};
use crate::node::Node;
use crate::read::batch::{Answer, Batch};

/// Loads the missing values of a batch until all its flights have ended.
///
/// Boxed, since it spawns another of itself.
pub(crate) fn load_and_land<N: Load>(cacheme: Cacheme, mut batch: Batch<N>) -> BoxFuture<'static, ()> {
    let loading = async move {
        loop {
            batch.extend();
            let Some(items) = batch.advance().await else {
                return;
            };
            if let Some(others) = batch.split_waiting()
                && let Err(others) = background::spawn(load_and_land(cacheme.clone(), others))
            {
                others.await;
            }
            let nodes = batch.take_nodes(&items);
            let loaded = {
                let load = AssertUnwindSafe(load(&cacheme, &batch, &items, &nodes)).catch_unwind();
                batch.driving(&items, pin!(load)).await
            };
            match loaded {
                Ok(Loads::Ended(answers)) => land(&mut batch, answers).await,
                Ok(Loads::Singly) => {
                    let loads = items.into_iter().zip(nodes);
                    singly::load_singly(&cacheme, &mut batch, loads).await;
                }
                // Code of the user's writes keys too, and may panic outside of the load.
                Err(panic) => batch.panicked(&items, &*panic),
            }
        }
    };
    Box::pin(loading)
}

/// Lands loaded values. On the way into tiers they are cloned and serialized, by code of the user's that can panic.
async fn land<N: Node>(batch: &mut Batch<N>, answers: Vec<(usize, Answer<N::Value>)>) {
    let items: Vec<usize> = answers.iter().map(|(item, _)| *item).collect();
    if let Err(panic) = AssertUnwindSafe(batch.land(answers)).catch_unwind().await {
        batch.panicked(&items, &*panic);
    }
}

/// The result of the loads of a batch.
enum Loads<V> {
    /// All of them have ended.
    Ended(Vec<(usize, Answer<V>)>),
    /// Each node needs a load of its own.
    Singly,
}

async fn load<N: Load>(cacheme: &Cacheme, batch: &Batch<N>, items: &[usize], nodes: &[N]) -> Loads<N::Value> {
    if let Some(error) = &batch.kind().missing_state {
        return fail_all(items, |_| Failure::error(error.clone()));
    }
    let load = batch.begin_load(items);
    if let (&[item], [node]) = (items, nodes) {
        let answer = load_one(cacheme, node, &load, batch.load_timeout()).await;
        return Loads::Ended(vec![(item, answer)]);
    }
    load_together(cacheme, batch, items, nodes, &load).await
}

/// Loads one node, with a bound of its own.
async fn load_one<N: Load>(
    cacheme: &Cacheme,
    node: &N,
    load: &Arc<RunningLoad>,
    bound: Duration,
) -> Answer<N::Value> {
    let mut cx = LoadContext::new(cacheme.clone());
    let work = Box::pin(async { node.load(&mut cx).await.map(SmallBox::new) });
    let loaded = bounded(load.run(work), bound).await;
    let result = match loaded {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::error(load_error(load.key(), error))),
        Err(unfinished) => Err(unfinished.failure(load.key(), bound)),
    };
    Answer {
        result,
        store: load.store.get().and(cx.store.get()),
    }
}

/// Loads several nodes by one call, or finds that each needs a load of its own.
async fn load_together<N: Load>(
    cacheme: &Cacheme,
    batch: &Batch<N>,
    items: &[usize],
    nodes: &[N],
    load: &Arc<RunningLoad>,
) -> Loads<N::Value> {
    let mut cx = LoadContext::offering_single_loads(cacheme.clone());
    let bound = batch.load_timeout();
    let loaded = match bounded(load.run(Box::pin(N::load_all(nodes, &mut cx))), bound).await {
        _ if cx.wants_single_loads() => return Loads::Singly,
        Ok(Ok(loaded)) => loaded,
        Ok(Err(error)) => return Loads::Ended(failed_together(batch, items, error)),
        Err(unfinished) => return fail_all(items, |item| unfinished.failure(batch.key(item), bound)),
    };
    let store = load.store.get().and(cx.store.get());
    Loads::Ended(answers_of(batch, items, loaded, store))
}

/// The answers for `items` of a load for several nodes.
pub(super) fn answers_of<N: Node>(
    batch: &Batch<N>,
    items: &[usize],
    loaded: Loaded<N>,
    store: Store,
) -> Vec<(usize, Answer<N::Value>)> {
    let kind = batch.kind();
    let mut by_key: HashMap<Box<[u8]>, LoadedNode<N>> = HashMap::with_capacity(loaded.nodes.len());
    for loaded in loaded.nodes {
        by_key.insert(kind.full_key(&loaded.node).as_bytes().into(), loaded);
    }
    let answer = |item: &usize| {
        let key = batch.key(*item);
        let answer = match by_key.remove(key) {
            Some(loaded) => Answer {
                result: loaded
                    .result
                    .map_err(|error| Failure::error(load_error(key, error))),
                store: store.and(loaded.store),
            },
            None => {
                let (node, key) = (
                    kind.info.name.to_string(),
                    String::from_utf8_lossy(key).into_owned(),
                );
                Answer::failed(Failure::error(Error::LeftOut { node, key }))
            }
        };
        (*item, answer)
    };
    items.iter().map(answer).collect()
}

/// The answers for `items` of a load for several nodes that failed.
pub(super) fn failed_together<N: Node>(
    batch: &Batch<N>,
    items: &[usize],
    error: BoxError,
) -> Vec<(usize, Answer<N::Value>)> {
    let error: Arc<dyn std::error::Error + Send + Sync> = error.into();
    let fail = |item: &usize| {
        let key = String::from_utf8_lossy(batch.key(*item)).into_owned();
        let source = Arc::clone(&error);
        (*item, Answer::failed(Failure::error(Error::Load { key, source })))
    };
    items.iter().map(fail).collect()
}

fn fail_all<V>(items: &[usize], failure: impl Fn(usize) -> Failure) -> Loads<V> {
    let fail = |item: &usize| (*item, Answer::failed(failure(*item)));
    Loads::Ended(items.iter().map(fail).collect())
}

/// The reason why a load did not end.
enum Unfinished {
    TimedOut,
    Panicked(Box<dyn Any + Send>),
}

impl Unfinished {
    fn failure(&self, key: &[u8], bound: Duration) -> Failure {
        match self {
            Self::TimedOut => {
                let key = String::from_utf8_lossy(key).into_owned();
                Failure::error(Error::LoadTimedOut { key, after: bound })
            }
            Self::Panicked(panic) => Failure::panicked(&**panic),
        }
    }
}

/// Runs a user's load for `bound` at most, and drops it. A panic in its run or its drop is a panic of the load.
///
/// Boxed, since the future of a load may be large.
async fn bounded<F: Future>(load: F, bound: Duration) -> Result<F::Output, Unfinished> {
    let mut load = Box::pin(load);
    let ended = tokio::time::timeout(bound, AssertUnwindSafe(load.as_mut()).catch_unwind()).await;
    std::panic::catch_unwind(AssertUnwindSafe(|| drop(load))).map_err(Unfinished::Panicked)?;
    match ended {
        Ok(loaded) => loaded.map_err(Unfinished::Panicked),
        Err(_) => Err(Unfinished::TimedOut),
    }
}

impl<V> Answer<V> {
    pub(super) fn failed(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            store: Store::default(),
        }
    }
}
