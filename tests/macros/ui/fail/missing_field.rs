use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{name}:{user_di}", value = u64)]
struct UserNode {
    user_id: u64,
    org: u32,
}

fn main() {}
