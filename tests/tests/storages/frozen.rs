//! Servers that freeze, die and come back under a service, all those of a storage at once: callers wait a bounded time each,
//! load what they need, and are served again. What comes of one server of several is among the tests of cluster and sentinels.

use std::time::{Duration, Instant};

use cacheme::{BoxError, Error, LoadContext, Node, Policy, Storage};
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

/// Freezes a server under callers that give up, and reads what they asked for from another process as soon as it is back.
async fn leaves_no_lease_that_nobody_holds(server: &Server, url: &str) {
    const READS: std::ops::Range<u64> = 0..200;
    let (ours, theirs) = (working("leases", url).await, working("leases", url).await);
    let mut callers = tokio::task::JoinSet::new();
    // Connections are there, and what is asked for is mostly absent.
    for number in READS {
        let cacheme = ours.clone();
        callers.spawn(async move {
            _ = cacheme
                .get(&Square {
                    number: 1_000 + number,
                })
                .await
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    server.freeze();
    for number in READS {
        let (cacheme, node) = (ours.clone(), Square { number });
        callers.spawn(async move {
            match number % 3 {
                0 => drop(cacheme.get(&node).await.unwrap()),
                // The value is loaded, and the older one has to be left where it is.
                1 => assert!(matches!(
                    cacheme.refresh(&node).await,
                    Ok(_) | Err(cacheme::Error::NotInvalidated { .. })
                )),
                _ => {
                    // Goes away while it asks.
                    let asking = cacheme.get_with(&node, std::future::pending::<u64>);
                    let asked = tokio::time::timeout(Duration::from_millis(50), asking).await;
                    assert!(asked.is_err(), "{number} was found on a server that is frozen");
                }
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    server.thaw();
    let start = Instant::now();
    for number in READS {
        let (cacheme, node) = (theirs.clone(), Square { number });
        callers.spawn(async move {
            assert_eq!(cacheme.get(&node).await.unwrap(), number * number);
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert!(
        start.elapsed() < Policy::<u64>::DEFAULT_LEASE / 2,
        "reads waited for leases: {:?}",
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_redis_has_no_lease_that_nobody_holds_after_a_freeze() {
    let server = redis(&[]);
    leaves_no_lease_that_nobody_holds(&server, &(super::redis::url(&server) + "?timeout=150ms")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_postgres_has_no_lease_that_nobody_holds_after_a_freeze() {
    let server = postgres();
    leaves_no_lease_that_nobody_holds(&server, &super::postgres::url(&server, "?timeout=150ms")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_mysql_has_no_lease_that_nobody_holds_after_a_freeze() {
    let server = mariadb();
    leaves_no_lease_that_nobody_holds(&server, &super::mysql::url(&server, "?timeout=150ms")).await;
}

#[derive(Node, Clone)]
#[node(key = "blocking:{0}", value = u64, tier(storage = "remote", ttl = "1m"), load = block)]
struct Blocking(u64);

/// As loads do that compute, or that ask with a client that is not asynchronous.
async fn block(node: &Blocking, _: &mut LoadContext<Blocking>) -> Result<u64, BoxError> {
    std::thread::sleep(Duration::from_millis(1_500));
    Ok(node.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn r1_a_load_that_blocks_its_thread_keeps_its_lease_in_redis() {
    let server = redis(&[]);
    let (cacheme, registered) = start("blocking", Storage::open(&super::redis::url(&server)).unwrap()).await;
    registered.unwrap();
    assert_eq!(cacheme.get(&Blocking(1)).await.unwrap(), 1);
    assert_eq!(
        cacheme.peek(&Blocking(1)).await.unwrap(),
        Some(1),
        "it was stored"
    );
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
