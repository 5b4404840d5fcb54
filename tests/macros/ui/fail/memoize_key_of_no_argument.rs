use cacheme::memoize;

#[memoize(key = "price:{skuu}:{}:{db.}", ttl = "30s")]
async fn price(db: &str, sku: &str) -> u64 {
    (db.len() + sku.len()) as u64
}

fn main() {}
