//! SQLite files that are damaged: a cache is begun anew, and nothing else is touched.

use std::fs;
use std::process::{Command, Stdio};

use cacheme_storage::{Chain, Error};

use super::log::Seen;
use super::sqlite_file::{Folder, get, run, set};
use super::sqlite_other::Other;
use super::{entry, open};

/// Writes `bytes` of garbage over the file from `offset` on. By a process of its own: SQLite loses its locks when its process
/// opens and closes the file behind its back.
fn garble(folder: &Folder, offset: u64, bytes: u64) {
    let done = Command::new("dd")
        .args(["if=/dev/urandom", "conv=notrunc", "bs=1"])
        .args([
            format!("of={}", folder.path("cache.db").display()),
            format!("seek={offset}"),
            format!("count={bytes}"),
        ])
        .stderr(Stdio::null())
        .status();
    assert!(done.unwrap().success());
}

/// A file with values on many pages, which are all in the file and not in its log.
async fn filled(folder: &Folder) {
    let storage = folder.open("");
    let values: Vec<_> = (0..200).map(|n| format!("key {n}")).collect();
    let entries: Vec<_> = values
        .iter()
        .map(|key| entry(key.as_bytes(), vec![b'v'; 900], None))
        .collect();
    storage.set(&entries).await.unwrap();
    storage.close().await.unwrap();
    assert!(!folder.path("cache.db-wal").exists());
}

const PAGE: u64 = 4096;

#[tokio::test]
async fn t1_a_damaged_sqlite_file_is_moved_aside_and_a_new_one_begun() {
    let seen = Seen::default();
    let _logging = seen.on_this_thread();
    let folder = Folder::new();
    filled(&folder).await;
    // Everything but the beginning, which has the list of tables.
    garble(&folder, PAGE, 30 * PAGE);
    let here = folder.open("");
    set(&*here, "key", "v").await;
    assert_eq!(get(&*here, "key").await.as_deref(), Some("v"));
    here.remove(&[b"key"]).await.unwrap();
    assert_eq!(folder.names(), ["cache.db", "cache.db.corrupt"]);
    let told = seen.all();
    assert_eq!(told.matches("the file is damaged").count(), 1, "{told}");
    for told_of in ["cache.db)", "cache.db.corrupt", "malformed"] {
        assert!(told.contains(told_of), "{told_of}: {told}");
    }
    // One is kept.
    drop(here);
    fs::remove_file(folder.path("cache.db")).unwrap();
    filled(&folder).await;
    garble(&folder, PAGE, 30 * PAGE);
    set(&*folder.open(""), "key", "v").await;
    assert_eq!(folder.names(), ["cache.db", "cache.db.corrupt"]);
}

/// They all have it open, and may meet the damage at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn t1_processes_that_meet_a_damaged_sqlite_file_at_once_share_a_new_one() {
    for round in 0..5 {
        let folder = Folder::new();
        filled(&folder).await;
        let here = folder.open("");
        set(&*here, "before", "v").await;
        let mut others: Vec<_> = (0..3).map(|_| Other::start(&folder.url(""))).collect();
        for other in &mut others {
            assert_eq!(other.get("before").as_deref(), Some("v"));
        }
        // From the first byte on: it is no database any more.
        garble(&folder, 0, 30 * PAGE);
        let writers = others.into_iter().enumerate().map(|(n, mut other)| {
            std::thread::spawn(move || {
                for turn in 0..20 {
                    other.set(&format!("key-{n}-{turn}"), "v");
                }
                other
            })
        });
        let mut others: Vec<_> = writers
            .collect::<Vec<_>>()
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect();
        // All are in the new file now, and share it.
        set(&*here, "from-here", "v").await;
        for (n, other) in others.iter_mut().enumerate() {
            assert_eq!(other.get("from-here").as_deref(), Some("v"), "round {round}");
            other.set(&format!("from-{n}"), "v");
        }
        for n in 0..3 {
            let from = format!("from-{n}");
            assert_eq!(get(&*here, &from).await.as_deref(), Some("v"), "round {round}");
        }
        assert_eq!(folder.names(), ["cache.db", "cache.db.corrupt"], "round {round}");
    }
}

/// Of a file that says that it was made for a cache alone, not even the list of tables is needed.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_sqlite_file_without_its_list_of_tables_is_known_by_its_mark() {
    let folder = Folder::new();
    filled(&folder).await;
    garble(&folder, 100, PAGE - 100);
    let here = folder.open("");
    set(&*here, "key", "v").await;
    assert_eq!(folder.names(), ["cache.db", "cache.db.corrupt"]);

    // Another program has a table in this one, and the mark is gone since.
    let folder = Folder::new();
    filled(&folder).await;
    let pool = folder.pool().await;
    run(&pool, "CREATE TABLE accounts (id INTEGER PRIMARY KEY)").await;
    pool.close().await;
    let here = folder.open("");
    here.connect().await.unwrap();
    here.close().await.unwrap();
    garble(&folder, 100, PAGE - 100);
    is_left(
        &folder,
        "",
        &["malformed", "may hold more than the table `cacheme`"],
    )
    .await;
}

