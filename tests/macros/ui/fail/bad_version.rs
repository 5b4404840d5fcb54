use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, version = "v:1")]
struct UserNode {
    id: u64,
}

fn main() {}
