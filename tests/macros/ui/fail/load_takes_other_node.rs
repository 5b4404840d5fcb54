use cacheme::{BoxError, LoadContext, Node};

#[derive(Node, Clone)]
#[node(value = u64, load = load_user)]
struct UserNode {
    id: u64,
}

async fn load_user(id: &u64, _: &mut LoadContext<UserNode>) -> Result<u64, BoxError> {
    Ok(*id)
}

fn main() {}
