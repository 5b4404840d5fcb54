//! A master, its replica and three sentinels that watch them.

use std::time::Duration;

use cacheme_storage::{Acquire, Bytes, Filled, LeaseToken, RemoteStorage, conformance};
use tests::{RedisSentinels, Server, redis, redis_cli, redis_sentinel};

use super::{entry, eventually, open};

#[tokio::test(flavor = "multi_thread")]
async fn redis_behind_sentinels_conforms() {
    let group = RedisSentinels::start();
    conformance::remote(open(&group.url())).await;
}

/// Writes through the storage until that works, as callers with a timeout do.
async fn written(storage: &dyn RemoteStorage) {
    eventually("the new master takes writes", async || {
        let entries = [entry(b"after", "v", None)];
        let set = tokio::time::timeout(Duration::from_millis(500), storage.set(&entries)).await;
        set.is_ok_and(|set| set.is_ok())
    })
    .await;
    assert_eq!(storage.get(&[b"after"]).await.unwrap(), [Some(Bytes::from("v"))]);
    let token = LeaseToken(1);
    let granted = storage
        .acquire(
            &[b"leased"],
            &Acquire::new(token, Duration::from_secs(9)).stealing(),
        )
        .await
        .unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    assert_eq!(
        storage.fill(&[entry(b"leased", "v", None)], token).await.unwrap(),
        [Filled::Stored]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_is_followed_when_the_master_dies() {
    let mut group = RedisSentinels::start();
    let storage = open(&group.url());
    storage.set(&[entry(b"before", "v", None)]).await.unwrap();
    group.wait_until_ready();
    group.master.kill();
    written(&*storage).await;

    // It takes itself for the master still, until a sentinel sees it.
    group.master.restart();
    written(&*storage).await;
    assert_eq!(redis_cli(group.replica.port(), &["get", "after"]).trim(), "v");
}

/// Its connections stay open and silent, and once it wakes up it would still take reads for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_is_followed_when_the_master_freezes() {
    let group = RedisSentinels::start();
    let storage = open(&group.url());
    storage.set(&[entry(b"before", "v", None)]).await.unwrap();
    group.wait_until_ready();
    group.master.freeze();
    written(&*storage).await;
    group.master.thaw();
    written(&*storage).await;
}

/// A server that is made a replica without its clients being cut off refuses writes, and says that it is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_master_is_left_at_its_first_refusal() {
    let (old, new) = (redis(&[]), redis(&[]));
    let sentinel = Server::start(redis_sentinel(old.port()));
    let storage = open(&format!(
        "redis+sentinel://127.0.0.1:{}?master=main",
        sentinel.port()
    ));
    storage.set(&[entry(b"k", "old", None)]).await.unwrap();
    let port = new.port().to_string();
    redis_cli(sentinel.port(), &["sentinel", "remove", "main"]);
    redis_cli(
        sentinel.port(),
        &["sentinel", "monitor", "main", "127.0.0.1", &port, "1"],
    );
    redis_cli(old.port(), &["replicaof", "127.0.0.1", &port]);
    storage.set(&[entry(b"k", "new", None)]).await.unwrap();
    assert_eq!(redis_cli(new.port(), &["get", "k"]).trim(), "new");
}
