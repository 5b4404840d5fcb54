use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{name}:{org.id}", value = u64)]
struct UserNode {
    #[node(skip)]
    name: String,
    #[node(skip)]
    org: Org,
    // Of no concern: the key does not have it.
    #[node(skip)]
    asked_by: String,
}

#[derive(Clone)]
struct Org {
    id: u64,
}

fn main() {}
