//! One job between two calls of `measured`, for callgrind to count: see `benches/instructions.sh`.

use std::sync::Arc;
use std::time::Duration;

use benches::args::Args;
use benches::peers::{self, Setting};
use benches::workload;
use cacheme::{BoxError, LoadContext, Node, Storage, memoize};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

const USAGE: &str = "\
instructions --job NAME [--cache NAME] [--capacity N] [--operations N]

  --job         engine_hits, engine_mix, engine_misses: the typed engine, next to --cache quick_cache
                get, memoize, get_with, get_all: hits in memory through the framework; get_all is of 20 keys
                fill: a miss and its fill, in memory
                redis_get, redis_get_all, redis_fill: over a Redis of its own
  --cache       cacheme or quick_cache (default cacheme)
  --capacity    of the engine (default 100000)
  --operations  measured (default 20000; over Redis 2000)";

/// How many rows there are behind the framework; all of them fit.
const ROWS: u64 = 10_000;
const BULK: usize = 20;
const UNIVERSE: usize = 1_000_000;

/// A row: 100 bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UserInfo {
    columns: [u32; 25],
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "user:{id}:info",
    value = Arc<UserInfo>,
    tier(storage = "local", ttl = "1h"),
    serializer = none,
    load = load_local
)]
struct LocalNode {
    id: u64,
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "remote:{id}:info",
    value = UserInfo,
    tier(storage = "redis", ttl = "1h"),
    serializer = cacheme::Bincode,
    load = load_remote
)]
struct RemoteNode {
    id: u64,
}

fn row(id: u64) -> UserInfo {
    UserInfo {
        columns: [id as u32; 25],
    }
}

async fn load_local(node: &LocalNode, _: &mut LoadContext<LocalNode>) -> Result<Arc<UserInfo>, BoxError> {
    Ok(Arc::new(row(node.id)))
}

async fn load_remote(node: &RemoteNode, _: &mut LoadContext<RemoteNode>) -> Result<UserInfo, BoxError> {
    Ok(row(node.id))
}

#[memoize(node = LocalNode { id })]
async fn user_info(id: u64) -> Arc<UserInfo> {
    Arc::new(row(id))
}

/// What callgrind counts: it begins and ends with this function.
#[inline(never)]
fn measured(job: &mut dyn FnMut() -> u64) -> u64 {
    std::hint::black_box(job())
}

fn main() {
    let args = Args::read(&["job", "cache", "capacity", "operations"], USAGE);
    let job: String = args.one("job", String::new());
    let operations: usize = args.one(
        "operations",
        if job.starts_with("redis") { 2_000 } else { 20_000 },
    );
    let done = match job.as_str() {
        "engine_hits" | "engine_mix" | "engine_misses" => engine(&args, &job, operations),
        "get" | "memoize" | "get_with" | "get_all" | "fill" => local(&job, operations as u64),
        "redis_get" | "redis_get_all" | "redis_fill" => redis(&job, operations as u64),
        other => args.refuse(&format!("no job is named `{other}`")),
    };
    println!("{done}");
}

