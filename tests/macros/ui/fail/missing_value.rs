use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}")]
struct UserNode {
    id: u64,
}

fn main() {}
