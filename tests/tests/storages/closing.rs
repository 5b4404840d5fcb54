//! `close` waits for what was begun, and lets nobody in afterwards.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use cacheme_storage::{Acquire, Bytes, Chain, Error, LeaseToken, RemoteStorage};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tests::{Proxy, mariadb, mongodb, postgres, redis};

use super::{entry, open};

pub(super) fn is_pending<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// Closes a storage while a write is held up by `hold`, which `let_go` ends.
async fn waits(storage: &dyn RemoteStorage, hold: impl AsyncFnOnce(), let_go: impl AsyncFnOnce()) {
    storage.connect().await.unwrap();
    storage.set(&[entry(b"before", "v", None)]).await.unwrap();
    hold().await;
    let entries = [entry(b"under way", "v", None)];
    let mut write = pin!(storage.set(&entries));
    assert!(is_pending(write.as_mut()), "the write was not held up");
    let mut close = pin!(storage.close());
    for _ in 0..100 {
        assert!(is_pending(close.as_mut()), "closed with a write under way");
        assert!(is_pending(write.as_mut()));
        tokio::task::yield_now().await;
    }
    let_go().await;
    let (written, closed) = tokio::join!(write, close);
    written.unwrap();
    closed.unwrap();

    storage.close().await.unwrap();
    let (token, time) = (LeaseToken(1), Duration::from_secs(1));
    let refused = [
        storage.connect().await,
        storage.get(&[b"before"]).await.map(drop),
        storage.set(&entries).await,
        storage.remove(&[b"before"]).await,
        storage.clear(b"").await,
        storage
            .acquire(&[b"before"], &Acquire::new(token, time))
            .await
            .map(drop),
        storage.fill(&entries, token).await.map(drop),
        storage.release(&[b"before"], token).await,
    ];
    for (number, refused) in refused.into_iter().enumerate() {
        let error = refused.expect_err("a closed storage serves");
        assert!(
            matches!(error, Error::Unreachable { .. }) && Chain(&error).to_string().contains("was closed"),
            "call {number}: {error}"
        );
    }
}

async fn both_are_there(url: &str) {
    let found = open(url).get(&[b"before", b"under way"]).await.unwrap();
    assert_eq!(found, vec![Some(Bytes::from("v")); 2]);
}

#[tokio::test]
async fn redis_waits_for_writes_under_way() {
    let server = redis(&[]);
    let proxy = Proxy::to(server.port());
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    waits(&*open(&url), async || proxy.stall(), async || proxy.resume()).await;
    both_are_there(&url).await;
}

#[tokio::test]
async fn postgres_waits_for_writes_under_way() {
    let server = postgres();
    let proxy = Proxy::to(server.port());
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    waits(&*open(&url), async || proxy.stall(), async || proxy.resume()).await;
    both_are_there(&url).await;
}

#[tokio::test]
async fn mysql_waits_for_writes_under_way() {
    let server = mariadb();
    let proxy = Proxy::to(server.port());
    let url = format!("mysql://root@127.0.0.1:{}/test", proxy.port());
    waits(&*open(&url), async || proxy.stall(), async || proxy.resume()).await;
    both_are_there(&url).await;
}

#[tokio::test]
async fn mongodb_waits_for_writes_under_way() {
    let server = mongodb();
    let proxy = Proxy::to(server.port());
    // Or else the driver asks the server where it is, and goes there without the proxy.
    let url = format!("mongodb://127.0.0.1:{}/test?directConnection=true", proxy.port());
    waits(&*open(&url), async || proxy.stall(), async || proxy.resume()).await;
    both_are_there(&url).await;
}

#[tokio::test]
async fn sqlite_waits_for_writes_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.db");
    let url = format!("sqlite://{}", file.display());
    let pool = SqlitePoolOptions::new().connect_lazy_with(SqliteConnectOptions::new().filename(&file));
    let lock = std::sync::Mutex::new(None);
    waits(
        &*open(&url),
        async || {
            let begun = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            *lock.lock().unwrap() = Some(begun);
        },
        async || {
            let begun = lock.lock().unwrap().take().unwrap();
            begun.rollback().await.unwrap();
        },
    )
    .await;
    both_are_there(&url).await;
}
