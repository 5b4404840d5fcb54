use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, tier(storage = local, ttl = "30s"), tier(storage = my-redis))]
struct UserNode {
    id: u64,
}

fn main() {}
