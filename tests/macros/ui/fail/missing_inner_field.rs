use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{org.name}", value = u64)]
struct UserNode {
    org: Org,
}

#[derive(Clone)]
struct Org {
    id: u64,
}

fn main() {}
