use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = concat!("user:", "{id}"), value = u64, version = VERSION)]
struct UserNode {
    id: u64,
}

const VERSION: &str = "v2";

fn main() {}
