//! A Redis server whose place is taken by another behind one address, while connections made before stay open; and
//! connections that a network forgot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme_storage::{Acquire, Acquired, Bytes, Error, Filled, LeaseToken, RemoteStorage};
use tests::{Proxy, Server, redis, redis_cli};
use tokio::task::JoinHandle;

use super::bus::{node, process, tells};
use super::{entry, eventually, open};

const TOKEN: LeaseToken = LeaseToken(7);
const TIME: Duration = Duration::from_secs(30);

/// What callers wait unless told otherwise.
const TIMEOUT: Duration = Duration::from_millis(500);

/// An address, the server behind it and that server's replica.
struct Place {
    proxy: Proxy,
    old: Server,
    new: Server,
}

impl Place {
    /// A master behind the address, and its replica.
    async fn replicated() -> Self {
        let old = redis(&["--repl-diskless-sync-delay", "0"]);
        let new = redis(&["--replicaof", "127.0.0.1", &old.port().to_string()]);
        eventually("the replica follows", async || {
            redis_cli(new.port(), &["info", "replication"]).contains("master_link_status:up")
        })
        .await;
        let proxy = Proxy::to(old.port());
        Self { proxy, old, new }
    }

    /// Two servers that know nothing of each other.
    fn of_strangers() -> Self {
        let (old, new) = (redis(&[]), redis(&[]));
        let proxy = Proxy::to(old.port());
        Self { proxy, old, new }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.proxy.port())
    }

    /// The replica becomes the master, and the master its replica; the address names the new master for those who come now.
    fn fail_over(&self) {
        redis_cli(self.new.port(), &["replicaof", "no", "one"]);
        let port = self.new.port().to_string();
        redis_cli(self.old.port(), &["replicaof", "127.0.0.1", &port]);
        self.proxy.retarget(self.new.port());
    }
}

