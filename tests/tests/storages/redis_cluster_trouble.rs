//! A cluster of which one master is dead or frozen, and nobody takes its place: what the others have goes on being served,
//! and all processes go on hearing of changes.

use std::time::{Duration, Instant};

use cacheme::{Cacheme, Storage};
use futures_util::future::join_all;
use tests::{RedisCluster, redis_cli};

use super::bus::{node, within};
use super::eventually;
use super::service::{Square, squares, tier, working};

/// What callers wait unless told otherwise.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Whether a key belongs to the server on this port.
fn is_on(port: u16, key: &str) -> bool {
    !redis_cli(port, &["exists", key]).contains("MOVED")
}

/// What a server can be in.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Dead,
    Frozen,
}

impl Trouble {
    fn begin(self, cluster: &mut RedisCluster, place: usize) {
        match self {
            Self::Dead => cluster.servers[place].kill(),
            Self::Frozen => cluster.servers[place].freeze(),
        }
    }

    fn end(self, cluster: &mut RedisCluster, place: usize) {
        match self {
            Self::Dead => cluster.servers[place].restart(),
            Self::Frozen => cluster.servers[place].thaw(),
        }
        cluster.wait_until_whole();
    }

    /// Within what time calls for its keys end: a port that refuses is no reason to wait.
    fn bound(self) -> Duration {
        match self {
            Self::Dead => TIMEOUT / 2,
            Self::Frozen => TIMEOUT * 3,
        }
    }
}

/// Reads all; gives the hits and how long it took.
async fn read_all(cacheme: &Cacheme, nodes: &[Square]) -> (u64, Duration) {
    let (before, start) = (tier(cacheme).hits, Instant::now());
    let values = cacheme.get_all(nodes).await.unwrap();
    let took = start.elapsed();
    let expected: Vec<u64> = nodes.iter().map(|node| node.number * node.number).collect();
    assert_eq!(values, expected);
    (tier(cacheme).hits - before, took)
}

async fn goes_on_serving(cluster: &mut RedisCluster, trouble: Trouble) {
    let cacheme = working("partly", &cluster.url()).await;
    let nodes = squares(0..300);
    cacheme.get_all(&nodes).await.unwrap();
    let (hits, _) = read_all(&cacheme, &nodes).await;
    assert_eq!(hits, 300);
    let place = cluster.masters()[1];
    let port = cluster.servers[place].port();
    let (lost, living): (Vec<Square>, Vec<Square>) = nodes
        .iter()
        .cloned()
        .partition(|node| is_on(port, &cacheme.full_key(node)));
    assert!(lost.len() > 50 && living.len() > 150, "{} of 300", lost.len());
    trouble.begin(cluster, place);

    for round in 0..3 {
        let (hits, took) = read_all(&cacheme, &nodes).await;
        assert_eq!(hits, living.len() as u64, "{trouble:?}, round {round}");
        assert!(took < trouble.bound(), "{trouble:?}, round {round}: {took:?}");
    }
    // Single reads at once are combined; those that can be answered are, soon.
    let before = tier(&cacheme).hits;
    let reads = nodes.iter().map(|node| {
        let (cacheme, node) = (cacheme.clone(), node.clone());
        tokio::spawn(async move {
            let start = Instant::now();
            cacheme.get(&node).await.unwrap();
            start.elapsed()
        })
    });
    let times = join_all(reads).await;
    let mut slow = nodes
        .iter()
        .zip(times)
        .filter(|(_, time)| *time.as_ref().unwrap() > TIMEOUT / 2)
        .filter(|(node, _)| living.iter().any(|living| living.number == node.number));
    assert!(
        slow.next().is_none(),
        "{trouble:?}: a key that can be had was waited for"
    );
    assert_eq!(tier(&cacheme).hits - before, living.len() as u64);

    // What is on living servers is removed and filled; what is not is named, and taken for old here.
    let start = Instant::now();
    let error = cacheme.invalidate_all(&nodes).await.unwrap_err();
    assert!(
        start.elapsed() < trouble.bound(),
        "{trouble:?}: {:?}",
        start.elapsed()
    );
    let cacheme::Error::NotInvalidated { keys, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*keys, lost.len(), "{trouble:?}: {error}");
    let (hits, _) = read_all(&cacheme, &nodes).await;
    assert_eq!(hits, 0, "{trouble:?}: all was removed");
    // A busy machine may take longer for a fill than callers wait.
    eventually("what could be filled was", async || {
        read_all(&cacheme, &nodes).await.0 == living.len() as u64
    })
    .await;

    trouble.end(cluster, place);
    eventually("what was lost is served again", async || {
        read_all(&cacheme, &nodes).await.0 == 300
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_t1_keys_on_living_servers_are_served_while_another_is_dead_or_frozen() {
    let mut cluster = RedisCluster::start_patient();
    goes_on_serving(&mut cluster, Trouble::Dead).await;
    goes_on_serving(&mut cluster, Trouble::Frozen).await;
}

/// Whichever server is in trouble, changes of keys that can be changed reach the other process.
#[tokio::test(flavor = "multi_thread")]
async fn c3_a_cluster_goes_on_publishing_while_a_master_is_dead_or_frozen() {
    let mut cluster = RedisCluster::start_patient();
    let url = cluster.url();
    let [one, other] = [(), ()].map(|()| async { within(Storage::open(&url).unwrap()).await });
    let (one, other) = (one.await, other.await);
    for place in cluster.masters() {
        for trouble in [Trouble::Dead, Trouble::Frozen] {
            let port = cluster.servers[place].port();
            let mut nodes: Vec<_> = (0..20).map(node).collect();
            for (_, node) in &nodes {
                one.get(node).await.unwrap();
                other.get(node).await.unwrap();
            }
            nodes.retain(|(_, node)| !is_on(port, &one.full_key(node)));
            assert!(nodes.len() > 5);
            trouble.begin(&mut cluster, place);
            for (number, (source, node)) in nodes.iter().enumerate() {
                source.send_replace(1);
                let start = Instant::now();
                one.invalidate(node)
                    .await
                    .unwrap_or_else(|error| panic!("{trouble:?}, {number}: {error:?}"));
                assert!(
                    start.elapsed() < TIMEOUT,
                    "{trouble:?}, {number}: {:?}",
                    start.elapsed()
                );
                eventually("the change is heard of", async || {
                    other.get(node).await.unwrap() == 1
                })
                .await;
                assert!(
                    start.elapsed() < Duration::from_secs(5),
                    "{trouble:?}, {number}: {:?}",
                    start.elapsed()
                );
            }
            trouble.end(&mut cluster, place);
            let all: Vec<_> = nodes.iter().map(|(_, node)| node.clone()).collect();
            one.invalidate_all(&all).await.unwrap();
        }
    }
}
