use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(node = CountNode(id), nod = 1)]
unsafe fn count(id: u64) {
    drop(id);
}

fn main() {}
