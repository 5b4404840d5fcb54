//! User names may show; passwords never do: in what is printed of storages and builders, in errors wherever they come
//! from, nor in the log.

use std::sync::Arc;
use std::time::Duration;

use cacheme::{Cacheme, Storage};
use cacheme_storage::{Acquire, LeaseToken, MongoDb, MySql, Postgres, Redis, RemoteStorage, Sqlite};
use mongodb::bson::doc;
use tests::{mariadb, mongodb_on_disk, postgres, redis};

use super::entry;
use super::log::{PATIENCE, Seen};
use super::postgres::with_passwords;
use super::service::Square;

const SECRET: &str = "sEcReT";

/// Does with a storage whatever can be done, and counts the errors.
async fn every_call(seen: &Seen, storage: Storage) -> usize {
    let storage = storage.with_timeout(PATIENCE / 10);
    seen.see(&storage);
    seen.see(storage.location());
    let remote = Arc::clone(storage.as_remote().unwrap());
    let (token, time) = (LeaseToken(1), Duration::from_secs(1));
    let entries = [entry(b"k", "v", Some(time))];
    let mut errors = seen.see_call(remote.connect()).await;
    errors += seen.see_call(remote.get(&[b"k"])).await;
    errors += seen.see_call(remote.set(&entries)).await;
    errors += seen.see_call(remote.remove(&[b"k", b"l"])).await;
    errors += seen
        .see_call(remote.acquire(&[b"k"], &Acquire::new(token, time)))
        .await;
    errors += seen.see_call(remote.fill(&entries, token)).await;
    errors += seen.see_call(remote.release(&[b"k"], token)).await;
    errors += seen.see_call(remote.clear(b"k")).await;

    let cacheme = Cacheme::builder().prefix("secrets").build().unwrap();
    if let Err(error) = cacheme.register_storage("remote", storage).await {
        seen.see_error(&error);
    }
    cacheme.get(&Square { number: 2 }).await.unwrap();
    for outcome in [
        cacheme.set(&Square { number: 2 }, 4).await,
        cacheme.invalidate(&Square { number: 2 }).await,
        cacheme.refresh(&Square { number: 2 }).await.map(drop),
    ] {
        if let Err(error) = outcome {
            seen.see_error(&error);
        }
    }
    seen.see((&cacheme, cacheme.all_stats()));
    errors += seen.see_call(remote.close()).await;
    errors + seen.see_call(remote.get(&[b"k"])).await
}