/// Gives the number of operations that were measured.
fn engine(args: &Args, job: &str, operations: usize) -> usize {
    let capacity: usize = args.one("capacity", 100_000);
    let name: String = args.one("cache", "cacheme".to_owned());
    let candidate =
        peers::named(&name).unwrap_or_else(|| args.refuse(&format!("no cache is named `{name}`")));
    let cache = candidate.build(Setting {
        capacity,
        seed: 1,
        counted: false,
    });
    let here = capacity / 5 * 4;
    match job {
        "engine_hits" => {
            let all: Vec<u64> = workload::universe(here).collect();
            // An admission policy wants to be convinced.
            while cache.replay(&all) < all.len() as u64 {}
            let keys = workload::zipf(here, operations, 1);
            let hits = measured(&mut || cache.get_all(&keys));
            assert_eq!(hits, operations as u64, "every key is there");
        }
        "engine_mix" => {
            cache.replay(&workload::zipf(UNIVERSE, 4 * capacity, 0));
            let keys = workload::zipf(UNIVERSE, operations, 1);
            measured(&mut || cache.mix(&keys));
        }
        _ => {
            cache.replay(&workload::strangers(0, 2 * capacity));
            let keys = workload::strangers(2 * capacity as u64, operations);
            let hits = measured(&mut || cache.replay(&keys));
            assert_eq!(hits, 0, "no key is there");
        }
    }
    operations
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Keys of rows, each as likely as the others.
fn ids(operations: u64) -> impl Iterator<Item = u64> + Clone {
    (0..operations).map(|step| step.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ROWS)
}

fn local(job: &str, operations: u64) -> usize {
    let runtime = runtime();
    runtime.block_on(async {
        let storage = Storage::open("local://tlfu?size=100000").expect("a URL");
        cacheme::register_storage("local", storage)
            .await
            .expect("a storage in memory");
        for id in 0..ROWS {
            cacheme::get(&LocalNode { id }).await.expect("a row");
        }
    });
    let steps = if job == "get_all" {
        operations / BULK as u64
    } else {
        operations
    };
    let bulks: Vec<Vec<LocalNode>> = ids(operations)
        .map(|id| LocalNode { id })
        .collect::<Vec<_>>()
        .chunks(BULK)
        .map(<[_]>::to_vec)
        .collect();
    measured(&mut || {
        runtime.block_on(async {
            match job {
                "get" => {
                    for id in ids(steps) {
                        cacheme::get(&LocalNode { id }).await.expect("a hit");
                    }
                }
                "memoize" => {
                    for id in ids(steps) {
                        user_info(id).await;
                    }
                }
                "get_with" => {
                    for id in ids(steps) {
                        cacheme::get_with(&LocalNode { id }, || async { Arc::new(row(id)) }).await;
                    }
                }
                "get_all" => {
                    for nodes in &bulks {
                        cacheme::get_all(nodes).await.expect("hits");
                    }
                }
                _ => {
                    for id in ROWS..ROWS + steps {
                        cacheme::get(&LocalNode { id }).await.expect("a load");
                    }
                }
            }
        });
        steps
    });
    let loads = cacheme::stats::<LocalNode>().loads;
    let expected = if job == "fill" { ROWS + steps } else { ROWS };
    assert_eq!(loads, expected, "hits are hits and misses are misses");
    usize::try_from(steps).expect("a number of operations")
}

fn redis(job: &str, operations: u64) -> usize {
    let runtime = runtime();
    let server = tests::redis(&[]);
    let url = tests::Kind::Redis.url(&server);
    // Valgrind is slow, and its own clock goes on.
    let storage = Storage::open(&url)
        .expect("a URL")
        .with_timeout(Duration::from_secs(60));
    let rows = 500;
    runtime.block_on(async {
        cacheme::register_storage("redis", storage)
            .await
            .expect("the server is there");
        for id in 0..rows {
            cacheme::get(&RemoteNode { id }).await.expect("a row");
        }
    });
    let steps = if job == "redis_get_all" {
        operations / BULK as u64
    } else {
        operations
    };
    measured(&mut || {
        runtime.block_on(async {
            match job {
                "redis_get" => {
                    for id in 0..steps {
                        cacheme::get(&RemoteNode { id: id % rows }).await.expect("a hit");
                    }
                }
                "redis_get_all" => {
                    for step in 0..steps {
                        let nodes: [RemoteNode; BULK] = std::array::from_fn(|at| RemoteNode {
                            id: (step * BULK as u64 + at as u64) % rows,
                        });
                        cacheme::get_all(&nodes).await.expect("hits");
                    }
                }
                _ => {
                    for id in rows..rows + steps {
                        cacheme::get(&RemoteNode { id }).await.expect("a load");
                    }
                }
            }
        });
        steps
    });
    let loads = cacheme::stats::<RemoteNode>().loads;
    let expected = if job == "redis_fill" { rows + steps } else { rows };
    assert_eq!(loads, expected, "hits are hits and misses are misses");
    usize::try_from(steps).expect("a number of operations")
}
