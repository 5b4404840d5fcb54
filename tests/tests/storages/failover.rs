//! An address that leads to another server while connections to the old one stay: behind a forwarder, a virtual IP or a name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme_storage::{Bytes, Heard, RemoteStorage, Storage};
use sqlx::{MySqlPool, PgPool};
use tests::{Proxy, Server, mariadb, postgres};
use tokio::sync::mpsc;

use super::{entry, eventually, open};

/// Two servers, and the address that leads to the first.
struct Pair {
    proxy: Proxy,
    old: Server,
    new: Server,
    url: String,
}

impl Pair {
    fn of(old: Server, new: Server, url: impl Fn(u16) -> String) -> Self {
        let proxy = Proxy::to(old.port());
        let url = url(proxy.port());
        Self { proxy, old, new, url }
    }

    fn of_postgres() -> Self {
        Self::of(postgres(), postgres(), |port| {
            format!("postgres://postgres@127.0.0.1:{port}/postgres?connections=4")
        })
    }

    /// Whoever writes here is no administrator, who may write to a server that is read-only.
    async fn of_mariadb() -> Self {
        let (old, new) = (mariadb(), mariadb());
        for server in [&old, &new] {
            let user = "CREATE USER app@'127.0.0.1'; GRANT ALL ON test.* TO app@'127.0.0.1'";
            as_root(server, user).await;
        }
        Self::of(old, new, |port| {
            format!("mysql://app@127.0.0.1:{port}/test?connections=4")
        })
    }

    fn fail_over(&self) {
        self.proxy.retarget(self.new.port());
    }
}

async fn as_root(server: &Server, sql: &str) {
    let pool = MySqlPool::connect(&super::mysql::url(server, "")).await.unwrap();
    super::mysql::run(&pool, sql).await;
    pool.close().await;
}

async fn as_owner(server: &Server, sql: &str) {
    let pool = PgPool::connect(&super::postgres::url(server, "")).await.unwrap();
    for sql in sql.split(';') {
        super::postgres::run(&pool, sql).await;
    }
    pool.close().await;
}

/// A storage with `connections` to the old server, where the key has the old value.
async fn with_connections(url: &str, connections: usize) -> Arc<dyn RemoteStorage> {
    let storage = open(url);
    storage.set(&[entry(b"k", "old", None)]).await.unwrap();
    let reads = (0..connections).map(|_| read(&storage));
    for found in reads.collect::<Vec<_>>() {
        assert_eq!(found.await.unwrap(), Some("old".into()));
    }
    storage
}

fn read(storage: &Arc<dyn RemoteStorage>) -> tokio::task::JoinHandle<Option<Bytes>> {
    let storage = Arc::clone(storage);
    tokio::spawn(async move { storage.get(&[b"k"]).await.unwrap().remove(0) })
}

/// Reads by many at once, which use every connection that there is, find the new value.
async fn all_read_the_new_value(storage: &Arc<dyn RemoteStorage>) {
    for _ in 0..20 {
        let reads: Vec<_> = (0..8).map(|_| read(storage)).collect();
        for found in reads {
            assert_eq!(found.await.unwrap(), Some("new".into()));
        }
    }
}

