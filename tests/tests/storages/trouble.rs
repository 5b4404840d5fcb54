//! Servers that refuse, are full, freeze or die, as a service sees them: named when the storage is registered, counted
//! later, and never a wrong value.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme::{Cacheme, Error, Storage};
use cacheme_storage::{Postgres, Sqlite};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tests::{Server, mariadb, mongodb_on_disk, postgres, redis};

use super::log::Seen;
use super::postgres::{run, url as postgres_url, with_passwords};
use super::redis::{ask, url as redis_url};
use super::service::{Square, hits, loads, loads_in_trouble, recovers, squares, start, tier, working};
use super::{eventually, open};

/// Registering fails and names storage and cause, without secrets; the service goes on without the storage.
async fn refused(storage: Storage, causes: &[&str]) -> Cacheme {
    let location = storage.location();
    let (cacheme, registered) = start("trouble", storage).await;
    let error = registered.expect_err(&location);
    let said = format!("{error}");
    assert!(matches!(error, Error::Unreached { .. }), "{error:?}");
    assert!(said.contains("`remote`") && said.contains(&location), "{said}");
    for cause in causes {
        assert!(said.contains(cause), "{location}: no {cause:?} in {said}");
    }
    assert!(!format!("{said} {error:?}").contains("sEcReT"), "{error:?}");
    loads_in_trouble(&cacheme, 3).await;
    loads_in_trouble(&cacheme, 3).await;
    let nodes = squares(0..3);
    assert_eq!(cacheme.get_all(&nodes).await.unwrap(), [0, 1, 4]);
    cacheme
}

