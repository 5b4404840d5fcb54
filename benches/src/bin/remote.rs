//! What Cacheme costs over a remote storage, next to the same commands written by hand on the raw driver.
//!
//! `cargo run --release -p benches --bin remote [-- --storage NAME,NAME… --job get,get64,get_all,fill --rounds N --out FILE]`
//!
//! `redis_plain` is Redis again, where what fills by hand compares no lease.
//! `--side ours` or `--side raw` runs one side alone, for a profiler.
//!
//! Both sides serialise the same value in the same way, and talk to one private server. By hand, as with us, the one
//! who finds nothing takes a lease before it loads and fills under it; where no command does both, it looks first.
//! Ratios are the time by hand over ours: above 1, ours is faster. The processor time is that of this process, without
//! the server.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::args::Args;
use benches::stats::Spread;
use benches::table::Table;
use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};
use futures_util::TryStreamExt;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use redis::AsyncCommands;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use sqlx::{MySqlPool, PgPool, Row, SqlitePool};
use tests::Kind;

/// How many entries there are to be hit.
const ENTRIES: u64 = 1_000;
/// How many keys a bulk call has.
const BULK: u64 = 20;
/// How many tasks call at once.
const TASKS: u64 = 64;
/// How long a lease is, in milliseconds.
const LEASE_MS: i64 = 10_000;
const TTL_MS: i64 = 600_000;

/// About a hundred bytes.
#[derive(Serialize, Deserialize, Clone, Debug)]
struct Info {
    id: u64,
    name: String,
    mail: String,
}

impl Info {
    fn of(id: u64) -> Self {
        Self {
            id,
            name: format!("user number {id:>30}"),
            mail: format!("user-{id:>20}@mail.example"),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        bincode::serde::encode_to_vec(self, bincode::config::standard()).expect("it can be written")
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let read = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
        read.expect("it was written by us").0
    }
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "user:{id}:info",
    value = Info,
    tier(storage = "remote", ttl = "10m"),
    load = load,
)]
struct InfoNode {
    id: u64,
}

async fn load(node: &InfoNode, _: &mut LoadContext<InfoNode>) -> Result<Info, BoxError> {
    Ok(Info::of(node.id))
}

/// The jobs, by one side or the other.
trait Side: Send + Sync + 'static {
    /// Reads an entry that is there.
    fn hit(&self, id: u64) -> impl Future<Output = Info> + Send;
    /// Reads entries that are there.
    fn hits(&self, ids: Vec<u64>) -> impl Future<Output = Vec<Info>> + Send;
    /// Finds nothing, loads, and fills.
    fn fill(&self, id: u64) -> impl Future<Output = Info> + Send;
}

impl Side for Cacheme {
    async fn hit(&self, id: u64) -> Info {
        self.get(&InfoNode { id }).await.expect("the server answers")
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let nodes: Vec<_> = ids.into_iter().map(|id| InfoNode { id }).collect();
        self.get_all(&nodes).await.expect("the server answers")
    }

    async fn fill(&self, id: u64) -> Info {
        self.get(&InfoNode { id }).await.expect("the server answers")
    }
}

fn key(id: u64) -> Vec<u8> {
    format!("raw:user:{id}:info").into_bytes()
}

fn keys(ids: &[u64]) -> Vec<Vec<u8>> {
    ids.iter().map(|&id| key(id)).collect()
}

/// A lease's token, another one each time.
fn token() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
        .to_be_bytes()
        .to_vec()
}

struct RawRedis {
    connection: redis::aio::MultiplexedConnection,
    /// Fills by this script, which compares the lease as the databases do; without it, by a plain `SET`, which would also put
    /// back what somebody invalidated meanwhile.
    fill: Option<redis::Script>,
}

const FILL: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then \
                    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";

impl Side for RawRedis {
    async fn hit(&self, id: u64) -> Info {
        let found: Vec<u8> = self
            .connection
            .clone()
            .get(key(id))
            .await
            .expect("the server answers");
        Info::from_bytes(&found)
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let mut connection = self.connection.clone();
        let found: Vec<Vec<u8>> = connection.mget(keys(&ids)).await.expect("the server answers");
        found.iter().map(|found| Info::from_bytes(found)).collect()
    }

