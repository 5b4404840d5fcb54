use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, tier(storage = "local", ttl = "1M"), tier(storage = "far", ttl = "1h 30M"))]
struct UserNode {
    id: u64,
}

fn main() {}