/// The old server takes no writes any more; `set` is the first that meets it.
async fn a_demoted_server_is_left(storage: &Arc<dyn RemoteStorage>) {
    storage.set(&[entry(b"k", "new", None)]).await.unwrap();
    all_read_the_new_value(storage).await;
    storage.remove(&[b"k"]).await.unwrap();
    assert_eq!(storage.get(&[b"k"]).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_t5_a_demoted_postgres_is_left_with_all_connections() {
    let pair = Pair::of_postgres();
    with_connections(&super::postgres::url(&pair.new, ""), 1).await;
    let storage = with_connections(&pair.url, 4).await;
    pair.fail_over();
    as_owner(
        &pair.old,
        "ALTER SYSTEM SET default_transaction_read_only = on;SELECT pg_reload_conf()",
    )
    .await;
    eventually("the old one takes no writes", async || {
        let straight = open(&super::postgres::url(&pair.old, ""));
        straight.set(&[entry(b"other", "v", None)]).await.is_err()
    })
    .await;
    a_demoted_server_is_left(&storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_t5_a_demoted_mariadb_is_left_with_all_connections() {
    let pair = Pair::of_mariadb().await;
    with_connections(&super::mysql::url(&pair.new, ""), 1).await;
    let storage = with_connections(&pair.url, 4).await;
    pair.fail_over();
    as_root(&pair.old, "SET GLOBAL read_only = 1").await;
    a_demoted_server_is_left(&storage).await;
}

/// The old server goes on taking writes, as one does that is cut off from the others: a connection made for one caller more is
/// what shows that the address leads elsewhere.
async fn a_replaced_server_is_left(pair: &Pair) {
    let storage = with_connections(&pair.url, 1).await;
    pair.fail_over();
    eventually("a connection leads to the new server", async || {
        let reads = (0..8).map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.get(&[b"k"]).await })
        });
        let mut all_new = true;
        for found in reads.collect::<Vec<_>>() {
            // The server may be left for the other one in the middle of an answer.
            all_new &= matches!(&found.await.unwrap().as_deref(), Ok([Some(found)]) if found == "new");
        }
        all_new
    })
    .await;
    all_read_the_new_value(&storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_t5_a_replaced_postgres_is_left_with_all_connections() {
    let pair = Pair::of_postgres();
    open(&super::postgres::url(&pair.new, ""))
        .set(&[entry(b"k", "new", None)])
        .await
        .unwrap();
    a_replaced_server_is_left(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_t5_a_replaced_mariadb_is_left_with_all_connections() {
    let pair = Pair::of_mariadb().await;
    open(&super::mysql::url(&pair.new, ""))
        .set(&[entry(b"k", "new", None)])
        .await
        .unwrap();
    a_replaced_server_is_left(&pair).await;
}

/// What is told at the new server is heard, though the connection that listens to the old one still works.
#[tokio::test(flavor = "multi_thread")]
async fn c3_t5_the_bus_follows_to_the_new_postgres() {
    let pair = Pair::of_postgres();
    let storage = with_connections(&pair.url, 4).await;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let listener = Arc::clone(&storage);
    let listening = tokio::spawn(async move {
        loop {
            let mut hear = |what: Heard<'_>| {
                let message = match what {
                    Heard::Message(message) => Some(Bytes::copy_from_slice(message)),
                    _ => None,
                };
                // The test may be over.
                let _ = sender.send(message);
            };
            listener.listen(&mut hear).await;
        }
    });
    assert_eq!(heard.recv().await.unwrap(), None, "joined");
    pair.fail_over();
    as_owner(
        &pair.old,
        "ALTER SYSTEM SET default_transaction_read_only = on;SELECT pg_reload_conf()",
    )
    .await;
    eventually("writes reach the new server", async || {
        storage.set(&[entry(b"k", "new", None)]).await.is_ok()
            && open(&super::postgres::url(&pair.new, ""))
                .get(&[b"k"])
                .await
                .is_ok_and(|found| found == [Some("new".into())])
    })
    .await;
    assert_eq!(heard.recv().await.unwrap(), None, "joined anew");
    let other = open(&super::postgres::url(&pair.new, ""));
    other.publish(&[Bytes::from("changed")]).await.unwrap();
    assert_eq!(heard.recv().await.unwrap(), Some("changed".into()));
    listening.abort();
}

/// A firewall that forgets idle connections says nothing to anybody.
async fn a_forgotten_connection_costs_little(proxy: &Proxy, url: &str) {
    let storage = Storage::open(url).unwrap();
    let storage = Arc::clone(storage.as_remote().unwrap());
    storage.set(&[entry(b"k", "old", None)]).await.unwrap();
    let reads: Vec<_> = (0..4).map(|_| read(&storage)).collect();
    for found in reads {
        found.await.unwrap();
    }
    // As long as no firewall waits, but longer than a connection goes unasked.
    tokio::time::sleep(Duration::from_secs(6)).await;
    proxy.silence();
    for _ in 0..8 {
        let start = Instant::now();
        let found = tokio::time::timeout(Duration::from_millis(400), storage.get(&[b"k"])).await;
        let found = found.unwrap_or_else(|_| panic!("no answer in {:?}", start.elapsed()));
        assert_eq!(found.unwrap(), [Some("old".into())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_connection_to_postgres_that_a_firewall_forgot_costs_little() {
    let server = postgres();
    let proxy = Proxy::to(server.port());
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?bus=false&connections=4",
        proxy.port()
    );
    a_forgotten_connection_costs_little(&proxy, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_connection_to_mariadb_that_a_firewall_forgot_costs_little() {
    let server = mariadb();
    let proxy = Proxy::to(server.port());
    let url = format!("mysql://root@127.0.0.1:{}/test?connections=4", proxy.port());
    a_forgotten_connection_costs_little(&proxy, &url).await;
}
