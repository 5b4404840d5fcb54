//! Connections that are all in use: callers wait a bounded time for one, and then it is trouble. Redis has one connection that
//! all callers share, and so none to wait for.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cacheme::{Cacheme, Storage};
use cacheme_storage::{Chain, Error, MongoDb, MySql, Postgres, Sqlite};
use mongodb::Client;
use mongodb::options::ClientOptions;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tests::{Proxy, mariadb, mongodb, postgres};

use super::closing::is_pending;
use super::entry;
use super::service::{Square, hits, loads_in_trouble, start};

/// How long callers wait for a connection, and how long for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(3_600);

/// A service that has the square of 2 in its storage.
async fn with_square(storage: &Storage) -> Cacheme {
    let (cacheme, registered) = start("pools", storage.clone()).await;
    registered.unwrap();
    cacheme.get(&Square { number: 2 }).await.unwrap();
    hits(&cacheme, 2).await;
    cacheme
}

/// With all connections in use, what is there is loaded, and so is the rest; it takes less than for ever.
async fn is_trouble(storage: &Storage, cacheme: &Cacheme) {
    let asked = async {
        loads_in_trouble(cacheme, 2).await;
        loads_in_trouble(cacheme, 3).await;
        let remote = storage.as_remote().unwrap();
        let error = remote.get(&[b"k"]).await.unwrap_err();
        assert!(
            matches!(error, Error::Unreachable { .. }) && Chain(&error).to_string().contains("timed out"),
            "{error}"
        );
    };
    tokio::time::timeout(Duration::from_secs(60), asked)
        .await
        .expect("a bounded wait");
}

/// The pool of a URL: a call that a proxy holds up has the only connection.
async fn of_our_own(url: &str, proxy: &Proxy) {
    let storage = Storage::open(&format!("{url}connections=1&acquire_timeout=1s")).unwrap();
    let storage = storage.with_timeout(LONG);
    let cacheme = with_square(&storage).await;
    let remote = Arc::clone(storage.as_remote().unwrap());
    proxy.stall();
    let mut holds = pin!(remote.get(&[b"k"]));
    assert!(is_pending(holds.as_mut()));
    is_trouble(&storage, &cacheme).await;
    proxy.resume();
    assert_eq!(holds.await.unwrap(), [None]);
    hits(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_callers_wait_a_bounded_time_for_a_connection_to_postgres() {
    let server = postgres();
    let proxy = Proxy::to(server.port());
    of_our_own(
        &format!("postgres://postgres@127.0.0.1:{}/postgres?", proxy.port()),
        &proxy,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_callers_wait_a_bounded_time_for_a_connection_to_mysql() {
    let server = mariadb();
    let proxy = Proxy::to(server.port());
    of_our_own(&format!("mysql://root@127.0.0.1:{}/test?", proxy.port()), &proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_callers_wait_a_bounded_time_for_a_connection_to_mongodb() {
    let server = mongodb();
    let proxy = Proxy::to(server.port());
    // Or else the driver asks the server where it is, and goes there without the proxy.
    let url = format!("mongodb://127.0.0.1:{}/test?directConnection=true&", proxy.port());
    of_our_own(&url, &proxy).await;
}

/// It is another process that holds the call up, by the lock of the file.
#[tokio::test(flavor = "multi_thread")]
async fn t1_callers_wait_a_bounded_time_for_a_connection_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cache.db");
    let options = "connections=1&acquire_timeout=1s&busy_timeout=10m";
    let storage = Storage::open(&format!("sqlite://{}?{options}", file.display())).unwrap();
    let storage = storage.with_timeout(LONG);
    let cacheme = with_square(&storage).await;
    let others =
        PoolOptions::<sqlx::Sqlite>::new().connect_lazy_with(SqliteConnectOptions::new().filename(file));
    let lock = others.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let remote = Arc::clone(storage.as_remote().unwrap());
    let entries = [entry(b"k", "v", None)];
    let mut holds = pin!(remote.set(&entries));
    assert!(is_pending(holds.as_mut()));
    is_trouble(&storage, &cacheme).await;
    lock.rollback().await.unwrap();
    holds.await.unwrap();
    hits(&cacheme, 2).await;
}

/// The pool of an application, which uses its only connection itself.
macro_rules! of_the_application {
    ($storage:ident, $options:expr) => {
        let pool = PoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_lazy_with($options);
        let storage = $storage::builder().pool(pool.clone()).build().unwrap();
        let storage = Storage::remote(storage).with_timeout(LONG);
        let cacheme = with_square(&storage).await;
        let taken = pool.acquire().await.unwrap();
        is_trouble(&storage, &cacheme).await;
        drop(taken);
        hits(&cacheme, 2).await;
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_an_exhausted_pool_of_the_application_is_trouble_after_a_bounded_wait() {
    let server = postgres();
    of_the_application!(Postgres, super::postgres::url(&server, "").parse().unwrap());
    let server = mariadb();
    of_the_application!(MySql, super::mysql::url(&server, "").parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = SqliteConnectOptions::new().filename(folder.path().join("cache.db"));
    of_the_application!(Sqlite, file.create_if_missing(true));
}

/// Its driver has no bound for callers who wait for a connection: it is that of the storage.
#[tokio::test(flavor = "multi_thread")]
async fn t1_an_exhausted_mongodb_client_of_the_application_is_trouble_within_the_timeout() {
    let server = mongodb();
    let proxy = Proxy::to(server.port());
    let url = format!(
        "mongodb://127.0.0.1:{}/?directConnection=true&maxPoolSize=1",
        proxy.port()
    );
    let client = Client::with_options(ClientOptions::parse(url).await.unwrap()).unwrap();
    let mongodb = MongoDb::builder()
        .client(client)
        .database("test")
        .build()
        .unwrap();
    let storage = Storage::remote(mongodb);
    let cacheme = with_square(&storage.clone().with_timeout(Duration::from_secs(10))).await;
    let (hurried, registered) = start("pools", storage.with_timeout(PATIENCE * 4)).await;
    registered.unwrap();
    proxy.stall();
    loads_in_trouble(&hurried, 2).await;
    loads_in_trouble(&hurried, 3).await;
    proxy.resume();
    hits(&cacheme, 2).await;
}