fn by(url: &str) -> Storage {
    Storage::open(url).expect(url)
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_redis_that_refuses_is_named_and_done_without() {
    let server = redis(&[]);
    let port = server.port();
    for user in [
        "app on >sEcReT ~* +@all",
        "reader on >sEcReT ~* +@read +@connection",
        "other on >sEcReT ~other:* +@all",
    ] {
        let command: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
        ask::<()>(port, &command).await;
    }
    let at = |login: &str, rest: &str| by(&format!("redis://{login}127.0.0.1:{port}{rest}"));
    let wrong = refused(at("app:not-sEcReT@", ""), &["refused", "authentication failed"]).await;
    refused(at("nobody:sEcReT@", ""), &["refused", "authentication failed"]).await;
    refused(at("app:sEcReT@", "/99"), &["refused", "out of range"]).await;

    // The right password later: nothing needs to be registered again.
    ask::<()>(port, &["ACL", "SETUSER", "app", ">not-sEcReT"]).await;
    recovers(&wrong, 3).await;

    // What a user may do shows when it is done.
    let (app, registered) = start("trouble", at("app:sEcReT@", "")).await;
    registered.unwrap();
    assert_eq!(app.get(&Square { number: 5 }).await.unwrap(), 25);
    let (reader, registered) = start("trouble", at("reader:sEcReT@", "")).await;
    registered.unwrap();
    let nodes = squares(5..6);
    assert_eq!(reader.get_all(&nodes).await.unwrap(), [25]);
    assert_eq!(tier(&reader).hits, 1, "it may read");
    loads_in_trouble(&reader, 6).await;
    let (other, registered) = start("trouble", at("other:sEcReT@", "")).await;
    registered.unwrap();
    loads_in_trouble(&other, 5).await;
    let error = reader.invalidate(&nodes[0]).await.unwrap_err().to_string();
    assert!(
        error.contains("`remote`") && error.contains("permissions"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_postgres_that_refuses_is_named_and_done_without() {
    let server = postgres();
    let pool = with_passwords(&server, &["poor"]).await;
    let port = server.port();
    let at = |login: &str, rest: &str| by(&format!("postgres://{login}@127.0.0.1:{port}/{rest}"));
    refused(
        at("poor:not-sEcReT", "postgres"),
        &["refused", "password authentication failed for user \"poor\""],
    )
    .await;
    refused(
        at("poor:sEcReT", "other"),
        &["refused", "database \"other\" does not exist"],
    )
    .await;
    // Something else listens there, and says nothing that PostgreSQL would.
    let redis = redis(&[]);
    refused(
        by(&format!(
            "postgres://poor:sEcReT@127.0.0.1:{}/?timeout=1s",
            redis.port()
        )),
        &["cannot be reached", "does not greet"],
    )
    .await;
    let absent = refused(
        at("postgres", "postgres?create=false&table=absent"),
        &[
            "table `absent` does not exist",
            "CREATE TABLE IF NOT EXISTS \"absent\"",
        ],
    )
    .await;
    run(
        &pool,
        "CREATE TABLE older (key text PRIMARY KEY, value bytea, expire timestamptz)",
    )
    .await;
    refused(
        at("postgres", "postgres?table=older"),
        &[
            "table `older` has another shape (expire timestamp",
            "drop it and run",
        ],
    )
    .await;
    let poor = refused(
        at("poor:sEcReT", "postgres"),
        &[
            "table `cacheme` cannot be made",
            "permission denied",
            "CREATE TABLE",
        ],
    )
    .await;

    // Once the administrator has done what the message asks for, nothing needs to be registered again.
    run(&pool, "GRANT CREATE ON SCHEMA public TO poor").await;
    recovers(&poor, 3).await;
    open(&postgres_url(&server, "?table=absent"))
        .connect()
        .await
        .unwrap();
    recovers(&absent, 3).await;

    // A table that one may read only.
    let owner = working("trouble", &postgres_url(&server, "?table=closed")).await;
    owner.get(&Square { number: 1_000 }).await.unwrap();
    run(&pool, "GRANT SELECT ON closed TO poor").await;
    let (reader, registered) = start("trouble", at("poor:sEcReT", "postgres?table=closed")).await;
    registered.unwrap();
    goes_on_reading(&reader, 1_000, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_sqlite_that_refuses_is_named_and_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("sqlite://{}/{name}", folder.path().display());
    refused(
        by(&file("absent/cache.db")),
        &["cannot be reached", "unable to open"],
    )
    .await;
    refused(
        by(&file("absent.db?create=false")),
        &["cannot be reached", "unable to open"],
    )
    .await;
    std::fs::write(folder.path().join("text.db"), "no database at all".repeat(100)).unwrap();
    refused(by(&file("text.db")), &["refused", "not a database"]).await;
    open(&file("some.db?table=other")).connect().await.unwrap();
    let absent = refused(
        by(&file("some.db?create=false")),
        &[
            "table `cacheme` does not exist",
            "CREATE TABLE IF NOT EXISTS \"cacheme\"",
        ],
    )
    .await;
    open(&file("some.db")).connect().await.unwrap();
    recovers(&absent, 3).await;

    let options = SqliteConnectOptions::new().filename(folder.path().join("some.db"));
    let pool = SqlitePoolOptions::new().connect_lazy_with(options.clone().read_only(true));
    let read_only = Sqlite::builder().pool(pool).build().unwrap();
    let (reader, registered) = start("trouble", Storage::remote(read_only)).await;
    registered.unwrap();
    hits(&reader, 3).await;
    loads_in_trouble(&reader, 6).await;
    let error = reader
        .invalidate(&Square { number: 3 })
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`remote`") && error.contains("readonly"),
        "{error}"
    );
}

/// What a service does with a storage that takes no writes at the moment: `there` is in it.
async fn goes_on_reading(cacheme: &Cacheme, there: u64, absent: u64) {
    hits(cacheme, there).await;
    loads_in_trouble(cacheme, absent).await;
    // Nor by the hundred.
    let before = loads(cacheme);
    let nodes = squares(there..there + 100);
    let expected: Vec<_> = nodes.iter().map(|node| node.number * node.number).collect();
    assert_eq!(cacheme.get_all(&nodes).await.unwrap(), expected);
    assert_eq!(loads(cacheme), before + 99, "one of them is there");
}

#[tokio::test]
async fn t1_t3_a_redis_without_memory_goes_on_answering() {
    let seen = Seen::default();
    // On this thread, which is the only one that runs our tasks.
    let _logging = tracing::subscriber::set_default(seen.clone());
    let server = redis(&["--maxmemory-policy", "noeviction"]);
    let cacheme = working("trouble", &redis_url(&server)).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    cacheme.get(&Square { number: 7 }).await.unwrap();
    ask::<()>(server.port(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    for absent in 20..28 {
        goes_on_reading(&cacheme, 1_000, absent).await;
    }
    let told = seen.all().matches("storage in trouble").count();
    assert_eq!(told, 1, "told for each call:\n{}", seen.all());
    // Neither the new value nor the old one: dropping needs no memory.
    cacheme.set(&Square { number: 7 }, 50).await.unwrap();
    assert_eq!(cacheme.peek(&Square { number: 7 }).await.unwrap(), None);
    cacheme.invalidate(&Square { number: 1_000 }).await.unwrap();
    assert_eq!(cacheme.peek(&Square { number: 1_000 }).await.unwrap(), None);
    ask::<()>(server.port(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_redis_replica_goes_on_answering() {
    let master = redis(&["--repl-diskless-sync-delay", "0"]);
    working("trouble", &redis_url(&master))
        .await
        .get(&Square { number: 1_000 })
        .await
        .unwrap();
    let replica = redis(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
    let cacheme = working("trouble", &redis_url(&replica)).await;
    eventually("the replica has the value", async || {
        ask::<usize>(replica.port(), &["DBSIZE"]).await == 1
    })
    .await;
    goes_on_reading(&cacheme, 1_000, 2).await;
    let error = cacheme.invalidate(&Square { number: 1_000 }).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error:?}");
    assert!(said.contains("`remote`") && said.contains("read only"), "{said}");
    ask::<()>(replica.port(), &["REPLICAOF", "NO", "ONE"]).await;
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_full_postgres_goes_on_answering() {
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
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("refused") && error.contains("No space left"),
        "{error}"
    );
    cacheme.invalidate(&Square { number: 1_000 }).await.unwrap();
    assert_eq!(cacheme.peek(&Square { number: 1_000 }).await.unwrap(), None);
    run(&pool, "DROP TRIGGER full_disk ON cacheme").await;
    recovers(&cacheme, 2).await;

    run(
        &pool,
        "ALTER DATABASE postgres SET default_transaction_read_only = on",
    )
    .await;
    let reader = working("trouble", &postgres_url(&server, "")).await;
    goes_on_reading(&reader, 2, 6).await;
    let error = reader
        .invalidate(&Square { number: 2 })
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`remote`") && error.contains("read-only"),
        "{error}"
    );
}

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
    cacheme.invalidate(&Square { number: 1_000 }).await.unwrap();
    assert_eq!(cacheme.peek(&Square { number: 1_000 }).await.unwrap(), None);
    limit("PRAGMA max_page_count = 100000").await.unwrap();
    recovers(&cacheme, 2).await;
}

/// Freezes, kills and restarts the server under a service.
async fn freezes_dies_and_comes_back(mut server: Server, url: &str, keeps: bool) {
    let cacheme = working("trouble", url).await;
    cacheme.get(&Square { number: 2 }).await.unwrap();
    hits(&cacheme, 2).await;

    server.freeze();
    let start_of_freeze = Instant::now();
    loads_in_trouble(&cacheme, 2).await;
    loads_in_trouble(&cacheme, 3).await;
    // Callers that come at once wait side by side.
    let callers: Vec<_> = (100..164)
        .map(|number| {
            let cacheme = cacheme.clone();
            tokio::spawn(async move { cacheme.get(&Square { number }).await.unwrap() })
        })
        .collect();
    for (caller, number) in callers.into_iter().zip(100u64..) {
        assert_eq!(caller.await.unwrap(), number * number);
    }
    let error = cacheme.invalidate(&Square { number: 2 }).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error:?}");
    assert!(
        said.contains("`remote`") && said.contains("did not answer within"),
        "{said}"
    );
    assert!(
        start_of_freeze.elapsed() < Duration::from_secs(30),
        "a bounded wait each: {:?}",
        start_of_freeze.elapsed()
    );
    let (early, registered) = start("trouble", by(url)).await;
    let error = registered.unwrap_err().to_string();
    let silent = ["did not answer within", "cannot be reached"];
    assert!(
        error.contains("`remote`") && silent.iter().any(|cause| error.contains(cause)),
        "{error}"
    );
    server.thaw();
    recovers(&early, 9).await;
    // What could not be removed goes in the background.
    eventually("the old value goes", async || {
        cacheme.peek(&Square { number: 2 }).await.unwrap().is_none()
    })
    .await;
    recovers(&cacheme, 2).await;

    server.kill();
    loads_in_trouble(&cacheme, 2).await;
    let error = cacheme
        .invalidate(&Square { number: 3 })
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot be reached") || error.contains("did not answer"),
        "{error}"
    );
    let (late, registered) = start("trouble", by(url)).await;
    let error = registered.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    server.restart();
    recovers(&cacheme, 2).await;
    recovers(&late, 4).await;
    if keeps {
        server.restart();
        eventually("the value that outlived the server is found", async || {
            cacheme.peek(&Square { number: 2 }).await.unwrap().is_some()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_redis_freezes_dies_and_comes_back() {
    let server = redis(&[]);
    let url = format!("{}?timeout=150ms", redis_url(&server));
    freezes_dies_and_comes_back(server, &url, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_postgres_freezes_dies_and_comes_back() {
    let server = postgres();
    let url = postgres_url(&server, "?timeout=150ms");
    freezes_dies_and_comes_back(server, &url, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mysql_freezes_dies_and_comes_back() {
    let server = mariadb();
    let url = super::mysql::url(&server, "?timeout=150ms");
    freezes_dies_and_comes_back(server, &url, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mongodb_freezes_dies_and_comes_back() {
    let server = mongodb_on_disk();
    // The driver looks for a server every ten seconds unless told otherwise, or when a call needs one.
    let url = super::mongodb::url(&server, "?timeout=500ms&heartbeatFrequencyMS=500");
    freezes_dies_and_comes_back(server, &url, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_mysql_that_takes_no_writes_goes_on_answering() {
    let server = mariadb();
    let root = sqlx::MySqlPool::connect(&super::mysql::url(&server, ""))
        .await
        .unwrap();
    // A read-only server lets administrators write.
    super::mysql::run(
        &root,
        "CREATE USER app@'127.0.0.1' IDENTIFIED BY 'sEcReT'; GRANT ALL ON test.* TO app@'127.0.0.1'",
    )
    .await;
    let url = format!("mysql://app:sEcReT@127.0.0.1:{}/test", server.port());
    let cacheme = working("trouble", &url).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    super::mysql::run(&root, "SET GLOBAL read_only = 1").await;
    goes_on_reading(&cacheme, 1_000, 2).await;
    let error = cacheme.invalidate(&Square { number: 1_000 }).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(matches!(error, Error::NotInvalidated { .. }), "{said}");
    assert!(said.contains("`remote`") && said.contains("read-only"), "{said}");
    assert!(!said.contains("sEcReT"), "{said}");
    super::mysql::run(&root, "SET GLOBAL read_only = 0").await;
    recovers(&cacheme, 2).await;

    // What the server says when its disk is full.
    super::mysql::run(
        &root,
        "CREATE TRIGGER full_disk BEFORE INSERT ON cacheme FOR EACH ROW \
         SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'",
    )
    .await;
    goes_on_reading(&cacheme, 2, 6).await;
    super::mysql::run(&root, "DROP TRIGGER full_disk").await;
    recovers(&cacheme, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_mysql_that_refuses_is_named_and_done_without() {
    let server = mariadb();
    let root = sqlx::MySqlPool::connect(&super::mysql::url(&server, ""))
        .await
        .unwrap();
    super::mysql::run(
        &root,
        "CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'sEcReT'; GRANT SELECT ON test.* TO poor@'127.0.0.1'",
    )
    .await;
    let at = |login: &str, rest: &str| by(&format!("mysql://{login}@127.0.0.1:{}/{rest}", server.port()));
    refused(
        at("poor:not-sEcReT", "test"),
        &["refused", "Access denied for user 'poor'"],
    )
    .await;
    refused(at("root", "other"), &["refused", "Unknown database 'other'"]).await;
    refused(
        at("root", "test?create=false&table=absent"),
        &[
            "table `absent` does not exist",
            "CREATE TABLE IF NOT EXISTS `absent`",
        ],
    )
    .await;
    let poor = refused(
        at("poor:sEcReT", "test"),
        &[
            "table `cacheme` cannot be made",
            "CREATE command denied",
            "CREATE TABLE",
        ],
    )
    .await;
    // Once the administrator has done what the message asks for, nothing needs to be registered again.
    super::mysql::run(&root, "GRANT ALL ON test.* TO poor@'127.0.0.1'").await;
    recovers(&poor, 3).await;
}

/// SQLite has no server to freeze: a process that holds the lock and does not go on is what comes nearest.
#[tokio::test(flavor = "multi_thread")]
async fn t1_sqlite_locked_by_another_process_costs_a_bounded_wait() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/cache.db?timeout=150ms", folder.path().display());
    let cacheme = working("trouble", &url).await;
    cacheme.get(&Square { number: 1_000 }).await.unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("cache.db"));
    let pool = SqlitePoolOptions::new().connect_lazy_with(options);
    let lock = pool.begin_with("BEGIN EXCLUSIVE").await.unwrap();
    goes_on_reading(&cacheme, 1_000, 2).await;
    let error = cacheme
        .invalidate(&Square { number: 1_000 })
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("did not answer within"), "{error}");
    lock.rollback().await.unwrap();
    eventually("the old value goes", async || {
        cacheme.peek(&Square { number: 1_000 }).await.unwrap().is_none()
    })
    .await;
    recovers(&cacheme, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_an_exhausted_postgres_pool_is_trouble_after_a_bounded_wait() {
    let server = postgres();
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_millis(50))
        .connect(&postgres_url(&server, ""))
        .await
        .unwrap();
    let storage = Arc::new(Postgres::builder().pool(pool.clone()).build().unwrap());
    let cacheme = {
        let storage = Postgres::builder().pool(pool.clone()).build().unwrap();
        let (cacheme, registered) = start("trouble", Storage::remote(storage)).await;
        registered.unwrap();
        cacheme
    };
    cacheme.get(&Square { number: 2 }).await.unwrap();
    let taken = pool.acquire().await.unwrap();
    loads_in_trouble(&cacheme, 2).await;
    let error = cacheme_storage::RemoteStorage::get(&*storage, &[b"k"])
        .await
        .unwrap_err();
    assert!(
        matches!(error, cacheme_storage::Error::Unreachable { .. })
            && error.to_string().contains("timed out"),
        "{error}"
    );
    drop(taken);
    hits(&cacheme, 2).await;
}
