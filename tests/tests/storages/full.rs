//! Storages that take no writes, being full or read-only: a service reads what they have, loads the rest, and counts the
//! trouble.
//!
//! A full disk is said by a trigger, a limit or a proxy in the words of the server. Some replicas have no part here: one of a
//! Redis cluster sends writers to its master, and a secondary of MongoDB is asked for nothing, since the driver finds the
//! primary for reads as well.

use cacheme::{Cacheme, Error, Storage};
use cacheme_storage::{Chain, Sqlite};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tests::{RedisCluster, RedisSentinels, mariadb, mongodb, postgres, postgres_standby, redis};

use super::log::Seen;
use super::other_mongodb::{OtherMongoDb, full, read_only};
use super::postgres::{run, url as postgres_url};
use super::redis::{ask, url as redis_url};
use super::service::{Square, goes_on_reading, recovers, start, working};
use super::{eventually, open};

/// An invalidation says that it did not reach the storage, and why.
async fn does_not_invalidate(cacheme: &Cacheme, number: u64, cause: &str) {
    let error = cacheme.invalidate(&Square { number }).await.unwrap_err();
    let said = Chain(&error).to_string();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error:?}");
    assert!(said.contains("`remote`") && said.contains(cause), "{said}");
    assert!(!format!("{said} {error:?}").contains("sEcReT"), "{error:?}");
}

/// An invalidation needs no room.
async fn invalidates(cacheme: &Cacheme, number: u64) {
    cacheme.invalidate(&Square { number }).await.unwrap();
    assert_eq!(cacheme.peek(&Square { number }).await.unwrap(), None);
}

