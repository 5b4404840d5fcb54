//! Storages that are set up wrongly: each is named with the cause when it is registered, and the service does without it.
//!
//! What cannot be wrong: SQLite has no users, and a database of MongoDB is there as soon as somebody may write to it.

use cacheme::{Cacheme, Error, Storage};
use cacheme_storage::{Chain, Sqlite};
use mongodb::Client;
use mongodb::bson::doc;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, MySqlPool, SqlitePool};
use tests::{RedisCluster, RedisSentinels, mariadb, mongodb_on_disk, postgres, redis};

use super::open;
use super::postgres::{run, url as postgres_url, with_passwords};
use super::redis::ask;
use super::service::{Square, goes_on_reading, hits, loads_in_trouble, recovers, squares, start, working};

/// A service whose storage was refused.
struct Refused {
    cacheme: Cacheme,
    /// What registering the storage said.
    said: String,
}

impl Refused {
    /// What the message says to run.
    fn ddl(&self) -> &str {
        let after = ["run: ", "make it with: "].map(|before| self.said.split_once(before));
        let ddl = after.into_iter().flatten().next().expect(&self.said).1;
        // The causes of an error follow it in brackets.
        ddl.trim_end_matches(')')
    }
}

/// Registering fails and names storage and causes, without secrets; the service goes on without the storage.
async fn refused(storage: Storage, causes: &[&str]) -> Refused {
    let location = storage.location();
    let (cacheme, registered) = start("trouble", storage).await;
    let error = registered.expect_err(&location);
    let said = Chain(&error).to_string();
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
    Refused { cacheme, said }
}

fn by(url: &str) -> Storage {
    Storage::open(url).expect(url)
}

/// Each URL is refused for its causes.
async fn all_refused(wrong: &[(String, &[&str])]) {
    for (url, causes) in wrong {
        refused(by(url), causes).await;
    }
}

