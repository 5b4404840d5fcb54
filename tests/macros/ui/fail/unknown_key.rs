use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64, colour = "red")]
struct UserNode {
    id: u64,
}

fn main() {}