/// Redis in any form without memory to spare on the servers with these ports.
async fn redis_without_memory(url: &str, ports: &[u16]) {
    let seen = Seen::default();
    // On this thread, which is the only one that runs our tasks.
    let _logging = seen.on_this_thread();
    let limit = async |bytes: &str| {
        for &port in ports {
            ask::<()>(port, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
            ask::<()>(port, &["CONFIG", "SET", "maxmemory", bytes]).await;
        }
    };
    let cacheme = working("trouble", url).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    cacheme.get(&Square { number: 7 }).await.unwrap();
    limit("1").await;
    for absent in 20..28 {
        goes_on_reading(&cacheme, 1_000, absent).await;
    }
    let told = seen.all().matches("storage in trouble").count();
    assert_eq!(told, 1, "told for each call:\n{}", seen.all());
    // Neither the new value nor the old one: dropping needs no memory.
    cacheme.set(&Square { number: 7 }, 50).await.unwrap();
    assert_eq!(cacheme.peek(&Square { number: 7 }).await.unwrap(), None);
    invalidates(&cacheme, 1_000).await;
    limit("0").await;
    recovers(&cacheme, 2).await;
}

#[tokio::test]
async fn t1_t3_a_redis_without_memory_goes_on_answering() {
    let server = redis(&[]);
    redis_without_memory(&redis_url(&server), &[server.port()]).await;
}

#[tokio::test]
async fn t1_t3_a_redis_cluster_without_memory_goes_on_answering() {
    let cluster = RedisCluster::start();
    redis_without_memory(&cluster.url(), &cluster.ports()).await;
}

#[tokio::test]
async fn t1_t3_a_redis_behind_sentinels_without_memory_goes_on_answering() {
    let group = RedisSentinels::start();
    redis_without_memory(&group.url(), &[group.master.port()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_redis_replica_goes_on_answering() {
    let master = redis(&["--repl-diskless-sync-delay", "0"]);
    let owner = working("trouble", &redis_url(&master)).await;
    owner.get(&Square { number: 1_000 }).await.unwrap();
    let replica = redis(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    let cacheme = working("trouble", &redis_url(&replica)).await;
    eventually("the replica has the value", async || {
        ask::<usize>(replica.port(), &["DBSIZE"]).await == 1
    })
    .await;
    goes_on_reading(&cacheme, 1_000, 2).await;
    does_not_invalidate(&cacheme, 1_000, "read only").await;
    ask::<()>(replica.port(), &["REPLICAOF", "NO", "ONE"]).await;
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_postgres_that_takes_no_writes_goes_on_answering() {
    let server = postgres();
    let pool = sqlx::PgPool::connect(&postgres_url(&server, "")).await.unwrap();
    let cacheme = working("trouble", &postgres_url(&server, "")).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    // What PostgreSQL says when the table space is full.
    run(
        &pool,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON cacheme FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    .await;
    goes_on_reading(&cacheme, 1_000, 2).await;
    let error = open(&postgres_url(&server, ""))
        .set(&[super::entry(b"k", "v", None)])
        .await
        .unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("refused") && error.contains("No space left"),
        "{error}"
    );
    invalidates(&cacheme, 1_000).await;
    run(&pool, "DROP TRIGGER full_disk ON cacheme").await;
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_postgres_standby_goes_on_answering() {
    let primary = postgres();
    let owner = working("trouble", &postgres_url(&primary, "")).await;
    owner.get(&Square { number: 1_000 }).await.unwrap();
    let standby = postgres_standby(&primary);
    let cacheme = working("trouble", &postgres_url(&standby, "")).await;
    goes_on_reading(&cacheme, 1_000, 2).await;
    does_not_invalidate(&cacheme, 1_000, "read-only").await;
    // It follows: what the primary forgets is not read here for long.
    owner.invalidate(&Square { number: 1_000 }).await.unwrap();
    eventually("the standby has heard", async || {
        cacheme.peek(&Square { number: 1_000 }).await.unwrap().is_none()
    })
    .await;
    let pool = sqlx::PgPool::connect(&postgres_url(&standby, "")).await.unwrap();
    run(&pool, "SELECT pg_promote()").await;
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_mysql_that_takes_no_writes_goes_on_answering() {
    let server = mariadb();
    let root = sqlx::MySqlPool::connect(&super::mysql::url(&server, ""))
        .await
        .unwrap();
    let run = async |sql: &str| super::mysql::run(&root, sql).await;
    // A read-only server lets administrators write.
    run("CREATE USER app@'127.0.0.1' IDENTIFIED BY 'sEcReT'; GRANT ALL ON test.* TO app@'127.0.0.1'").await;
    let url = format!("mysql://app:sEcReT@127.0.0.1:{}/test", server.port());
    let cacheme = working("trouble", &url).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    run("SET GLOBAL read_only = 1").await;
    goes_on_reading(&cacheme, 1_000, 2).await;
    does_not_invalidate(&cacheme, 1_000, "read-only").await;
    run("SET GLOBAL read_only = 0").await;
    recovers(&cacheme, 2).await;

    // What the server says when its disk is full.
    run("CREATE TRIGGER full_disk BEFORE INSERT ON cacheme FOR EACH ROW \
         SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'")
    .await;
    goes_on_reading(&cacheme, 2, 6).await;
    invalidates(&cacheme, 2).await;
    run("DROP TRIGGER full_disk").await;
    recovers(&cacheme, 6).await;
}

/// A file that may only be read is among what is refused: the table in it is there, or cannot be made.
#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_full_sqlite_goes_on_answering() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("cache.db"))
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options);
    let sqlite = Sqlite::builder().pool(pool.clone()).build().unwrap();
    let (cacheme, registered) = start("trouble", Storage::remote(sqlite)).await;
    registered.unwrap();
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    let limit = |pages: &'static str| sqlx::query(pages).execute(&pool);
    // The least that is allowed is what there is; what room is left in its pages is used up.
    limit("PRAGMA max_page_count = 1").await.unwrap();
    let mut refused = 0;
    while refused < 20 {
        let filler = "INSERT INTO cacheme (key, value, expires_at_ms) \
                      VALUES (CAST('trouble:service:square:' || hex(randomblob(4)) AS blob), zeroblob(4), 1e15)";
        refused += i32::from(sqlx::query(filler).execute(&pool).await.is_err());
    }
    goes_on_reading(&cacheme, 1_000, 2).await;
    invalidates(&cacheme, 1_000).await;
    limit("PRAGMA max_page_count = 100000").await.unwrap();
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_mongodb_that_takes_no_writes_goes_on_answering() {
    let server = mongodb();
    let answers = [
        ("full", full(), "No space left on device"),
        ("read-only", read_only(), "read-only mode"),
    ];
    for (prefix, answer, cause) in answers {
        let other = OtherMongoDb::new(server.port(), &answer);
        let cacheme = working(prefix, &other.url()).await;
        cacheme.get(&Square { number: 1_000 }).await.unwrap();
        other.refuse(true);
        goes_on_reading(&cacheme, 1_000, 2).await;
        does_not_invalidate(&cacheme, 1_000, cause).await;
        other.refuse(false);
        recovers(&cacheme, 2).await;
    }
}
