use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = String, ttl_jitter = "10%")]
struct UserNode {
    id: i64,
}

fn main() {}
