use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize]
async fn count(id: u64) -> u64 {
    id
}

#[memoize(cacheme = &cacheme::Cacheme::default())]
async fn count_in(id: u64) -> u64 {
    id
}

fn main() {}
