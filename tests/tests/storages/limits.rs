//! Connections of a server, by its own count: never more than asked for, whatever becomes of the callers; and no more than the server
//! has to give.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme_storage::Storage;
use sqlx::{MySqlPool, PgPool};
use tests::{Proxy, Server, free_port, mariadb, mongodb, postgres};

use super::service::{Square, hits, recovers, start};
use super::{entry, open};

/// Callers that come in the time of a lock.
const LOCKED: Duration = Duration::from_secs(1);
/// How long each of them waits.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Asks a server as its administrator.
trait Administrator {
    /// How many sessions of the user `cache` there are.
    async fn sessions(&self) -> i64;
    /// Keeps everyone off the table until it is dropped.
    async fn lock(&self) -> Box<dyn Send>;
}

impl Administrator for PgPool {
    async fn sessions(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'cache'")
            .fetch_one(self)
            .await
            .unwrap()
    }

    async fn lock(&self) -> Box<dyn Send> {
        let mut transaction = self.begin().await.unwrap();
        sqlx::query("LOCK TABLE cacheme IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *transaction)
            .await
            .unwrap();
        Box::new(transaction)
    }
}

impl Administrator for MySqlPool {
    async fn sessions(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM information_schema.PROCESSLIST WHERE USER = 'cache'")
            .fetch_one(self)
            .await
            .unwrap()
    }

