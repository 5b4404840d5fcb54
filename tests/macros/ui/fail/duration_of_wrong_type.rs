use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(storage = "local", ttl = SECONDS))]
struct UserNode {
    id: u64,
}

const SECONDS: u64 = 30;

fn main() {}
