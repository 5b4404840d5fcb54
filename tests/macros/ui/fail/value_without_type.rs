use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value, version = "v2")]
struct UserNode {
    id: u64,
}

fn main() {}
