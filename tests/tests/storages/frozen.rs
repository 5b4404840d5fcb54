//! Servers that freeze, die and come back under a service, all those of a storage at once: callers wait a bounded time each,
//! load what they need, and are served again. What comes of one server of several is among the tests of cluster and sentinels.

use std::time::{Duration, Instant};

use cacheme::{Error, Storage};
use cacheme_storage::Chain;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tests::{RedisCluster, RedisSentinels, Server, mariadb, mongodb_on_disk, postgres, redis};

use super::eventually;
use super::service::{Square, goes_on_reading, hits, loads_in_trouble, recovers, start, working};

/// Freezes, kills and restarts all servers of a storage under a service.
async fn freezes_dies_and_comes_back(servers: &mut [&mut Server], url: &str, keeps: bool) {
    let cacheme = working("trouble", url).await;
    cacheme.get(&Square { number: 2 }).await.unwrap();
    hits(&cacheme, 2).await;

    servers.iter().for_each(|server| server.freeze());
    let start_of_freeze = Instant::now();
    loads_in_trouble(&cacheme, 2).await;
    loads_in_trouble(&cacheme, 3).await;
    // Callers that come at once wait side by side.
    let callers: Vec<_> = (100..164)
        .map(|number| {
            let cacheme = cacheme.clone();
            tokio::spawn(async move { cacheme.get(&Square { number }).await.unwrap() })
        })
        .collect();
    for (caller, number) in callers.into_iter().zip(100u64..) {
        assert_eq!(caller.await.unwrap(), number * number);
    }
    let error = cacheme.invalidate(&Square { number: 2 }).await.unwrap_err();
    let said = Chain(&error).to_string();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error:?}");
    assert!(
        said.contains("`remote`") && said.contains("did not answer within"),
        "{said}"
    );
    assert!(
        start_of_freeze.elapsed() < Duration::from_secs(30),
        "a bounded wait each: {:?}",
        start_of_freeze.elapsed()
    );
    let (early, registered) = start("trouble", Storage::open(url).unwrap()).await;
    let error = registered.unwrap_err();
    let error = Chain(&error).to_string();
    let silent = ["did not answer within", "cannot be reached"];
    assert!(
        error.contains("`remote`") && silent.iter().any(|cause| error.contains(cause)),
        "{error}"
    );
    servers.iter().for_each(|server| server.thaw());
    recovers(&early, 9).await;
    // What could not be removed goes in the background.
    eventually("the old value goes", async || {
        cacheme.peek(&Square { number: 2 }).await.unwrap().is_none()
    })
    .await;
    recovers(&cacheme, 2).await;

    servers.iter_mut().for_each(|server| server.kill());
    loads_in_trouble(&cacheme, 2).await;
    let error = cacheme.invalidate(&Square { number: 3 }).await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("cannot be reached") || error.contains("did not answer"),
        "{error}"
    );
    let (late, registered) = start("trouble", Storage::open(url).unwrap()).await;
    let error = registered.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    servers.iter_mut().for_each(|server| server.restart());
    recovers(&cacheme, 2).await;
    recovers(&late, 4).await;
    if keeps {
        servers.iter_mut().for_each(|server| server.restart());
        eventually("the value that outlived the server is found", async || {
            cacheme.peek(&Square { number: 2 }).await.unwrap().is_some()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_redis_freezes_dies_and_comes_back() {
    let mut server = redis(&[]);
    let url = super::redis::url(&server) + "?timeout=150ms";
    freezes_dies_and_comes_back(&mut [&mut server], &url, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_redis_cluster_freezes_dies_and_comes_back() {
    let mut cluster = RedisCluster::start();
    let url = cluster.url() + "?timeout=150ms";
    let mut servers: Vec<_> = cluster.servers.iter_mut().collect();
    freezes_dies_and_comes_back(&mut servers, &url, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_redis_behind_sentinels_freezes_dies_and_comes_back() {
    let mut group = RedisSentinels::start();
    let url = group.url() + "&timeout=150ms";
    let mut servers = vec![&mut group.master, &mut group.replica];
    servers.extend(&mut group.sentinels);
    freezes_dies_and_comes_back(&mut servers, &url, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_postgres_freezes_dies_and_comes_back() {
    let mut server = postgres();
    let url = super::postgres::url(&server, "?timeout=150ms");
    freezes_dies_and_comes_back(&mut [&mut server], &url, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mysql_freezes_dies_and_comes_back() {
    let mut server = mariadb();
    let url = super::mysql::url(&server, "?timeout=150ms");
    freezes_dies_and_comes_back(&mut [&mut server], &url, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mongodb_freezes_dies_and_comes_back() {
    let mut server = mongodb_on_disk();
    // The driver looks for a server every ten seconds unless told otherwise, or when a call needs one.
    let url = super::mongodb::url(&server, "?timeout=500ms&heartbeatFrequencyMS=500");
    freezes_dies_and_comes_back(&mut [&mut server], &url, false).await;
}

/// SQLite has no server to freeze: a process that holds the lock and does not go on is what comes nearest.
#[tokio::test(flavor = "multi_thread")]
async fn t1_sqlite_locked_by_another_process_costs_a_bounded_wait() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/cache.db?timeout=150ms", folder.path().display());
    let cacheme = working("trouble", &url).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("cache.db"));
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    let lock = pool.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    goes_on_reading(&cacheme, 1_000, 2).await;
    let error = cacheme.invalidate(&Square { number: 1_000 }).await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(error.contains("did not answer within"), "{error}");
    lock.rollback().await.unwrap();
    eventually("the old value goes", async || {
        cacheme.peek(&Square { number: 1_000 }).await.unwrap().is_none()
    })
    .await;
    recovers(&cacheme, 2).await;
}
