use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = Option<String>, negative_ttl = "0s", ttl_jitter = 1)]
struct UserNode {
    id: i64,
}

fn main() {}
