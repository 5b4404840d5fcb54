use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "user:{name}", value = u64)]
struct UserNode<'a> {
    name: &'a str,
}

fn main() {}