    async fn lock(&self) -> Box<dyn Send> {
        let mut connection = self.acquire().await.unwrap();
        connection.close_on_drop();
        sqlx::raw_sql("LOCK TABLES cacheme WRITE")
            .execute(&mut *connection)
            .await
            .unwrap();
        Box::new(connection)
    }
}

async fn postgres_with_user(server: &Server) -> (PgPool, String) {
    let pool = PgPool::connect(&super::postgres::url(server, "")).await.unwrap();
    super::postgres::run(
        &pool,
        "CREATE ROLE cache LOGIN; GRANT ALL ON SCHEMA public TO cache",
    )
    .await;
    let url = format!("postgres://cache@127.0.0.1:{}/postgres?bus=false", server.port());
    (pool, url)
}

async fn mariadb_with_user(server: &Server) -> (MySqlPool, String) {
    let pool = MySqlPool::connect(&super::mysql::url(server, "")).await.unwrap();
    let user = "CREATE USER cache@'127.0.0.1'; GRANT ALL ON test.* TO cache@'127.0.0.1'";
    super::mysql::run(&pool, user).await;
    let url = format!("mysql://cache@127.0.0.1:{}/test?", server.port());
    (pool, url)
}

/// While a table is locked, callers come and go; the server never has more sessions than there may be, and afterwards the storage
/// serves again.
async fn has_no_more_sessions_than_asked_for(administrator: impl Administrator, url: &str) {
    let storage = Storage::open(&format!("{url}&connections=5"))
        .unwrap()
        .with_timeout(TIMEOUT);
    let (cacheme, registered) = start("limits", storage).await;
    registered.unwrap();
    cacheme.get(&Square { number: 2 }).await.unwrap();
    let lock = administrator.lock().await;
    let begin = Instant::now();
    let (mut most, mut number) = (0, 0);
    while begin.elapsed() < LOCKED {
        for _ in 0..20 {
            let (cacheme, caller) = (cacheme.clone(), number);
            number += 1;
            tokio::spawn(async move { cacheme.get(&Square { number: caller }).await });
        }
        most = most.max(administrator.sessions().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(lock);
    let well = Instant::now();
    recovers(&cacheme, 2).await;
    assert!(
        well.elapsed() < Duration::from_secs(2),
        "not used again for {:?}",
        well.elapsed()
    );
    most = most.max(administrator.sessions().await);
    assert!((1..=5).contains(&most), "{most} sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_locked_postgres_never_has_more_sessions_than_asked_for() {
    let server = postgres();
    let (administrator, url) = postgres_with_user(&server).await;
    has_no_more_sessions_than_asked_for(administrator, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_locked_mariadb_never_has_more_sessions_than_asked_for() {
    let server = mariadb();
    let (administrator, url) = mariadb_with_user(&server).await;
    has_no_more_sessions_than_asked_for(administrator, &url).await;
}

/// The driver opens another connection for each command that is given up, and a server that is silent learns of no end: so what is
/// given up keeps its turn.
#[tokio::test(flavor = "multi_thread")]
async fn t6_a_silent_mongodb_never_has_more_connections_than_asked_for() {
    let server = mongodb();
    let proxy = Proxy::to(server.port());
    let url = format!(
        "mongodb://127.0.0.1:{}/test?directConnection=true&connections=5",
        proxy.port()
    );
    let storage = Storage::open(&url).unwrap().with_timeout(TIMEOUT);
    let (cacheme, registered) = start("limits", storage).await;
    registered.unwrap();
    cacheme.get(&Square { number: 2 }).await.unwrap();
    let before = proxy.traffic().connections;
    proxy.stall();
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < LOCKED {
        for _ in 0..20 {
            let (cacheme, caller) = (cacheme.clone(), number);
            number += 1;
            tokio::spawn(async move { cacheme.get(&Square { number: caller }).await });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let made = proxy.traffic().connections - before;
    proxy.resume();
    let well = Instant::now();
    recovers(&cacheme, 2).await;
    assert!(
        well.elapsed() < Duration::from_secs(2),
        "not used again for {:?}",
        well.elapsed()
    );
    assert!(made <= 5, "{made} connections");
}

/// A service whose user may have two sessions goes on with those.
async fn lives_with_what_it_gets(url: &str) {
    let storage = open(&format!("{url}&connections=10"));
    storage.set(&[entry(b"k", "v", None)]).await.unwrap();
    for _ in 0..10 {
        let readers: Vec<_> = (0..50)
            .map(|_| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move { storage.get(&[b"k"]).await })
            })
            .collect();
        for reader in readers {
            assert_eq!(reader.await.unwrap().unwrap(), [Some("v".into())]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_postgres_at_its_limit_of_connections_serves_over_those_that_there_are() {
    let server = postgres();
    let (administrator, url) = postgres_with_user(&server).await;
    super::postgres::run(&administrator, "ALTER ROLE cache CONNECTION LIMIT 2").await;
    lives_with_what_it_gets(&url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_mariadb_at_its_limit_of_connections_serves_over_those_that_there_are() {
    let server = mariadb();
    let (administrator, url) = mariadb_with_user(&server).await;
    let limit = "ALTER USER cache@'127.0.0.1' WITH MAX_USER_CONNECTIONS 2";
    super::mysql::run(&administrator, limit).await;
    lives_with_what_it_gets(&url).await;
}

/// Calls fail at once, and only some of them knock.
async fn knocks_seldom(url: impl Fn(u16) -> String) {
    let proxy = Proxy::to(free_port());
    let storage = open(&url(proxy.port()));
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        storage.get(&[b"k"]).await.unwrap_err();
        calls += 1;
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "{:?}",
            asked.elapsed()
        );
        tokio::task::yield_now().await;
    }
    let knocks = proxy.traffic().connections;
    assert!(
        calls > 100 && knocks < 20,
        "{knocks} connections for {calls} calls"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_dead_postgres_is_not_knocked_at_for_every_call() {
    knocks_seldom(|port| format!("postgres://postgres@127.0.0.1:{port}/postgres")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_a_dead_mariadb_is_not_knocked_at_for_every_call() {
    knocks_seldom(|port| format!("mysql://root@127.0.0.1:{port}/test")).await;
}

/// What was given up is ended at the server, also when it never answers.
#[tokio::test(flavor = "multi_thread")]
async fn t6_a_session_that_fell_silent_is_ended_at_the_server() {
    let server = postgres();
    let (administrator, _) = postgres_with_user(&server).await;
    let proxy = Proxy::to(server.port());
    let url = format!(
        "postgres://cache@127.0.0.1:{}/postgres?bus=false&connections=1&timeout=200ms",
        proxy.port()
    );
    let (cacheme, registered) = start("limits", Storage::open(&url).unwrap()).await;
    registered.unwrap();
    cacheme.get(&Square { number: 2 }).await.unwrap();
    proxy.silence();
    let silent = Instant::now();
    recovers(&cacheme, 2).await;
    assert!(
        silent.elapsed() < Duration::from_secs(10),
        "{:?}",
        silent.elapsed()
    );
    hits(&cacheme, 2).await;
    assert_eq!(administrator.sessions().await, 1);
}
