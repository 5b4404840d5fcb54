use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, crate = "cacheme")]
struct UserNode {
    id: u64,
}

fn main() {}
