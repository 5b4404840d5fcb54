//! Leases whose record lost its end on the server, by a stray command of somebody else: they are over when their own time is.

use std::time::{Duration, Instant};

use cacheme_storage::{Acquire, Acquired, Filled, LeaseToken, RemoteStorage};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use tests::{Kind, redis, shared_url};

use super::redis::ask;
use super::{entry, eventually, open};

const KEY: &[u8] = b"lease without an end";
const MINUTE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
const THEIRS: LeaseToken = LeaseToken(7);
const OURS: LeaseToken = LeaseToken(8);

async fn ask_for(storage: &dyn RemoteStorage, token: LeaseToken, time: Duration) -> Acquired {
    let mut answers = storage.acquire(&[KEY], &Acquire::new(token, time)).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// Others get a lease that has no end on the server once its time is over, and its holder can no longer fill.
async fn is_taken_over(storage: &dyn RemoteStorage, take_end: impl AsyncFn()) {
    assert!(ask_for(storage, THEIRS, SHORT).await.is_granted());
    take_end().await;
    eventually("the lease is taken over", async || {
        ask_for(storage, OURS, MINUTE).await.is_granted()
    })
    .await;
    assert!(matches!(
        ask_for(storage, THEIRS, MINUTE).await,
        Acquired::Busy { .. }
    ));
    let value = [entry(KEY, "v", None)];
    assert_eq!(storage.fill(&value, THEIRS).await.unwrap(), [Filled::Lost]);
    assert_eq!(storage.fill(&value, OURS).await.unwrap(), [Filled::Stored]);
    storage.remove(&[KEY]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_lease_without_an_expiry_in_redis_ends_with_its_time() {
    let server = redis(&[]);
    let storage = open(&super::redis::url(&server));
    let key = std::str::from_utf8(KEY).unwrap();
    for command in [&["PERSIST", key][..], &["EXPIRE", key, "86400"]] {
        let take_end = async || assert_eq!(ask::<i64>(server.port(), command).await, 1, "{command:?}");
        is_taken_over(&*storage, take_end).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_renewed_lease_without_an_expiry_in_redis_is_not_taken_over_early() {
    let server = redis(&[]);
    let storage = open(&super::redis::url(&server));
    assert!(ask_for(&*storage, THEIRS, SHORT).await.is_granted());
    storage.renew(&[KEY], THEIRS, MINUTE).await.unwrap();
    let key = std::str::from_utf8(KEY).unwrap();
    assert_eq!(ask::<i64>(server.port(), &["PERSIST", key]).await, 1);
    // Past its first time, and past what clocks may differ by.
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_500) {
        let asked = ask_for(&*storage, OURS, MINUTE).await;
        assert!(
            matches!(asked, Acquired::Busy { left } if left > MINUTE / 2 && left <= MINUTE),
            "{asked:?}"
        );
        tokio::time::sleep(SHORT).await;
    }
    let filled = storage.fill(&[entry(KEY, "v", None)], THEIRS).await.unwrap();
    assert_eq!(filled, [Filled::Stored]);
}

const FORGET: &str = "UPDATE lease_ends SET expires_at_ms = NULL";

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_lease_without_an_expiry_in_a_table_is_over() {
    let url = |base: &str| format!("{base}?timeout=10s&table=lease_ends");
    let base = shared_url(Kind::Postgres);
    let pool = sqlx::PgPool::connect(&base).await.unwrap();
    is_taken_over(&*open(&url(&base)), async || {
        assert_eq!(
            sqlx::query(FORGET).execute(&pool).await.unwrap().rows_affected(),
            1
        );
    })
    .await;
    let base = shared_url(Kind::MySql);
    let pool = sqlx::MySqlPool::connect(&base).await.unwrap();
    is_taken_over(&*open(&url(&base)), async || {
        assert_eq!(
            sqlx::query(FORGET).execute(&pool).await.unwrap().rows_affected(),
            1
        );
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let base = format!("sqlite://{}/cache.db", folder.path().display());
    let storage = open(&url(&base));
    storage.connect().await.unwrap();
    let pool = sqlx::SqlitePool::connect(&base).await.unwrap();
    is_taken_over(&*storage, async || {
        assert_eq!(
            sqlx::query(FORGET).execute(&pool).await.unwrap().rows_affected(),
            1
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_a_lease_without_an_expiry_in_a_collection_is_over() {
    let base = shared_url(Kind::MongoDb);
    let client = Client::with_uri_str(&base).await.unwrap();
    let database = client.default_database().unwrap();
    let documents = database.collection::<Document>("lease_ends");
    let storage = open(&format!("{base}?timeout=10s&collection=lease_ends"));
    is_taken_over(&*storage, async || {
        let forget = doc! { "$unset": { "expires_at": "" } };
        let done = documents.update_many(doc! {}, forget).await.unwrap();
        assert_eq!(done.modified_count, 1);
    })
    .await;
}
