//! What Cacheme costs over a remote storage, next to the same commands written by hand on the raw driver.
//!
//! `cargo run --release -p benches --bin remote [-- --storage NAME,NAME… --job get,get64,get_all,fill --rounds N --out FILE]`
//!
//! `redis_plain` is Redis again, where what fills by hand compares no lease.
//! `--side ours` or `--side raw` runs one side alone, for a profiler. `--awake` keeps virtual processors awake by programs of
//! idle priority, without which times of one task say more of the host than of either side.
//!
//! Both sides serialise the same value in the same way, and talk to one private server. By hand, as with us, the one
//! who finds nothing takes a lease before it loads and fills under it; where no command does both, it looks first.
//! Ratios are the time by hand over ours: above 1, ours is faster. The processor time is that of this process, without
//! the server.

mod by_hand;
mod job;
mod side;

use benches::args::Args;
use benches::awake::Awake;
use benches::table::Table;
use cacheme::Storage;
use tests::Kind;

use self::by_hand::{RawMongoDb, RawMySql, RawPostgres, RawRedis, RawSqlite};
use self::job::{Plan, compare};

const USAGE: &str = "remote [--storage redis,redis_plain,postgres,mysql,mongodb,sqlite] [--job get,get64,get_all,fill] [--side ours|raw] [--rounds 7] [--scale 2000] [--awake] [--out FILE]";

#[tokio::main]
async fn main() {
    let args = Args::read(
        &["storage", "job", "side", "rounds", "scale", "awake", "out"],
        USAGE,
    );
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
    let _awake = args
        .has("awake")
        .then(|| Awake::begin().expect("`chrt` is there"));
    let titles =
        "storage\tjob\ttasks\tours us\traw us\tours cpu us\traw cpu us\tratio min\tratio median\tratio max";
    let mut table = Table::begin(&args.one("out", String::new()), titles);
    let open = |url: &str| Storage::open(url).expect("a URL");
    for storage in storages {
        match storage.as_str() {
            "redis" | "redis_plain" => {
                let server = tests::redis(&[]);
                let url = Kind::Redis.url(&server);
                let raw = RawRedis::connect(&url, storage == "redis").await;
                compare(&storage, open(&url), raw, scale * 4, &plan, &mut table).await;
            }
            "postgres" => {
                let server = tests::postgres();
                let url = Kind::Postgres.url(&server);
                let raw = RawPostgres::connect(&url).await;
                compare(&storage, open(&url), raw, scale, &plan, &mut table).await;
            }
            "mysql" => {
                let server = tests::mariadb();
                let url = Kind::MySql.url(&server);
                let raw = RawMySql::connect(&url).await;
                compare(&storage, open(&url), raw, scale, &plan, &mut table).await;
            }
            "mongodb" => {
                let server = tests::mongodb();
                let url = Kind::MongoDb.url(&server);
                let raw = RawMongoDb::connect(&url).await;
                let emulated = if tests::mongodb_is_emulated() { 10 } else { 1 };
                compare(&storage, open(&url), raw, scale / emulated, &plan, &mut table).await;
            }
            "sqlite" => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let raw = RawSqlite::open(&folder.path().join("raw.db")).await;
                let url = format!("sqlite://{}/ours.db", folder.path().display());
                compare(&storage, open(&url), raw, scale, &plan, &mut table).await;
            }
            other => args.refuse(&format!("no storage is called `{other}`")),
        }
    }
}
