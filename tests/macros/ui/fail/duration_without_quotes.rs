use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, tier(storage = "local", ttl = 1h30m))]
struct UserNode {
    id: u64,
}

fn main() {}
