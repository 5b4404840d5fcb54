use std::path::PathBuf;

use super::*;
use crate::contract::lease::{Acquire, Filled, LeaseToken};
use crate::contract::remote::RemoteStorage;
use crate::error::Chain;
use crate::storage::Storage;
use crate::url::StorageUrl;
use ::bytes::Bytes;

/// A directory for databases, removed in the end.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cacheme-sqlite-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn url(&self, options: &str) -> String {
        format!("sqlite://{}/cache.db{options}", self.0.display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn memory() -> Sqlite {
    Sqlite::builder().in_memory().build().unwrap()
}

fn entry<'a>(key: &'a [u8], value: &'static str, ttl_ms: Option<u64>) -> RemoteEntry<'a> {
    RemoteEntry {
        key,
        value: value.into(),
        ttl: ttl_ms.map(Duration::from_millis),
    }
}

async fn run(storage: &Sqlite, sql: &'static str) -> u64 {
    let mut taken = storage.inner.pool.take().await.unwrap();
    let done = sqlx::query(sql).execute(taken.connection()).await;
    taken.end(done).unwrap().rows_affected()
}

async fn rows(storage: &Sqlite) -> i64 {
    let mut taken = storage.inner.pool.take().await.unwrap();
    let count = sqlx::query_scalar("SELECT count(*) FROM cacheme")
        .fetch_one(taken.connection())
        .await;
    taken.end(count).unwrap()
}

/// As if an hour went by.
async fn an_hour_later(storage: &Sqlite) {
    run(
        storage,
        "UPDATE cacheme SET expires_at_ms = expires_at_ms - 3600000",
    )
    .await;
}

#[tokio::test]
async fn expired_rows_are_collected_a_batch_at_a_time() {
    let storage = memory();
    let keys: Vec<_> = (0..1500_u32).map(u32::to_be_bytes).collect();
    let entries: Vec<_> = keys.iter().map(|key| entry(key, "v", Some(60_000))).collect();
    storage.set(&entries).await.unwrap();
    storage.set(&[entry(b"stays", "v", None)]).await.unwrap();
    assert!(!storage.inner.round().await.unwrap());
    assert_eq!(rows(&storage).await, 1501);
    an_hour_later(&storage).await;
    assert_eq!(
        storage.get(&[&keys[0], b"stays"]).await.unwrap(),
        [None, Some("v".into())]
    );
    assert!(storage.inner.round().await.unwrap(), "more to collect");
    assert_eq!(rows(&storage).await, 501);
    assert!(!storage.inner.round().await.unwrap());
    assert_eq!(rows(&storage).await, 1);
}

#[tokio::test]
async fn the_upkeep_task_collects_and_ends_with_close() {
    let storage = Sqlite::builder()
        .in_memory()
        .purge_every(Duration::from_millis(1))
        .build()
        .unwrap();
    storage.set(&[entry(b"a", "v", Some(0))]).await.unwrap();
    while rows(&storage).await > 0 {
        tokio::task::yield_now().await;
    }
    storage.close().await.unwrap();
    storage.close().await.unwrap();
    let error = storage.get(&[b"a"]).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn memory_outlives_the_runtimes_that_use_it() {
    let storage = memory();
    for turn in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            if turn == 0 {
                storage.set(&[entry(b"a", "v", None)]).await.unwrap();
            }
            assert_eq!(
                storage.get(&[b"a"]).await.unwrap(),
                [Some("v".into())],
                "turn {turn}"
            );
        });
    }
}

#[tokio::test]
async fn a_file_is_shared_by_two_storages_and_outlives_them() {
    let directory = Directory::new("shared");
    let open = || {
        Storage::open(&directory.url(""))
            .unwrap()
            .as_remote()
            .unwrap()
            .clone()
    };
    let (one, two) = (open(), open());
    one.set(&[entry(b"a", "v", None)]).await.unwrap();
    assert_eq!(two.get(&[b"a"]).await.unwrap(), [Some("v".into())]);
    let token = LeaseToken(7);
    let granted = two
        .acquire(&[b"b"], &Acquire::new(token, Duration::from_secs(60)))
        .await
        .unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    one.remove(&[b"b"]).await.unwrap();
    assert_eq!(
        two.fill(&[entry(b"b", "old", None)], token).await.unwrap(),
        [Filled::Lost]
    );
    one.close().await.unwrap();
    two.close().await.unwrap();
    assert_eq!(open().get(&[b"a", b"b"]).await.unwrap(), [Some("v".into()), None]);
}

#[tokio::test]
async fn an_absent_table_says_what_to_run() {
    let directory = Directory::new("absent");
    let storage = Storage::open(&directory.url("?create=false")).unwrap();
    let error = storage.as_remote().unwrap().connect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "no file: {error}");

    Storage::open(&directory.url("?table=other"))
        .unwrap()
        .as_remote()
        .unwrap()
        .connect()
        .await
        .unwrap();
    let error = storage.as_remote().unwrap().connect().await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("table `cacheme` does not exist; run: CREATE TABLE"),
        "{error}"
    );

    // And what it says works.
    let ddl = error.split_once("run: ").unwrap().1.to_owned();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}/cache.db", directory.0.display()))
        .await
        .unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(ddl))
        .execute(&pool)
        .await
        .unwrap();
    storage.as_remote().unwrap().connect().await.unwrap();
}

