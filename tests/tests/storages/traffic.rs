//! What a service costs its storage: round trips and connections. What the bus costs on top is in `bus.rs`.

use std::ops::Range;

use cacheme::Cacheme;
use cacheme_storage::{Acquire, Bytes, Filled, LeaseToken};
use tests::{Proxy, mariadb, postgres, redis};

use super::postgres::run;
use super::redis::ask;
use super::service::{Square, loads, loads_in_trouble, squares, tier, working};
use super::{entry, open};

/// Asserts the round trips of each call of a service, once the connection is there and statements are known to it; those
/// of a single `miss` with its fill are not the same everywhere.
async fn round_trips(proxy: &Proxy, cacheme: &Cacheme, miss: u64) {
    let expected = |nodes: &[Square]| {
        nodes
            .iter()
            .map(|node| node.number * node.number)
            .collect::<Vec<_>>()
    };
    let all = |numbers: Range<u64>| squares(numbers);
    // Each of the calls below once, so that statements are prepared.
    for number in [900, 900] {
        cacheme.get(&Square { number }).await.unwrap();
    }
    for _ in 0..2 {
        cacheme.get_all(&all(901..921)).await.unwrap();
    }
    cacheme.set(&Square { number: 900 }, 810_000).await.unwrap();
    cacheme.peek(&Square { number: 900 }).await.unwrap();
    cacheme.refresh(&Square { number: 900 }).await.unwrap();
    cacheme.invalidate(&Square { number: 900 }).await.unwrap();
    cacheme.invalidate_all(&all(901..921)).await.unwrap();

    let before = (proxy.traffic(), tier(cacheme), loads(cacheme));
    let mut seen = before.0.round_trips;
    let cost = |seen: &mut u64, what: &str, trips: u64| {
        let now = proxy.traffic().round_trips;
        assert_eq!(now - *seen, trips, "round trips of {what}");
        *seen = now;
    };
    let (one, twenty) = (Square { number: 1 }, all(2..22));
    assert_eq!(cacheme.get(&one).await.unwrap(), 1);
    cost(&mut seen, "a miss and its fill", miss);
    assert_eq!(cacheme.get(&one).await.unwrap(), 1);
    cost(&mut seen, "a hit", 1);
    assert_eq!(cacheme.get_all(&twenty).await.unwrap(), expected(&twenty));
    // Each load lands when it ends: alone, or with those that ended meanwhile.
    let now = proxy.traffic().round_trips;
    assert!(
        (3..=22).contains(&(now - seen)),
        "20 misses and their fills: values, leases, fills took {} round trips",
        now - seen
    );
    seen = now;
    assert_eq!(cacheme.get_all(&twenty).await.unwrap(), expected(&twenty));
    cost(&mut seen, "20 hits", 1);
    cacheme.set(&one, 1).await.unwrap();
    cost(&mut seen, "a set", 1);
    assert_eq!(cacheme.peek(&one).await.unwrap(), Some(1));
    cost(&mut seen, "a peek", 1);
    cacheme.refresh(&one).await.unwrap();
    cost(&mut seen, "a refresh: lease, fill", 2);
    cacheme.invalidate(&one).await.unwrap();
    cost(&mut seen, "an invalidation", 1);
    cacheme.invalidate_all(&twenty).await.unwrap();
    cost(&mut seen, "20 invalidations", 1);
    assert_eq!(cacheme.peek(&twenty[7]).await.unwrap(), None);
    cost(&mut seen, "a peek at what is gone", 1);

    // By the dozen too nobody makes a connection for a call.
    let callers: Vec<_> = (100..150)
        .map(|number| {
            let cacheme = cacheme.clone();
            tokio::spawn(async move { cacheme.get(&Square { number }).await.unwrap() })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(
        proxy.traffic().connections,
        before.0.connections,
        "a connection was made for a call"
    );
    let after = tier(cacheme);
    assert_eq!(after.troubles, before.1.troubles);
    assert_eq!(loads(cacheme) - before.2, 1 + 20 + 1 + 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_service_cost_redis_one_round_trip_a_step() {
    let server = redis(&[]);
    let proxy = Proxy::to(server.port());
    let cacheme = working(
        "traffic",
        &format!("redis://127.0.0.1:{}?bus=false", proxy.port()),
    )
    .await;
    round_trips(&proxy, &cacheme, 2).await;
    let stats: String = ask(server.port(), &["INFO", "stats"]).await;
    let connections = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_connections_received:"));
    // The one that waited for the server to start, ours, and the one that asks.
    assert_eq!(connections.map(str::trim), Some("3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_service_cost_postgres_one_round_trip_a_step() {
    let server = postgres();
    let proxy = Proxy::to(server.port());
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?connections=1&timeout=10s&bus=false",
        proxy.port()
    );
    let cacheme = working("traffic", &url).await;
    round_trips(&proxy, &cacheme, 2).await;
    assert_eq!(proxy.traffic().connections, 1);

    // Where keys are mostly found, a statement that only looks goes first; where they are not any more, it does not.
    let trips = async |numbers: Range<u64>| {
        let before = proxy.traffic().round_trips;
        for number in numbers {
            cacheme.get(&Square { number }).await.unwrap();
        }
        proxy.traffic().round_trips - before
    };
    assert_eq!(trips(300..301).await, 2);
    for _ in 0..40 {
        assert_eq!(trips(300..301).await, 1, "a hit");
    }
    assert_eq!(trips(301..302).await, 3, "a look, the lease, the fill");
    assert_eq!(trips(301..302).await, 1);
    assert!(
        trips(302..312).await <= 25,
        "ten misses, few of them looked for first"
    );
    assert_eq!(trips(312..313).await, 2);

    // Nor does a refusal cost a connection.
    let pool = sqlx::PgPool::connect(&super::postgres::url(&server, ""))
        .await
        .unwrap();
    run(&pool, "ALTER TABLE cacheme ADD CHECK (lease IS NULL) NOT VALID").await;
    for number in 200..210 {
        loads_in_trouble(&cacheme, number).await;
    }
    assert_eq!(proxy.traffic().connections, 1, "for refused statements");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_a_service_cost_mysql_one_round_trip_a_step() {
    let server = mariadb();
    let proxy = Proxy::to(server.port());
    let url = format!(
        "mysql://root@127.0.0.1:{}/test?connections=1&timeout=10s",
        proxy.port()
    );
    let cacheme = working("traffic", &url).await;
    // Look, lease, fill: no statement both reads and writes.
    round_trips(&proxy, &cacheme, 3).await;
    assert_eq!(proxy.traffic().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_calls_go_to_postgres_in_pieces_side_by_side() {
    let server = postgres();
    let proxy = Proxy::to(server.port());
    let storage = open(&format!(
        "postgres://postgres@127.0.0.1:{}/postgres",
        proxy.port()
    ));
    storage.connect().await.unwrap();
    assert_eq!(proxy.traffic().connections, 1);
    // Sixteen pieces of 8 MiB and a little.
    let values: Vec<Bytes> = (0..16).map(|n| vec![n; (8 << 20) + 1].into()).collect();
    let keys: Vec<[u8; 1]> = (0..16).map(|n| [n]).collect();
    let entries: Vec<_> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| entry(key, value.clone(), None))
        .collect();
    storage.set(&entries).await.unwrap();
    assert_eq!(proxy.traffic().connections, 4, "four at once");
    let keys: Vec<&[u8]> = keys.iter().rev().map(|key| &key[..]).collect();
    let found = storage.get(&keys).await.unwrap();
    let same = found
        .iter()
        .zip(values.iter().rev())
        .all(|(found, value)| found.as_ref() == Some(value));
    assert!(same, "values came back in another order, or changed");
    let (token, time) = (LeaseToken(1), std::time::Duration::from_secs(60));
    storage
        .acquire(&keys, &Acquire::new(token, time).stealing())
        .await
        .unwrap();
    assert_eq!(storage.fill(&entries, token).await.unwrap(), [Filled::Stored; 16]);
    assert_eq!(proxy.traffic().connections, 4);
}
