use cacheme::{BoxError, LoadContext, Node};

#[derive(Node, Clone)]
#[node(value = u64, load_all = load_users)]
struct UserNode {
    id: u64,
}

async fn load_users(nodes: &[UserNode], _: &mut LoadContext<UserNode>) -> Result<Vec<u64>, BoxError> {
    Ok(nodes.iter().map(|node| node.id).collect())
}

fn main() {}
