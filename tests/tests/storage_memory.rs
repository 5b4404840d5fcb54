//! What large values, and a server that does not answer, cost in memory: a process of its own, since it is the process
//! that is measured.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme_storage::{Bytes, RemoteEntry, RemoteStorage, Storage};
use tests::{Kind, RedisCluster, mariadb, mongodb_on_disk, postgres, redis};

const CALLERS: usize = 64;

/// One test at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A line of what the system knows of this process, in MiB.
fn status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
}

/// The most memory that the process held at once while `work` ran, over what it held before, in MiB.
async fn peak(work: impl Future<Output = ()>) -> usize {
    // Forgets the peak until now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    work.await;
    status("VmHWM:").saturating_sub(before)
}

async fn by_all<F: Future<Output = ()> + Send + 'static>(
    call: impl Fn(Arc<dyn RemoteStorage>, String) -> F,
    storage: &Arc<dyn RemoteStorage>,
) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| tokio::spawn(call(Arc::clone(storage), n.to_string())))
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

/// All callers write a value of this size each, then read them: 1 GiB. The limit is in MiB.
async fn measure(url: &str, size: usize, limit: usize) {
    let storage = Storage::open(url).unwrap();
    let storage = Arc::clone(storage.as_remote().unwrap());
    storage.connect().await.unwrap();
    // Shared by all, so that what is measured is what the storage makes of it.
    let value: Bytes = (0..size).map(|n| (n ^ (n >> 8)) as u8).collect();
    let set = |storage: Arc<dyn RemoteStorage>, key: String| {
        let value = value.clone();
        async move {
            let entry = RemoteEntry {
                key: key.as_bytes(),
                value,
                ttl: None,
            };
            storage.set(&[entry]).await.unwrap();
        }
    };
    let get = |storage: Arc<dyn RemoteStorage>, key: String| async move {
        let found = storage.get(&[key.as_bytes()]).await.unwrap();
        assert_eq!(found[0].as_ref().unwrap().len(), size);
    };
    let written = peak(by_all(set, &storage)).await;
    let read = peak(by_all(get, &storage)).await;
    println!("{url}: {written} MiB to write, {read} MiB to read");
    assert!(written < limit, "{url}: {written} MiB to write");
    assert!(read < limit, "{url}: {read} MiB to read");
    storage.close().await.unwrap();
}

/// One test for all, so that a server is gone before the next one starts.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_16_mib_in_flight_for_64_tasks_are_bounded() {
    const SIZE: usize = 16 << 20;
    /// Ten connections with two copies each, and what the system's allocator keeps.
    const LIMIT: usize = 450;
    let _alone = ALONE.lock().await;
    let server = redis(&[]);
    measure(&format!("redis://127.0.0.1:{}", server.port()), SIZE, LIMIT).await;
    drop(server);
    let cluster = RedisCluster::start();
    measure(&cluster.url(), SIZE, LIMIT).await;
    drop(cluster);
    let server = postgres();
    measure(
        &(Kind::Postgres.url(&server) + "?timeout=5m&acquire_timeout=5m"),
        SIZE,
        LIMIT,
    )
    .await;
    drop(server);
    let server = mariadb();
    let url = Kind::MySql.url(&server);
    let pool = sqlx::MySqlPool::connect(&url).await.unwrap();
    // A message has to hold more than the value.
    let longer = "SET GLOBAL max_allowed_packet = 33554432";
    sqlx::query(longer).execute(&pool).await.unwrap();
    measure(&(url + "?timeout=5m&acquire_timeout=5m"), SIZE, LIMIT).await;
    drop(server);
    let server = mongodb_on_disk();
    // As large as its documents may be; the driver makes a third copy.
    measure(
        &(Kind::MongoDb.url(&server) + "?timeout=5m&acquire_timeout=5m"),
        SIZE - (16 << 10),
        640,
    )
    .await;
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.db");
    let url = format!(
        "sqlite://{}?timeout=5m&acquire_timeout=5m&busy_timeout=1m",
        file.display()
    );
    measure(&url, SIZE, LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_callers_their_timeout_and_no_memory() {
    const SIZE: usize = 4 << 20;
    let _alone = ALONE.lock().await;
    let server = redis(&[]);
    let storage = Storage::open(&format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let redis = Arc::clone(storage.as_remote().unwrap());
    redis.connect().await.unwrap();
    server.freeze();
    let before = status("VmRSS:");
    let value = Bytes::from(vec![7; SIZE]);
    let start = Instant::now();
    for _ in 0..4 {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let (redis, value) = (Arc::clone(&redis), value.clone());
                tokio::spawn(async move {
                    let key = format!("{n}");
                    let entries = [RemoteEntry {
                        key: key.as_bytes(),
                        value,
                        ttl: None,
                    }];
                    tokio::time::timeout(Duration::from_millis(300), redis.set(&entries)).await
                })
            })
            .collect();
        for caller in callers {
            assert!(caller.await.unwrap().is_err(), "a frozen server answers");
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "4 rounds of 300 ms took {:?}",
        start.elapsed()
    );
    // 1 GiB was to be written. Two copies of 64 MiB may be under way, and what the connection had queued.
    let grown = status("VmRSS:").saturating_sub(before);
    assert!(grown < 450, "{grown} MiB more");
    server.thaw();
    let found = tokio::time::timeout(Duration::from_secs(10), redis.get(&[b"k"])).await;
    assert_eq!(found.expect("the server is found again").unwrap(), [None]);
}
