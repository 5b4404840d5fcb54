use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{id}", vlaue = u64, loader = load_user)]
struct UserNode {
    id: u64,
}

fn main() {}
