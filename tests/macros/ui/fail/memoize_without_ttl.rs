use cacheme::memoize;

#[memoize(key = "price:{sku}")]
async fn price(sku: &str) -> u64 {
    sku.len() as u64
}

#[memoize(key = "cost:{sku}", ttl = "30s", tier(storage = "redis", ttl = "1m"))]
async fn cost(sku: &str) -> u64 {
    sku.len() as u64
}

#[memoize(key = "sum:{sku}", ttl = 30)]
async fn sum(sku: &str) -> u64 {
    sku.len() as u64
}

fn main() {}