#[tokio::test]
async fn nothing_shows_a_password() {
    let (redis, postgres) = (redis(&["--requirepass", "right-sEcReT"]), postgres());
    with_passwords(&postgres, &["poor"]).await;
    let (r, p) = (redis.port(), postgres.port());
    let (mysql, mongodb) = (mariadb(), mongodb_on_disk());
    let (m, g) = (mysql.port(), mongodb.port());
    let root = sqlx::MySqlPool::connect(&super::mysql::url(&mysql, ""))
        .await
        .unwrap();
    let users = "CREATE USER ann@'127.0.0.1' IDENTIFIED BY 'right-sEcReT'; GRANT ALL ON test.* TO ann@'127.0.0.1'; \
                 CREATE USER poor@'127.0.0.1' IDENTIFIED BY 'sEcReT'; GRANT SELECT ON test.* TO poor@'127.0.0.1'";
    super::mysql::run(&root, users).await;
    let client = ::mongodb::Client::with_uri_str(super::mongodb::url(&mongodb, ""))
        .await
        .unwrap();
    let user = doc! { "createUser": "ann", "pwd": "right-sEcReT", "roles": ["readWrite"] };
    client.database("test").run_command(user).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let seen = Seen::default();
    // On this thread, which is the only one that runs our tasks.
    let _logging = seen.on_this_thread();

    // Each fails in another way; the last ones work, and fail once they are closed.
    let urls = [
        format!("redis://:wrong-sEcReT@127.0.0.1:{r}"),
        format!("redis://ann:sEcReT@127.0.0.1:{r}/3"),
        format!("redis://:right-sEcReT@127.0.0.1:{r}/99"),
        format!("redis://:right-sEcReT@127.0.0.1:{p}"),
        "redis://ann:sEcReT@127.0.0.1:1".into(),
        "redis://ann:sEcReT@host.invalid".into(),
        "redis+unix://ann:sEcReT@/nowhere/redis.sock?db=2".into(),
        format!("rediss://ann:right-sEcReT@127.0.0.1:{r}"),
        format!("redis+cluster://ann:sEcReT@127.0.0.1:{r},127.0.0.1:1"),
        format!("redis+cluster://:right-sEcReT@127.0.0.1:{r}"),
        format!("rediss+cluster://ann:sEcReT@127.0.0.1:{r}"),
        format!("redis+sentinel://ann:sEcReT@127.0.0.1:{r},127.0.0.1:1/0?master=main"),
        format!("rediss+sentinel://ann:sEcReT@127.0.0.1:{r}?master=main"),
        format!("redis+sentinel://127.0.0.1:{r}?master=main&sentinel_user=ann&sentinel_password=sEcReT"),
        format!("postgres://poor:wrong-sEcReT@127.0.0.1:{p}/postgres"),
        format!("postgresql://poor:sEcReT@127.0.0.1:{p}/other"),
        format!("postgres://poor:sEcReT@127.0.0.1:{p}/postgres"),
        format!("postgres://poor:sEcReT@127.0.0.1:{p}/postgres?create=false"),
        format!("postgres://poor:sEcReT@127.0.0.1:{p}/postgres?sslmode=require"),
        format!("postgres://poor:sEcReT@127.0.0.1:{p}/postgres?sslmode=verify-full"),
        format!("postgres://poor:sEcReT@127.0.0.1:{r}/postgres"),
        "postgres://poor:sEcReT@127.0.0.1:1/postgres".into(),
        "postgres://poor:sEcReT@host.invalid/postgres".into(),
        "postgres://poor:sEcReT@/postgres?socket=/nowhere".into(),
        format!("mysql://ann:wrong-sEcReT@127.0.0.1:{m}/test"),
        format!("mariadb://poor:sEcReT@127.0.0.1:{m}/test"),
        format!("mysql://ann:right-sEcReT@127.0.0.1:{m}/other"),
        format!("mysql://ann:right-sEcReT@127.0.0.1:{m}/test?sslmode=verify_ca"),
        format!("mysql://ann:sEcReT@127.0.0.1:{r}/test"),
        "mysql://ann:sEcReT@127.0.0.1:1/test".into(),
        "mysql://ann:sEcReT@/test?socket=/nowhere".into(),
        format!("mongodb://ann:wrong-sEcReT@127.0.0.1:{g}/test?authMechanism=SCRAM-SHA-256"),
        format!("mongodb://ann:sEcReT@127.0.0.1:{r}/test?acquire_timeout=200ms"),
        "mongodb://ann:sEcReT@127.0.0.1:1,host.invalid/test?acquire_timeout=200ms".into(),
        "mongodb://ann:sEcReT@127.0.0.1:1/test?tls=true&acquire_timeout=200ms".into(),
        format!("sqlite://{}/absent/cache.db", folder.path().display()),
        format!("redis://:right-sEcReT@127.0.0.1:{r}"),
        format!("postgres://postgres:sEcReT@127.0.0.1:{p}/postgres"),
        format!("mysql://ann:right-sEcReT@127.0.0.1:{m}/test"),
        format!("mongodb://ann:right-sEcReT@127.0.0.1:{g}/test"),
        format!("sqlite://{}/cache.db", folder.path().display()),
    ];
    let working = urls.len() - 5;
    for (number, url) in urls.iter().enumerate() {
        let errors = every_call(&seen, Storage::open(url).expect(url)).await;
        let expected = if number < working { 5 } else { 1 };
        assert!(errors >= expected, "{url}: {errors} errors only");
    }

    // URLs that are refused for something else, or hold the password in the wrong place.
    for url in &urls {
        for wrong in ["colour=red", "timeout=never", "table=a.b.c", "timeout"] {
            let wrong = format!("{url}{}{wrong}", if url.contains('?') { "&" } else { "?" });
            seen.see_error(&Storage::open(&wrong).expect_err(&wrong));
        }
        for other in ["rediz", "mysql2", "redis"] {
            let (_, rest) = url.split_once("://").unwrap();
            let other = format!("{other}://{rest}");
            match Storage::open(&other) {
                Ok(storage) => seen.see(&storage),
                Err(error) => seen.see_error(&error),
            }
        }
    }
    for scheme in [
        "redis",
        "redis+cluster",
        "redis+sentinel",
        "postgres",
        "mysql",
        "mongodb",
        "sqlite",
        "local",
    ] {
        for rest in [
            "ann:sEc/sEcReT@h",
            "ann:sEc?sEcReT@h",
            "ann:sEc?a=sEcReT@h",
            "ann:sEcReT",
            "ann:sEcReT/db",
            "h:1,ann:sEcReT",
            "ann:%FFsEcReT@h",
            "ann:sEcReT@h:port/db",
            "ann:sEcReT@h/not-a-number",
            "h?sentinel_password=a&sEcReT",
            "h?sentinel_password=a&sEcReT=b",
            "h?sentinel_pasword=sEcReT",
        ] {
            if scheme == "sqlite" && !rest.contains(['@', '?']) {
                // The name of a file.
                continue;
            }
            let wrong = format!("{scheme}://{rest}");
            match Storage::open(&wrong) {
                Ok(storage) => seen.see(&storage),
                Err(error) => seen.see_error(&error),
            }
        }
    }

    let client = ::redis::Client::open(format!("redis://:right-sEcReT@127.0.0.1:{r}/")).unwrap();
    let manager = client.get_connection_manager().await.unwrap();
    for builder in [
        Redis::builder().server("h", 1).user("ann").password(SECRET),
        Redis::builder()
            .sentinels([("h", 1)], "m")
            .sentinel_user("ann")
            .sentinel_password(SECRET),
        Redis::builder().client(client),
        Redis::builder().manager(manager),
    ] {
        seen.see(&builder);
        let built = builder.build().unwrap();
        seen.see((&built, built.location()));
    }
    let options = sqlx::postgres::PgConnectOptions::new()
        .host("h")
        .username("ann")
        .password(SECRET);
    let pool = sqlx::PgPool::connect_lazy_with(options.clone());
    for builder in [
        Postgres::builder().options(options),
        Postgres::builder().pool(pool),
    ] {
        seen.see(&builder);
        let built = builder.build().unwrap();
        seen.see((&built, built.location()));
    }
    let options = sqlx::mysql::MySqlConnectOptions::new()
        .host("h")
        .username("ann")
        .password(SECRET)
        .database("app");
    let pool = sqlx::MySqlPool::connect_lazy_with(options.clone());
    for builder in [MySql::builder().options(options), MySql::builder().pool(pool)] {
        seen.see(&builder);
        let built = builder.build().unwrap();
        seen.see((&built, built.location()));
    }
    let options = ::mongodb::options::ClientOptions::parse("mongodb://ann:sEcReT@h/").await;
    let options = options.unwrap();
    let client = ::mongodb::Client::with_options(options.clone()).unwrap();
    for builder in [
        MongoDb::builder().options(options),
        MongoDb::builder().client(client),
    ] {
        seen.see(&builder);
        let built = builder.database("app").build().unwrap();
        seen.see((&built, built.location()));
    }
    let builder = Sqlite::builder().in_memory();
    seen.see(&builder);
    seen.see(builder.build().unwrap());

    let all = seen.all();
    let shown = all.lines().find(|line| line.contains(SECRET));
    assert_eq!(shown, None);
    for proof in [
        "storage in trouble",
        "Unreached",
        "NotInvalidated",
        "Refused",
        "INSERT INTO",
    ] {
        assert!(all.contains(proof), "nothing was seen of {proof:?}");
    }
}