#[tokio::test]
async fn a_table_of_another_shape_is_refused() {
    let pool = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(1)
        .connect("sqlite::memory:")
        .await
        .unwrap();
    sqlx::query("CREATE TABLE cacheme (key TEXT PRIMARY KEY, body BLOB)")
        .execute(&pool)
        .await
        .unwrap();
    let storage = Sqlite::builder().pool(pool.clone()).build().unwrap();
    let error = storage.connect().await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("table `cacheme` has another shape (body BLOB, key TEXT)"),
        "{error}"
    );

    // The application's pool works, under another name, and stays open.
    let storage = Sqlite::builder()
        .pool(pool.clone())
        .table("mine")
        .build()
        .unwrap();
    storage.set(&[entry(b"a", "v", None)]).await.unwrap();
    storage.close().await.unwrap();
    assert!(!pool.is_closed());
}

#[tokio::test]
async fn a_dropped_table_is_made_anew() {
    let storage = memory();
    storage.set(&[entry(b"a", "v", None)]).await.unwrap();
    run(&storage, "DROP TABLE cacheme").await;
    assert_eq!(storage.get(&[b"a"]).await.unwrap(), [None]);
    run(&storage, "DROP TABLE cacheme").await;
    storage.set(&[entry(b"a", "w", None)]).await.unwrap();
    assert_eq!(storage.get(&[b"a"]).await.unwrap(), [Some("w".into())]);
}

#[tokio::test]
async fn what_outlives_a_power_cut_is_as_asked_for() {
    for (options, synchronous) in [("", 1), ("?synchronous=normal", 1), ("?synchronous=full", 2)] {
        let directory = Directory::new("synchronous");
        let url = StorageUrl::parse(&directory.url(options));
        let storage = SqliteBuilder::from_url(&mut url.unwrap())
            .unwrap()
            .build()
            .unwrap();
        storage.connect().await.unwrap();
        let mut taken = storage.inner.pool.take().await.unwrap();
        let found = sqlx::query_scalar::<_, i64>("PRAGMA synchronous")
            .fetch_one(taken.connection())
            .await;
        assert_eq!(taken.end(found).unwrap(), synchronous, "{options}");
    }
}

#[tokio::test]
async fn an_exhausted_pool_is_trouble_after_a_bounded_wait() {
    let storage = Sqlite::builder()
        .in_memory()
        .acquire_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    storage.connect().await.unwrap();
    let taken = storage.inner.pool.take().await.unwrap();
    let error = storage.get(&[b"a"]).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    drop(taken);
    assert_eq!(storage.get(&[b"a"]).await.unwrap(), [None]);
}

#[tokio::test]
async fn the_lock_of_another_process_is_waited_for_within_bounds() {
    let directory = Directory::new("locked");
    let url = directory.url("?busy_timeout=10ms");
    let storage = Storage::open(&url).unwrap().as_remote().unwrap().clone();
    storage.connect().await.unwrap();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}/cache.db", directory.0.display()))
        .await
        .unwrap();
    let lock = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = storage.set(&[entry(b"a", "v", None)]).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { after, .. } if after == Duration::from_millis(10)),
        "{error}"
    );
    assert_eq!(storage.get(&[b"a"]).await.unwrap(), [None], "readers don't wait");
    lock.rollback().await.unwrap();
    storage.set(&[entry(b"a", "v", None)]).await.unwrap();
}

#[tokio::test]
async fn a_value_of_64_mib_comes_back() {
    let storage = memory();
    let value = Bytes::from(vec![7; 64 << 20]);
    let large = RemoteEntry {
        key: b"large",
        value: value.clone(),
        ttl: None,
    };
    storage.set(&[large]).await.unwrap();
    assert_eq!(storage.get(&[b"large"]).await.unwrap(), [Some(value)]);
}

#[test]
fn urls_say_what_is_wrong() {
    let wrong = |url: &str| Storage::open(url).unwrap_err().to_string();
    assert!(wrong("sqlite://").contains("names no file"));
    assert!(wrong("sqlite://a.db?table=a.b").contains("option `table` must be a table name"));
    assert!(wrong("sqlite://a.db?create=maybe").contains("option `create` must be `true` or `false`"));
    assert!(wrong("sqlite://a.db?connections=0").contains("option `connections` must be a number from 1 on"));
    let known = "acquire_timeout, busy_timeout, connections, corrupt, create, largest_value, purge, synchronous, table, timeout";
    assert!(wrong("sqlite://a.db?size=1").contains(known));
    assert!(wrong("sqlite://joe:secret@a.db").contains("SQLite has no users"));
    assert!(!wrong("sqlite://joe:secret@a.db").contains("secret"));
    assert_eq!(
        Storage::open("sqlite://data/a%3Fb.db").unwrap().location(),
        "sqlite://data/a?b.db"
    );
    assert!(
        Sqlite::builder()
            .build()
            .unwrap_err()
            .to_string()
            .contains("no database")
    );
    assert!(Sqlite::builder().in_memory().table("a\0b").build().is_err());
}

#[tokio::test]
async fn callers_who_give_up_leave_no_more_threads_than_there_are_connections() {
    let directory = Directory::new("given_up");
    let url = directory.url("?connections=2&busy_timeout=2s&acquire_timeout=1m");
    let storage = Storage::open(&url).unwrap().as_remote().unwrap().clone();
    storage.connect().await.unwrap();
    let file = directory.0.join("cache.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", file.display()))
        .await
        .unwrap();
    let lock = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let is_it =
            |file_there: &std::fs::DirEntry| std::fs::read_link(file_there.path()).is_ok_and(|to| to == file);
        files.filter(is_it).count()
    };
    // Ours may be two, and the one of who holds the lock.
    for _ in 0..20 {
        let write = storage.remove(&[b"a"]);
        assert!(
            tokio::time::timeout(Duration::from_millis(2), write)
                .await
                .is_err()
        );
        assert!(open() <= 3, "{} connections", open());
    }
    lock.rollback().await.unwrap();
    storage.remove(&[b"a"]).await.unwrap();
    assert!(open() <= 3, "{} connections", open());
}
