use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, tier(storage = "local", ttl = "-1s"), load_timeout = -1)]
struct UserNode {
    id: u64,
}

fn main() {}
