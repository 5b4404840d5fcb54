//! A service that asks for many keys at once, with the time limits that a storage has when nothing is said.

use std::time::Instant;

use cacheme::{BoxError, Cacheme, LoadContext, Loaded, Node, TierStats};
use tests::{Kind, RedisCluster, mariadb, postgres, redis};

use super::service::working;

const COUNT: u64 = 100_000;

/// A number, loaded with all others.
#[derive(Node, Clone, Debug)]
#[node(key = "large-calls:{0}", value = u64, tier(storage = "remote", ttl = "10m"), load_all = load_numbers)]
struct Number(u64);

async fn load_numbers(nodes: &[Number], _cx: &mut LoadContext<Number>) -> Result<Loaded<Number>, BoxError> {
    let mut loaded = Loaded::new();
    for node in nodes {
        loaded.insert(node.clone(), node.0);
    }
    Ok(loaded)
}

fn tier(cacheme: &Cacheme) -> TierStats {
    let stats = cacheme.stats::<Number>();
    stats.tiers.into_iter().next().unwrap_or_default()
}

/// Reads all keys, as often as it takes until all come from the storage; then removes them.
async fn converges(url: &str, most: usize) {
    let (cacheme, other) = (working("large", url).await, working("large", url).await);
    let nodes: Vec<Number> = (0..COUNT).map(Number).collect();
    let mut stored = 0;
    for round in 0.. {
        assert!(round < most, "{url}: {stored} are stored, {:?}", tier(&cacheme));
        let (before, began) = (tier(&cacheme), Instant::now());
        let values = cacheme.get_all(&nodes).await.unwrap();
        assert!(values.into_iter().eq(0..COUNT), "values in their order");
        let after = tier(&cacheme);
        println!(
            "{url}: read {round} took {:?}, {} were loaded",
            began.elapsed(),
            after.fills - before.fills
        );
        // What was stored is not loaded again, unless a read of it fails.
        if after.troubles == before.troubles {
            assert_eq!(after.hits - before.hits, stored, "{url}: {after:?}");
        }
        stored += after.fills - before.fills;
        if after.hits - before.hits == COUNT {
            break;
        }
    }
    assert_eq!(other.get_all(&nodes[..3_000]).await.unwrap().len(), 3_000);
    assert_eq!(other.stats::<Number>().loads, 0, "{url}");
    let began = Instant::now();
    // What fails of it is tried again in the background.
    let _ = cacheme.invalidate_all(&nodes).await;
    println!("{url}: the removal took {:?}", began.elapsed());
    super::eventually("all are removed", async || {
        let found = other.peek(&nodes[0]).await.unwrap().is_some();
        !found && other.peek(&nodes[nodes.len() - 1]).await.unwrap().is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_100_000_keys_of_redis_are_stored() {
    let server = redis(&[]);
    // Once, but on a machine that is busy.
    converges(&Kind::Redis.url(&server), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_100_000_keys_of_a_cluster_are_stored() {
    let cluster = RedisCluster::start();
    converges(&cluster.url(), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_100_000_keys_of_databases_are_stored_by_and_by() {
    for (kind, server) in [(Kind::Postgres, postgres()), (Kind::MySql, mariadb())] {
        converges(&kind.url(&server), 12).await;
    }
}
