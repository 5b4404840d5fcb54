use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(node = CountNode(1))]
struct Count {
    id: u64,
}

fn main() {}
