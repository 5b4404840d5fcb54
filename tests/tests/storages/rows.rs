//! What is left in tables and collections.

use std::time::Duration;

use cacheme_storage::{Acquire, LeaseToken};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use sqlx::{Database, Executor, IntoArguments, Pool};
use tests::{Kind, shared_url};

use super::{entry, open};

const MINUTE: Duration = Duration::from_secs(60);

/// Of leases that were lost before they were filled no row stays behind, not even an expired one.
async fn fills_leave_nothing_of_what_was_lost(url: &str, rows: impl AsyncFnOnce() -> i64) {
    let storage = open(url);
    let keys: Vec<&[u8]> = vec![b"removed", b"stolen", b"set", b"kept"];
    let (mine, theirs) = (LeaseToken(7), LeaseToken(8));
    storage.acquire(&keys, &Acquire::new(mine, MINUTE)).await.unwrap();
    storage.remove(&keys[..1]).await.unwrap();
    storage
        .acquire(&keys[1..2], &Acquire::new(theirs, MINUTE).stealing())
        .await
        .unwrap();
    storage.set(&[entry(b"set", "set", None)]).await.unwrap();
    let entries: Vec<_> = keys.iter().map(|key| entry(key, "filled", None)).collect();
    storage.fill(&entries, mine).await.unwrap();
    storage.release(&keys, theirs).await.unwrap();
    assert_eq!(rows().await, 2, "{url}: what was set and what was kept");
    storage.clear(b"").await.unwrap();
    storage.close().await.unwrap();
}

async fn rows_in<DB: Database>(pool: Pool<DB>) -> i64
where
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    i64: sqlx::Type<DB> + for<'r> sqlx::Decode<'r, DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
{
    let count = sqlx::query_scalar::<DB, i64>("SELECT COUNT(*) FROM left_over");
    count.fetch_one(&pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_leave_nothing_of_what_was_lost_anywhere() {
    let url = |base: &str| format!("{base}?timeout=10s&table=left_over");
    let base = shared_url(Kind::Postgres);
    let rows = async || rows_in(sqlx::PgPool::connect(&base).await.unwrap()).await;
    fills_leave_nothing_of_what_was_lost(&url(&base), rows).await;
    let base = shared_url(Kind::MySql);
    let rows = async || rows_in(sqlx::MySqlPool::connect(&base).await.unwrap()).await;
    fills_leave_nothing_of_what_was_lost(&url(&base), rows).await;
    let folder = tempfile::tempdir().unwrap();
    let base = format!("sqlite://{}/cache.db", folder.path().display());
    let rows = async || rows_in(sqlx::SqlitePool::connect(&base).await.unwrap()).await;
    fills_leave_nothing_of_what_was_lost(&url(&base), rows).await;
    let base = shared_url(Kind::MongoDb);
    let rows = async || {
        let client = Client::with_uri_str(&base).await.unwrap();
        let documents = client
            .default_database()
            .unwrap()
            .collection::<Document>("left_over");
        documents.count_documents(doc! {}).await.unwrap().cast_signed()
    };
    fills_leave_nothing_of_what_was_lost(&format!("{base}?timeout=10s&collection=left_over"), rows).await;
}
