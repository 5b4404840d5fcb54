//! SQLite files that somebody removes or replaces while processes use them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cacheme_storage::{Acquire, Error, Filled, LeaseToken, RemoteStorage, Sqlite};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, SqlitePool};
use tempfile::TempDir;

use super::sqlite_other::Other;
use super::{entry, eventually, open};

const MINUTE: Duration = Duration::from_secs(60);

/// A folder with a database `cache.db`, or whatever else lies there.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn url(&self, options: &str) -> String {
        format!("sqlite://{}{options}", self.path("cache.db").display())
    }

    pub(super) fn open(&self, options: &str) -> Arc<dyn RemoteStorage> {
        open(&self.url(options))
    }

    /// The names of what is there, but for what SQLite has beside a database.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        names.sort();
        names
    }

    /// Another connection, as other programs have it.
    pub(super) async fn pool(&self) -> SqlitePool {
        let options = SqliteConnectOptions::new()
            .filename(self.path("cache.db"))
            .create_if_missing(true);
        let one = SqlitePoolOptions::new().max_connections(1);
        one.connect_with(options).await.unwrap()
    }
}

pub(super) async fn run(pool: &SqlitePool, sql: &str) {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    sql.execute(pool).await.unwrap();
}

pub(super) async fn set(storage: &dyn RemoteStorage, key: &str, value: &'static str) {
    storage.set(&[entry(key.as_bytes(), value, None)]).await.unwrap();
}

