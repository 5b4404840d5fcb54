use cacheme::{LoadContext, Node};

#[derive(Clone)]
struct Wrong;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, load = load_user)]
struct UserNode {
    id: u64,
}

async fn load_user(_node: &UserNode, _cx: &mut LoadContext<UserNode>) -> Result<u64, Wrong> {
    Err(Wrong)
}

fn main() {}
