//! Clients whose clock is off by an hour: what lives how long is the server's to say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};
use cacheme_storage::{Acquired, Filled, LeaseToken, RemoteStorage};
use tests::{postgres, redis};

use super::postgres::run;
use super::{entry, eventually, open, other_redis};

const HOUR: i64 = 3_600;

/// Kept for long nearby and for a minute on the server, so that a copy nearby must take its end from the server.
#[derive(Node, Clone, Debug)]
#[node(
    key = "clock:{number}",
    value = u64,
    tier(storage = "near", ttl = "6h"),
    tier(storage = "far", ttl = "1m"),
    load = none,
)]
struct Minute {
    number: u64,
}

async fn none(_: &Minute, _: &mut LoadContext<Minute>) -> Result<u64, BoxError> {
    Err("it is in the storage".into())
}

struct Client {
    cacheme: Cacheme,
    near: Storage,
}

impl Client {
    async fn new(url: &str) -> Self {
        let cacheme = Cacheme::builder().prefix("clock").build().unwrap();
        let near = Storage::open("local://lru?size=100").unwrap();
        cacheme.register_storage("near", near.clone()).await.unwrap();
        // A change that is heard of late would take the copy away whose life is looked at.
        let far = Storage::open(url)
            .unwrap()
            .with_timeout(Duration::from_secs(10))
            .with_bus(false);
        cacheme.register_storage("far", far).await.unwrap();
        Self { cacheme, near }
    }

    /// How long the copy nearby has to live.
    fn left(&self, node: &Minute) -> Option<Duration> {
        let key = self.cacheme.full_key(node);
        self.near.as_local().unwrap().entry(key.as_bytes())?.ttl
    }
}

/// Two clients of one server that is off by so many seconds, the same for both.
async fn lives_a_minute(url: &str, seconds: i64) {
    expires(&*open(url), seconds).await;
    let (one, two) = (Client::new(url).await, Client::new(url).await);
    let node = Minute { number: 1 };
    one.cacheme.set(&node, 7).await.unwrap();
    assert_eq!(
        two.cacheme.get(&node).await.unwrap(),
        7,
        "it is over before its time"
    );
    let left = two.left(&node).expect("a copy is kept nearby");
    // What each knows of the server's clock is as exact as half the time of its first question.
    let exact = Duration::from_secs(10);
    assert!(
        left <= Duration::from_secs(60) + exact,
        "the copy outlives the original: {left:?}"
    );
    assert!(
        left > Duration::from_secs(30),
        "{left:?} of a minute are left at once"
    );
}

/// What the storage itself makes of times.
async fn expires(storage: &dyn RemoteStorage, seconds: i64) {
    storage.connect().await.unwrap();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let off = storage.now_ms() as i64 / 1_000 - wall.as_secs() as i64;
    assert!((off - seconds).abs() < 60, "the clock is off by {off} s");

    let minute = Duration::from_secs(60);
    let entries = [
        entry(b"short", "v", Some(Duration::from_millis(1))),
        entry(b"long", "v", Some(minute)),
    ];
    storage.set(&entries).await.unwrap();
    eventually("the short one is over", async || {
        storage.get(&[b"short"]).await.unwrap() == [None]
    })
    .await;
    assert!(storage.get(&[b"long"]).await.unwrap()[0].is_some());
    let ask = async |token, time| {
        let asked = storage.acquire(&[b"lease"], LeaseToken(token), time, false).await;
        asked.unwrap().remove(0)
    };
    assert_eq!(ask(1, minute).await, Acquired::Granted);
    let second = ask(2, minute).await;
    assert!(
        matches!(second, Acquired::Busy { left } if left <= minute && left > minute / 2),
        "{second:?} of a minute at once"
    );
    let filled = storage.fill(&entries[1..], LeaseToken(1)).await.unwrap();
    assert_eq!(filled, [Filled::Lost], "another key");
    storage.release(&[b"lease"], LeaseToken(1)).await.unwrap();
    assert_eq!(ask(3, Duration::from_millis(1)).await, Acquired::Granted);
    eventually("the lease is over", async || {
        ask(4, minute).await == Acquired::Granted
    })
    .await;
    storage.remove(&[b"lease", b"long"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_redis_expires_by_its_own_clock() {
    let server = redis(&[]);
    for seconds in [HOUR, -HOUR] {
        let shifted = other_redis::off_by(server.port(), seconds);
        let url = format!("redis://127.0.0.1:{}/", shifted.port());
        lives_a_minute(&url, seconds).await;
        assert!(shifted.altered() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_postgres_expires_by_its_own_clock() {
    let server = postgres();
    let url = super::postgres::url(&server, "");
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    run(
        &pool,
        "CREATE SCHEMA shifted; ALTER DATABASE postgres SET search_path = shifted, pg_catalog, public",
    )
    .await;
    for seconds in [HOUR, -HOUR] {
        // Found before the one of the catalogue.
        let clock = format!(
            "CREATE OR REPLACE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE \
             AS $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$"
        );
        run(&pool, &clock).await;
        lives_a_minute(&url, seconds).await;
    }
}
