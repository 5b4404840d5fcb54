//! What the tests share: an instance over a local and a remote storage, a source that can be held, and nodes that load
//! from it.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use cacheme::{BoxError, Cacheme, LoadContext, Loaded, Node, Storage};
use cacheme_storage::{Clock, LocalCache};
use tests::{Gate, MemoryRemote};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// One process: an instance with its own memory. Its remote storage may be another's too.
pub(crate) struct World {
    pub(crate) cacheme: Cacheme,
    pub(crate) remote: MemoryRemote,
    clock: Clock,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::over(MemoryRemote::new()).await
    }

    /// A process over a remote storage that is there already.
    pub(crate) async fn over(remote: MemoryRemote) -> Self {
        Self::of_prefix("test", &remote).await
    }

    /// A process of another application, told apart by its prefix.
    pub(crate) async fn of_prefix(prefix: &str, remote: &MemoryRemote) -> Self {
        let (cacheme, remote) = (Cacheme::builder().prefix(prefix).build().unwrap(), remote.clone());
        let clock = Clock::manual();
        let local = LocalCache::lru(100_000).clock(clock.clone()).build();
        cacheme
            .register_storage("local", Storage::local(local))
            .await
            .unwrap();
        // One that cannot be reached is registered all the same.
        let _ = cacheme
            .register_storage("remote", Storage::remote(remote.clone()))
            .await;
        remote.take_calls();
        Self {
            cacheme,
            remote,
            clock,
        }
    }

    /// Another process that shares the remote storage.
    pub(crate) async fn neighbour(&self) -> Self {
        Self::over(self.remote.clone()).await
    }

    /// Lets time pass everywhere.
    pub(crate) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        tokio::time::advance(by).await;
    }
}

/// Lets everything else go as far as it can without time passing.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Polls a future once; `None` if it waits.
pub(crate) async fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// How long a future takes.
pub(crate) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let start = tokio::time::Instant::now();
    let output = pin!(future).await;
    (output, start.elapsed())
}

/// Where values come from: `id` has the value `1000 * id + version`, as of the moment when its load began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    version: AtomicU64,
    loads: AtomicUsize,
    batches: Mutex<Vec<Vec<u64>>>,
    holds: Mutex<VecDeque<Arc<Gate>>>,
    fails: Mutex<HashSet<u64>>,
    panics: Mutex<HashSet<u64>>,
    leaves_out: Mutex<HashSet<u64>>,
}

/// What the source says when it fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoSource(pub(crate) u64);

impl std::fmt::Display for NoSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the source has no {}", self.0)
    }
}

impl std::error::Error for NoSource {}

impl Source {
    /// Changes all values; gives the new version.
    pub(crate) fn bump(&self) -> u64 {
        self.inner.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn value(&self, id: u64) -> u64 {
        1000 * id + self.inner.version.load(Ordering::SeqCst)
    }

    /// How many values were loaded.
    pub(crate) fn loads(&self) -> usize {
        self.inner.loads.load(Ordering::SeqCst)
    }

    /// The ids that each `load_all` was asked for.
    pub(crate) fn batches(&self) -> Vec<Vec<u64>> {
        self.inner.batches.lock().unwrap().clone()
    }

    /// Holds the next load after it has read its value.
    pub(crate) fn hold(&self) -> Arc<Gate> {
        let gate = Arc::new(Gate::new());
        self.inner.holds.lock().unwrap().push_back(Arc::clone(&gate));
        gate
    }

    pub(crate) fn fail(&self, id: u64) {
        self.inner.fails.lock().unwrap().insert(id);
    }

    pub(crate) fn panic(&self, id: u64) {
        self.inner.panics.lock().unwrap().insert(id);
    }

    pub(crate) fn leave_out(&self, id: u64) {
        self.inner.leaves_out.lock().unwrap().insert(id);
    }

    pub(crate) fn mend(&self) {
        self.inner.fails.lock().unwrap().clear();
        self.inner.panics.lock().unwrap().clear();
        self.inner.leaves_out.lock().unwrap().clear();
    }

    async fn wait(&self) {
        let gate = self.inner.holds.lock().unwrap().pop_front();
        match gate {
            Some(gate) => gate.pass().await,
            None => tokio::task::yield_now().await,
        }
    }

    /// Loads one value.
    pub(crate) async fn load(&self, id: u64) -> Result<u64, NoSource> {
        self.inner.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.value(id);
        self.wait().await;
        self.answer(id, value)
    }

    fn answer(&self, id: u64, value: u64) -> Result<u64, NoSource> {
        if self.inner.panics.lock().unwrap().contains(&id) {
            panic!("the source breaks at {id}");
        }
        if self.inner.fails.lock().unwrap().contains(&id) {
            return Err(NoSource(id));
        }
        Ok(value)
    }
}

/// Declares a node that loads one by one from its source.
macro_rules! item {
    ($name:ident, $key:literal, $($tier:tt)*) => {
        #[derive(Node, Clone, Debug)]
        #[node(key = $key, value = u64, $($tier)*, load = Self::load_value)]
        pub(crate) struct $name {
            pub(crate) id: u64,
            #[node(skip)]
            pub(crate) source: Source,
        }

        impl $name {
            pub(crate) fn new(id: u64, source: &Source) -> Self {
                Self { id, source: source.clone() }
            }

            async fn load_value(node: &Self, _cx: &mut LoadContext<Self>) -> Result<u64, NoSource> {
                node.source.load(node.id).await
            }
        }
    };
}

item!(
    Item,
    "item:{id}",
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m")
);
item!(LocalItem, "local-item:{id}", tier(storage = "local", ttl = "60s"));
item!(
    RemoteItem,
    "remote-item:{id}",
    tier(storage = "remote", ttl = "10m")
);
item!(
    HastyItem,
    "hasty-item:{id}",
    tier(storage = "local", ttl = "1ms"),
    tier(storage = "remote", ttl = "2ms")
);
item!(
    SoloItem,
    "solo-item:{id}",
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    lease = none
);

/// A node that loads all at once, backwards.
#[derive(Node, Clone, Debug)]
#[node(
    key = "bulk:{id}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    load_all = load_bulk
)]
pub(crate) struct Bulk {
    pub(crate) id: u64,
    #[node(skip)]
    pub(crate) source: Source,
}

impl Bulk {
    pub(crate) fn all(ids: impl IntoIterator<Item = u64>, source: &Source) -> Vec<Self> {
        let node = |id| Self {
            id,
            source: source.clone(),
        };
        ids.into_iter().map(node).collect()
    }
}

async fn load_bulk(nodes: &[Bulk], _cx: &mut LoadContext<Bulk>) -> Result<Loaded<Bulk>, BoxError> {
    let source = &nodes[0].source;
    let ids: Vec<u64> = nodes.iter().map(|node| node.id).collect();
    let values: Vec<u64> = ids.iter().map(|id| source.value(*id)).collect();
    source.inner.loads.fetch_add(ids.len(), Ordering::SeqCst);
    source.inner.batches.lock().unwrap().push(ids);
    source.wait().await;
    let mut loaded = Loaded::new();
    for (node, value) in nodes.iter().zip(values).rev() {
        if source.inner.leaves_out.lock().unwrap().contains(&node.id) {
            continue;
        }
        match source.answer(node.id, value) {
            Ok(value) => loaded.insert(node.clone(), value),
            Err(error) => loaded.fail(node.clone(), error),
        }
    }
    Ok(loaded)
}