fn value(of: &Server, key: &str) -> String {
    redis_cli(of.port(), &["get", key]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_a_server_that_became_a_replica_is_left_by_every_call() {
    let place = Place::replicated().await;
    type Call = fn(Arc<dyn RemoteStorage>) -> JoinHandle<cacheme_storage::Result<()>>;
    let calls: [(&str, Call); 6] = [
        ("set", |redis| {
            tokio::spawn(async move { redis.set(&[entry(b"k", "new", None)]).await })
        }),
        ("remove", |redis| {
            tokio::spawn(async move { redis.remove(&[b"k"]).await })
        }),
        ("acquire", |redis| {
            tokio::spawn(async move {
                let acquired = redis.acquire(&[b"absent"], &Acquire::new(TOKEN, TIME)).await?;
                assert!(matches!(acquired[..], [Acquired::Granted(_)]), "{acquired:?}");
                Ok(())
            })
        }),
        ("fill", |redis| {
            tokio::spawn(async move {
                let filled = redis.fill(&[entry(b"leased", "new", None)], TOKEN).await?;
                assert_eq!(filled, [Filled::Stored]);
                Ok(())
            })
        }),
        ("renew", |redis| {
            tokio::spawn(async move { redis.renew(&[b"leased"], TOKEN, TIME).await })
        }),
        ("clear", |redis| {
            tokio::spawn(async move { redis.clear(b"k").await })
        }),
    ];
    // Each with a connection of its own from before, and nothing else to learn it from.
    let mut storages = Vec::new();
    for _ in calls {
        let storage = open(&place.url());
        storage.connect().await.unwrap();
        storages.push(storage);
    }
    storages[0].set(&[entry(b"k", "old", None)]).await.unwrap();
    storages[0]
        .acquire(&[b"leased"], &Acquire::new(TOKEN, TIME).stealing())
        .await
        .unwrap();
    eventually("the replica has it all", async || {
        value(&place.new, "k") == "old" && !value(&place.new, "leased").is_empty()
    })
    .await;
    place.fail_over();
    for ((name, call), storage) in calls.into_iter().zip(&storages) {
        if let Err(error) = call(Arc::clone(storage)).await.unwrap() {
            panic!("{name}: {error}");
        }
    }
    assert_eq!(value(&place.new, "leased"), "new");
    // What is written is what is read, by old connections or new ones.
    storages[0].set(&[entry(b"k", "newer", None)]).await.unwrap();
    for storage in &storages {
        assert_eq!(storage.get(&[b"k"]).await.unwrap(), [Some(Bytes::from("newer"))]);
    }
}

/// Nobody writes, so nobody is refused.
#[tokio::test(flavor = "multi_thread")]
async fn t5_a_server_that_was_replaced_is_left_by_those_who_only_read() {
    let place = Place::of_strangers();
    for (server, value) in [(&place.old, "old"), (&place.new, "new")] {
        redis_cli(server.port(), &["set", "k", value]);
    }
    let storage = open(&place.url());
    assert_eq!(storage.get(&[b"k"]).await.unwrap(), [Some(Bytes::from("old"))]);
    place.proxy.retarget(place.new.port());
    let start = Instant::now();
    eventually("the new server is found", async || {
        storage.get(&[b"k"]).await.unwrap() == [Some(Bytes::from("new"))]
    })
    .await;
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(redis_cli(place.new.port(), &["get", "k"]).trim(), "new");
}

/// A process that reads from memory only hears what others change on the server that took the place of the old one.
#[tokio::test(flavor = "multi_thread")]
async fn c3_a_bus_follows_its_address_to_another_server() {
    let place = Place::of_strangers();
    let (one, other) = (process(&place.url()).await, process(&place.url()).await);
    tells(&one, &other, 1).await;
    place.proxy.retarget(place.new.port());
    eventually("both listen to the new server", async || {
        redis_cli(place.new.port(), &["client", "list", "type", "pubsub"])
            .lines()
            .count()
            == 2
    })
    .await;
    tells(&one, &other, 2).await;
    tells(&other, &one, 3).await;
    assert_eq!(
        redis_cli(place.old.port(), &["client", "list", "type", "pubsub"]).trim(),
        "",
        "nobody listens to the old one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_c3_a_fail_over_behind_one_address_costs_no_invalidation() {
    let place = Place::replicated().await;
    let (one, other) = (process(&place.url()).await, process(&place.url()).await);
    tells(&one, &other, 1).await;
    tells(&other, &one, 2).await;
    place.fail_over();
    // The first refusal leads to the new server.
    for (id, from, to) in [(3, &one, &other), (4, &other, &one)] {
        let (source, node) = node(id);
        assert_eq!(to.get(&node).await.unwrap(), 0);
        source.send_replace(1);
        from.invalidate(&node).await.unwrap();
        assert_eq!(from.get(&node).await.unwrap(), 1);
        eventually("the change is heard of", async || {
            to.get(&node).await.unwrap() == 1
        })
        .await;
    }
    for process in [&one, &other] {
        assert_eq!(process.all_stats()[0].tiers[1].troubles, 0);
    }
}

/// A replica by set-up: nobody makes connection after connection to it, and reads go on.
#[tokio::test(flavor = "multi_thread")]
async fn t5_a_replica_by_set_up_is_asked_again_once_in_a_while() {
    let master = redis(&["--repl-diskless-sync-delay", "0"]);
    let replica = redis(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    redis_cli(master.port(), &["set", "k", "v"]);
    eventually("the replica has the value", async || value(&replica, "k") == "v").await;
    let proxy = Proxy::to(replica.port());
    let storage = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    storage.connect().await.unwrap();
    let (start, before) = (Instant::now(), proxy.traffic().connections);
    for _ in 0..500 {
        let refused = storage.set(&[entry(b"k", "w", None)]).await.unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }), "{refused}");
        assert_eq!(storage.get(&[b"k"]).await.unwrap(), [Some(Bytes::from("v"))]);
    }
    let connections = proxy.traffic().connections - before;
    let bound = 2 + start.elapsed().as_secs() * 2;
    assert!(connections <= bound, "{connections} in {:?}", start.elapsed());
    // Once it is the master, it takes writes on the connection that there is.
    redis_cli(replica.port(), &["replicaof", "no", "one"]);
    storage.set(&[entry(b"k", "w", None)]).await.unwrap();
}

/// A firewall forgot a connection that was idle. Callers that come at once all find it so.
#[tokio::test(flavor = "multi_thread")]
async fn t6_an_idle_connection_that_was_cut_off_costs_no_read() {
    let server = redis(&[]);
    let proxy = Proxy::to(server.port());
    let storage = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    storage.set(&[entry(b"k", "v", None)]).await.unwrap();
    let names: Vec<String> = (0..20_000).map(|n| format!("{n:>50}")).collect();
    let many: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    // As long as there is nothing to notice, it costs no connection, however long an answer takes.
    for keys in [&many[..], &[b"k"]] {
        let before = proxy.traffic();
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        storage.get(keys).await.unwrap();
        assert_eq!(proxy.traffic().connections, before.connections);
    }
    for round in 0..2 {
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        proxy.silence();
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move { tokio::time::timeout(TIMEOUT, storage.get(&[b"k"])).await })
            })
            .collect();
        for caller in callers {
            let found = caller.await.unwrap();
            let found = found.unwrap_or_else(|_| panic!("round {round}: no answer within {TIMEOUT:?}"));
            assert_eq!(found.unwrap(), [Some(Bytes::from("v"))]);
        }
    }
}
