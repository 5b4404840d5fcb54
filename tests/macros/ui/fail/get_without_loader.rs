use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64)]
struct UserNode {
    id: u64,
}

async fn get() {
    let _ = cacheme::get(&UserNode { id: 1 }).await;
}

fn main() {}
