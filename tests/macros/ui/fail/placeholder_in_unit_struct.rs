use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "config:{id}", value = u64)]
struct UserNode;

fn main() {}
