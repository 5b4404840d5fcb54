use cacheme::Node;

#[derive(Node, Clone)]
#[node(value = "u64", serializer = "json", lease = "none")]
struct UserNode {
    id: u64,
}

fn main() {}
