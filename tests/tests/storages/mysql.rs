use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{
    Acquire, Acquired, Bytes, Chain, Error, Filled, LeaseToken, MySql, RemoteEntry, RemoteStorage,
};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Executor, MySqlPool};

use tests::{Proxy, Server, mariadb};

use super::{entry, open};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn url(server: &Server, options: &str) -> String {
    format!("mysql://root@127.0.0.1:{}/test{options}", server.port())
}

pub(super) async fn run(pool: &MySqlPool, sql: &str) {
    pool.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
        .await
        .unwrap();
}

#[test]
fn mysql_urls_are_checked() {
    let wrong = |url: &str| cacheme_storage::Storage::open(url).unwrap_err().to_string();
    assert!(
        wrong("mysql://app:s3cret@db/").contains("names no database"),
        "{}",
        wrong("mysql://app:s3cret@db/")
    );
    let unknown = wrong("mysql://app:s3cret@db/app?tabel=x");
    assert!(unknown.starts_with("storage url `mysql://db/app`: unknown option `tabel`; known are: "));
    for name in [
        "acquire_timeout",
        "connections",
        "create",
        "purge",
        "socket",
        "sslca",
        "sslmode",
        "table",
    ] {
        assert!(unknown.contains(name), "{unknown}");
    }
    assert!(wrong("mysql://db/app?sslmode=maybe").contains("must be `disabled`, `preferred`"));
    assert!(wrong("mysql://db/app?table=a.b.c").contains("must be a table name"));
}

/// What the server was asked meanwhile, in round trips.
struct RoundTrips<'a> {
    proxy: &'a Proxy,
    before: u64,
}

