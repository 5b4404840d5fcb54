use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "", value = u64)]
struct UserNode;

fn main() {}
