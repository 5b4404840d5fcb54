use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = u64, tier("local", "30s"), tier(FAR, ttl = "1h"))]
struct UserNode {
    id: u64,
}

const FAR: &str = "far";

fn main() {}
