//! What telling other processes of changes costs, and how soon they have heard.
//!
//! Two instances with memory of their own share one server that is started for the run. One invalidates a key that the other holds;
//! that one's copy is watched until it is gone.

use std::time::{Duration, Instant};

use benches::args::Args;
use benches::histogram::Histogram;
use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};

const USAGE: &str = "\
bus [--changes N]

  --changes  of one key after the other, on each server (default: 2000)";

#[derive(Node, Clone, Debug)]
#[node(
    key = "item:{number}",
    value = u64,
    tier(storage = "local", ttl = "10m"),
    tier(storage = "remote", ttl = "10m"),
    load = load
)]
struct ItemNode {
    number: u64,
}

async fn load(node: &ItemNode, _: &mut LoadContext<ItemNode>) -> Result<u64, BoxError> {
    Ok(node.number)
}

/// A process as far as Cacheme can tell, with its memory looked at from outside.
struct Process {
    cacheme: Cacheme,
    local: Storage,
}

impl Process {
    async fn start(url: &str) -> Result<Self, BoxError> {
        let cacheme = Cacheme::builder().prefix("bus").build()?;
        let local = Storage::open("local://lru?size=1000")?;
        cacheme.register_storage("local", local.clone()).await?;
        cacheme.register_storage("remote", Storage::open(url)?).await?;
        Ok(Self { cacheme, local })
    }

    fn holds(&self, key: &str) -> bool {
        let local = self.local.as_local().expect("it was opened as one");
        local.entry(key.as_bytes()).is_some()
    }
}

/// How long invalidations take; where the other process hears of them, also how long after they have returned.
async fn run(url: &str, changes: u64, hears: bool) -> Result<(Histogram, Histogram), BoxError> {
    let (ours, theirs) = (Process::start(url).await?, Process::start(url).await?);
    let (mut took, mut heard) = (Histogram::default(), Histogram::default());
    for number in 0..changes {
        let node = ItemNode { number };
        let key = ours.cacheme.full_key(&node);
        theirs.cacheme.get(&node).await?;
        let start = Instant::now();
        ours.cacheme.invalidate(&node).await?;
        took.record(nanos(start.elapsed()));
        if hears {
            let returned = Instant::now();
            while theirs.holds(&key) {
                tokio::task::yield_now().await;
                if returned.elapsed() > Duration::from_secs(5) {
                    return Err("a change is not heard of".into());
                }
            }
            heard.record(nanos(returned.elapsed()));
        }
    }
    Ok((took, heard))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let changes = Args::read(&["changes"], USAGE).one("changes", 2_000);
    let (redis, postgres) = (tests::redis(&[]), tests::postgres());
    let servers = [
        ("redis", tests::Kind::Redis.url(&redis)),
        ("postgres", tests::Kind::Postgres.url(&postgres)),
    ];
    println!("server\tinvalidate_us\twith_bus_us\tratio\theard_after_us\tp99_us");
    for (server, url) in servers {
        let sign = if url.contains('?') { '&' } else { '?' };
        let (without, _) = run(&format!("{url}{sign}bus=false"), changes, false).await?;
        let (with, heard) = run(&url, changes, true).await?;
        let micros = |times: &Histogram, share| times.quantile(share) as f64 / 1e3;
        let (before, after) = (micros(&without, 0.5), micros(&with, 0.5));
        println!(
            "{server}\t{before:.0}\t{after:.0}\t{:.2}\t{:.0}\t{:.0}",
            after / before,
            micros(&heard, 0.5),
            micros(&heard, 0.99),
        );
    }
    Ok(())
}
