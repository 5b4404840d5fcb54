use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use cacheme_storage::BoxError;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::{Cacheme, Node};

/// How many loads the default [`Load::load_all`] has under way at once.
const CONCURRENT_LOADS: usize = 64;

/// A node that knows how to get its value from the source.
///
/// `#[node(load = path)]` and `#[node(load_all = path)]` implement it, or the user does:
///
/// ```
/// use cacheme::{BoxError, Load, LoadContext, Node};
///
/// #[derive(Node, Clone, Debug)]
/// #[node(key = "square:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
/// struct SquareNode(u64);
///
/// impl Load for SquareNode {
///     async fn load(&self, _cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
///         Ok(self.0 * self.0)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no loader, so its value cannot be asked for by `get`",
    label = "a node without `load`",
    note = "add `load = path` to its `#[node(…)]` attribute or implement `cacheme::Load` for it",
    note = "or pass the loader with the call: `get_with(&node, || async {{ … }})`, `#[memoize(node = …)]`"
)]
pub trait Load: Node {
    /// Gets the value of this node.
    fn load(&self, cx: &mut LoadContext<Self>) -> impl Future<Output = Result<Self::Value, BoxError>> + Send;

    /// Gets the values of several nodes, in any order. A node that is left out is an error for who asked for it.
    ///
    /// Unless implemented, runs [`load`](Self::load) for each, concurrently.
    fn load_all(
        nodes: &[Self],
        cx: &mut LoadContext<Self>,
    ) -> impl Future<Output = Result<Loaded<Self>, BoxError>> + Send {
        let contexts: Vec<_> = nodes.iter().map(|node| (node.clone(), cx.fork())).collect();
        async move {
            let loads = stream::iter(contexts).map(|(node, mut cx)| async move {
                let result = node.load(&mut cx).await;
                LoadedNode {
                    node,
                    result,
                    store: cx.store,
                }
            });
            Ok(Loaded {
                nodes: loads.buffer_unordered(CONCURRENT_LOADS).collect().await,
            })
        }
    }
}

/// What a loader knows of its caller, and what it can say about storing the value.
pub struct LoadContext<N> {
    cacheme: Cacheme,
    pub(crate) store: Store,
    node: PhantomData<fn() -> N>,
}

/// What a loader said about storing its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Store {
    /// Bounds the ttl of every tier.
    pub(crate) ttl: Option<Duration>,
    /// The value is handed out and stored nowhere.
    pub(crate) skip: bool,
}

impl Store {
    /// Both: the shorter ttl, and stored only if both let it be.
    pub(crate) fn and(self, other: Self) -> Self {
        let ttl = self.ttl.into_iter().chain(other.ttl).min();
        Self {
            ttl,
            skip: self.skip || other.skip,
        }
    }
}

impl<N> LoadContext<N> {
    pub(crate) fn new(cacheme: Cacheme) -> Self {
        Self {
            cacheme,
            store: Store::default(),
            node: PhantomData,
        }
    }

    /// The instance that loads, for loaders that read other nodes.
    #[must_use]
    pub fn cacheme(&self) -> &Cacheme {
        &self.cacheme
    }

    /// Lets the value live for `ttl` at most, in every tier. Only ever shortens what the tiers say.
    pub fn ttl(&mut self, ttl: Duration) {
        self.store.ttl = Some(self.store.ttl.map_or(ttl, |old| old.min(ttl)));
    }

    /// Hands the value to those who wait for it and stores it nowhere.
    pub fn do_not_store(&mut self) {
        self.store.skip = true;
    }

    fn fork(&self) -> Self {
        Self {
            cacheme: self.cacheme.clone(),
            store: self.store,
            node: PhantomData,
        }
    }
}

impl<N> fmt::Debug for LoadContext<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What [`Load::load_all`] found: made from pairs of node and value, in any order.
pub struct Loaded<N: Node> {
    pub(crate) nodes: Vec<LoadedNode<N>>,
}

pub(crate) struct LoadedNode<N: Node> {
    pub(crate) node: N,
    pub(crate) result: Result<N::Value, BoxError>,
    /// On top of what the context of the whole load says.
    pub(crate) store: Store,
}

impl<N: Node> Loaded<N> {
    /// Nothing found yet.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Adds the value of a node.
    pub fn insert(&mut self, node: N, value: N::Value) {
        self.nodes.push(LoadedNode {
            node,
            result: Ok(value),
            store: Store::default(),
        });
    }

    /// Says that one node could not be loaded; the others are cached all the same.
    pub fn fail(&mut self, node: N, error: impl Into<BoxError>) {
        self.nodes.push(LoadedNode {
            node,
            result: Err(error.into()),
            store: Store::default(),
        });
    }
}

impl<N: Node> Loaded<N> {
    /// The value of one node.
    ///
    /// # Errors
    ///
    /// What was said to have failed, or that the node was left out.
    pub fn into_value(self, node: &N) -> Result<N::Value, BoxError> {
        let key = node.key();
        let found = self.nodes.into_iter().find(|loaded| loaded.node.key() == key);
        found.map_or_else(
            || Err(format!("`load_all` left out `{key}`").into()),
            |loaded| loaded.result,
        )
    }
}

impl<N: Node> Default for Loaded<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Node> FromIterator<(N, N::Value)> for Loaded<N> {
    fn from_iter<I: IntoIterator<Item = (N, N::Value)>>(pairs: I) -> Self {
        let mut loaded = Self::new();
        pairs
            .into_iter()
            .for_each(|(node, value)| loaded.insert(node, value));
        loaded
    }
}

impl<N: Node> From<Vec<(N, N::Value)>> for Loaded<N> {
    fn from(pairs: Vec<(N, N::Value)>) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: Node, S> From<HashMap<N, N::Value, S>> for Loaded<N> {
    fn from(pairs: HashMap<N, N::Value, S>) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: Node> From<BTreeMap<N, N::Value>> for Loaded<N> {
    fn from(pairs: BTreeMap<N, N::Value>) -> Self {
        pairs.into_iter().collect()
    }
}

impl<N: Node + fmt::Debug> fmt::Debug for Loaded<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.nodes.iter().map(|loaded| &loaded.node))
            .finish()
    }
}
