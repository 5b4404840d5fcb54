//! Loaders: how a node gets its value from the source.

pub(crate) mod context;
pub(crate) mod loading;
pub(crate) mod outcome;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;

use cacheme_storage::{BoxError, SmallBox};
use futures_util::StreamExt as _;
use futures_util::stream;

use self::context::LoadContext;
use crate::flight::store::Store;
use crate::node::Node;

/// The number of loads that the default [`Load::load_all`] has under way at once.
pub(crate) const CONCURRENT_LOADS: usize = 64;

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

    /// Gets the values of several nodes, in any order. A node that is left out is an error for the caller that asked for it.
    ///
    /// The default runs a [`load`](Self::load) for each node of a [`get_all`](crate::get_all), 64 of them at once. Each has a `load_timeout`
    /// of its own, its value is stored when it ends, and it fails, hangs or panics for its node alone. It may read other nodes, also those
    /// of its own call: a load that another caller waits for does not queue.
    ///
    /// A `load_all` of your own is one load for all its nodes, with one `load_timeout`. It ends for all of them at once, so it must not wait
    /// for a load that waits for one of them: it must read neither nodes that it was asked for, nor nodes whose loads read these. Such a read
    /// fails with [`Error::CircularLoad`](crate::Error::CircularLoad). A panic fails all its nodes; use [`Loaded::fail`] for one that cannot
    /// be loaded.
    fn load_all(
        nodes: &[Self],
        cx: &mut LoadContext<Self>,
    ) -> impl Future<Output = Result<Loaded<Self>, BoxError>> + Send {
        let contexts: Vec<_> = if cx.accept_single_loads() {
            Vec::new()
        } else {
            nodes.iter().map(|node| (node.clone(), cx.fork())).collect()
        };
        async move {
            let loads = stream::iter(contexts).map(|(node, mut cx)| async move {
                let result = node.load(&mut cx).await.map(SmallBox::new);
                LoadedNode {
                    node,
                    result,
                    store: cx.store.get(),
                }
            });
            Ok(Loaded {
                nodes: loads.buffer_unordered(CONCURRENT_LOADS).collect().await,
            })
        }
    }
}

/// The values that [`Load::load_all`] returns: pairs of node and value, in any order.
pub struct Loaded<N: Node> {
    pub(crate) nodes: Vec<LoadedNode<N>>,
}

pub(crate) struct LoadedNode<N: Node> {
    pub(crate) node: N,
    pub(crate) result: Result<SmallBox<N::Value>, BoxError>,
    /// In addition to the context of the whole load.
    pub(crate) store: Store,
}

impl<N: Node> Loaded<N> {
    /// No values yet.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Adds the value of a node.
    pub fn insert(&mut self, node: N, value: N::Value) {
        self.nodes.push(LoadedNode {
            node,
            result: Ok(SmallBox::new(value)),
            store: Store::default(),
        });
    }

    /// Adds the error of a node that could not be loaded. The others are cached all the same.
    pub fn fail(&mut self, node: N, error: impl Into<BoxError>) {
        self.nodes.push(LoadedNode {
            node,
            result: Err(error.into()),
            store: Store::default(),
        });
    }

    /// The value of one node.
    ///
    /// # Errors
    ///
    /// The error that [`fail`](Self::fail) was given for the node, or an error for a node that was left out.
    pub fn into_value(self, node: &N) -> Result<N::Value, BoxError> {
        let key = node.key();
        let found = self.nodes.into_iter().find(|loaded| loaded.node.key() == key);
        found.map_or_else(
            || Err(format!("`load_all` left out `{key}`").into()),
            |loaded| loaded.result.map(SmallBox::into_inner),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::instance::Cacheme;
    use crate::node::key::KeyWriter;
    use crate::node::policy::Policy;

    #[derive(Clone)]
    struct Square(u64);

    impl Node for Square {
        type Value = u64;

        fn policy(&self) -> Policy<u64> {
            Policy::new("Square", "square:{0}")
        }

        fn write_key(&self, key: &mut KeyWriter) {
            key.part(&self.0);
        }
    }

    impl Load for Square {
        async fn load(&self, cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
            match self.0 {
                3 => Err("three is odd".into()),
                number => {
                    cx.ttl(Duration::from_secs(number));
                    Ok(number * number)
                }
            }
        }
    }

    fn instance() -> Cacheme {
        Cacheme::builder()
            .build()
            .expect("the default prefix is a good one")
    }

    #[tokio::test]
    async fn r3_the_default_load_all_gives_values_to_a_direct_caller() {
        let nodes = [1, 2, 3].map(Square);
        let loaded = Square::load_all(&nodes, &mut LoadContext::new(instance())).await;
        let mut loaded = loaded.expect("each load fails by itself").nodes;
        loaded.sort_by_key(|loaded| loaded.node.0);
        let results: Vec<_> = loaded
            .iter()
            .map(|loaded| loaded.result.as_deref().ok().copied())
            .collect();
        assert_eq!(results, [Some(1), Some(4), None]);
        assert_eq!(loaded[1].store.ttl, Some(Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn r3_the_default_load_all_takes_single_loads_where_they_are_offered() {
        let mut cx = LoadContext::offering_single_loads(instance());
        assert!(!cx.wants_single_loads());
        let loaded = Square::load_all(&[Square(1), Square(2)], &mut cx).await;
        assert!(loaded.expect("nothing is loaded").nodes.is_empty());
        assert!(cx.wants_single_loads());
    }
}