    async fn fill(&self, id: u64) -> Info {
        let (mut connection, token) = (self.connection.clone(), token());
        let mut set = redis::cmd("SET");
        set.arg(key(id))
            .arg(&token)
            .arg("NX")
            .arg("GET")
            .arg("PX")
            .arg(LEASE_MS);
        let found: Option<Vec<u8>> = set
            .query_async(&mut connection)
            .await
            .expect("the server answers");
        assert!(found.is_none(), "{id} is there");
        let info = Info::of(id);
        if let Some(fill) = &self.fill {
            let mut fill = fill.key(key(id));
            fill.arg(token).arg(info.to_bytes()).arg(TTL_MS);
            let filled: i64 = fill
                .invoke_async(&mut connection)
                .await
                .expect("the server answers");
            assert_eq!(filled, 1);
            return info;
        }
        let mut set = redis::cmd("SET");
        set.arg(key(id)).arg(info.to_bytes()).arg("PX").arg(TTL_MS);
        let () = set
            .query_async(&mut connection)
            .await
            .expect("the server answers");
        info
    }
}

struct RawPostgres(PgPool);

impl Side for RawPostgres {
    async fn hit(&self, id: u64) -> Info {
        let found =
            sqlx::query("SELECT value FROM raw WHERE key = $1 AND value IS NOT NULL AND expires > now()")
                .bind(key(id))
                .fetch_one(&self.0)
                .await;
        Info::from_bytes(found.expect("it is there").get(0))
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let found = sqlx::query(
            "SELECT value FROM raw WHERE key = ANY($1) AND value IS NOT NULL AND expires > now()",
        )
        .bind(keys(&ids))
        .fetch_all(&self.0)
        .await;
        let found = found.expect("the server answers");
        found.iter().map(|row| Info::from_bytes(row.get(0))).collect()
    }

    async fn fill(&self, id: u64) -> Info {
        let (key, token) = (key(id), token());
        let leased = sqlx::query(
            "INSERT INTO raw (key, lease, expires) VALUES ($1, $2, now() + $3 * interval '1 ms') \
             ON CONFLICT (key) DO NOTHING",
        );
        let leased = leased
            .bind(&key)
            .bind(&token)
            .bind(LEASE_MS as f64)
            .execute(&self.0)
            .await;
        assert_eq!(
            leased.expect("the server answers").rows_affected(),
            1,
            "{id} is there"
        );
        let info = Info::of(id);
        let filled = sqlx::query(
            "UPDATE raw SET value = $1, expires = now() + $2 * interval '1 ms', lease = NULL \
             WHERE key = $3 AND lease = $4",
        );
        let filled = filled
            .bind(info.to_bytes())
            .bind(TTL_MS as f64)
            .bind(&key)
            .bind(&token);
        let filled = filled.execute(&self.0).await.expect("the server answers");
        assert_eq!(filled.rows_affected(), 1);
        info
    }
}

