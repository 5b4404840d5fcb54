//! Clients whose clock is off by an hour: what lives how long is the server's to say.
//!
//! The clock of a process of its own is shifted, by `faketime` from the package of that name. SQLite has nothing to test
//! here: its clock is this machine's, which all processes that share a file have in common.

use std::env;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};
use cacheme_storage::{Acquire, Acquired, Filled, LeaseToken, RemoteStorage};
use tests::{Kind, RedisCluster, shared_url};

use super::{entry, eventually, open};

const HOUR: i64 = 3_600;
const MINUTE: Duration = Duration::from_secs(60);

/// Where the process whose clock is off finds the server, its keys, and what the time is in truth.
const URL: &str = "CACHEME_TEST_CLOCK_URL";
const PREFIX: &str = "CACHEME_TEST_CLOCK_PREFIX";
const TRUTH: &str = "CACHEME_TEST_CLOCK_TRUTH";
const OFF: &str = "CACHEME_TEST_CLOCK_OFF";

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

const BY_THE_TRUE: Minute = Minute { number: 1 };
const BY_THE_SHIFTED: Minute = Minute { number: 2 };

/// Seconds since the epoch by this process's clock.
fn seconds() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    wall.as_secs().try_into().unwrap()
}

/// A service with the clock of this process.
struct Client {
    cacheme: Cacheme,
    near: Storage,
}

impl Client {
    async fn new(url: &str, prefix: &str) -> Self {
        let cacheme = Cacheme::builder().prefix(prefix).build().unwrap();
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

    /// Finds what somebody with another clock has set a moment ago, and keeps it no longer than the server does.
    async fn takes_the_end_from_the_server(&self, node: &Minute) {
        let found = self.cacheme.get(node).await;
        assert_eq!(found.expect("it is over before its time"), 7);
        let key = self.cacheme.full_key(node);
        let copy = self.near.as_local().unwrap().entry(key.as_bytes());
        let left = copy
            .and_then(|copy| copy.ttl)
            .expect("a copy with an end is kept nearby");
        // What each knows of the server's clock is as exact as half the time of its first question.
        let exact = Duration::from_secs(10);
        assert!(left <= MINUTE + exact, "the copy outlives the original: {left:?}");
        assert!(left > MINUTE / 2, "{left:?} of a minute are left at once");
    }
}

/// What the storage itself makes of times.
async fn expires(storage: &dyn RemoteStorage) {
    let [short, long] = [Duration::from_millis(1), MINUTE];
    let entries = [
        entry(b"clock:short", "v", Some(short)),
        entry(b"clock:long", "v", Some(long)),
    ];
    storage.set(&entries).await.unwrap();
    eventually("the short one is over", async || {
        storage.get(&[b"clock:short"]).await.unwrap() == [None]
    })
    .await;
    assert!(storage.get(&[b"clock:long"]).await.unwrap()[0].is_some());
    let ask = async |token, time| {
        let asked = storage
            .acquire(&[b"clock:lease"], &Acquire::new(LeaseToken(token), time))
            .await;
        let answer = asked.unwrap().remove(0);
        if matches!(&answer, Acquired::Granted(grant) if grant.time < time) {
            storage
                .renew(&[b"clock:lease"], LeaseToken(token), time)
                .await
                .unwrap();
        }
        answer
    };
    assert!(ask(1, MINUTE).await.is_granted());
    let second = ask(2, MINUTE).await;
    assert!(
        matches!(second, Acquired::Busy { left } if left <= MINUTE && left > MINUTE / 2),
        "{second:?} of a minute at once"
    );
    let filled = storage.fill(&entries[1..], LeaseToken(1)).await.unwrap();
    assert_eq!(filled, [Filled::Lost], "another key");
    storage.release(&[b"clock:lease"], LeaseToken(1)).await.unwrap();
    assert!(ask(3, short).await.is_granted());
    eventually("the lease is over", async || ask(4, MINUTE).await.is_granted()).await;
    storage.remove(&[b"clock:lease", b"clock:long"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the tests below, which run it as a process of its own"]
async fn with_a_shifted_clock() {
    let told = |name| env::var(name).expect("the tests below say it");
    let number = |name| told(name).parse::<i64>().unwrap();
    let off = seconds() - number(TRUTH);
    assert!(
        (off - number(OFF)).abs() < 60,
        "the clock of this process is off by {off} s"
    );

    let storage = open(&told(URL));
    storage.connect().await.unwrap();
    let servers = (storage.now_ms() / 1_000).cast_signed();
    let off = servers - number(TRUTH);
    assert!(off.abs() < 60, "the server's clock is taken to be off by {off} s");
    expires(&*storage).await;

    let client = Client::new(&told(URL), &told(PREFIX)).await;
    client.takes_the_end_from_the_server(&BY_THE_TRUE).await;
    client.cacheme.set(&BY_THE_SHIFTED, 7).await.unwrap();
}

/// Runs a process whose clock is off beside this one, whose clock is right, in either direction.
async fn clocks_of_clients_do_not_matter(url: &str) {
    for off in [HOUR, -HOUR] {
        let prefix = format!("clock{off}");
        let client = Client::new(url, &prefix).await;
        client.cacheme.set(&BY_THE_TRUE, 7).await.unwrap();
        let mut shifted = Command::new("faketime");
        shifted
            // The clock that only measures how long things take is to be as it was.
            .args(["-m", "--exclude-monotonic", "-f", &format!("{off:+}s")])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "clock::with_a_shifted_clock", "--ignored"])
            .env(URL, url)
            .env(PREFIX, &prefix)
            .env(TRUTH, seconds().to_string())
            .env(OFF, off.to_string());
        let ran = tokio::task::spawn_blocking(move || shifted.output())
            .await
            .unwrap();
        let ran = ran.expect("`faketime` is installed");
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && said.contains("1 passed"),
            "off by {off} s: {said}\n{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        client.takes_the_end_from_the_server(&BY_THE_SHIFTED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_redis_expires_by_its_own_clock() {
    clocks_of_clients_do_not_matter(&shared_url(Kind::Redis)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_redis_cluster_expires_by_its_own_clock() {
    let cluster = RedisCluster::start();
    clocks_of_clients_do_not_matter(&cluster.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_postgres_expires_by_its_own_clock() {
    clocks_of_clients_do_not_matter(&shared_url(Kind::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_mysql_expires_by_its_own_clock() {
    clocks_of_clients_do_not_matter(&shared_url(Kind::MySql)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_mongodb_expires_by_its_own_clock() {
    clocks_of_clients_do_not_matter(&shared_url(Kind::MongoDb)).await;
}
