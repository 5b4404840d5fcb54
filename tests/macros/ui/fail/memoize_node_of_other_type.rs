use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(node = CountNode(name))]
async fn count(name: &str) -> u64 {
    name.len() as u64
}

fn main() {}
