use std::collections::HashMap;

use cacheme::Node;

#[derive(Node, Clone)]
#[node(key = "list:{tags}:{names}", value = u64)]
struct UserNode {
    tags: HashMap<String, u64>,
    names: std::collections::HashSet<String>,
}

fn main() {}
