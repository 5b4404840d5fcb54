use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, tier(ttl = "1s"), tier = "local")]
struct UserNode {
    id: u64,
}

fn main() {}