/// Users with rights of all kinds, on servers that know them all; `at` has the URL for a login.
async fn redis_refuses(ports: &[u16], at: impl Fn(&str) -> String) {
    let everywhere = async |command: &[&str]| {
        for &port in ports {
            ask::<()>(port, command).await;
        }
    };
    for user in [
        // What the guide says that it needs.
        "app on >sEcReT ~trouble:* &cacheme.* +@read +@write +@scripting +@connection +@pubsub +time +info +cluster +role",
        "reader on >sEcReT ~* +@read +@connection +cluster +role",
        "other on >sEcReT ~other:* +@all",
    ] {
        let command: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
        everywhere(&command).await;
    }
    let no_login = ["refused", "authentication failed"];
    let wrong = refused(by(&at("app:not-sEcReT@")), &no_login).await;
    refused(by(&at("nobody:sEcReT@")), &no_login).await;

    // The right password later: nothing needs to be registered again.
    everywhere(&["ACL", "SETUSER", "app", ">not-sEcReT"]).await;
    recovers(&wrong.cacheme, 3).await;

    // What a user may do shows when it is done.
    let app = working("trouble", &at("app:sEcReT@")).await;
    app.get(&Square { number: 5 }).await.unwrap();
    hits(&app, 5).await;
    let reader = working("trouble", &at("reader:sEcReT@")).await;
    goes_on_reading(&reader, 5, 600).await;
    let other = working("trouble", &at("other:sEcReT@")).await;
    loads_in_trouble(&other, 5).await;
    let error = reader.invalidate(&Square { number: 5 }).await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("`remote`") && error.contains("permissions"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_redis_that_refuses_is_named_and_done_without() {
    let server = redis(&[]);
    let port = server.port();
    redis_refuses(&[port], |login| format!("redis://{login}127.0.0.1:{port}")).await;
    all_refused(&[
        (
            format!("redis://app:sEcReT@127.0.0.1:{port}/99"),
            &["refused", "out of range"],
        ),
        (
            "redis://app:sEcReT@127.0.0.1:1".into(),
            &["cannot be reached", "refused"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_redis_cluster_that_refuses_is_named_and_done_without() {
    let cluster = RedisCluster::start();
    let (url, alone) = (cluster.url(), redis(&[]));
    let at = |login: &str| url.replacen("://", &format!("://{login}"), 1);
    redis_refuses(&cluster.ports(), at).await;
    let alone = format!("redis+cluster://ann:sEcReT@127.0.0.1:{}", alone.port());
    all_refused(&[
        (
            alone.replace("ann:sEcReT@", ""),
            &["refused", "cluster support disabled"],
        ),
        (alone, &["authentication failed"]),
        (
            "redis+cluster://ann:sEcReT@127.0.0.1:1".into(),
            &["cannot be reached", "refused"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_a_redis_behind_sentinels_that_refuses_is_named_and_done_without() {
    let group = RedisSentinels::start();
    let url = group.url();
    let at = |login: &str| url.replacen("://", &format!("://{login}"), 1);
    // Sentinels are asked without a login.
    redis_refuses(&[group.master.port()], at).await;
    let other = |what: &str| at("app:sEcReT@").replace("/0?master=main", what);
    all_refused(&[
        (other("/99?master=main"), &["refused", "out of range"]),
        (other("/0?master=other"), &["no master of this name", "other"]),
        (
            "redis+sentinel://app:sEcReT@127.0.0.1:1/0?master=main".into(),
            &["cannot be reached", "refused"],
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_postgres_that_refuses_is_named_and_done_without() {
    let server = postgres();
    let pool = with_passwords(&server, &["poor"]).await;
    let (port, redis) = (server.port(), redis(&[]));
    let at = |login: &str, rest: &str| format!("postgres://{login}@127.0.0.1:{port}/{rest}");
    run(
        &pool,
        "CREATE TABLE older (key text PRIMARY KEY, value bytea, expire timestamptz)",
    )
    .await;
    all_refused(&[
        (
            at("poor:not-sEcReT", "postgres"),
            &["refused", "password authentication failed for user \"poor\""],
        ),
        (
            at("poor:sEcReT", "other"),
            &["refused", "database \"other\" does not exist"],
        ),
        (
            "postgres://poor:sEcReT@127.0.0.1:1/app".into(),
            &["cannot be reached", "refused"],
        ),
        // Something else listens there, and says nothing that PostgreSQL would.
        (
            format!(
                "postgres://poor:sEcReT@127.0.0.1:{}/?acquire_timeout=200ms",
                redis.port()
            ),
            &["cannot be reached", "does not greet"],
        ),
        (at("postgres", "postgres?sslmode=require"), &["TLS"]),
        (
            at("postgres", "postgres?table=older"),
            &[
                "table `older` has another shape (expire timestamp",
                "key text, value bytea)",
                "drop it and run",
            ],
        ),
    ])
    .await;
    // Once the administrator has done what the message asks for, nothing needs to be registered again.
    let absent = "postgres?create=false&table=public.it's%20%22absent%22";
    let absent = refused(
        by(&at("postgres", absent)),
        &["table `public.it's \"absent\"` does not exist"],
    )
    .await;
    run(&pool, absent.ddl()).await;
    recovers(&absent.cacheme, 3).await;
    let poor = refused(
        by(&at("poor:sEcReT", "postgres")),
        &[
            "table `cacheme` cannot be made",
            "permission denied",
            "make it with: CREATE TABLE",
        ],
    )
    .await;
    run(&pool, "GRANT CREATE ON SCHEMA public TO poor").await;
    recovers(&poor.cacheme, 3).await;

    // A table that one may read only.
    let owner = working("trouble", &postgres_url(&server, "?table=closed")).await;
    owner.get(&Square { number: 1_000 }).await.unwrap();
    run(&pool, "GRANT SELECT ON closed TO poor").await;
    let reader = working("trouble", &at("poor:sEcReT", "postgres?table=closed")).await;
    goes_on_reading(&reader, 1_000, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_mysql_that_refuses_is_named_and_done_without() {
    let (server, redis) = (mariadb(), redis(&[]));
    let root = MySqlPool::connect(&super::mysql::url(&server, "")).await.unwrap();
    let run = async |sql: &str| super::mysql::run(&root, sql).await;
    run(
        "CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'sEcReT'; GRANT SELECT ON test.* TO poor@'127.0.0.1'; \
         CREATE TABLE older (`key` varchar(512) PRIMARY KEY, value blob, expire datetime)",
    )
    .await;
    let at = |login: &str, rest: &str| format!("mysql://{login}@127.0.0.1:{}/{rest}", server.port());
    all_refused(&[
        (
            at("poor:not-sEcReT", "test"),
            &["refused", "Access denied for user 'poor'"],
        ),
        (at("root", "other"), &["refused", "Unknown database 'other'"]),
        (
            "mysql://poor:sEcReT@127.0.0.1:1/app".into(),
            &["cannot be reached", "refused"],
        ),
        (
            format!(
                "mysql://poor:sEcReT@127.0.0.1:{}/test?acquire_timeout=200ms",
                redis.port()
            ),
            &["cannot be reached", "does not greet"],
        ),
        (at("root", "test?sslmode=required"), &["TLS"]),
        (
            at("root", "test?table=older"),
            &[
                "table `older` has another shape (expire datetime, key varchar(512), value blob)",
                "drop it and run",
            ],
        ),
    ])
    .await;
    // Once the administrator has done what the message asks for, nothing needs to be registered again.
    let absent = "test?create=false&table=test.it's%20%60absent%60";
    let absent = refused(
        by(&at("root", absent)),
        &["table `test.it's `absent`` does not exist"],
    )
    .await;
    run(absent.ddl()).await;
    recovers(&absent.cacheme, 3).await;
    let poor = refused(
        by(&at("poor:sEcReT", "test")),
        &[
            "table `cacheme` cannot be made",
            "CREATE command denied",
            "make it with: CREATE TABLE",
        ],
    )
    .await;
    run("GRANT ALL ON test.* TO poor@'127.0.0.1'").await;
    recovers(&poor.cacheme, 3).await;

    // A table that one may read only.
    run(
        "CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'sEcReT'; GRANT SELECT ON test.* TO reader@'127.0.0.1'",
    )
    .await;
    let reader = working("trouble", &at("reader:sEcReT", "test")).await;
    goes_on_reading(&reader, 3, 600).await;
    // Sessions that would write and never be seen to; those of administrators stay as they are.
    run("SET GLOBAL init_connect = 'SET autocommit = 0'").await;
    all_refused(&[(at("poor:sEcReT", "test"), &["`autocommit` off", "switch it on"])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_sqlite_that_refuses_is_named_and_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = |name: &str| format!("sqlite://{}/{name}", folder.path().display());
    std::fs::write(path("text.db"), "no database at all".repeat(100)).unwrap();
    open(&file("some.db?table=other")).connect().await.unwrap();
    let options = SqliteConnectOptions::new().filename(path("some.db"));
    let pool = SqlitePool::connect_with(options.clone()).await.unwrap();
    let run = async |sql: &str| {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        sql.execute(&pool).await.unwrap()
    };
    run("CREATE TABLE older (key TEXT PRIMARY KEY, value BLOB, expire REAL)").await;
    all_refused(&[
        (file("absent/cache.db"), &["cannot be reached", "unable to open"]),
        (
            file("absent.db?create=false"),
            &["cannot be reached", "unable to open"],
        ),
        (file("text.db"), &["refused", "not a database"]),
        (
            file("some.db?table=older"),
            &[
                "table `older` has another shape (expire REAL, key TEXT, value BLOB)",
                "drop it and run",
            ],
        ),
    ])
    .await;
    let read_only = || {
        let pool = SqlitePoolOptions::new().connect_lazy_with(options.clone().read_only(true));
        Storage::remote(Sqlite::builder().pool(pool).build().unwrap())
    };
    // Once the administrator has done what the message asks for, nothing needs to be registered again.
    let poor = refused(
        read_only(),
        &[
            "table `cacheme` cannot be made",
            "readonly",
            "make it with: CREATE TABLE",
        ],
    )
    .await;
    let absent = refused(
        by(&file("some.db?create=false&table=it's%20%22absent%22")),
        &["table `it's \"absent\"` does not exist"],
    )
    .await;
    run(absent.ddl()).await;
    recovers(&absent.cacheme, 3).await;
    run(poor.ddl()).await;
    let owner = working("trouble", &file("some.db")).await;
    owner.get(&Square { number: 3 }).await.unwrap();
    hits(&poor.cacheme, 3).await;

    let (reader, registered) = start("trouble", read_only()).await;
    registered.unwrap();
    goes_on_reading(&reader, 3, 600).await;
    let error = reader.invalidate(&Square { number: 3 }).await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("`remote`") && error.contains("readonly"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t3_mongodb_that_refuses_is_named_and_done_without() {
    let (mut server, redis) = (mongodb_on_disk(), redis(&[]));
    let client = Client::with_uri_str(super::mongodb::url(&server, ""))
        .await
        .unwrap();
    let admin = client.database("admin");
    for (user, role) in [("app", "readWrite"), ("reader", "read")] {
        let roles = vec![doc! { "role": role, "db": "test" }];
        admin
            .run_command(doc! { "createUser": user, "pwd": "sEcReT", "roles": roles })
            .await
            .unwrap();
    }
    let test = client.database("test");
    let index = |collection: &str, after: i32| {
        doc! {
            "createIndexes": collection,
            "indexes": [{ "key": { "expires_at": 1 }, "name": "own", "expireAfterSeconds": after }],
        }
    };
    test.run_command(index("older", 3600)).await.unwrap();
    // An index by another name does the same.
    test.run_command(index("own", 0)).await.unwrap();
    let folding = doc! { "create": "folding", "collation": { "locale": "en", "strength": 2 } };
    test.run_command(folding).await.unwrap();
    client.shutdown().await;
    std::fs::write(server.dir().join("auth"), "").unwrap();
    // Not killed: the users are to be there afterwards.
    server.stop();
    server.restart();
    // The emulator takes its time to look at a password.
    let at = |login: &str, rest: &str| {
        format!(
            "mongodb://{login}127.0.0.1:{}/{rest}&authSource=admin&timeout=10s",
            server.port()
        )
    };
    all_refused(&[
        (
            at("app:not-sEcReT@", "test?create=true"),
            &["refused", "uthentication failed"],
        ),
        (
            at("", "test?create=true"),
            &["refused", "requires authentication"],
        ),
        (
            at("app:sEcReT@", "other?create=true"),
            &["refused", "not authorized"],
        ),
        (
            "mongodb://app:sEcReT@127.0.0.1:1/app?acquire_timeout=200ms".into(),
            &["cannot be reached", "refused"],
        ),
        (
            format!(
                "mongodb://app:sEcReT@127.0.0.1:{}/test?acquire_timeout=200ms",
                redis.port()
            ),
            &["cannot be reached"],
        ),
        (
            at("reader:sEcReT@", "test?collection=absent"),
            &[
                "collection `absent` cannot be made",
                "not authorized",
                "make it with: db.getCollection(\"absent\").createIndex(",
            ],
        ),
        (
            at("app:sEcReT@", "test?collection=absent&create=false"),
            &[
                "collection `absent` lacks its index; run: db.getCollection(\"absent\").createIndex(\
             { expires_at: 1 }, { name: \"cacheme_expiry\", expireAfterSeconds: 0 })",
            ],
        ),
        (
            at("app:sEcReT@", "test?collection=older"),
            &[
                "collection `older` has another index of `expires_at`",
                "drop the index and run: db.",
            ],
        ),
        (
            at("app:sEcReT@", "test?collection=folding"),
            &[
                "collection `folding` has the option `collation`",
                "drop it and run: db.",
            ],
        ),
    ])
    .await;
    let app = working("trouble", &at("app:sEcReT@", "test?collection=own&create=false")).await;
    app.get(&Square { number: 1_000 }).await.unwrap();
    hits(&app, 1_000).await;
    // Who may only read, reads.
    let reader = working("trouble", &at("reader:sEcReT@", "test?collection=own")).await;
    goes_on_reading(&reader, 1_000, 6).await;
}
