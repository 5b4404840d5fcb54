use cacheme::Node;

struct User;

#[derive(Node, Clone)]
#[node(value = User, serializer = none)]
struct UserNode {
    id: u64,
}

fn main() {}
