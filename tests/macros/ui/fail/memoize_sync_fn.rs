use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(node = CountNode(id))]
fn count(id: u64) -> u64 {
    id
}

fn main() {}
