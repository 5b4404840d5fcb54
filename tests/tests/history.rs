//! Random schedules over several processes, and a checker of what they saw.
//!
//! A schedule is a seed: which calls each task makes, when, how long loads and storages take, what fails and who goes away.
//! `CACHEME_HISTORY_SEED=… CACHEME_HISTORY_SECONDS=…` begin with another seed and run longer:
//!
//! ```sh
//! CACHEME_HISTORY_SECONDS=600 cargo test --release -p tests --test history -- --nocapture
//! ```
//!
//! On paused time a seed gives the same schedule again, up to the pauses between two looks at a lease, which are random.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

#[path = "history/check.rs"]
mod check;
#[path = "never/fakes.rs"]
#[allow(dead_code, reason = "the schedules need no gates")]
mod fakes;
#[path = "history/observed.rs"]
mod observed;
#[path = "history/random.rs"]
mod random;
#[path = "history/schedule.rs"]
mod schedule;
#[path = "history/world.rs"]
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme::Storage;
use tests::{Kind, RedisCluster, shared_url};

use crate::check::Violation;
use crate::observed::Fault;
use crate::random::Random;
use crate::schedule::{Bus, Setting, Shared, run};
use crate::world::Log;

/// How long each of the tests on real storages runs, and how long the one on paused time does.
fn seconds(otherwise: u64) -> Duration {
    let said = std::env::var("CACHEME_HISTORY_SECONDS").ok();
    Duration::from_secs(said.map_or(otherwise, |text| text.parse().unwrap()))
}

fn first_seed() -> u64 {
    match std::env::var("CACHEME_HISTORY_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => Random::from_the_system().next(),
    }
}

/// The loaders' own panics are part of the schedules: not to be told of.
fn keep_quiet_about_bugs() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let otherwise = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let text = panic.payload_as_str().unwrap_or_default();
            if !text.ends_with(world::BUG) {
                otherwise(panic);
            }
        }));
    });
}

/// Runs schedules on paused time until one shows such a violation or time is over.
fn search(
    fault: Fault,
    time: Duration,
    wanted: fn(&Violation) -> bool,
) -> Option<(u64, Vec<Violation>, Log)> {
    keep_quiet_about_bugs();
    let start = Instant::now();
    let mut seed = first_seed();
    let (mut schedules, mut reads, mut writes) = (0, 0, 0);
    while start.elapsed() < time {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let setting = Setting {
            processes: 1 + (seed % 4) as usize,
            fault,
            bus: match seed / 4 % 3 {
                _ if fault == Fault::MessagesAreLost => Bus::Works,
                0 => Bus::Works,
                1 => Bus::Breaks,
                _ => Bus::Its,
            },
            real: false,
        };
        let log = runtime.block_on(async {
            let remote = fakes::Remote::new("shared");
            if seed.is_multiple_of(2) {
                remote.tell();
            }
            run(seed, setting, Shared::Fake(remote)).await
        });
        let found = check::check(&log);
        if found.iter().any(wanted) {
            return Some((seed, found, log));
        }
        schedules += 1;
        reads += log.reads.len();
        writes += log.writes.len();
        seed = seed.wrapping_add(1);
    }
    println!("{schedules} schedules, {reads} reads, {writes} writes; the next seed is {seed}");
    assert!(reads > 0 && writes > 0, "nothing happened");
    None
}

/// The first violation, and all that happened to its key.
fn tell(seed: u64, found: &[Violation], log: &Log) -> String {
    let first = &found[0];
    format!(
        "CACHEME_HISTORY_SEED={seed} shows {} violations, first:\n{first}\n\n{}",
        found.len(),
        log.story(first.key())
    )
}

#[test]
fn c1_c2_random_schedules_on_paused_time_show_no_violation() {
    if let Some((seed, found, log)) = search(Fault::None, seconds(8), |_| true) {
        panic!("{}", tell(seed, &found, &log));
    }
}

/// How long the faults may take to be found; each takes well under a second.
const FAULT_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_checker_finds_that_the_lease_is_not_compared() {
    search(Fault::FillIgnoresLease, FAULT_LIMIT, Violation::is_c2).expect("a violation");
}

#[test]
fn the_checker_finds_that_the_fence_is_not_looked_at() {
    search(Fault::LocalIgnoresFence, FAULT_LIMIT, Violation::is_c1).expect("a violation");
}

#[test]
fn the_checker_finds_that_removals_are_forgotten() {
    search(Fault::RemoveDoesNothing, FAULT_LIMIT, Violation::is_c1).expect("a violation");
}

#[test]
fn the_checker_finds_that_promoted_entries_live_for_ever() {
    search(Fault::LocalIgnoresTtl, FAULT_LIMIT, Violation::is_c2).expect("a violation");
}

#[test]
fn the_checker_finds_that_messages_are_lost() {
    search(Fault::MessagesAreLost, FAULT_LIMIT, Violation::is_c2).expect("a violation");
}

async fn on_a_real_storage(url: &str) {
    keep_quiet_about_bugs();
    let end = Instant::now() + seconds(5);
    let mut seed = first_seed();
    println!("the first seed is {seed}");
    let (mut schedules, mut reads) = (0, 0);
    while Instant::now() < end {
        let storage = Storage::open(url).unwrap();
        let remote = Arc::clone(storage.as_remote().unwrap());
        remote.connect().await.unwrap();
        let setting = Setting {
            processes: 2 + (seed % 3) as usize,
            fault: Fault::None,
            bus: Bus::Its,
            real: true,
        };
        let log = run(seed, setting, Shared::Url(url.to_owned())).await;
        let found = check::check(&log);
        if !found.is_empty() {
            panic!("{}", tell(seed, &found, &log));
        }
        assert!(!log.reads.is_empty());
        schedules += 1;
        reads += log.reads.len();
        seed = seed.wrapping_add(1);
    }
    println!("{schedules} schedules, {reads} reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_c2_random_schedules_on_redis_show_no_violation() {
    on_a_real_storage(&shared_url(Kind::Redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_c2_random_schedules_on_a_redis_cluster_show_no_violation() {
    let cluster = RedisCluster::start();
    for port in cluster.ports() {
        // A replica does not have all that its master has confirmed, and would show it: on a busy machine a master may be
        // silent for long.
        let set = tests::redis_cli(port, &["config", "set", "cluster-replica-no-failover", "yes"]);
        assert_eq!(set.trim(), "OK");
    }
    on_a_real_storage(&cluster.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_c2_random_schedules_on_postgres_show_no_violation() {
    on_a_real_storage(&shared_url(Kind::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_c2_random_schedules_on_mysql_show_no_violation() {
    on_a_real_storage(&shared_url(Kind::MySql)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_c2_random_schedules_on_mongodb_show_no_violation() {
    on_a_real_storage(&shared_url(Kind::MongoDb)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_c2_random_schedules_on_sqlite_show_no_violation() {
    let folder = tempfile::tempdir().unwrap();
    on_a_real_storage(&format!(
        "sqlite://{}/cache.db?timeout=5s",
        folder.path().display()
    ))
    .await;
}
