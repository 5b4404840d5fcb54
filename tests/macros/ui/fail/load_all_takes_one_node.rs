use cacheme::{BoxError, LoadContext, Node};

#[derive(Node, Clone)]
#[node(value = u64, load_all = load_users)]
struct UserNode {
    id: u64,
}

async fn load_users(node: &UserNode, _: &mut LoadContext<UserNode>) -> Result<u64, BoxError> {
    Ok(node.id)
}

fn main() {}
