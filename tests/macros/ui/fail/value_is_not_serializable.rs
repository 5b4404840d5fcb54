use cacheme::Node;

#[derive(Clone)]
struct User;

#[derive(Node, Clone)]
#[node(value = User)]
struct UserNode {
    id: u64,
}

fn main() {}
