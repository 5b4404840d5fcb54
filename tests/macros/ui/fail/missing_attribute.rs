use cacheme::Node;

#[derive(Node, Clone)]
struct UserNode {
    id: u64,
}

fn main() {}
