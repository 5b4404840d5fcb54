use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = String, negative_ttl = "5s")]
struct UserNode {
    id: i64,
}

fn main() {}
