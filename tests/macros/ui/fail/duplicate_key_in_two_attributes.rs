use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", value = u64)]
#[node(value = u32)]
struct UserNode {
    id: u64,
}

fn main() {}
