//! Changes that processes tell each other over a server's bus (C3).

use std::time::Duration;

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};
use cacheme_storage::{Redis, RemoteStorage as _};
use tests::{Proxy, RedisCluster, RedisSentinels, Server, postgres, redis, redis_cli};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::eventually;
use super::log::Seen;
use super::postgres::{run, url as postgres_url};
use super::redis::{ask, url as redis_url};

/// What a source says at the moment, with a copy in memory that would outlive the test.
#[derive(Node, Clone, Debug)]
#[node(
    key = "bus:{id}",
    value = u64,
    tier(storage = "local", ttl = "1h"),
    tier(storage = "remote", ttl = "1h"),
    load = current,
)]
pub(super) struct Current {
    id: u64,
    #[node(skip)]
    source: watch::Receiver<u64>,
}

async fn current(node: &Current, _cx: &mut LoadContext<Current>) -> Result<u64, BoxError> {
    Ok(*node.source.borrow())
}

/// A process: memory of its own over a storage that others share.
pub(super) async fn process(url: &str) -> Cacheme {
    over(Storage::open(url).unwrap()).await
}

async fn over(storage: Storage) -> Cacheme {
    within(storage.with_timeout(Duration::from_secs(5))).await
}

/// A process whose calls are bounded as the storage is.
pub(super) async fn within(storage: Storage) -> Cacheme {
    let cacheme = Cacheme::builder().prefix("bus").build().unwrap();
    let local = Storage::open("local://tlfu?size=100000").unwrap();
    cacheme.register_storage("local", local).await.unwrap();
    cacheme.register_storage("remote", storage).await.unwrap();
    cacheme
}

/// A source, and its node number `id`.
pub(super) fn node(id: u64) -> (watch::Sender<u64>, Current) {
    let source = watch::Sender::new(0);
    let node = Current {
        id,
        source: source.subscribe(),
    };
    (source, node)
}

fn told(cacheme: &Cacheme) -> u64 {
    cacheme.stats::<Current>().remote_invalidations
}

/// The second hears of each change by the first, and soon.
pub(super) async fn tells(from: &Cacheme, to: &Cacheme, id: u64) {
    let (source, node) = node(id);
    for (round, value) in [11, 12, 13].into_iter().enumerate() {
        let before = to.get(&node).await.unwrap();
        source.send_replace(value);
        assert_eq!(to.get(&node).await.unwrap(), before, "it is in memory");
        match round {
            0 => from.invalidate(&node).await.unwrap(),
            1 => from.set(&node, value).await.unwrap(),
            _ => assert_eq!(from.refresh(&node).await.unwrap(), value),
        }
        eventually("the change is heard of", async || {
            to.get(&node).await.unwrap() == value
        })
        .await;
    }
}

