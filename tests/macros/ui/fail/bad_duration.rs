use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(storage = "local", ttl = "30 parsecs"))]
struct UserNode {
    id: u64,
}

fn main() {}
