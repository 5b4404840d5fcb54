use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = user, value = u64)]
struct UserNode;

fn main() {}
