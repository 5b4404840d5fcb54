use std::time::Duration;

use cacheme_storage::{Acquire, Acquired, Bytes, Chain, LeaseToken, Postgres, RemoteEntry, RemoteStorage};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};

use tests::{Server, postgres};

use super::{entry, eventually, open};

pub(super) fn url(server: &Server, options: &str) -> String {
    format!(
        "postgres://postgres@127.0.0.1:{}/postgres{options}",
        server.port()
    )
}

pub(super) async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await
        .unwrap();
}

/// Makes users who need the password `sEcReT` and may do nothing else; gives a pool of the administrator's.
pub(super) async fn with_passwords(server: &Server, users: &[&str]) -> PgPool {
    let pool = PgPool::connect(&url(server, "")).await.unwrap();
    let access = server.dir().join("data/pg_hba.conf");
    let mut rules = String::new();
    for user in users {
        run(&pool, &format!("CREATE ROLE {user} LOGIN PASSWORD 'sEcReT'")).await;
        rules += &format!("host all {user} 127.0.0.1/32 scram-sha-256\n");
    }
    let others = std::fs::read_to_string(&access).unwrap();
    std::fs::write(&access, rules + &others).unwrap();
    run(&pool, "SELECT pg_reload_conf()").await;
    for user in users {
        let wrong = format!("postgres://{user}:not@127.0.0.1:{}/postgres", server.port());
        eventually("the server asks for passwords", async || {
            PgPool::connect(&wrong).await.is_err()
        })
        .await;
    }
    pool
}

/// Statements that the server ran meanwhile, by its own count.
async fn statements(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT sum(calls)::bigint FROM pg_stat_statements WHERE query ~ 'cacheme'")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_answers_each_call_with_one_statement() {
    let mut server = postgres();
    let config = server.dir().join("data/postgresql.auto.conf");
    std::fs::write(config, "shared_preload_libraries = 'pg_stat_statements'\n").unwrap();
    server.restart();
    let options: PgConnectOptions = url(&server, "").parse().unwrap();
    let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
    run(&pool, "CREATE EXTENSION pg_stat_statements").await;
    let storage = Postgres::builder().pool(pool.clone()).build().unwrap();
    storage.connect().await.unwrap();
    let names: Vec<_> = (0..1000_u32).map(u32::to_be_bytes).collect();
    let keys: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    let entries: Vec<_> = keys
        .iter()
        .map(|key| RemoteEntry {
            key,
            value: "v".into(),
            ttl: None,
        })
        .collect();
    let mut before = statements(&pool).await;
    let minute = Duration::from_secs(60);
    let mut ran = async |what: &str| {
        let now = statements(&pool).await;
        assert_eq!(now - before, 1, "{what}");
        before = now;
    };
    let token = LeaseToken(1);
    let granted = storage
        .acquire(&keys, &Acquire::new(token, minute))
        .await
        .unwrap();
    assert!(granted.iter().all(Acquired::is_granted));
    ran("acquire").await;
    storage.fill(&entries, token).await.unwrap();
    ran("fill").await;
    storage.get(&keys).await.unwrap();
    ran("get").await;
    storage
        .acquire(&keys, &Acquire::new(token, minute))
        .await
        .unwrap();
    ran("acquire what is there").await;
    storage.set(&entries).await.unwrap();
    ran("set").await;
    storage.remove(&keys).await.unwrap();
    ran("remove").await;
    storage.close().await.unwrap();
    assert!(!pool.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_collects_expired_rows_and_keeps_large_values() {
    let server = postgres();
    let pool = PgPool::connect(&url(&server, "")).await.unwrap();
    let storage = open(&url(&server, "?purge=50ms"));
    let short = Duration::from_millis(1);
    storage
        .set(&[entry(b"a", "v", None), entry(b"b", "v", Some(short))])
        .await
        .unwrap();
    let rows = || async {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM cacheme")
            .fetch_one(&pool)
            .await
            .unwrap();
        rows
    };
    while rows().await != 1 {
        tokio::task::yield_now().await;
    }
    let value = Bytes::from(vec![9; 64 << 20]);
    storage
        .set(&[RemoteEntry {
            key: b"large",
            value: value.clone(),
            ttl: None,
        }])
        .await
        .unwrap();
    storage.close().await.unwrap();

    // The purge of this one is far away: it is a call that meets the missing table.
    let storage = open(&url(&server, ""));
    assert_eq!(storage.get(&[b"large"]).await.unwrap(), [Some(value)]);
    run(&pool, "DROP TABLE cacheme").await;
    let error = storage.get(&[b"a"]).await.unwrap_err();
    assert!(Chain(&error).to_string().contains("does not exist"), "{error}");
    assert_eq!(
        storage.get(&[b"a"]).await.unwrap(),
        [None],
        "the table is made anew"
    );
}
