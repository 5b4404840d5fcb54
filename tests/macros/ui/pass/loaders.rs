//! `load`, `load_all`, both, and a loader written by hand.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use cacheme::{BoxError, Load, LoadContext, Loaded, Node};

#[derive(Node, Clone)]
#[node(value = u64, load = sources::load_one)]
struct OneNode(u64);

mod sources {
    pub(super) async fn load_one(
        node: &super::OneNode,
        _: &mut cacheme::LoadContext<super::OneNode>,
    ) -> Result<u64, std::num::TryFromIntError> {
        u32::try_from(node.0).map(u64::from)
    }
}

#[derive(Node, Clone, PartialEq, Eq, Hash)]
#[node(value = u64, load_all = load_map)]
struct MapNode(u64);

async fn load_map(
    nodes: &[MapNode],
    _: &mut LoadContext<MapNode>,
) -> Result<HashMap<MapNode, u64>, Infallible> {
    Ok(nodes.iter().map(|node| (node.clone(), node.0)).collect())
}

#[derive(Node, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[node(value = u64, load_all = load_tree, load = load_leaf)]
struct TreeNode(u64);

async fn load_tree(
    nodes: &[TreeNode],
    _: &mut LoadContext<TreeNode>,
) -> Result<BTreeMap<TreeNode, u64>, String> {
    Ok(nodes.iter().map(|node| (node.clone(), node.0)).collect())
}

async fn load_leaf(node: &TreeNode, _: &mut LoadContext<TreeNode>) -> Result<u64, String> {
    Ok(node.0)
}

#[derive(Node, Clone)]
#[node(value = u64, load_all = load_vec)]
struct VecNode(u64);

async fn load_vec(nodes: &[VecNode], cx: &mut LoadContext<VecNode>) -> Result<Vec<(VecNode, u64)>, BoxError> {
    cx.do_not_store();
    Ok(nodes.iter().map(|node| (node.clone(), node.0)).collect())
}

#[derive(Node, Clone)]
#[node(value = u64, load_all = load_loaded)]
struct LoadedNode(u64);

async fn load_loaded(
    nodes: &[LoadedNode],
    _: &mut LoadContext<LoadedNode>,
) -> Result<Loaded<LoadedNode>, BoxError> {
    let mut loaded = Loaded::new();
    nodes.iter().for_each(|node| loaded.insert(node.clone(), node.0));
    Ok(loaded)
}

#[derive(Node, Clone)]
#[node(value = u64)]
struct HandNode(u64);

impl Load for HandNode {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        Ok(self.0)
    }
}

#[derive(Node, Clone)]
#[node(value = u64, load = load_any, load_all = load_default::<_, Loaded<_>>)]
struct AnyNode(u64);

async fn load_any<N: Node<Value = u64>>(_: &N, _: &LoadContext<N>) -> Result<u64, std::io::Error> {
    Ok(1)
}

fn load_default<'n, N: Node, L: Default + Send + 'n>(
    _: &'n [N],
    _: &'n mut LoadContext<N>,
) -> std::pin::Pin<Box<dyn Future<Output = Result<L, &'static str>> + Send + 'n>> {
    Box::pin(async { Ok(L::default()) })
}

#[derive(Node, Clone)]
#[node(value = u64, load = MethodNode::value)]
struct MethodNode(u64);

impl MethodNode {
    async fn value(&self, _: &LoadContext<Self>) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0)
    }
}

fn sends<N: Load>(node: N) -> impl Send {
    async move {
        let _ = cacheme::get(&node).await;
    }
}

fn main() {
    let _ = sends(OneNode(1));
    let _ = sends(MapNode(1));
    let _ = sends(TreeNode(1));
    let _ = sends(VecNode(1));
    let _ = sends(LoadedNode(1));
    let _ = sends(HandNode(1));
    let _ = sends(AnyNode(1));
    let _ = sends(MethodNode(1));
}
