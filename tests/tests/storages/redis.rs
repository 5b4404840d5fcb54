//! What Redis does besides what every storage does.

use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{
    Acquire, Acquired, Bytes, Chain, Error, Filled, LeaseToken, Redis, RemoteEntry, RemoteStorage, Storage,
    conformance,
};
use redis::AsyncConnectionConfig;
use redis::aio::ConnectionManagerConfig;
use tests::{Proxy, Server};

use super::{entry, eventually, open};

const TOKEN: LeaseToken = LeaseToken(7);
const TIME: Duration = Duration::from_secs(30);

pub(super) fn url(server: &Server) -> String {
    format!("redis://127.0.0.1:{}", server.port())
}

/// Runs commands on a server as another client does.
pub(super) async fn ask<T: redis::FromRedisValue>(port: u16, command: &[&str]) -> T {
    let client = redis::Client::open(("127.0.0.1", port)).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .unwrap();
    let mut question = redis::cmd(command[0]);
    question.arg(&command[1..]);
    question.query_async(&mut connection).await.unwrap()
}

async fn refusal(url: &str) -> Error {
    open(url).connect().await.expect_err(url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_a_database_and_a_login_work_from_the_url() {
    let server = tests::redis(&["--unixsocket", "socket", "--requirepass", "pa@ss"]);
    let socket = server.dir().join("socket");
    let unix = open(&format!("redis+unix://:pa%40ss@{}?db=3", socket.display()));
    let tcp = open(&format!("redis://default:pa%40ss@127.0.0.1:{}/3", server.port()));
    let other = open(&format!("redis://:pa%40ss@127.0.0.1:{}/4", server.port()));
    for storage in [&unix, &tcp, &other] {
        storage.connect().await.unwrap();
    }
    unix.set(&[entry(b"k", "v", None)]).await.unwrap();
    assert_eq!(tcp.get(&[b"k"]).await.unwrap(), [Some(Bytes::from("v"))]);
    assert_eq!(other.get(&[b"k"]).await.unwrap(), [None], "another database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_or_connection_of_the_application_serves() {
    let mut server = tests::redis(&[]);
    let client = redis::Client::open(("127.0.0.1", server.port())).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let patient = ConnectionManagerConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    let manager = client.get_connection_manager_with_config(patient).await.unwrap();
    for redis in [
        Redis::builder().client(client),
        Redis::builder().connection(connection),
        Redis::builder().manager(manager.clone()),
    ] {
        let redis = redis.build().unwrap();
        redis.connect().await.unwrap();
        redis.set(&[entry(b"k", "v", None)]).await.unwrap();
        assert_eq!(redis.get(&[b"k"]).await.unwrap(), [Some(Bytes::from("v"))]);
        redis.close().await.unwrap();
    }
    // It is the application's, and finds the server again by itself.
    let redis = Redis::builder().manager(manager.clone()).build().unwrap();
    redis.connect().await.unwrap();
    server.restart();
    eventually("the server is found", async || redis.get(&[b"k"]).await.is_ok()).await;
    let mut manager = manager;
    let pong: String = redis::cmd("PING").query_async(&mut manager).await.unwrap();
    assert_eq!(pong, "PONG");
    conformance::remote(Arc::new(redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_one_round_trip() {
    let server = tests::redis(&[]);
    let proxy = Proxy::to(server.port());
    let redis = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    redis.connect().await.unwrap();
    let names: Vec<String> = (0..100).map(|n| format!("key {n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    let entries: Vec<RemoteEntry<'_>> = keys.iter().map(|key| entry(key, "v", Some(TIME))).collect();

    for count in [1, 100] {
        let (keys, entries) = (&keys[..count], &entries[..count]);
        let before = proxy.traffic();
        redis.remove(keys).await.unwrap();
        let granted = redis.acquire(keys, &Acquire::new(TOKEN, TIME)).await.unwrap();
        assert_eq!(granted.len(), count);
        assert!(granted.iter().all(Acquired::is_granted), "{granted:?}");
        assert_eq!(
            redis.fill(entries, TOKEN).await.unwrap(),
            vec![Filled::Stored; count]
        );
        assert_eq!(
            redis.get(keys).await.unwrap(),
            vec![Some(Bytes::from("v")); count]
        );
        redis.set(entries).await.unwrap();
        redis
            .acquire(keys, &Acquire::new(TOKEN, TIME).stealing())
            .await
            .unwrap();
        redis.release(keys, TOKEN).await.unwrap();
        assert_eq!(redis.get(keys).await.unwrap(), vec![None; count]);
        let after = proxy.traffic();
        assert_eq!(
            after.round_trips - before.round_trips,
            8,
            "for 8 calls of {count} keys"
        );
        assert_eq!(after.connections, before.connections, "no connection per call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_one_connection() {
    let server = tests::redis(&[]);
    let proxy = Proxy::to(server.port());
    let redis = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    let callers: Vec<_> = (0..200)
        .map(|n| {
            let redis = Arc::clone(&redis);
            tokio::spawn(async move { redis.get(&[format!("{n}").as_bytes()]).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), [None]);
    }
    assert_eq!(
        proxy.traffic().connections,
        1,
        "made by the first of callers that come at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_later_is_found() {
    let mut server = tests::redis(&[]);
    let redis = open(&url(&server));
    server.kill();
    let error = redis.connect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("storage redis://127.0.0.1:{}/0 cannot", server.port())),
        "{error}"
    );
    assert!(redis.get(&[b"k"]).await.is_err());
    server.restart();
    eventually("the server is found", async || redis.get(&[b"k"]).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_or_a_cut_costs_no_call() {
    let mut server = tests::redis(&[]);
    let proxy = Proxy::to(server.port());
    let redis = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    redis.set(&[entry(b"k", "v", None)]).await.unwrap();
    for _ in 0..5 {
        proxy.cut();
        assert_eq!(redis.get(&[b"k"]).await.unwrap(), [Some(Bytes::from("v"))]);
    }
    server.restart();
    let granted = redis.acquire(&[b"k"], &Acquire::new(TOKEN, TIME)).await.unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    // The server that forgot the scripts learns them with the connection, or at the next call that needs one.
    ask::<()>(server.port(), &["SCRIPT", "FLUSH"]).await;
    assert_eq!(
        redis.fill(&[entry(b"k", "w", None)], TOKEN).await.unwrap(),
        [Filled::Stored]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_over_the_limit_of_the_server_is_refused_with_the_limit() {
    let server = tests::redis(&["--proto-max-bulk-len", "2mb"]);
    let redis = open(&url(&server));
    redis.connect().await.unwrap();
    let large = || Bytes::from(vec![1; (2 << 20) + 1]);
    let error = redis.set(&[entry(b"k", large(), None)]).await.unwrap_err();
    let said = Chain(&error).to_string();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 2_097_153,
                limit: 2_097_152,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(said.contains("127.0.0.1") && said.contains("2097152"), "{said}");
    let granted = redis.acquire(&[b"k"], &Acquire::new(TOKEN, TIME)).await.unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    let error = redis
        .fill(&[entry(b"k", large(), None)], TOKEN)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    // One byte less is taken, on the same connection.
    let fits = large().slice(1..);
    redis.set(&[entry(b"k", fits.clone(), None)]).await.unwrap();
    assert_eq!(redis.get(&[b"k"]).await.unwrap(), [Some(fits)]);
    conformance::remote(redis).await;

    // Who may not ask for the limit is told by the server.
    let no_settings = tests::redis(&["--proto-max-bulk-len", "2mb", "--rename-command", "CONFIG", ""]);
    let redis = open(&url(&no_settings));
    let error = redis.set(&[entry(b"k", large(), None)]).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { .. } | Error::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(redis.get(&[b"k"]).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_swallows_everything_is_given_up() {
    let server = tests::redis(&[]);
    let proxy = Proxy::to(server.port());
    let redis = open(&format!("redis://127.0.0.1:{}", proxy.port()));
    redis.connect().await.unwrap();
    let before = proxy.traffic().connections;
    proxy.stall();
    eventually("a new connection is made", async || {
        let _ = tokio::time::timeout(Duration::from_millis(100), redis.get(&[b"k"])).await;
        proxy.traffic().connections > before
    })
    .await;
    proxy.resume();
    assert_eq!(redis.get(&[b"k"]).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_still_hands_out_what_it_has() {
    let server = tests::redis(&["--maxmemory-policy", "noeviction"]);
    let redis = open(&url(&server));
    redis.set(&[entry(b"there", "v", None)]).await.unwrap();
    redis
        .acquire(&[b"leased"], &Acquire::new(LeaseToken(1), TIME))
        .await
        .unwrap();
    ask::<()>(server.port(), &["CONFIG", "SET", "maxmemory", "1"]).await;

    let error = redis.set(&[entry(b"new", "v", None)]).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { .. }) && Chain(&error).to_string().contains("OOM"),
        "{error}"
    );
    let found = redis
        .acquire(&[b"there"], &Acquire::new(TOKEN, TIME))
        .await
        .unwrap();
    assert_eq!(found, [Acquired::Value(Bytes::from("v").into())]);
    let error = redis
        .acquire(&[b"absent"], &Acquire::new(TOKEN, TIME))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let found = redis
        .acquire(&[b"absent", b"there", b"leased"], &Acquire::new(TOKEN, TIME))
        .await
        .unwrap();
    assert_eq!(
        found[0],
        Acquired::Unavailable,
        "no lease to be had, none to wait for"
    );
    assert_eq!(found[1], Acquired::Value(Bytes::from("v").into()));
    assert!(matches!(found[2], Acquired::Busy { left } if !left.is_zero()));
    redis.remove(&[b"there"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_hands_out_what_it_has() {
    let master = tests::redis(&["--repl-diskless-sync-delay", "0"]);
    let replica = tests::redis(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    open(&url(&master))
        .set(&[entry(b"there", "v", None)])
        .await
        .unwrap();
    let redis = open(&url(&replica));
    eventually("the replica has the value", async || {
        redis.get(&[b"there"]).await.is_ok_and(|found| found[0].is_some())
    })
    .await;
    let error = redis.set(&[entry(b"new", "v", None)]).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { .. }) && Chain(&error).to_string().contains("read only"),
        "{error}"
    );
    let found = redis
        .acquire(&[b"there"], &Acquire::new(TOKEN, TIME))
        .await
        .unwrap();
    assert_eq!(found, [Acquired::Value(Bytes::from("v").into())]);
    let error = redis
        .acquire(&[b"absent"], &Acquire::new(TOKEN, TIME).stealing())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_is_the_servers() {
    let server = tests::redis(&[]);
    let redis = open(&url(&server));
    redis.connect().await.unwrap();
    let (seconds, micros): (u64, u64) = ask(server.port(), &["TIME"]).await;
    let off = redis.now_ms().abs_diff(seconds * 1_000 + micros / 1_000);
    assert!(off < 1_000, "{off} ms off");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_put_under_our_keys_is_a_miss_and_makes_way() {
    let server = tests::redis(&[]);
    let redis = open(&url(&server));
    for key in ["a", "b", "c"] {
        ask::<()>(server.port(), &["RPUSH", key, "x"]).await;
    }
    assert_eq!(redis.get(&[b"a"]).await.unwrap(), [None]);
    assert_eq!(redis.get(&[b"a", b"b"]).await.unwrap(), [None, None]);
    assert_eq!(
        redis.fill(&[entry(b"a", "v", None)], TOKEN).await.unwrap(),
        [Filled::Lost]
    );
    redis.release(&[b"a"], TOKEN).await.unwrap();
    assert_eq!(
        ask::<String>(server.port(), &["TYPE", "a"]).await,
        "list",
        "a release harms nobody"
    );
    let granted = redis
        .acquire(&[b"a", b"b"], &Acquire::new(TOKEN, TIME))
        .await
        .unwrap();
    assert!(granted.iter().all(Acquired::is_granted), "{granted:?}");
    assert_eq!(
        redis.fill(&[entry(b"a", "v", None)], TOKEN).await.unwrap(),
        [Filled::Stored]
    );
    redis.set(&[entry(b"c", "v", None)]).await.unwrap();
    assert_eq!(
        redis.get(&[b"a", b"c"]).await.unwrap(),
        vec![Some(Bytes::from("v")); 2]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_said_without_secrets() {
    let server = tests::redis(&["--requirepass", "right"]);
    let port = server.port();
    let cases = [
        (format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        (
            format!("redis://:sEcReT@127.0.0.1:{port}"),
            "authentication failed",
        ),
        (
            format!("redis://ann:sEcReT@127.0.0.1:{port}"),
            "authentication failed",
        ),
        (format!("redis://:right@127.0.0.1:{port}/99"), "out of range"),
    ];
    for (url, cause) in cases {
        let error = refusal(&url).await;
        let said = format!("{} {error:?}", Chain(&error));
        assert!(matches!(error, Error::Refused { .. }), "{url}: {error:?}");
        assert!(
            said.contains(cause) && said.contains("127.0.0.1"),
            "{url}: {said}"
        );
        assert!(!said.contains("sEcReT") && !said.contains("right"), "{said}");
        assert!(!Chain(&error).to_string().contains('\n'), "{error}");
    }
    // A user that may read and not write.
    ask_as(
        port,
        "right",
        &[
            "ACL",
            "SETUSER",
            "reader",
            "on",
            ">pw",
            "~*",
            "+@read",
            "+@connection",
        ],
    )
    .await;
    let reader = open(&format!("redis://reader:pw@127.0.0.1:{port}"));
    assert_eq!(reader.get(&[b"k"]).await.unwrap(), [None]);
    let error = reader.set(&[entry(b"k", "v", None)]).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { .. }) && Chain(&error).to_string().contains("permissions"),
        "{error}"
    );
}

async fn ask_as(port: u16, password: &str, command: &[&str]) {
    let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut question = redis::cmd(command[0]);
    question.arg(&command[1..]);
    question.query_async::<()>(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_newest_command_leases_by_script() {
    // A user that may not run `SET` with `GET` cannot be had; a server that answers as Redis 6 does can.
    let server = tests::redis(&["--rename-command", "GETRANGE", "GETRANGE"]);
    let old = super::other_redis::old(server.port());
    let redis = open(&format!("redis://127.0.0.1:{}", old.port()));
    conformance::remote(redis).await;
    assert!(old.altered() > 0, "the command was never tried");
}

#[test]
fn mistakes_in_the_url_name_themselves() {
    let cases = [
        ("redis://h/x", "`/x` is no database"),
        ("redis://h:port", "has no number for a port"),
        ("redis://", "names no host"),
        ("redis://a,b", "`redis+cluster://`"),
        (
            "redis://h?tls=1",
            "unknown option `tls`; known are: bus, largest_value, timeout",
        ),
        (
            "rediss://h?ca=/nowhere",
            "option `ca` must be the path of a PEM file with a certificate; /nowhere: No such file",
        ),
        ("redis+cluster://h/1", "no database but 0"),
        ("redis+sentinel://h", "?master="),
        ("redis+unix://", "needs a path"),
    ];
    for (url, reason) in cases {
        let error = Storage::open(url).expect_err(url).to_string();
        assert!(error.contains(reason), "{url}: {error}");
    }
    let storage = Storage::open("redis://ann:sEcReT@[::1]:7/1").unwrap();
    assert_eq!(storage.location(), "redis://[::1]:7/1");
    assert!(!format!("{storage:?}").contains("sEcReT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_for_a_key_is_woken_when_its_lease_is_given_up() {
    let server = tests::redis(&[]);
    let (ours, theirs) = (open(&url(&server)), open(&url(&server)));
    let key: &[u8] = b"waited for";
    let others = LeaseToken(77);
    for turn in 0..2 {
        theirs.acquire(&[key], &Acquire::new(TOKEN, TIME)).await.unwrap();
        theirs
            .acquire(&[b"other"], &Acquire::new(others, TIME).stealing())
            .await
            .unwrap();
        let waiting = tokio::spawn({
            let ours = Arc::clone(&ours);
            async move { ours.changed(&[b"never", b"waited for"]).await }
        });
        eventually("it listens", async || {
            let counted: (String, u64) =
                ask(server.port(), &["PUBSUB", "NUMSUB", "cacheme.filled:waited for"]).await;
            counted.1 == 1
        })
        .await;
        theirs.fill(&[entry(b"other", "v", None)], others).await.unwrap();
        assert!(!waiting.is_finished(), "another key is none of its business");
        if turn == 0 {
            theirs.fill(&[entry(key, "v", None)], TOKEN).await.unwrap();
            theirs.remove(&[key]).await.unwrap();
        } else {
            theirs.release(&[key], TOKEN).await.unwrap();
        }
        let told = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        told.expect("it is told").unwrap();
        eventually("it listens no more", async || {
            let channels: Vec<String> = ask(server.port(), &["PUBSUB", "CHANNELS"]).await;
            channels.is_empty()
        })
        .await;
    }
}
