use cacheme::{Node, memoize};

#[derive(Node, Clone)]
#[node(key = "price:{0}", value = u64)]
struct PriceNode(String);

#[memoize(node = PriceNode(sku.into()), ttl = "30s", version = "v2")]
async fn price(sku: &str) -> u64 {
    sku.len() as u64
}

fn main() {}
