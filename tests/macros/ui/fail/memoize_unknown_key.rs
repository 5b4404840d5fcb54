use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(noed = CountNode(id))]
async fn misspelt(id: u64) -> u64 {
    id
}

#[memoize(node = CountNode(id), ttl = "30s")]
async fn unknown(id: u64) -> u64 {
    id
}

fn main() {}