impl RoundTrips<'_> {
    fn were(&mut self, expected: u64, what: &str) {
        let now = self.proxy.traffic().round_trips;
        assert_eq!(now - self.before, expected, "{what}");
        self.before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_answers_each_call_in_one_round_trip() {
    let server = mariadb();
    let proxy = Proxy::to(server.port());
    let storage = open(&format!(
        "mysql://root@127.0.0.1:{}/test?connections=1",
        proxy.port()
    ));
    let names: Vec<_> = (0..300_u32).map(u32::to_be_bytes).collect();
    let all: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    let (mine, theirs) = (LeaseToken(1), LeaseToken(2));
    for turn in 0..2 {
        let mut trips = RoundTrips {
            before: proxy.traffic().round_trips,
            proxy: &proxy,
        };
        // The first turn connects and prepares statements.
        let mut were = |expected: u64, what: &str| {
            if turn == 1 {
                trips.were(expected, what);
            }
        };
        for count in [1, 20, 300] {
            let keys = &all[..count];
            let entries: Vec<_> = keys.iter().map(|key| entry(key, "value", None)).collect();
            let is_single = count == 1;

            let granted = storage.acquire(keys, &Acquire::new(mine, MINUTE)).await.unwrap();
            assert!(granted.iter().all(Acquired::is_granted));
            were(if is_single { 2 } else { 1 }, "a lease that is free");
            let busy = storage
                .acquire(keys, &Acquire::new(theirs, MINUTE))
                .await
                .unwrap();
            assert!(busy.iter().all(|answer| matches!(answer, Acquired::Busy { .. })));
            were(if is_single { 1 } else { 2 }, "a lease that somebody has");
            let filled = storage.fill(&entries, mine).await.unwrap();
            assert!(filled.iter().all(|filled| *filled == Filled::Stored));
            // Parts of 128, one after the other over the one connection.
            were(if count == 300 { 3 } else { 1 }, "fill");
            let found = storage.get(keys).await.unwrap();
            assert!(found.iter().all(Option::is_some));
            were(1, "get");
            let found = storage
                .acquire(keys, &Acquire::new(theirs, MINUTE))
                .await
                .unwrap();
            assert!(found.iter().all(|answer| matches!(answer, Acquired::Value(_))));
            were(if is_single { 1 } else { 2 }, "a lease where a value is");
            storage
                .acquire(keys, &Acquire::new(theirs, MINUTE).stealing())
                .await
                .unwrap();
            were(1, "a lease stolen");
            storage.release(keys, theirs).await.unwrap();
            were(1, "release");
            storage.set(&entries).await.unwrap();
            were(1, "set");
            storage.remove(keys).await.unwrap();
            were(1, "remove");
        }
        storage.clear(b"").await.unwrap();
        were(1, "clear");
    }
    assert_eq!(proxy.traffic().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_takes_values_as_long_as_its_messages() {
    let server = mariadb();
    let pool = MySqlPool::connect(&url(&server, "")).await.unwrap();
    run(&pool, "SET GLOBAL max_allowed_packet = 2097152").await;
    let storage = open(&url(&server, ""));
    let value = |size: usize| Bytes::from(vec![9; size]);
    let error = storage.set(&[entry(b"a", value(4 << 20), None)]).await;
    let Err(Error::TooLarge { size, limit, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(
        size == 4 << 20 && limit > (2 << 20) - (20 << 10),
        "{size} {limit}"
    );
    let key = vec![b'k'; 2000];
    let mine = LeaseToken(1);
    storage.set(&[entry(&key, value(limit), None)]).await.unwrap();
    assert_eq!(storage.get(&[&key]).await.unwrap(), [Some(value(limit))]);
    let found = storage
        .acquire(&[&key], &Acquire::new(mine, MINUTE))
        .await
        .unwrap();
    assert_eq!(found, [Acquired::Value(value(limit).into())]);
    storage
        .acquire(&[&key], &Acquire::new(mine, MINUTE).stealing())
        .await
        .unwrap();
    let filled = storage.fill(&[entry(&key, value(limit), None)], mine).await;
    assert_eq!(filled.unwrap(), [Filled::Stored]);
    // More than one message holds, in one call.
    let names: Vec<_> = (0..8_u8).map(|name| [name]).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|name| entry(name, value(1 << 20), None))
        .collect();
    storage.set(&entries).await.unwrap();
    let keys: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    assert!(
        storage
            .get(&keys)
            .await
            .unwrap()
            .iter()
            .all(|found| found == &Some(value(1 << 20)))
    );
    let refused = storage.set(&[entry(b"a", value(limit + 1), None)]).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_sessions_of_the_application_may_be_odd() {
    let server = mariadb();
    let options: MySqlConnectOptions = url(&server, "").parse().unwrap();
    let pool = MySqlPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection
                    .execute(
                        "SET time_zone = '-11:00', sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES', sql_safe_updates = 1, \
                         collation_connection = 'utf8mb4_general_ci'",
                    )
                    .await?;
                Ok(())
            })
        })
        .connect_with(options)
        .await
        .unwrap();
    let odd = || MySql::builder().pool(pool.clone()).build().unwrap();
    cacheme_storage::conformance::remote(Arc::new(odd())).await;
    let odd = odd();

    // They share entries with sessions as the driver makes them, and mean the same time.
    let plain = open(&url(&server, ""));
    odd.set(&[entry(b"Key ", "v", Some(MINUTE))]).await.unwrap();
    let found = plain.get(&[b"Key ", b"key ", b"Key"]).await.unwrap();
    assert_eq!(found, [Some("v".into()), None, None]);
    assert!(odd.now_ms().abs_diff(plain.now_ms()) < 60_000);
    odd.close().await.unwrap();
    assert!(!pool.is_closed());

    // Another table is another world.
    let other = open(&url(&server, "?table=other"));
    assert_eq!(other.get(&[b"Key "]).await.unwrap(), [None]);
    other.clear(b"").await.unwrap();
    assert_eq!(plain.get(&[b"Key "]).await.unwrap(), [Some("v".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_collects_expired_rows_and_makes_its_table_anew() {
    let server = mariadb();
    let pool = MySqlPool::connect(&url(&server, "")).await.unwrap();
    let storage = open(&url(&server, "?purge=50ms"));
    let names: Vec<_> = (0..2000_u32).map(u32::to_be_bytes).collect();
    let mut entries: Vec<RemoteEntry<'_>> = names
        .iter()
        .map(|name| entry(name, "v", Some(Duration::from_millis(1))))
        .collect();
    entries.push(entry(b"stays", "v", None));
    storage.set(&entries).await.unwrap();
    let rows = async || {
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM cacheme")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    super::eventually("only what lives is left", async || rows().await == 1).await;
    storage.close().await.unwrap();

    // The purge of this one is far away: it is a call that meets the missing table.
    let storage = open(&url(&server, ""));
    assert_eq!(storage.get(&[b"stays"]).await.unwrap(), [Some("v".into())]);
    run(&pool, "DROP TABLE cacheme").await;
    let error = storage.get(&[b"stays"]).await.unwrap_err();
    assert!(Chain(&error).to_string().contains("doesn't exist"), "{error}");
    assert_eq!(
        storage.get(&[b"stays"]).await.unwrap(),
        [None],
        "the table is made anew"
    );
    storage.close().await.unwrap();
    let error = storage.get(&[b"stays"]).await.unwrap_err();
    assert!(Chain(&error).to_string().contains("was closed"), "{error}");
}
