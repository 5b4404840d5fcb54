//! PostgreSQL behind a pooler that lends its connections by the transaction: two statements of one client reach two sessions.

use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{Acquire, Acquired, Bytes, Filled, LeaseToken, Postgres, RemoteStorage, conformance};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tests::{Server, pgbouncer, postgres};

use super::postgres::url;
use super::service::{Square, hits, loads_in_trouble, recovers, working};
use super::{entry, eventually, open};

/// What people write into the configuration when drivers do not get through.
const IGNORE: &str = "ignore_startup_parameters = extra_float_digits, options";

/// Several processes, with tables of their own, over connections of ours or pools of `applications`, ask for the same keys: a prepared statement of one that another one's session knows
/// by the same name would read another table.
async fn never_mixes_answers(server: &Server, pooler: &Server, applications: Option<&PgConnectOptions>) {
    let processes: Vec<_> = (0..4_u8)
        .map(|process| {
            let table = format!("process{process}");
            let storage = match applications {
                None => open(&url(pooler, &format!("?table={table}&connections=5&bus=false"))),
                Some(options) => {
                    let pool = PgPoolOptions::new()
                        .max_connections(5)
                        .connect_lazy_with(options.clone());
                    Arc::new(Postgres::builder().pool(pool).table(table).build().unwrap())
                }
            };
            (process, storage)
        })
        .collect();
    for (_, storage) in &processes {
        storage.connect().await.unwrap();
    }
    let callers: Vec<_> = (0..16_u8)
        .flat_map(|caller| processes.iter().map(move |process| (caller, process)))
        .map(|(caller, (process, storage))| {
            let (process, storage) = (*process, Arc::clone(storage));
            tokio::spawn(async move {
                let key = [b'k', caller % 4];
                for round in 0..12_u8 {
                    let value = Bytes::from(vec![process, caller % 4, round]);
                    storage.set(&[entry(&key, value, None)]).await.unwrap();
                    let found = storage.get(&[&key, b"absent"]).await.unwrap();
                    let [Some(found), None] = &found[..] else {
                        panic!("{found:?}");
                    };
                    assert_eq!(found[..2], [process, caller % 4], "of another process or key");
                    // A lease on a key that is this caller's alone, and its fill.
                    let (key, token) = ([b'l', caller], LeaseToken(u128::from(round) + 1));
                    let minute = Duration::from_secs(60);
                    let request = Acquire::new(token, minute);
                    let granted = storage.acquire(&[&key], &request).await.unwrap();
                    assert!(matches!(granted[..], [Acquired::Granted(_)]), "{granted:?}");
                    let value = Bytes::from(vec![process, caller, round]);
                    let filled = storage
                        .fill(&[entry(&key, value.clone(), None)], token)
                        .await
                        .unwrap();
                    assert_eq!(filled, [Filled::Stored]);
                    assert_eq!(storage.get(&[&key]).await.unwrap(), [Some(value)]);
                    storage.remove(&[&key]).await.unwrap();
                    assert_eq!(storage.get(&[&key]).await.unwrap(), [None]);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    // Nothing was left behind in sessions that others use.
    let pool = PgPool::connect(&url(server, "")).await.unwrap();
    let sessions: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'postgres' AND pid <> pg_backend_pid() \
         AND backend_type = 'client backend'",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!((1..=3).contains(&sessions), "{sessions} sessions");
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_t5_behind_pgbouncer_no_answer_is_that_of_another_statement() {
    let server = postgres();
    for settings in ["", IGNORE] {
        let pooler = pgbouncer(&server, "transaction", 3, settings);
        never_mixes_answers(&server, &pooler, None).await;
    }
    // A pool of the application, which keeps prepared statements, or has found out that it must not.
    for kept in [100, 0] {
        let pooler = pgbouncer(&server, "transaction", 3, IGNORE);
        let options: PgConnectOptions = url(&pooler, "").parse().unwrap();
        let options = options.statement_cache_capacity(kept);
        never_mixes_answers(&server, &pooler, Some(&options)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_postgres_behind_pgbouncer_conforms() {
    let server = postgres();
    // Where a session is ours as long as we like, notifications pass as well.
    let pooler = pgbouncer(&server, "session", 50, "");
    // Many writers share five connections, and a busy machine may take seconds for the turn of each.
    conformance::remote(open(&url(&pooler, "?connections=5&acquire_timeout=1m"))).await;
    // An odd name of a table is no place for an argument.
    let odd = open(&url(&pooler, "?table=it's%20%241%20%22and%22%20%5C"));
    odd.set(&[entry(b"k", "v", None)]).await.unwrap();
    assert_eq!(odd.get(&[b"k"]).await.unwrap(), [Some("v".into())]);
}

/// The pool of an application that has found out how to live with it.
#[tokio::test(flavor = "multi_thread")]
async fn t5_a_pool_of_the_application_behind_pgbouncer_conforms() {
    let server = postgres();
    let pooler = pgbouncer(&server, "session", 50, IGNORE);
    let options: PgConnectOptions = url(&pooler, "").parse().unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(5)
        .connect_with(options.statement_cache_capacity(0))
        .await
        .unwrap();
    let storage: Arc<dyn RemoteStorage> = Arc::new(Postgres::builder().pool(pool).build().unwrap());
    conformance::remote_in_small(storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t6_a_service_behind_pgbouncer_is_bounded_by_the_statement() {
    let server = postgres();
    let pooler = pgbouncer(&server, "transaction", 2, "");
    let cacheme = working("pooler", &url(&pooler, "?timeout=300ms&connections=2&bus=false")).await;
    cacheme.get(&Square { number: 2 }).await.unwrap();
    hits(&cacheme, 2).await;
    let pool = PgPool::connect(&url(&server, "")).await.unwrap();
    let mut lock = pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE cacheme IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .unwrap();
    loads_in_trouble(&cacheme, 2).await;
    // No session keeps a limit of ours, and none waits for the lock any more.
    eventually("the server has let go", async || {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                .fetch_one(&pool)
                .await
                .unwrap();
        waiting == 0
    })
    .await;
    lock.rollback().await.unwrap();
    recovers(&cacheme, 3).await;
}
