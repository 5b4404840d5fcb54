use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}-{page}", value = u64)]
struct UserNode {
    id: u64,
    page: u32,
}

fn main() {}
