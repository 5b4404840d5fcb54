use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(storage = "my-redis"), ttl = "30s")]
struct UserNode {
    id: u64,
}

fn main() {}
