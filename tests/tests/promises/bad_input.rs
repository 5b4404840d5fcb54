//! Bad input gets a clear error and loses nothing; with a real Redis where bytes and servers are at stake.

use std::time::Duration;

use cacheme::{
    Bincode, BoxError, Cacheme, DynamicKind, Error, KeyWriter, Load, LoadContext, Node, Policy, Storage,
};
use cacheme_storage::Chain;
use redis::AsyncCommands as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tests::{Kind, shared_url};

use crate::world::{LocalItem, RemoteItem, SECOND, Source};

#[test]
fn wrong_urls_are_refused_with_what_to_write() {
    for (url, told) in [
        ("", "has no scheme"),
        ("localhost:6379", "has no scheme"),
        ("memcached://localhost", "unknown scheme `memcached`"),
        ("mongodb+srv://:secret@h", "needs a name server"),
        ("local://", "names no policy"),
        ("local://fifo?size=10", "names no policy"),
        ("local://lru", "`size` is missing"),
        ("local://lru?size=ten", "`size` must be a number of entries"),
        ("local://lru?size=-1", "`size` must be a number of entries"),
        (
            "local://lru?size=10&sise=1",
            "unknown option `sise`; known are: largest_value, size, timeout",
        ),
        ("local://lru?size=10&size=11", "`size` is given twice"),
        ("local://lru?size", "has no value"),
        ("local://lru/path?size=10", "more than a policy"),
        (
            "redis://user:secret@localhost?secret=1",
            "unknown option `secret`",
        ),
        ("redis://:secret@localhost:notaport", "no number for a port"),
        ("redis://:secret@localhost/notadatabase", "notadatabase"),
        (
            "redis://:secret@localhost?timeout=soon",
            "`timeout` must be a duration",
        ),
        ("sqlite://", "sqlite"),
        ("postgres://user:secret@localhost?what=1", "unknown option `what`"),
    ] {
        let error = Storage::open(url).expect_err(url).to_string();
        assert!(error.contains(told), "{url}: {error}");
        assert!(
            !error.contains("secret@") && !error.contains(":secret"),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

/// The kind of this name over a local and a remote storage, or over the remote one alone.
fn kind<V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static>(
    name: &'static str,
    local: Option<Duration>,
    remote: Duration,
) -> DynamicKind<V> {
    // Long enough for a large value in a build that is not optimised.
    let mut policy = Policy::new(name, "").lease(Some(60 * SECOND));
    if local.is_some() {
        policy = policy.tier("local", local);
    }
    DynamicKind::new(policy.tier("remote", Some(remote)).serializer(Bincode)).unwrap()
}

async fn instance(remote: &str) -> Cacheme {
    let cacheme = Cacheme::builder().prefix("bad-input").build().unwrap();
    let local = Storage::open("local://tlfu?size=1000").unwrap();
    cacheme.register_storage("local", local).await.unwrap();
    let remote = Storage::open(remote).unwrap().with_timeout(20 * SECOND);
    cacheme.register_storage("remote", remote).await.unwrap();
    cacheme
}

#[tokio::test]
async fn a_local_storage_of_size_zero_keeps_nothing_and_stops_nobody() {
    for url in ["local://lru?size=0", "local://tlfu?size=0"] {
        let (cacheme, source) = (Cacheme::builder().build().unwrap(), Source::default());
        let local = Storage::open(url).unwrap();
        cacheme.register_storage("local", local.clone()).await.unwrap();
        let node = LocalItem::new(1, &source);
        for loads in 1..4 {
            assert_eq!(cacheme.get(&node).await.unwrap(), 1_000);
            assert_eq!(source.loads(), loads);
        }
        cacheme.set(&node, 5).await.unwrap();
        assert_eq!(cacheme.peek(&node).await.unwrap(), None);
        assert_eq!(local.as_local().unwrap().len(), 0);
        assert_eq!(cacheme.stats::<LocalItem>().tiers[0].fills, 0);
    }
}

#[tokio::test]
async fn a_local_storage_of_size_one_keeps_one() {
    for url in ["local://lru?size=1", "local://tlfu?size=1"] {
        let (cacheme, source) = (Cacheme::builder().build().unwrap(), Source::default());
        let local = Storage::open(url).unwrap();
        cacheme.register_storage("local", local.clone()).await.unwrap();
        for id in [1, 1, 2, 2, 1] {
            assert_eq!(
                cacheme.get(&LocalItem::new(id, &source)).await.unwrap(),
                1_000 * id
            );
            assert!(local.as_local().unwrap().len() <= 1);
        }
        assert!((2..=3).contains(&source.loads()), "{}", source.loads());
    }
}

/// A node that writes no key at all.
#[derive(Clone)]
struct KeylessNode;

impl Node for KeylessNode {
    type Value = u64;

    fn policy(&self) -> Policy<u64> {
        Policy::new("KeylessNode", "keyless")
            .tier("remote", Some(60 * SECOND))
            .serializer(Bincode)
    }

    fn write_key(&self, _key: &mut KeyWriter) {}
}

impl Load for KeylessNode {
    async fn load(&self, _cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        Ok(1)
    }
}

#[tokio::test]
async fn an_empty_key_is_a_key() {
    let cacheme = instance(&shared_url(Kind::Redis)).await;
    assert_eq!(cacheme.full_key(&KeylessNode), "bad-input::v1");
    assert_eq!(cacheme.get(&KeylessNode).await.unwrap(), 1);
    assert_eq!(cacheme.peek(&KeylessNode).await.unwrap(), Some(1));
    cacheme.invalidate(&KeylessNode).await.unwrap();
    assert_eq!(cacheme.peek(&KeylessNode).await.unwrap(), None);
    // An empty field too, beside others.
    let kind = kind::<u64>("bad-empty", Some(SECOND), SECOND);
    cacheme.set(&kind.node(""), 1).await.unwrap();
    assert_eq!(cacheme.peek(&kind.node(&None::<u8>)).await.unwrap(), None);
    assert_eq!(cacheme.peek(&kind.node("")).await.unwrap(), Some(1));
}

#[test]
fn policies_that_cannot_work_say_why() {
    let policy = || Policy::<u64>::new("bad-policy", "");
    for (policy, told) in [
        (
            policy().tier("local", Some(Duration::ZERO)),
            "its ttl on `local` is zero",
        ),
        (
            policy().tier("local", None).tier("local", None),
            "two tiers on `local`",
        ),
        (policy().version(""), "its version must be"),
        (policy().version("v:1"), "its version must be"),
        (policy().load_timeout(Duration::ZERO), "must be longer than zero"),
        (policy().lease(Some(Duration::ZERO)), "must be longer than zero"),
    ] {
        let error = DynamicKind::new(policy).unwrap_err().to_string();
        assert!(
            error.starts_with("node `bad-policy`") && error.contains(told),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_key_of_64_kib_works_in_memory_and_on_servers() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/cache.db", folder.path().display());
    for url in [shared_url(Kind::Redis), shared_url(Kind::Postgres), sqlite] {
        let cacheme = instance(&url).await;
        let kind = kind::<String>("bad-long-key", Some(60 * SECOND), 60 * SECOND);
        // Alike but for their last character.
        let keys = ["a", "b"].map(|end| "é:".repeat(16 * 1024) + end);
        for key in &keys {
            assert!(key.len() > 48 * 1024);
            let (node, value) = (kind.node(key), key[key.len() - 1..].to_owned());
            let given = value.clone();
            assert_eq!(cacheme.get_with(&node, || async { given }).await, value);
            assert_eq!(cacheme.peek(&node).await.unwrap(), Some(value.clone()));
            let other = instance(&url).await;
            assert_eq!(other.peek(&node).await.unwrap(), Some(value), "{url}");
        }
        cacheme.invalidate(&kind.node(&keys[0])).await.unwrap();
        let other = instance(&url).await;
        assert_eq!(other.peek(&kind.node(&keys[0])).await.unwrap(), None);
        assert_eq!(
            other.peek(&kind.node(&keys[1])).await.unwrap().as_deref(),
            Some("b")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_64_mib_works_in_memory_and_on_redis() {
    let server = tests::redis(&[]);
    let url = Kind::Redis.url(&server);
    let kind = kind::<String>("bad-large-value", Some(60 * SECOND), 60 * SECOND);
    let value = "0123456789abcdef".repeat(4 << 20);
    let cacheme = instance(&url).await;
    let load = || async { Ok::<_, std::sync::Arc<BoxError>>(value.clone()) };
    assert!(cacheme.get_with(&kind.node(&1), load).await.unwrap() == value);
    assert!(cacheme.peek(&kind.node(&1)).await.unwrap().as_ref() == Some(&value));
    let other = instance(&url).await;
    let found: String = other
        .get_with(&kind.node(&1), || async { panic!("Redis has it") })
        .await;
    assert!(value == found);
    let all = other.all_stats();
    assert_eq!((all[0].tiers[1].hits, all[0].tiers[1].troubles), (1, 0));
}

#[tokio::test]
async fn a_ttl_of_a_millisecond_and_of_a_hundred_years_work_on_redis_and_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/cache.db", folder.path().display());
    for url in [shared_url(Kind::Redis), sqlite] {
        let cacheme = instance(&url).await;
        let moment = Duration::from_millis(1);
        let node = kind::<u64>("bad-moment", None, moment).node(&1);
        cacheme.set(&node, 1).await.unwrap();
        let start = std::time::Instant::now();
        while cacheme.peek(&node).await.unwrap().is_some() {
            assert!(start.elapsed() < 10 * SECOND, "{url}: it never expires");
        }
        assert_eq!(cacheme.get_with(&node, || async { 2 }).await, 2);

        let century = 100 * 365 * 24 * 3_600 * SECOND;
        let node = kind::<u64>("bad-century", Some(century), century).node(&1);
        cacheme.set(&node, 1).await.unwrap();
        assert_eq!(cacheme.peek(&node).await.unwrap(), Some(1));
        let found = instance(&url).await.get_with(&node, || async { 2 }).await;
        assert_eq!(found, 1, "{url}");
        // The longest time there is.
        let ever = kind::<u64>("bad-for-ever", Some(Duration::MAX), Duration::MAX).node(&1);
        cacheme.set(&ever, 1).await.unwrap();
        let found = instance(&url).await.get_with(&ever, || async { 2 }).await;
        assert_eq!(found, 1, "{url}");
    }
}

#[tokio::test]
async fn foreign_and_torn_bytes_under_our_key_in_redis_are_reloaded_and_overwritten() {
    let url = shared_url(Kind::Redis);
    let mut connection = redis::Client::open(&*url)
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let kind = kind::<u64>("bad-bytes", Some(60 * SECOND), 60 * SECOND);
    let node = kind.node(&1);
    let cacheme = instance(&url).await;
    cacheme.set(&node, 1).await.unwrap();
    let key = cacheme.full_key(&node);
    let right: Vec<u8> = connection.get(&key).await.unwrap();
    for wrong in [
        b"not ours".to_vec(),
        Vec::new(),
        right[..right.len() - 1].to_vec(),
        right[..20].to_vec(),
        [&right[..], b"more"].concat(),
    ] {
        let (): () = connection.set(&key, wrong).await.unwrap();
        let reader = instance(&url).await;
        assert_eq!(reader.get_with(&node, || async { 2 }).await, 2);
        assert_eq!(reader.all_stats()[0].tiers[1].undecodable, 1);
        assert_eq!(
            instance(&url).await.peek(&node).await.unwrap(),
            Some(2),
            "overwritten"
        );
    }
    // Something of another type of Redis's own, and a value that another node type wrote.
    let (): () = connection.del(&key).await.unwrap();
    let (): () = connection.lpush(&key, "a list").await.unwrap();
    let reader = instance(&url).await;
    assert_eq!(reader.get_with(&node, || async { 3 }).await, 3);
    let (): () = connection.del(&key).await.unwrap();
    let other = kind_of_text();
    cacheme.set(&other.node(&1), "text".into()).await.unwrap();
    let theirs: Vec<u8> = connection.get(cacheme.full_key(&other.node(&1))).await.unwrap();
    let (): () = connection.set(&key, theirs).await.unwrap();
    let reader = instance(&url).await;
    assert_eq!(reader.get_with(&node, || async { 4 }).await, 4);
    assert_eq!(instance(&url).await.peek(&node).await.unwrap(), Some(4));
}

fn kind_of_text() -> DynamicKind<String> {
    kind("bad-other-type", Some(60 * SECOND), 60 * SECOND)
}

#[tokio::test]
async fn a_redis_that_is_stopped_before_start_up_is_named_without_its_password() {
    let mut server = tests::redis(&["--requirepass", "hunter2"]);
    server.kill();
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port());
    let cacheme = Cacheme::builder().build().unwrap();
    let storage = Storage::open(&url).unwrap();
    assert!(!format!("{storage:?}").contains("hunter2"));
    let error = cacheme.register_storage("remote", storage).await.unwrap_err();
    let told = Chain(&error).to_string();
    assert!(
        matches!(&error, Error::Unreached { name, .. } if name == "remote"),
        "{told}"
    );
    assert!(told.contains(&format!("127.0.0.1:{}", server.port())), "{told}");
    assert!(!told.contains('\n') && !told.contains("hunter2"), "{told}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");

    let source = Source::default();
    let node = RemoteItem::new(1, &source);
    assert_eq!(cacheme.get(&node).await.unwrap(), 1_000);
    server.restart();
    let start = std::time::Instant::now();
    while cacheme.peek(&node).await.unwrap().is_none() {
        assert!(start.elapsed() < 60 * SECOND, "it is not found again");
        cacheme.get(&node).await.unwrap();
    }
    // A wrong password is said as such, and is no secret told either.
    let wrong = format!("redis://:hunter3@127.0.0.1:{}", server.port());
    let other = Cacheme::builder().build().unwrap();
    let error = other
        .register_storage("remote", Storage::open(&wrong).unwrap())
        .await
        .unwrap_err();
    assert!(!Chain(&error).to_string().contains("hunter3"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_while_running_stops_no_read() {
    let mut server = tests::redis(&[]);
    let cacheme = Cacheme::builder().build().unwrap();
    let url = format!("{}?timeout=300ms", Kind::Redis.url(&server));
    cacheme
        .register_storage("remote", Storage::open(&url).unwrap())
        .await
        .unwrap();
    let source = Source::default();
    let node = RemoteItem::new(1, &source);
    cacheme.get(&node).await.unwrap();
    assert_eq!(cacheme.peek(&node).await.unwrap(), Some(1_000));
    server.kill();
    for id in 0..20 {
        assert_eq!(
            cacheme.get(&RemoteItem::new(id, &source)).await.unwrap(),
            1_000 * id
        );
    }
    let error = cacheme.invalidate(&node).await.unwrap_err();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error}");
    server.restart();
    let start = std::time::Instant::now();
    while cacheme.peek(&node).await.unwrap().is_none() {
        assert!(start.elapsed() < 60 * SECOND, "it is not found again");
        cacheme.get(&node).await.unwrap();
    }
    cacheme.invalidate(&node).await.unwrap();
}