/// Refused for these causes, and not touched.
async fn is_left(folder: &Folder, options: &str, causes: &[&str]) {
    let names = folder.names();
    let bytes = fs::read(folder.path("cache.db")).unwrap();
    let storage = folder.open(options);
    for _ in 0..2 {
        let results = [
            storage.set(&[entry(b"key", "v", None)]).await,
            storage.remove(&[b"key"]).await,
            storage.connect().await,
        ];
        // What does not touch the damage may work at first.
        let error = results.into_iter().find_map(Result::err).unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let said = Chain(&error).to_string();
        for cause in causes {
            assert!(said.contains(cause), "no {cause:?} in {said}");
        }
        let error = storage.get(&[b"key"]).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
    storage.close().await.unwrap();
    assert_eq!(folder.names(), names);
    assert!(
        fs::read(folder.path("cache.db")).unwrap() == bytes,
        "the file was changed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_damaged_sqlite_file_that_others_have_a_part_in_is_left_as_it_is() {
    let folder = Folder::new();
    filled(&folder).await;
    let pool = folder.pool().await;
    run(&pool, "CREATE TABLE accounts (id INTEGER PRIMARY KEY)").await;
    pool.close().await;
    let here = folder.open("");
    here.connect().await.unwrap();
    here.close().await.unwrap();
    fs::copy(folder.path("cache.db"), folder.path("copy.db")).unwrap();
    // Not the page of the new table, which is the last.
    garble(&folder, PAGE, 30 * PAGE);
    let causes = [
        "malformed",
        "holds more than the table `cacheme` (accounts)",
        "cache.db` ",
    ];
    is_left(&folder, "", &causes).await;
    // Somebody repairs it, and nothing needs to be registered again.
    let here = folder.open("");
    here.remove(&[b"key 1"]).await.unwrap_err();
    fs::rename(folder.path("copy.db"), folder.path("cache.db")).unwrap();
    here.remove(&[b"key 1"]).await.unwrap();
    set(&*here, "key 1", "new").await;
    assert_eq!(get(&*folder.open(""), "key 1").await.as_deref(), Some("new"));
    let pool = folder.pool().await;
    run(&pool, "SELECT * FROM accounts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_file_that_is_no_database_of_ours_is_left_as_it_is() {
    let folder = Folder::new();
    fs::write(folder.path("cache.db"), "some letter to somebody, ".repeat(400)).unwrap();
    is_left(
        &folder,
        "",
        &["not a database", "may hold more than", "name another file"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_damaged_sqlite_file_is_left_to_those_who_say_so() {
    let folder = Folder::new();
    filled(&folder).await;
    garble(&folder, PAGE, 30 * PAGE);
    is_left(
        &folder,
        "?corrupt=refuse",
        &["malformed", "`corrupt=refuse` says to leave it"],
    )
    .await;
    is_left(
        &folder,
        "?create=false",
        &["malformed", "`create=false` says to make no other"],
    )
    .await;
    let pool = folder.pool().await;
    let foreign = cacheme_storage::Sqlite::builder().pool(pool).build().unwrap();
    let error = cacheme_storage::RemoteStorage::set(&foreign, &[entry(b"key", "v", None)]).await;
    assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
    assert_eq!(folder.names(), ["cache.db"]);
    let error = cacheme_storage::Storage::open(&folder.url("?corrupt=maybe")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`corrupt` must be `reset` or `refuse`"),
        "{error}"
    );
}

/// Of a database with tables of others, the log is theirs too: what the cache lost with it is not trusted, and the rest stays.
#[tokio::test(flavor = "multi_thread")]
async fn c1_a_sqlite_log_of_others_that_is_removed_empties_the_table() {
    let folder = Folder::new();
    let pool = folder.pool().await;
    run(&pool, "CREATE TABLE accounts (id INTEGER PRIMARY KEY)").await;
    let here = folder.open("");
    set(&*here, "key", "old").await;
    run(&pool, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    pool.close().await;
    // In the log alone.
    here.remove(&[b"key"]).await.unwrap();
    fs::remove_file(folder.path("cache.db-wal")).unwrap();
    assert_eq!(get(&*here, "key").await, None);
    assert_eq!(get(&*folder.open(""), "key").await, None);
    set(&*here, "key", "new").await;
    assert_eq!(get(&*open(&folder.url("")), "key").await.as_deref(), Some("new"));
    assert_eq!(folder.names(), ["cache.db"]);
    run(&folder.pool().await, "SELECT * FROM accounts").await;
}
