//! Two instances of a service over one Redis: memory before Redis, one load for both, a change that both hear of.
//!
//! `cargo run -p examples --bin redis_chain -- redis://127.0.0.1:6379`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cacheme::{BoxError, Cacheme, LoadContext, Loaded, Node, Storage, memoize};

/// A row that many requests read.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Product {
    name: String,
    cents: u64,
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "product:{id}",
    value = Product,
    version = "v1",
    tier(storage = "local", ttl = "30s"),
    tier(storage = "redis", ttl = "10m"),
    load_all = load_products
)]
struct ProductNode {
    id: u64,
}

static QUERIES: AtomicUsize = AtomicUsize::new(0);

/// All that the tiers lack comes in one query.
async fn load_products(
    nodes: &[ProductNode],
    _cx: &mut LoadContext<ProductNode>,
) -> Result<Loaded<ProductNode>, BoxError> {
    QUERIES.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let product = |node: &ProductNode| Product {
        name: format!("product number {}", node.id),
        cents: 100 * node.id,
    };
    Ok(nodes.iter().map(|node| (node.clone(), product(node))).collect())
}

/// Kept in Redis alone: too large for every process.
#[derive(Node, Clone, Debug)]
#[node(key = "report:{year}", value = String, tier(storage = "redis", ttl = "1h"))]
struct ReportNode {
    year: u16,
}

#[memoize(node = ReportNode { year }, cacheme = cacheme)]
async fn report(cacheme: &Cacheme, year: u16) -> String {
    QUERIES.fetch_add(1, Ordering::Relaxed);
    format!("all that was sold in {year}")
}

async fn start(url: &str) -> Result<Cacheme, Box<dyn std::error::Error>> {
    let cacheme = Cacheme::builder().prefix("shop").build()?;
    cacheme
        .register_storage("local", Storage::open("local://tlfu?size=10000")?)
        .await?;
    cacheme.register_storage("redis", Storage::open(url)?).await?;
    cacheme.check()?;
    Ok(cacheme)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let (one, two) = (start(&url).await?, start(&url).await?);
    let product = ProductNode { id: 7 };
    let products: Vec<_> = (1..=20).map(|id| ProductNode { id }).collect();
    one.invalidate_all(&products).await?;
    one.invalidate(&ReportNode { year: 2026 }).await?;

    let calls: Vec<_> = (0..1_000)
        .map(|call| {
            let (cacheme, product) = (
                if call % 2 == 0 { one.clone() } else { two.clone() },
                product.clone(),
            );
            tokio::spawn(async move { cacheme.get(&product).await })
        })
        .collect();
    for call in calls {
        call.await??;
    }
    let queries = || QUERIES.swap(0, Ordering::Relaxed);
    println!("1 000 callers on two instances: {} query", queries());

    let found = two.get_all(&products).await?;
    println!(
        "twenty products, one known: {} values by {} query",
        found.len(),
        queries()
    );
    one.get_all(&products).await?;
    println!(
        "the same on the other instance, from Redis: {} queries",
        queries()
    );

    one.set(
        &product,
        Product {
            name: "a better one".into(),
            cents: 1,
        },
    )
    .await?;
    println!("after `set` here: {}", one.get(&product).await?.name);
    // It had a copy in memory, and hears of the change by a message from Redis.
    let changed = Instant::now();
    while two.get(&product).await?.name != "a better one" {
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    println!(
        "there, {:.1?} later: {}",
        changed.elapsed(),
        two.get(&product).await?.name
    );

    for cacheme in [&one, &two] {
        println!("{}", report(cacheme, 2026).await);
    }
    println!("a memoized function on both: {} query", queries());
    println!("\n{}{}", one.stats::<ProductNode>(), two.stats::<ReportNode>());
    Ok(())
}
