use cacheme::{LoadContext, Node};

#[derive(Node, Clone)]
#[node(value = u64, load = load_user)]
struct UserNode {
    id: u64,
}

async fn load_user(node: &UserNode, _: &mut LoadContext<UserNode>) -> u64 {
    node.id
}

fn main() {}