/// MySQL and SQLite, whose statements differ in their clocks only.
macro_rules! raw_sql {
    ($name:ident, $pool:ty, $now:literal, $insert:literal) => {
        struct $name($pool);

        impl Side for $name {
            async fn hit(&self, id: u64) -> Info {
                let found = sqlx::query(concat!(
                    "SELECT value FROM raw WHERE id = ? AND value IS NOT NULL AND expires > ",
                    $now
                ));
                let found = found.bind(key(id)).fetch_one(&self.0).await.expect("it is there");
                Info::from_bytes(found.get(0))
            }

            async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
                let mut found = sqlx::query(concat!(
                    "SELECT value FROM raw WHERE id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ",
                    "AND value IS NOT NULL AND expires > ",
                    $now
                ));
                for key in keys(&ids) {
                    found = found.bind(key);
                }
                let found = found.fetch_all(&self.0).await.expect("the server answers");
                found.iter().map(|row| Info::from_bytes(row.get(0))).collect()
            }

            async fn fill(&self, id: u64) -> Info {
                let (key, token) = (key(id), token());
                let found = sqlx::query(concat!(
                    "SELECT value FROM raw WHERE id = ? AND value IS NOT NULL AND expires > ",
                    $now
                ));
                let found = found.bind(&key).fetch_optional(&self.0).await;
                assert!(found.expect("the server answers").is_none(), "{id} is there");
                let leased = sqlx::query(concat!(
                    $insert,
                    " INTO raw (id, lease, expires) VALUES (?, ?, ",
                    $now,
                    " + ?)"
                ));
                let leased = leased.bind(&key).bind(&token).bind(LEASE_MS).execute(&self.0).await;
                assert_eq!(leased.expect("the server answers").rows_affected(), 1);
                let info = Info::of(id);
                let filled = sqlx::query(concat!(
                    "UPDATE raw SET value = ?, expires = ",
                    $now,
                    " + ?, lease = NULL WHERE id = ? AND lease = ?"
                ));
                let filled = filled.bind(info.to_bytes()).bind(TTL_MS).bind(&key).bind(&token);
                let filled = filled.execute(&self.0).await.expect("the server answers");
                assert_eq!(filled.rows_affected(), 1);
                info
            }
        }
    };
}

raw_sql!(
    RawMySql,
    MySqlPool,
    "UNIX_TIMESTAMP(NOW(3)) * 1000",
    "INSERT IGNORE"
);
raw_sql!(
    RawSqlite,
    SqlitePool,
    "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    "INSERT OR IGNORE"
);

struct RawMongoDb(mongodb::Collection<Document>);

impl RawMongoDb {
    fn value(found: &Document) -> Info {
        Info::from_bytes(found.get_binary_generic("value").expect("it is a value"))
    }
}

fn binary(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}

fn text(id: u64) -> String {
    format!("raw:user:{id}:info")
}

fn in_millis(ms: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + ms)
}

impl Side for RawMongoDb {
    async fn hit(&self, id: u64) -> Info {
        let found = self.0.find_one(doc! { "_id": text(id) }).await;
        Self::value(&found.expect("the server answers").expect("it is there"))
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let names: Vec<_> = ids.into_iter().map(text).collect();
        let found = self
            .0
            .find(doc! { "_id": { "$in": names } })
            .await
            .expect("the server answers");
        let found: Vec<Document> = found.try_collect().await.expect("the server answers");
        found.iter().map(Self::value).collect()
    }

    async fn fill(&self, id: u64) -> Info {
        let found = self.0.find_one(doc! { "_id": text(id) }).await;
        assert!(found.expect("the server answers").is_none(), "{id} is there");
        let token = binary(token());
        let lease = doc! { "$set": { "lease": token.clone(), "expires_at": in_millis(LEASE_MS) } };
        let leased = self
            .0
            .update_one(doc! { "_id": text(id) }, lease)
            .upsert(true)
            .await;
        assert!(leased.expect("the server answers").upserted_id.is_some());
        let info = Info::of(id);
        let value = doc! { "$set": { "value": binary(info.to_bytes()), "expires_at": in_millis(TTL_MS) } };
        let filled = self
            .0
            .update_one(doc! { "_id": text(id), "lease": token }, value)
            .await;
        assert_eq!(filled.expect("the server answers").modified_count, 1);
        info
    }
}

/// A job: how often it is done in a round, and by how many at once.
struct Job {
    /// After `--job`.
    short: &'static str,
    name: &'static str,
    times: u64,
    tasks: u64,
}

/// What one time of a job took, in microseconds.
struct Took {
    time: f64,
    /// Of all processors, by this process.
    processor: f64,
}

