//! A server whose keys somebody removed by hand.

use std::sync::Arc;

use cacheme::{Cacheme, Node, Storage};
use tests::Gate;

use super::redis::{ask, url};

/// A row whose value says which version of the source it comes from.
#[derive(Node, Clone, Debug)]
#[node(
    key = "flushed:{id}",
    value = u64,
    tier(storage = "local", ttl = "10m"),
    tier(storage = "remote", ttl = "10m"),
)]
struct Row {
    id: u64,
}

async fn service(url: &str) -> Cacheme {
    let cacheme = Cacheme::builder().prefix("flushed").build().unwrap();
    let local = Storage::open("local://tlfu?size=100").unwrap();
    cacheme.register_storage("local", local).await.unwrap();
    cacheme
        .register_storage("remote", Storage::open(url).unwrap())
        .await
        .unwrap();
    cacheme
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_flushall_by_hand_brings_nothing_old_back_and_leaves_local_copies() {
    let server = tests::redis(&[]);
    let (one, two) = (service(&url(&server)).await, service(&url(&server)).await);
    let (kept, loading) = (Row { id: 1 }, Row { id: 2 });
    assert_eq!(one.get_with(&kept, || async { 1 }).await, 1);

    let gate = Arc::new(Gate::new());
    let slow = tokio::spawn({
        let (one, gate, loading) = (one.clone(), Arc::clone(&gate), loading.clone());
        async move {
            let load = async || {
                gate.pass().await;
                1
            };
            one.get_with(&loading, load).await
        }
    });
    gate.reached().await;
    ask::<()>(server.port(), &["FLUSHALL"]).await;

    // The lease went as well, so another process loads, and what the slower load brings is refused.
    assert_eq!(two.get_with(&loading, || async { 2 }).await, 2);
    gate.open();
    assert_eq!(
        slow.await.unwrap(),
        1,
        "a caller that waited gets what was loaded for it"
    );
    assert_eq!(
        one.peek(&loading).await.unwrap(),
        Some(2),
        "it was stored nowhere"
    );

    // Nobody was told: a local copy lives for its ttl, and the remote one is gone.
    assert_eq!(one.peek(&kept).await.unwrap(), Some(1));
    assert_eq!(two.peek(&kept).await.unwrap(), None);
    // The bus goes on.
    two.set(&kept, 3).await.unwrap();
    super::eventually("the change is heard of", async || {
        one.peek(&kept).await.unwrap() == Some(3)
    })
    .await;
}
