use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(storage = "local", ttl = "1s"), tier(storage = "local"))]
struct UserNode {
    id: u64,
}

fn main() {}
