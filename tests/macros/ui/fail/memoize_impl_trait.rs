use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(node = CountNode(id))]
async fn count(id: u64) -> Option<impl Copy> {
    Some(id)
}

fn main() {}
