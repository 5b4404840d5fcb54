//! Servers that are started anew, freeze and die, and come back, as a storage sees them: what it costs the call that meets it.

use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::Error;
use tests::{Kind, Server, mariadb, mongodb_on_disk, postgres};

use super::{entry, eventually, open};

/// Where `at_once`, a restart costs no call and no entry; where not, the driver finds out by itself when the server is back,
/// which may have lost what it was told last.
async fn comes_back(kind: Kind, mut server: Server, at_once: bool) {
    let storage = open(&(kind.url(&server) + "?connections=3"));
    let keys: Vec<&[u8]> = vec![b"a"];
    let serves_again = async || {
        if !at_once {
            eventually("the server answers", async || {
                storage.set(&[entry(b"a", "v", None)]).await.is_ok()
            })
            .await;
        }
        assert_eq!(storage.get(&keys).await.unwrap(), [Some("v".into())]);
    };
    storage.set(&[entry(b"a", "v", None)]).await.unwrap();
    // Several idle connections, all of which the restart breaks.
    let reads = (0..6).map(|_| {
        let storage = Arc::clone(&storage);
        tokio::spawn(async move { storage.get(&[b"a"]).await })
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.unwrap().unwrap();
    }
    server.restart();
    serves_again().await;

    server.freeze();
    for _ in 0..6 {
        let read = tokio::time::timeout(Duration::from_millis(50), storage.get(&keys)).await;
        assert!(read.is_err(), "a frozen server answers nothing");
    }
    server.thaw();
    serves_again().await;

    server.kill();
    let error = storage.get(&keys).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    server.restart();
    serves_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_comes_back_after_a_restart_and_a_freeze() {
    comes_back(Kind::Postgres, postgres(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_comes_back_after_a_restart_and_a_freeze() {
    comes_back(Kind::MySql, mariadb(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_comes_back_after_a_restart_and_a_freeze() {
    comes_back(Kind::MongoDb, mongodb_on_disk(), false).await;
}
