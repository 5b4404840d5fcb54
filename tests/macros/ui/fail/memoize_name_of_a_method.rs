use cacheme::memoize;

struct Shop;

impl Shop {
    #[memoize(key = "price:{sku}", ttl = "30s", name = PriceNode)]
    async fn price(&self, sku: &str) -> u64 {
        sku.len() as u64
    }
}

fn main() {}
