use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, version = "v1", version = "v2")]
struct UserNode {
    id: u64,
}

fn main() {}
