//! A master, its replica and three sentinels that watch them.

use std::fs;
use std::time::Duration;

use cacheme_storage::{Acquired, Bytes, Filled, LeaseToken, RemoteStorage, conformance};
use tests::{Program, Server, redis, redis_server};

use super::{entry, eventually, open};

pub(super) struct Group {
    pub(super) master: Server,
    pub(super) replica: Server,
    pub(super) sentinels: Vec<Server>,
}

impl Group {
    pub(super) fn start() -> Self {
        let master = redis(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port().to_string();
        let replica = redis(&["--replicaof", "127.0.0.1", &port]);
        let sentinels = (0..3).map(|_| Server::start(sentinel(master.port()))).collect();
        Self {
            master,
            replica,
            sentinels,
        }
    }

    pub(super) fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port()))
            .collect();
        format!("redis+sentinel://{}/0?master=main", hosts.join(","))
    }

    /// Until the sentinels know each other and the replica, a fail-over cannot happen.
    async fn ready(&self) {
        for sentinel in &self.sentinels {
            let client = ::redis::Client::open(("127.0.0.1", sentinel.port())).unwrap();
            eventually("a sentinel knows its group", async || {
                let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                    return false;
                };
                let mut question = ::redis::cmd("SENTINEL");
                question.arg("MASTER").arg("main");
                let facts: Result<std::collections::HashMap<String, String>, _> =
                    question.query_async(&mut connection).await;
                facts.is_ok_and(|facts| facts["num-slaves"] == "1" && facts["num-other-sentinels"] == "2")
            })
            .await;
        }
    }
}

fn sentinel(master: u16) -> Program {
    Program {
        command: Box::new(move |port, dir| {
            let file = dir.join("sentinel.conf");
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
                dir.display()
            );
            fs::write(&file, settings).unwrap();
            vec![
                "redis-server".into(),
                file.display().to_string(),
                "--sentinel".into(),
            ]
        }),
        ..redis_server(&[])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_behind_sentinels_conforms() {
    let group = Group::start();
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
        .acquire(&[b"leased"], token, Duration::from_secs(9), true)
        .await
        .unwrap();
    assert_eq!(granted, [Acquired::Granted]);
    assert_eq!(
        storage.fill(&[entry(b"leased", "v", None)], token).await.unwrap(),
        [Filled::Stored]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_is_followed_when_the_master_dies() {
    let mut group = Group::start();
    let storage = open(&group.url());
    storage.set(&[entry(b"before", "v", None)]).await.unwrap();
    group.ready().await;
    group.master.kill();
    written(&*storage).await;
}

/// Its connections stay open and silent, and once it wakes up it would still take reads for a moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_is_followed_when_the_master_freezes() {
    let group = Group::start();
    let storage = open(&group.url());
    storage.set(&[entry(b"before", "v", None)]).await.unwrap();
    group.ready().await;
    group.master.freeze();
    written(&*storage).await;
    group.master.thaw();
    written(&*storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_nobody_knows_is_named() {
    let group = Group::start();
    let storage = open(&group.url().replace("master=main", "master=other"));
    let error = storage.connect().await.unwrap_err().to_string();
    assert!(
        error.contains("no master of this name") && error.contains("other"),
        "{error}"
    );
}

/// A server that is made a replica without its clients being cut off refuses writes, and says that it is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_master_is_left_at_its_first_refusal() {
    let (old, new) = (redis(&[]), redis(&[]));
    let sentinel = Server::start(sentinel(old.port()));
    let storage = open(&format!(
        "redis+sentinel://127.0.0.1:{}?master=main",
        sentinel.port()
    ));
    storage.set(&[entry(b"k", "old", None)]).await.unwrap();
    let port = new.port().to_string();
    told(&sentinel, &["SENTINEL", "REMOVE", "main"]).await;
    told(
        &sentinel,
        &["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"],
    )
    .await;
    told(&old, &["REPLICAOF", "127.0.0.1", &port]).await;
    storage.set(&[entry(b"k", "new", None)]).await.unwrap();
    let mut connection = ::redis::Client::open(("127.0.0.1", new.port()))
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let found: String = ::redis::cmd("GET")
        .arg("k")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(found, "new");
}

async fn told(server: &Server, command: &[&str]) {
    let client = ::redis::Client::open(("127.0.0.1", server.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut order = ::redis::cmd(command[0]);
    order.arg(&command[1..]);
    order.query_async::<()>(&mut connection).await.unwrap();
}
