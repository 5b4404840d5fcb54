use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[derive(Node, Clone)]
#[node(value = u64)]
struct NameNode(String);

#[memoize(node = NameNode(name))]
async fn count(name: String) -> u64 {
    name.len() as u64
}

fn main() {}