/// The processor time of this process so far, in microseconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Runs a job.
async fn run(side: &Arc<impl Side>, job: &Job, fresh: &AtomicU64) -> Took {
    let each = job.times / job.tasks;
    let name = job.name;
    let (start, processor) = (Instant::now(), processor_time());
    let tasks: Vec<_> = (0..job.tasks)
        .map(|task| {
            let (side, first) = (Arc::clone(side), fresh.fetch_add(each, Ordering::Relaxed));
            tokio::spawn(async move {
                for time in 0..each {
                    // Neighbours in time are no neighbours in the storage.
                    let id = (task * 389 + time * 7_919) % ENTRIES;
                    match name {
                        "get hit" => assert_eq!(side.hit(id).await.id, id),
                        "get_all of 20" => {
                            let ids: Vec<_> = (0..BULK).map(|at| (id + at * 37) % ENTRIES).collect();
                            assert_eq!(side.hits(ids).await.len() as u64, BULK);
                        }
                        _ => assert_eq!(side.fill(first + time).await.id, first + time),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    let times = (each * job.tasks) as f64;
    Took {
        time: start.elapsed().as_secs_f64() * 1e6 / times,
        processor: (processor_time() - processor) / times,
    }
}

/// What is to be run.
struct Plan {
    /// Jobs by their short names; all if empty.
    jobs: Vec<String>,
    /// `ours` or `raw` alone, or both if empty.
    side: String,
    rounds: usize,
}

/// All jobs over one storage, a line each.
async fn compare(name: &str, storage: Storage, raw: impl Side, scale: u64, plan: &Plan, table: &mut Table) {
    let ours = Cacheme::builder().prefix("bench").build().expect("a prefix");
    let storage = storage.with_timeout(Duration::from_secs(60));
    ours.register_storage("remote", storage)
        .await
        .expect("the server is there");
    let (ours, raw) = (Arc::new(ours), Arc::new(raw));
    for id in 0..ENTRIES {
        ours.fill(id).await;
        raw.fill(id).await;
    }
    // Beyond the entries that are there, each side has numbers of its own.
    let (fresh_ours, fresh_raw) = (AtomicU64::new(ENTRIES), AtomicU64::new(ENTRIES));
    let job = |short, name, times, tasks| Job {
        short,
        name,
        times,
        tasks,
    };
    let jobs = [
        job("get", "get hit", scale, 1),
        job("get64", "get hit", scale * 4, TASKS),
        job("get_all", "get_all of 20", scale / 4, 1),
        job("fill", "fill after a miss", scale / 2, 1),
    ];
    let wanted = |job: &Job| plan.jobs.is_empty() || plan.jobs.iter().any(|wanted| wanted == job.short);
    for job in jobs.into_iter().filter(wanted) {
        let (mut by_us, mut by_hand) = (Vec::new(), Vec::new());
        // The first round warms up: connections, prepared statements.
        for round in 0..=plan.rounds {
            for turn in 0..2 {
                let (side, times) = match (round + turn) % 2 {
                    0 => ("ours", &mut by_us),
                    _ => ("raw", &mut by_hand),
                };
                if !plan.side.is_empty() && plan.side != side {
                    continue;
                }
                let took = match side {
                    "ours" => run(&ours, &job, &fresh_ours).await,
                    _ => run(&raw, &job, &fresh_raw).await,
                };
                if round > 0 {
                    times.push(took);
                }
            }
        }
        let spread = |times: &[Took], which: fn(&Took) -> f64| match times {
            [] => f64::NAN,
            _ => Spread::of(times.iter().map(which)).median,
        };
        let ratios = match plan.side.as_str() {
            "" => Spread::of(by_us.iter().zip(&by_hand).map(|(ours, raw)| raw.time / ours.time)).to_string(),
            _ => "\t\t".into(),
        };
        table.line(&format!(
            "{name}\t{}\t{}\t{:.1}\t{:.1}\t{:.1}\t{:.1}\t{ratios}",
            job.name,
            job.tasks,
            spread(&by_us, |took| took.time),
            spread(&by_hand, |took| took.time),
            spread(&by_us, |took| took.processor),
            spread(&by_hand, |took| took.processor),
        ));
    }
}

const USAGE: &str = "remote [--storage redis,redis_plain,postgres,mysql,mongodb,sqlite] [--job get,get64,get_all,fill] [--side ours|raw] [--rounds 7] [--scale 2000] [--out FILE]";

#[tokio::main]
async fn main() {
    let args = Args::read(&["storage", "job", "side", "rounds", "scale", "out"], USAGE);
    let mut storages: Vec<String> = args.list("storage");
    if storages.is_empty() {
        storages = ["redis", "redis_plain", "postgres", "mysql", "mongodb", "sqlite"]
            .map(Into::into)
            .to_vec();
    }
    let plan = Plan {
        jobs: args.list("job"),
        side: args.one("side", String::new()),
        rounds: args.one("rounds", 7),
    };
    let scale: u64 = args.one("scale", 2_000);
    let titles =
        "storage\tjob\ttasks\tours us\traw us\tours cpu us\traw cpu us\tratio min\tratio median\tratio max";
    let mut table = Table::begin(&args.one("out", String::new()), titles);
    let open = |url: &str| Storage::open(url).expect("a URL");
    for storage in storages {
        match storage.as_str() {
            "redis" | "redis_plain" => {
                let server = tests::redis(&[]);
                let url = Kind::Redis.url(&server);
                let client = redis::Client::open(url.as_str()).expect("a URL");
                let connection = client
                    .get_multiplexed_async_connection()
                    .await
                    .expect("it answers");
                let fill = (storage == "redis").then(|| redis::Script::new(FILL));
                compare(
                    &storage,
                    open(&url),
                    RawRedis { connection, fill },
                    scale * 4,
                    &plan,
                    &mut table,
                )
                .await;
            }
            "postgres" => {
                let server = tests::postgres();
                let url = Kind::Postgres.url(&server);
                let pool = PgPool::connect(&url).await.expect("it answers");
                let made =
                    "CREATE TABLE raw (key bytea PRIMARY KEY, value bytea, expires timestamptz, lease bytea)";
                sqlx::query(made).execute(&pool).await.expect("it can be made");
                compare(
                    "postgres",
                    open(&url),
                    RawPostgres(pool),
                    scale,
                    &plan,
                    &mut table,
                )
                .await;
            }
            "mysql" => {
                let server = tests::mariadb();
                let url = Kind::MySql.url(&server);
                let pool = MySqlPool::connect(&url).await.expect("it answers");
                let made = "CREATE TABLE raw (id varbinary(1024) PRIMARY KEY, value longblob, expires bigint, \
                            lease varbinary(16))";
                sqlx::query(made).execute(&pool).await.expect("it can be made");
                compare("mysql", open(&url), RawMySql(pool), scale, &plan, &mut table).await;
            }
            "mongodb" => {
                let server = tests::mongodb();
                let url = Kind::MongoDb.url(&server);
                let client = mongodb::Client::with_uri_str(&url).await.expect("a URL");
                let raw = RawMongoDb(client.database("test").collection("raw"));
                let emulated = if tests::mongodb_is_emulated() { 10 } else { 1 };
                compare("mongodb", open(&url), raw, scale / emulated, &plan, &mut table).await;
            }
            "sqlite" => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let options = sqlx::sqlite::SqliteConnectOptions::new()
                    .filename(folder.path().join("raw.db"))
                    .create_if_missing(true)
                    .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                    .synchronous(sqlx::sqlite::SqliteSynchronous::Normal);
                let pool = sqlx::sqlite::SqlitePoolOptions::new()
                    .max_connections(4)
                    .connect_with(options);
                let pool = pool.await.expect("it can be opened");
                let made = "CREATE TABLE raw (id blob NOT NULL PRIMARY KEY, value blob, expires integer, lease blob)";
                sqlx::query(made).execute(&pool).await.expect("it can be made");
                let url = format!("sqlite://{}/ours.db", folder.path().display());
                compare("sqlite", open(&url), RawSqlite(pool), scale, &plan, &mut table).await;
            }
            other => args.refuse(&format!("no storage is called `{other}`")),
        }
    }
}
