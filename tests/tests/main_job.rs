//! The main job as a user writes it: a local tier over SQLite, no server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};

static LOADS: AtomicUsize = AtomicUsize::new(0);

#[derive(Node, Clone, Debug)]
#[node(
    key = "square:{number}",
    value = u64,
    tier(storage = "local", ttl = "30s"),
    tier(storage = "sqlite", ttl = "10m"),
    load = square
)]
struct SquareNode {
    number: u64,
}

async fn square(node: &SquareNode, _cx: &mut LoadContext<SquareNode>) -> Result<u64, BoxError> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    Ok(node.number * node.number)
}

#[derive(Node, Clone, Debug)]
#[node(key = "length:{0}", value = usize, tier(storage = "local", ttl = "30s"))]
struct LengthNode(String);

async fn instance(file: &str) -> Cacheme {
    let cacheme = Cacheme::builder().prefix("test").build().unwrap();
    cacheme
        .register_storage("local", Storage::open("local://lru?size=1000").unwrap())
        .await
        .unwrap();
    cacheme
        .register_storage("sqlite", Storage::open(file).unwrap())
        .await
        .unwrap();
    cacheme
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_r2_c1_one_load_serves_all_and_survives_a_restart_until_invalidated() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}/cache.db", folder.path().display());
    let first = instance(&file).await;
    first.check().unwrap();
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let cacheme = first.clone();
            tokio::spawn(async move { cacheme.get(&SquareNode { number: 7 }).await.unwrap() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 49);
    }
    assert_eq!(LOADS.load(Ordering::SeqCst), 1);

    let second = instance(&file).await;
    assert_eq!(second.get(&SquareNode { number: 7 }).await.unwrap(), 49);
    assert_eq!(LOADS.load(Ordering::SeqCst), 1, "found in SQLite");
    let nodes = [7, 8, 7].map(|number| SquareNode { number });
    assert_eq!(second.get_all(&nodes).await.unwrap(), [49, 64, 49]);
    assert_eq!(LOADS.load(Ordering::SeqCst), 2);
    let stats = second.stats::<SquareNode>();
    assert_eq!((stats.loads, stats.tiers[1].hits), (1, 1));

    second.invalidate(&nodes[0]).await.unwrap();
    assert_eq!(second.peek(&nodes[0]).await.unwrap(), None);
    second.get(&nodes[0]).await.unwrap();
    assert_eq!(LOADS.load(Ordering::SeqCst), 3);
    second.set(&nodes[0], 50).await.unwrap();
    assert_eq!(second.get(&nodes[0]).await.unwrap(), 50);
    assert_eq!(second.refresh(&nodes[0]).await.unwrap(), 49);
    assert_eq!(second.get(&nodes[0]).await.unwrap(), 49);
}

#[tokio::test]
async fn l2_a_failed_load_reaches_its_callers_and_caches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cacheme = instance(&format!("sqlite://{}/cache.db", folder.path().display())).await;
    let node = LengthNode("abc".into());
    let failed: Result<usize, Arc<str>> = cacheme
        .get_with(&node, || async { Err(Arc::from("no source")) })
        .await;
    assert_eq!(failed, Err(Arc::from("no source")));
    assert_eq!(cacheme.get_with(&node, || async { node.0.len() }).await, 3);
    assert_eq!(cacheme.peek(&node).await.unwrap(), Some(3));
}

#[tokio::test]
async fn l1_a_cancelled_caller_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let cacheme = instance(&format!("sqlite://{}/cache.db", folder.path().display())).await;
    let node = LengthNode("gone".into());
    let never = cacheme.get_with(&node, std::future::pending::<usize>);
    let other = cacheme.get_with(&node, || async { 4 });
    let mut never = Box::pin(never);
    assert!((&mut never).now_or_never().is_none());
    let mut other = Box::pin(other);
    assert!((&mut other).now_or_never().is_none(), "one load at a time");
    drop(never);
    assert_eq!(other.await, 4);
}
