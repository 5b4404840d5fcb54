use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

trait Source {
    #[memoize(node = CountNode(id))]
    async fn count(&self, id: u64) -> u64;
}

fn main() {}
