use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(value = u64)]
struct CountNode(u64);

#[memoize(node = CountNode(id))]
async fn plain(id: u64) -> String {
    id.to_string()
}

#[memoize(node = CountNode(id))]
async fn fallible(id: u64) -> Result<String, std::fmt::Error> {
    Ok(id.to_string())
}

fn main() {}
