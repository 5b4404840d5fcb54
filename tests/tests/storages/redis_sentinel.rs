//! A master, its replica and three sentinels that watch them.

use std::time::Duration;

use cacheme_storage::{Acquire, Bytes, Chain, Error, Filled, LeaseToken, Redis, RemoteStorage, conformance};
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

/// A sentinel's own password, and that of the servers that it watches.
#[tokio::test(flavor = "multi_thread")]
async fn t1_sentinels_have_a_login_of_their_own() {
    let master = redis(&["--requirepass", "of-servers"]);
    let mut program = redis_sentinel(master.port());
    let plain = program.command;
    program.command = Box::new(move |port, dir| {
        let command = plain(port, dir);
        let file = dir.join("sentinel.conf");
        let settings = std::fs::read_to_string(&file).unwrap()
            + "sentinel auth-pass main of-servers\nrequirepass of-sentinels\n\
               user ann on >of-ann allchannels +@all\n";
        std::fs::write(&file, settings).unwrap();
        command
    });
    let sentinel = Server::start(program);
    let url = |options: &str| {
        format!(
            "redis+sentinel://:of-servers@127.0.0.1:{}?master=main{options}",
            sentinel.port()
        )
    };
    for options in [
        "&sentinel_password=of-sentinels",
        "&sentinel_user=ann&sentinel_password=of-ann",
    ] {
        open(&url(options)).connect().await.expect(options);
    }
    let builder = Redis::builder()
        .sentinels([("127.0.0.1", sentinel.port())], "main")
        .sentinel_password("of-sentinels")
        .password("of-servers");
    builder.build().unwrap().connect().await.unwrap();
    for options in [
        "",
        "&sentinel_password=of-servers",
        "&sentinel_user=eve&sentinel_password=of-ann",
    ] {
        let error = open(&url(options)).connect().await.expect_err(options);
        assert!(matches!(error, Error::Refused { .. }), "{options}: {error:?}");
        let said = Chain(&error).to_string();
        let sentinel = format!("127.0.0.1:{}", sentinel.port());
        for part in ["give `sentinel_password`", &sentinel] {
            assert!(said.contains(part), "{options}: {part} is not in {said}");
        }
    }
}

/// Each of the sentinels that the URL names is replaced by another, and then the master fails over.
#[tokio::test(flavor = "multi_thread")]
async fn t1_sentinels_that_took_the_place_of_others_are_found() {
    let mut group = RedisSentinels::start();
    let storage = open(&group.url());
    storage.set(&[entry(b"before", "v", None)]).await.unwrap();
    group.wait_until_ready();
    let watched = group.master.port();
    for _ in 0..3 {
        group.sentinels.push(Server::start(redis_sentinel(watched)));
    }
    eventually("the sentinels know each other", async || {
        let know = |sentinel: &Server| {
            let others = redis_cli(sentinel.port(), &["sentinel", "sentinels", "main"]);
            others.lines().filter(|line| *line == "port").count() == 5
        };
        group.sentinels.iter().all(know)
    })
    .await;
    // It asks again when it has to connect.
    redis_cli(group.master.port(), &["client", "kill", "type", "normal"]);
    storage.set(&[entry(b"between", "v", None)]).await.unwrap();

    for named in &mut group.sentinels[..3] {
        named.kill();
    }
    group.sentinels.drain(..3);
    for sentinel in &group.sentinels {
        redis_cli(sentinel.port(), &["sentinel", "reset", "main"]);
    }
    group.wait_until_ready();
    group.master.kill();
    written(&*storage).await;
    assert_eq!(redis_cli(group.replica.port(), &["get", "after"]).trim(), "v");
}