/// Two processes hear of each other, also of many changes at once.
async fn receive_each_others_changes(url: &str) {
    let (one, other) = (process(url).await, process(url).await);
    tells(&one, &other, 1).await;
    tells(&other, &one, 2).await;

    let (source, first) = node(0);
    let nodes: Vec<_> = (0..5_000).map(|id| Current { id, ..first.clone() }).collect();
    other.get_all(&nodes).await.unwrap();
    let before = told(&other);
    source.send_replace(7);
    one.invalidate_all(&nodes).await.unwrap();
    eventually("all changes are heard of", async || {
        told(&other) == before + 5_000
    })
    .await;
    assert_eq!(other.get_all(&nodes).await.unwrap(), vec![7; 5_000]);
    assert_eq!(one.all_stats()[0].tiers[1].troubles, 0);
    assert_eq!(other.all_stats()[0].tiers[1].troubles, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_changes_reach_other_processes_over_redis() {
    let server = redis(&[]);
    receive_each_others_changes(&redis_url(&server)).await;
    receive_each_others_changes(&format!("{}/3", redis_url(&server))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_changes_reach_other_processes_over_postgres() {
    let server = postgres();
    receive_each_others_changes(&postgres_url(&server, "")).await;
    receive_each_others_changes(&postgres_url(
        &server,
        "?table=a_table_with_the_longest_name_that_one_can_have0",
    ))
    .await;
}

/// A node in memory alone, in the storage that the copies of others are in.
#[derive(Node, Clone, Debug)]
#[node(key = "bus-near:{id}", value = u64, tier(storage = "local", ttl = "1h"))]
struct Near {
    id: u64,
}

/// A node whose key may be longer than a message.
#[derive(Node, Clone, Debug)]
#[node(
    key = "bus-long:{name}",
    value = u64,
    tier(storage = "local", ttl = "1h"),
    tier(storage = "remote", ttl = "1h")
)]
struct Long {
    name: String,
}

/// Whatever others publish on the channel concerns nobody but those whom it names.
async fn garbage_changes_nothing(url: &str, publish: impl AsyncFn(&str)) {
    let (one, other) = (process(url).await, process(url).await);
    let (source, current) = node(1);
    let near = Near { id: 1 };
    let long = ["k", "l"].map(|letter| Long {
        name: letter.repeat(5_000),
    });
    other.get(&current).await.unwrap();
    other.set(&near, 1).await.unwrap();
    for long in &long {
        other.set(long, 1).await.unwrap();
    }
    source.send_replace(7);
    let before = other.bus_stats().remove(0);
    let garbage = [
        "",
        "x",
        "user:1",
        "00",
        "ca425553",
        "ca42555301",
        "ca42555301ff",
        "zz",
    ];
    for message in garbage {
        publish(message).await;
    }
    // A later version, of the format and of nothing else.
    publish("\u{1}later").await;
    let stranger = Cacheme::builder().prefix("stranger").build().unwrap();
    let storage = Storage::open(url).unwrap().with_timeout(Duration::from_secs(5));
    stranger.register_storage("remote", storage).await.unwrap();
    let local = Storage::open("local://lru?size=10").unwrap();
    stranger.register_storage("local", local).await.unwrap();
    stranger.invalidate(&current).await.unwrap();
    stranger.invalidate(&long[0]).await.unwrap();
    eventually("all of it is heard", async || {
        let after = other.bus_stats().remove(0);
        let passed_over = after.unreadable + after.other_version + after.other_prefix;
        passed_over == garbage.len() as u64 + 1 + 2
    })
    .await;
    let after = other.bus_stats().remove(0);
    assert_eq!(after.other_prefix, 2);
    assert_eq!((after.received, after.partly_understood), (before.received, 0));
    assert_eq!(
        other.get(&current).await.unwrap(),
        0,
        "its copy is in memory still"
    );
    assert_eq!(other.peek(&near).await.unwrap(), Some(1));
    // A long key is told as any other.
    one.set(&long[0], 2).await.unwrap();
    eventually("the change of a long key is heard of", async || {
        other.peek(&long[0]).await.unwrap() == Some(2)
    })
    .await;
    assert_eq!(other.stats::<Long>().remote_invalidations, 1);
    let remote_hits = || other.stats::<Long>().tiers[1].hits;
    let before = remote_hits();
    assert_eq!(other.peek(&long[1]).await.unwrap(), Some(1));
    assert_eq!(remote_hits(), before, "it is in memory still");
    assert_eq!(other.get(&current).await.unwrap(), 0, "and so is this");
    assert_eq!(other.peek(&near).await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_garbage_on_the_channel_of_redis_changes_nothing_and_is_counted() {
    let server = redis(&[]);
    garbage_changes_nothing(&redis_url(&server), async |message: &str| {
        ask::<i64>(server.port(), &["PUBLISH", "cacheme.changed:0", message]).await;
    })
    .await;
    let url = redis_url(&server);
    let other = process(&url).await;
    let huge = "x".repeat(10_000_000);
    ask::<i64>(server.port(), &["PUBLISH", "cacheme.changed:0", &huge]).await;
    eventually("it is heard", async || other.bus_stats()[0].unreadable == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_garbage_on_the_channel_of_postgres_changes_nothing_and_is_counted() {
    let server = postgres();
    let url = postgres_url(&server, "");
    // Tables are made by whoever comes first.
    drop(process(&url).await);
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    garbage_changes_nothing(&url, async |message: &str| {
        run(&pool, &format!("NOTIFY \"cacheme.cacheme\", '{message}'")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_storage_over_a_pool_of_the_application_publishes_where_it_can_listen() {
    let server = redis(&[]);
    let client = ::redis::Client::open(("127.0.0.1", server.port())).unwrap();
    let by_client = Redis::builder().client(client.clone()).build().unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let by_connection = Redis::builder().connection(connection).build().unwrap();
    assert!(!by_connection.capabilities().bus, "a connection cannot listen");
    let (one, other) = (
        over(Storage::remote(by_client)).await,
        process(&redis_url(&server)).await,
    );
    tells(&one, &other, 1).await;
    tells(&other, &one, 2).await;

    let server = postgres();
    let pool = sqlx::PgPool::connect(&postgres_url(&server, "")).await.unwrap();
    let by_pool = cacheme_storage::Postgres::builder()
        .pool(pool.clone())
        .build()
        .unwrap();
    let (one, other) = (
        over(Storage::remote(by_pool)).await,
        process(&postgres_url(&server, "")).await,
    );
    tells(&one, &other, 1).await;
    tells(&other, &one, 2).await;
    drop(one);
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_other_databases_and_tables_receive_nothing() {
    let (redis, postgres) = (redis(&[]), postgres());
    for (ours, theirs) in [
        (
            format!("{}/1", redis_url(&redis)),
            format!("{}/2", redis_url(&redis)),
        ),
        (
            postgres_url(&postgres, "?table=ours"),
            postgres_url(&postgres, "?table=theirs"),
        ),
    ] {
        let (one, other, stranger) = (process(&ours).await, process(&ours).await, process(&theirs).await);
        let (_source, node) = node(1);
        stranger.get(&node).await.unwrap();
        tells(&one, &other, 1).await;
        assert_eq!(told(&stranger), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_change_costs_one_more_round_trip_and_no_connection() {
    let server = redis(&[]);
    let (one, other) = (
        process(&redis_url(&server)).await,
        process(&redis_url(&server)).await,
    );
    tells(&one, &other, 1).await;
    let facts = async |section: &str| ask::<String>(server.port(), &["INFO", section]).await;
    let number = |facts: &str, name: &str| {
        let rest = facts
            .lines()
            .find_map(|line| line.strip_prefix(name).map(str::to_owned));
        let digits: String = rest
            .unwrap_or_default()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse::<u64>().unwrap_or(0)
    };
    let before = (facts("commandstats").await, facts("stats").await);
    let (_source, node) = node(1);
    for _ in 0..10 {
        one.get(&node).await.unwrap();
        one.invalidate(&node).await.unwrap();
    }
    let after = (facts("commandstats").await, facts("stats").await);
    let publish = "cmdstat_publish:calls=";
    // Those of the scripts, which wake who waits for a fill, count as well.
    let scripts = number(&after.0, "cmdstat_evalsha:calls=") - number(&before.0, "cmdstat_evalsha:calls=");
    let published = number(&after.0, publish) - number(&before.0, publish);
    assert_eq!(published, 10 + scripts, "{}", after.0);
    let received = "total_connections_received:";
    // Each of the questions here makes one, and each process one every ten seconds to see who answers.
    let connections = number(&after.1, received) - number(&before.1, received);
    assert!(connections < 10, "{connections}");
    eventually("who listens is named", async || {
        let clients: String = ask(server.port(), &["CLIENT", "LIST", "TYPE", "PUBSUB"]).await;
        clients.lines().count() == 2
    })
    .await;
}

/// Two processes lose their connections. What was held is gone then, and they hear of each other again.
async fn lose(url: &str, cut: impl AsyncFn()) {
    let (one, other) = (process(url).await, process(url).await);
    let (source, node) = node(1);
    assert_eq!(other.get(&node).await.unwrap(), 0);
    // A change by somebody who tells nobody.
    source.send_replace(1);
    let storage = Storage::open(url).unwrap();
    let key = other.full_key(&node);
    storage
        .as_remote()
        .unwrap()
        .remove(&[key.as_bytes()])
        .await
        .unwrap();
    assert_eq!(other.get(&node).await.unwrap(), 0, "it is in memory");
    cut().await;
    eventually("what was held is dropped", async || {
        other.get(&node).await.unwrap() == 1
    })
    .await;
    receives_again(&one, &other).await;
    tells(&one, &other, 3).await;
    receives_again(&other, &one).await;
    tells(&other, &one, 4).await;
}

async fn receives_again(from: &Cacheme, to: &Cacheme) {
    eventually("it hears again", async || {
        let before = told(to);
        let (_source, node) = node(2);
        // Nobody may be reached yet.
        let _ = from.invalidate(&node).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        told(to) > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_lost_connection_to_redis_is_noticed_and_made_anew() {
    let server = redis(&[]);
    let url = redis_url(&server);
    lose(&url, async || {
        ask::<i64>(server.port(), &["CLIENT", "KILL", "TYPE", "PUBSUB"]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_lost_connection_to_postgres_is_noticed_and_made_anew() {
    let server = postgres();
    let pool = sqlx::PgPool::connect(&postgres_url(&server, "")).await.unwrap();
    lose(&postgres_url(&server, ""), async || {
        run(
            &pool,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'UNLISTEN%' OR query = 'SELECT 1'",
        )
        .await;
    })
    .await;
}

/// The server of a cluster that both listen on dies, and its replica takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn c3_changes_reach_other_processes_over_a_cluster_also_after_a_fail_over() {
    let mut cluster = RedisCluster::start();
    let url = cluster.url();
    receive_each_others_changes(&url).await;
    let ports = cluster.ports();
    let listens = |place: &usize| {
        redis_cli(ports[*place], &["client", "list", "type", "pubsub"])
            .lines()
            .count()
            > 0
    };
    let (one, other) = (process(&url).await, process(&url).await);
    tells(&one, &other, 10).await;
    let owners: Vec<usize> = (0..ports.len()).filter(listens).collect();
    assert_eq!(owners.len(), 1, "all listen to one server: {owners:?}");
    cluster.servers[owners[0]].kill();
    receives_again(&one, &other).await;
    for (process, id) in [(&one, 11), (&other, 12)] {
        let (_source, node) = node(id);
        super::eventually("the keys of the lost server have another owner", async || {
            process.invalidate(&node).await.is_ok()
        })
        .await;
    }
    tells(&one, &other, 11).await;
    receives_again(&other, &one).await;
    tells(&other, &one, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_sentinels_lead_to_the_bus_of_the_new_master() {
    let mut group = RedisSentinels::start();
    group.wait_until_ready();
    let url = group.url();
    receive_each_others_changes(&url).await;
    let (one, other) = (process(&url).await, process(&url).await);
    tells(&one, &other, 10).await;
    group.master.kill();
    receives_again(&one, &other).await;
    tells(&one, &other, 11).await;
    receives_again(&other, &one).await;
    tells(&other, &one, 12).await;
}

/// A frozen server keeps its connections open, and answers nothing on them.
async fn freeze(url: &str, server: &Server) {
    lose(url, async || {
        server.freeze();
        tokio::time::sleep(Duration::from_secs(5)).await;
        server.thaw();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_frozen_redis_is_noticed() {
    let server = redis(&[]);
    freeze(&redis_url(&server), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_frozen_postgres_is_noticed() {
    let server = postgres();
    freeze(&postgres_url(&server, ""), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_restarted_redis_is_listened_to_again() {
    let mut server = redis(&[]);
    let url = redis_url(&server);
    let (one, other) = (process(&url).await, process(&url).await);
    tells(&one, &other, 1).await;
    server.restart();
    receives_again(&one, &other).await;
    tells(&one, &other, 2).await;
    receives_again(&other, &one).await;
    tells(&other, &one, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_t3_a_user_without_the_right_to_the_channel_goes_without_and_the_log_says_what_to_grant() {
    let seen = Seen::default();
    let server = redis(&[]);
    let user = [
        "ACL",
        "SETUSER",
        "app",
        "on",
        ">secret",
        "~*",
        "+@all",
        "resetchannels",
    ];
    ask::<()>(server.port(), &user).await;
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let storage = Storage::open(&url).unwrap();
    let remote = storage.as_remote().unwrap();
    let refusal = remote
        .publish(&[cacheme_storage::Bytes::from_static(b"m")])
        .await
        .unwrap_err();
    seen.see_error(&refusal);
    let heard = remote.listen(&mut |heard| panic!("{heard:?}")).await;
    for refusal in [refusal.to_string(), heard.to_string()] {
        assert!(refusal.contains("grant `&cacheme.changed:0`"), "{refusal}");
        assert!(!refusal.contains("secret"), "{refusal}");
    }
    let (one, other) = (process(&url).await, process(&url).await);
    let (_source, node) = node(1);
    one.get(&node).await.unwrap();
    one.invalidate(&node).await.unwrap();
    assert_eq!(one.stats::<Current>().tiers[1].troubles, 1);
    ask::<()>(server.port(), &["ACL", "SETUSER", "app", "&cacheme.*"]).await;
    eventually("both listen", async || {
        let clients: String = ask(server.port(), &["CLIENT", "LIST", "TYPE", "PUBSUB"]).await;
        clients.lines().count() == 2
    })
    .await;
    tells(&one, &other, 2).await;
}

/// Stands before PostgreSQL as a pooler does that lends connections by the transaction: whoever listens hears nothing. Gives
/// its port.
async fn pooler(server: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(without_notifications(from_server, to_client));
        }
    });
    port
}

/// Copies messages of PostgreSQL's protocol, each of a type, a length that counts itself, and the rest.
async fn without_notifications(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    loop {
        let (kind, length) = (from.read_u8().await?, from.read_u32().await?);
        let mut message = vec![kind];
        message.extend(length.to_be_bytes());
        message.resize(length as usize + 1, 0);
        from.read_exact(&mut message[5..]).await?;
        if kind != b'A' {
            to.write_all(&message).await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_t3_a_pooler_that_swallows_notifications_is_noticed() {
    let server = postgres();
    let port = pooler(server.port()).await;
    let pooled = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
    let storage = Storage::open(&pooled).unwrap();
    let remote = storage.as_remote().unwrap();
    remote.connect().await.unwrap();
    let heard = remote
        .listen(&mut |heard| panic!("nothing can be heard: {heard:?}"))
        .await;
    let heard = heard.to_string();
    assert!(heard.contains("does not pass notifications on"), "{heard}");
    assert!(heard.contains("bus=false"), "{heard}");
    // Whoever is behind it still tells the others.
    let (behind, direct) = (process(&pooled).await, process(&postgres_url(&server, "")).await);
    tells(&behind, &direct, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_listener_behind_a_proxy_that_dies_is_not_left_in_trust() {
    let server = redis(&[]);
    let proxy = Proxy::to(server.port());
    let direct = process(&redis_url(&server)).await;
    let behind = process(&format!("redis://127.0.0.1:{}", proxy.port())).await;
    let (source, node) = node(1);
    assert_eq!(behind.get(&node).await.unwrap(), 0);
    source.send_replace(1);
    drop(proxy);
    direct.invalidate(&node).await.unwrap();
    eventually("what was held is dropped", async || {
        behind.get(&node).await.unwrap() == 1
    })
    .await;
}
