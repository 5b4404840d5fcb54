//! Remote storages against real servers. One binary, since linking is slow.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

#[path = "storages/bus.rs"]
mod bus;
#[path = "storages/certificates.rs"]
mod certificates;
#[path = "storages/clock.rs"]
mod clock;
#[path = "storages/closing.rs"]
mod closing;
#[path = "storages/comes_back.rs"]
mod comes_back;
#[path = "storages/failover.rs"]
mod failover;
#[path = "storages/flushed.rs"]
mod flushed;
#[path = "storages/frozen.rs"]
mod frozen;
#[path = "storages/full.rs"]
mod full;
#[path = "storages/large_calls.rs"]
mod large_calls;
#[path = "storages/lease_ends.rs"]
mod lease_ends;
#[path = "storages/limits.rs"]
mod limits;
#[path = "storages/log.rs"]
mod log;
#[path = "storages/mongodb.rs"]
mod mongodb;
#[path = "storages/mongodb_servers.rs"]
mod mongodb_servers;
#[path = "storages/mysql.rs"]
mod mysql;
#[path = "storages/names.rs"]
mod names;
#[path = "storages/neighbours.rs"]
mod neighbours;
#[path = "storages/other_mongodb.rs"]
mod other_mongodb;
#[path = "storages/other_redis.rs"]
mod other_redis;
#[path = "storages/pooler.rs"]
mod pooler;
#[path = "storages/pools.rs"]
mod pools;
#[path = "storages/postgres.rs"]
mod postgres;
#[path = "storages/postgres_tls.rs"]
mod postgres_tls;
#[path = "storages/redis.rs"]
mod redis;
#[path = "storages/redis_cluster.rs"]
mod redis_cluster;
#[path = "storages/redis_cluster_trouble.rs"]
mod redis_cluster_trouble;
#[path = "storages/redis_moved.rs"]
mod redis_moved;
#[path = "storages/redis_sentinel.rs"]
mod redis_sentinel;
#[path = "storages/redis_tls.rs"]
mod redis_tls;
#[path = "storages/refused.rs"]
mod refused;
#[path = "storages/rows.rs"]
mod rows;
#[path = "storages/runtimes.rs"]
mod runtimes;
#[path = "storages/secrets.rs"]
mod secrets;
#[path = "storages/service.rs"]
mod service;
#[path = "storages/sqlite_damage.rs"]
mod sqlite_damage;
#[path = "storages/sqlite_file.rs"]
mod sqlite_file;
#[path = "storages/sqlite_killed.rs"]
mod sqlite_killed;
#[path = "storages/sqlite_other.rs"]
mod sqlite_other;
#[path = "storages/tls.rs"]
mod tls;
#[path = "storages/tls_files.rs"]
mod tls_files;
#[path = "storages/tls_trouble.rs"]
mod tls_trouble;
#[path = "storages/traffic.rs"]
mod traffic;
#[path = "storages/urls.rs"]
mod urls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme_storage::{Bytes, RemoteEntry, RemoteStorage, Storage, conformance};
use tests::{Kind, shared_url};

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms() {
    conformance::remote(open(&shared_url(Kind::Redis))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_conforms() {
    conformance::remote(open(&shared_url(Kind::Postgres))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_conforms() {
    conformance::remote(open(&shared_url(Kind::MySql))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_conforms() {
    let storage = open(&shared_url(Kind::MongoDb));
    if std::env::var_os("CACHEME_TEST_MONGODB_URL").is_none() && tests::mongodb_is_emulated() {
        conformance::remote_in_small(storage).await;
    } else {
        conformance::remote(storage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_memory_conforms() {
    conformance::remote(open("sqlite://:memory:")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_a_file_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance::remote(open(&format!("sqlite://{}/cache.db", directory.path().display()))).await;
}

/// The remote storage of a URL. What it is asked may take its time, on a busy machine as well.
fn open(url: &str) -> Arc<dyn RemoteStorage> {
    let storage = Storage::open(url)
        .expect(url)
        .with_timeout(Duration::from_secs(60));
    Arc::clone(storage.as_remote().expect("a remote storage"))
}

fn entry(key: &[u8], value: impl Into<Bytes>, ttl: Option<Duration>) -> RemoteEntry<'_> {
    RemoteEntry {
        key,
        value: value.into(),
        ttl,
    }
}

/// Waits for what servers do in their own time.
async fn eventually(what: &str, is: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !is().await {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "not within a minute: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
