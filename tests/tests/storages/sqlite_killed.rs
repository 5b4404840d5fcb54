//! A process that is killed while it writes to the file that others share.

use std::env;
use std::process::{Child, Command, Stdio};

use cacheme_storage::{Bytes, RemoteStorage};

use super::{entry, eventually, open};

const FILE: &str = "CACHEME_TEST_FILE";
const KEYS: u32 = 300;

fn names() -> Vec<String> {
    (0..KEYS).map(|n| format!("key {n}")).collect()
}

/// The process that is killed: writes all keys in one call, over and over.
#[tokio::test]
#[ignore = "a part of the test below, which runs it as a process of its own"]
async fn writes_until_killed() {
    // Or until the test is gone, however that ended.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(1);
    });
    let storage = open(&env::var(FILE).expect("the test below says where"));
    let names = names();
    for round in 0_u64.. {
        let value = round.to_string();
        let entries: Vec<_> = names
            .iter()
            .map(|name| entry(name.as_bytes(), value.clone(), None))
            .collect();
        storage.set(&entries).await.unwrap();
    }
}

fn start(url: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "sqlite_killed::writes_until_killed", "--ignored"])
        .env(FILE, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

async fn values(storage: &dyn RemoteStorage) -> Vec<Option<Bytes>> {
    let names = names();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.get(&keys).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_killed_leaves_whole_calls_and_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/cache.db", folder.path().display());
    let storage = open(&url);
    storage.connect().await.unwrap();
    for round in 0..4 {
        let before = values(&*storage).await;
        let mut writer = start(&url);
        eventually("the other process writes", async || {
            values(&*storage).await != before
        })
        .await;
        writer.kill().unwrap();
        writer.wait().unwrap();
        let found = values(&*storage).await;
        assert!(found[0].is_some());
        assert!(
            found.iter().all(|value| *value == found[0]),
            "half a call is left in round {round}"
        );
        // Nobody holds the lock, and one who comes now sees the same.
        let later = open(&url);
        assert_eq!(values(&*later).await, found);
        later.set(&[entry(b"key 0", "new", None)]).await.unwrap();
        assert_eq!(storage.get(&[b"key 0"]).await.unwrap(), [Some("new".into())]);
        later.close().await.unwrap();
    }
}