pub(super) async fn get(storage: &dyn RemoteStorage, key: &str) -> Option<String> {
    let found = storage.get(&[key.as_bytes()]).await.unwrap();
    found[0]
        .as_ref()
        .map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// Whatever was removed: what a process removes is gone for those that started later and for those that were there before, and
/// all share one file again.
async fn all_go_on_with_what_is_there(remove: impl Fn(&Folder)) {
    let folder = Folder::new();
    let here = folder.open("");
    let mut before = Other::start(&folder.url(""));
    set(&*here, "key", "first").await;
    assert_eq!(before.get("key").as_deref(), Some("first"));
    remove(&folder);
    let mut later = Other::start(&folder.url(""));
    later.set("key", "old");
    here.remove(&[b"key"]).await.unwrap();
    assert_eq!(later.get("key"), None, "the value that was removed is read");
    assert_eq!(before.get("key"), None);
    // Each sees what the others write.
    before.set("by-one", "1");
    later.set("by-another", "2");
    set(&*here, "by-us", "3").await;
    for (key, value) in [("by-one", "1"), ("by-another", "2"), ("by-us", "3")] {
        assert_eq!(get(&*here, key).await.as_deref(), Some(value), "{key}");
        assert_eq!(before.get(key).as_deref(), Some(value), "{key}");
        assert_eq!(later.get(key).as_deref(), Some(value), "{key}");
    }
    assert!(folder.path("cache.db").exists());
}

fn remove(folder: &Folder, names: &[&str]) {
    for name in names {
        fs::remove_file(folder.path(name)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_sqlite_file_that_is_removed_is_left_by_all() {
    all_go_on_with_what_is_there(|folder| remove(folder, &["cache.db"])).await;
    all_go_on_with_what_is_there(|folder| remove(folder, &["cache.db-wal", "cache.db-shm", "cache.db"]))
        .await;
    all_go_on_with_what_is_there(|folder| {
        fs::rename(folder.path("cache.db"), folder.path("moved.db")).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_sqlite_log_that_is_removed_takes_nothing_back() {
    all_go_on_with_what_is_there(|folder| remove(folder, &["cache.db-wal"])).await;
    all_go_on_with_what_is_there(|folder| remove(folder, &["cache.db-shm"])).await;
    all_go_on_with_what_is_there(|folder| remove(folder, &["cache.db-wal", "cache.db-shm"])).await;
}

/// The copy is as it was before the process removed something, and the process knows better.
#[tokio::test(flavor = "multi_thread")]
async fn c1_a_copy_that_is_put_in_place_of_a_sqlite_file_brings_nothing_back() {
    let folder = Folder::new();
    let here = folder.open("");
    set(&*here, "key", "old").await;
    let pool = folder.pool().await;
    run(
        &pool,
        &format!("VACUUM INTO '{}'", folder.path("copy.db").display()),
    )
    .await;
    pool.close().await;
    here.remove(&[b"key"]).await.unwrap();
    set(&*here, "other", "v").await;
    fs::rename(folder.path("copy.db"), folder.path("cache.db")).unwrap();
    assert_eq!(get(&*here, "key").await, None);
    set(&*here, "key", "new").await;
    assert_eq!(get(&*folder.open(""), "key").await.as_deref(), Some("new"));
    assert_eq!(get(&*here, "other").await, None, "that was in the other file");
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_a_lease_in_a_sqlite_file_that_was_removed_is_lost() {
    let folder = Folder::new();
    let here = folder.open("");
    let (ours, theirs) = (LeaseToken(1), LeaseToken(2));
    let granted = here
        .acquire(&[b"key"], &Acquire::new(ours, MINUTE))
        .await
        .unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    remove(&folder, &["cache.db"]);
    // Nobody has it in the new file.
    let there = folder.open("");
    let granted = there
        .acquire(&[b"key"], &Acquire::new(theirs, MINUTE))
        .await
        .unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    let filled = here.fill(&[entry(b"key", "old", None)], ours).await.unwrap();
    assert_eq!(filled, [Filled::Lost]);
    here.renew(&[b"key"], ours, MINUTE).await.unwrap();
    here.release(&[b"key"], ours).await.unwrap();
    assert_eq!(get(&*there, "key").await, None);
    // All are in the new file now.
    let granted = there
        .acquire(&[b"key"], &Acquire::new(theirs, MINUTE))
        .await
        .unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    let filled = there.fill(&[entry(b"key", "new", None)], theirs).await.unwrap();
    assert_eq!(filled, [Filled::Stored]);
    assert_eq!(get(&*here, "key").await.as_deref(), Some("new"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn c2_a_link_to_a_sqlite_file_is_followed_wherever_it_leads() {
    let folder = Folder::new();
    let link = |target: &str| {
        std::os::unix::fs::symlink(target, folder.path("new link")).unwrap();
        fs::rename(folder.path("new link"), folder.path("cache.db")).unwrap();
    };
    link("one.db");
    let here = folder.open("");
    set(&*here, "key", "in one").await;
    assert!(folder.path("one.db").exists());
    let one = open(&format!("sqlite://{}", folder.path("one.db").display()));
    assert_eq!(get(&*one, "key").await.as_deref(), Some("in one"));
    link("two.db");
    here.remove(&[b"key"]).await.unwrap();
    set(&*here, "key", "in two").await;
    let two = open(&format!("sqlite://{}", folder.path("two.db").display()));
    assert_eq!(get(&*two, "key").await.as_deref(), Some("in two"));
    // A call that was under way when the link was changed may have got there.
    set(&*one, "key", "still in one").await;
    assert_eq!(get(&*here, "key").await.as_deref(), Some("in two"));
    remove(&folder, &["two.db"]);
    set(&*here, "key", "in a new two").await;
    assert_eq!(get(&*two, "key").await.as_deref(), Some("in a new two"));
    assert_eq!(folder.names(), ["cache.db", "one.db", "two.db"]);
}

/// Sets or removes a key. What meets trouble is done again.
async fn done(storage: &Arc<dyn RemoteStorage>, key: &str, value: Option<&'static str>) {
    let start = Instant::now();
    loop {
        let done = match value {
            Some(value) => storage.set(&[entry(key.as_bytes(), value, None)]).await,
            None => storage.remove(&[key.as_bytes()]).await,
        };
        match done {
            Ok(()) => return,
            Err(error) => assert!(start.elapsed() < MINUTE, "still {error}"),
        }
    }
}

/// Whatever is removed meanwhile, what one storage removed is in neither of two afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn c2_nothing_comes_back_while_sqlite_files_are_removed_again_and_again() {
    let folder = Arc::new(Folder::new());
    let (one, two) = (folder.open(""), folder.open(""));
    let over = Arc::new(AtomicBool::new(false));
    let callers = (0..4).map(|caller| {
        let (one, two, over) = (Arc::clone(&one), Arc::clone(&two), Arc::clone(&over));
        tokio::spawn(async move {
            let key = format!("key {caller}");
            while !over.load(Ordering::SeqCst) {
                done(&one, &key, Some("v")).await;
                done(&two, &key, None).await;
                for storage in [&one, &two] {
                    if let Ok(found) = storage.get(&[key.as_bytes()]).await {
                        assert_eq!(found, [None], "{key} came back");
                    }
                }
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    let all = ["cache.db-wal", "cache.db-shm", "cache.db"];
    for names in [&all[2..], &all[..1], &all[1..2], &all].repeat(5) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for name in names {
            // It may not be there at the moment.
            let _ = fs::remove_file(folder.path(name));
        }
    }
    over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    done(&one, "key", Some("v")).await;
    done(&two, "other", Some("v")).await;
    for key in ["key", "other"] {
        assert_eq!(get(&*one, key).await, get(&*two, key).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c2_an_idle_process_leaves_a_sqlite_file_that_was_removed() {
    let folder = Folder::new();
    let here = folder.open("?purge=20ms");
    set(&*here, "key", "v").await;
    remove(&folder, &["cache.db"]);
    eventually("the file is made anew", async || folder.path("cache.db").exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_sqlite_file_that_may_not_be_made_is_used_once_it_is_back() {
    let folder = Folder::new();
    set(&*folder.open(""), "key", "v").await;
    let here = folder.open("?create=false");
    assert_eq!(get(&*here, "key").await.as_deref(), Some("v"));
    fs::rename(folder.path("cache.db"), folder.path("away.db")).unwrap();
    for _ in 0..2 {
        let error = here.remove(&[b"key"]).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
    assert!(!folder.path("cache.db").exists());
    fs::rename(folder.path("away.db"), folder.path("cache.db")).unwrap();
    here.remove(&[b"key"]).await.unwrap();
    assert_eq!(get(&*folder.open(""), "key").await, None);
}

/// What the application's connections have open, only the application can change.
#[tokio::test(flavor = "multi_thread")]
async fn c2_a_sqlite_pool_of_the_application_on_a_file_that_was_replaced_is_refused() {
    let folder = Folder::new();
    let options = SqliteConnectOptions::new()
        .filename(folder.path("cache.db"))
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    let here = Sqlite::builder().pool(pool).build().unwrap();
    set(&here, "key", "v").await;
    remove(&folder, &["cache.db"]);
    for _ in 0..2 {
        let error = here.remove(&[b"key"]).await.unwrap_err().to_string();
        assert!(error.contains("Open the pool and the storage anew"), "{error}");
        let error = here.get(&[b"key"]).await.unwrap_err().to_string();
        assert!(error.contains("was removed or replaced"), "{error}");
    }
    // In memory there is nothing to remove.
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let here = Sqlite::builder().pool(pool).build().unwrap();
    set(&here, "key", "v").await;
    assert_eq!(get(&here, "key").await.as_deref(), Some("v"));
}

/// SQLite itself does not wait where a file is switched to a write-ahead log.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_sqlite_file_without_a_log_is_switched_once_its_writer_is_done() {
    let folder = Folder::new();
    let others = folder.pool().await;
    run(&others, "CREATE TABLE accounts (id INTEGER PRIMARY KEY)").await;
    let writing = others.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let busy = folder.open("?busy_timeout=100ms").connect().await.unwrap_err();
    assert!(
        matches!(busy, Error::Timeout { after, .. } if after == Duration::from_millis(100)),
        "{busy}"
    );
    let options = SqliteConnectOptions::new()
        .filename(folder.path("cache.db"))
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    let foreign: Arc<dyn RemoteStorage> = Arc::new(Sqlite::builder().pool(pool).build().unwrap());
    for storage in [folder.open(""), foreign] {
        let mut connecting = storage.connect();
        let early = tokio::time::timeout(Duration::from_millis(50), &mut connecting).await;
        assert!(early.is_err(), "{early:?}");
        drop(connecting);
    }
    let storage = folder.open("");
    let setting = tokio::spawn(async move { storage.set(&[entry(b"key", "v", None)]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    writing.commit().await.unwrap();
    setting.await.unwrap().unwrap();
    assert_eq!(get(&*folder.open(""), "key").await.as_deref(), Some("v"));
}
