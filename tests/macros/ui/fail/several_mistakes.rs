use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{name}", value = u64, tier(storage = "local", ttl = "never"), version = "v 1", load = )]
struct UserNode {
    id: u64,
}

async fn uses(node: &UserNode) -> u64 {
    cacheme::get(node)
        .await
        .map(|value| value + 1)
        .unwrap_or_default()
}

fn main() {}
