use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(storage = "local", ttl = "0s"), load_timeout = "0ms", lease = "0s")]
struct UserNode {
    id: u64,
}

fn main() {}
