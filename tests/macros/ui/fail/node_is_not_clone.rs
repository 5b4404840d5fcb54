use cacheme::Node;

#[derive(Node)]
#[node(value = u64)]
struct UserNode {
    id: u64,
}

fn main() {}
