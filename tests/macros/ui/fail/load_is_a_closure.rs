use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, load = |node, _| async { Ok(node.id) })]
struct UserNode {
    id: u64,
}

fn main() {}
