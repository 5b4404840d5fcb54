use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, tier(storage = STORAGE, ttl = "30s"))]
struct UserNode {
    id: u64,
}

const STORAGE: u64 = 1;

fn main() {}
