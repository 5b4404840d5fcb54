//! The jobs, done by one side and the other in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::stats::Spread;
use benches::table::Table;
use cacheme::{Cacheme, Storage};
use rustix::time::{ClockId, clock_gettime};

use crate::side::Side;

/// How many entries there are to be hit.
const ENTRIES: u64 = 1_000;
/// How many keys a bulk call has.
pub(crate) const BULK: u64 = 20;
/// How many tasks call at once.
const TASKS: u64 = 64;

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
pub(crate) struct Plan {
    /// Jobs by their short names; all if empty.
    pub(crate) jobs: Vec<String>,
    /// `ours` or `raw` alone, or both if empty.
    pub(crate) side: String,
    pub(crate) rounds: usize,
}

/// All jobs over one storage, a line each.
pub(crate) async fn compare(
    name: &str,
    storage: Storage,
    raw: impl Side,
    scale: u64,
    plan: &Plan,
    table: &mut Table,
) {
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
        // Enough for each task, so that the first and the last do not count.
        job("get64", "get hit", scale * 40, TASKS),
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
