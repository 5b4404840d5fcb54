use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{org:{id}}", value = u64)]
struct UserNode {
    org: u64,
    id: u64,
}

fn main() {}
