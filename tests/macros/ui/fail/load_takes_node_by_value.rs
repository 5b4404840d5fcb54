use cacheme::{BoxError, LoadContext, Node};

#[derive(Node, Clone)]
#[node(value = u64, load = load_user)]
struct UserNode {
    id: u64,
}

async fn load_user(node: UserNode, _: &mut LoadContext<UserNode>) -> Result<u64, BoxError> {
    Ok(node.id)
}

fn main() {}
