use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{1}", value = u64)]
struct UserNode(u64);

fn main() {}
