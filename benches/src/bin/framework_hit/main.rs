//! What a hit costs through a framework: key written, value behind an `Arc` handed out, a load at hand if it were a miss.

mod contenders;
mod job;

use std::time::Duration;

use benches::args::Args;
use benches::stats::Spread;
use benches::table::Table;
use benches::workload;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use self::contenders::{Contender, MEASURE};
use self::job::ENTRIES;

const USAGE: &str = "\
framework_hit [--workers N,N…] [--only NAME,NAME…] [--rounds N] [--operations N] [--out FILE]

  --workers     threads of the tokio runtime, and tasks (default 1,2)
  --only        contenders whose name contains one of these words; the measure is always there
  --rounds      interleaved rounds (default 7)
  --operations  of each task in a round (default 500000)
  --out         writes the table there as well";

fn main() {
    let args = Args::read(&["workers", "only", "rounds", "operations", "out"], USAGE);
    let workers: Vec<usize> = match args.list("workers") {
        none if none.is_empty() => vec![1, 2],
        some => some,
    };
    let only: Vec<String> = args.list("only");
    let rounds: usize = args.one("rounds", 7);
    let operations: usize = args.one("operations", 500_000);
    if workers.contains(&0) || rounds == 0 || operations == 0 {
        args.refuse("at least one worker, one round and one operation");
    }
    let mut table = Table::begin(
        &args.one("out", String::new()),
        "workers\tkey\tcontender\tns min\tns median\tns max\tratio min\tratio median\tratio max\t\
         cpu ns median\tcpu ratio min\tcpu ratio median\tcpu ratio max\tloads",
    );
    for workers in workers {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_time()
            .build()
            .expect("a runtime can be built");
        let contenders: Vec<Contender> = runtime.block_on(contenders::all());
        let chosen = |contender: &&Contender| {
            only.is_empty()
                || contender.name == MEASURE
                || only.iter().any(|word| contender.name.contains(word.as_str()))
        };
        let contenders: Vec<&Contender> = contenders.iter().filter(chosen).collect();
        runtime.block_on(heat(workers, &contenders, rounds, operations, &mut table));
    }
}

/// All contenders on one runtime.
async fn heat(
    workers: usize,
    contenders: &[&Contender],
    rounds: usize,
    operations: usize,
    table: &mut Table,
) {
    let ids: Vec<&'static [u64]> = (0..workers)
        .map(|task| &*workload::zipf_ranks(ENTRIES, operations, task as u64 + 1).leak())
        .collect();
    let everyone: &'static [u64] = (0..ENTRIES as u64).collect::<Vec<u64>>().leak();
    for contender in contenders {
        for _ in 0..3 {
            tokio::spawn((contender.run)(everyone))
                .await
                .expect("no get panics");
        }
    }
    let mut took = vec![Vec::new(); contenders.len()];
    let mut loads = vec![0; contenders.len()];
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..rounds {
        // What ran before leaves its rows in the processor's caches: nobody is to follow the same one always.
        order.shuffle(&mut random);
        for &at in &order {
            let contender = contenders[at];
            let before = job::loads();
            let tasks: Vec<_> = ids.iter().map(|ids| tokio::spawn((contender.run)(ids))).collect();
            let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
            for task in tasks {
                let run = task.await.expect("no get panics");
                wall += run.wall;
                cpu += run.cpu;
            }
            let each = (operations * workers) as f64;
            took[at].push((wall.as_nanos() as f64 / each, cpu.as_nanos() as f64 / each));
            loads[at] += job::loads() - before;
        }
    }
    let measure = contenders.iter().position(|contender| contender.name == MEASURE);
    let measure = took[measure.expect("the measure is always chosen")].clone();
    for (at, contender) in contenders.iter().enumerate() {
        let ratios = |pick: fn(&(f64, f64)) -> f64| {
            Spread::of(
                took[at]
                    .iter()
                    .zip(&measure)
                    .map(|(its, all)| pick(its) / pick(all)),
            )
        };
        table.line(&format!(
            "{workers}\t{}\t{}\t{:.1}\t{:.2}\t{:.1}\t{:.2}\t{}",
            contender.key,
            contender.name,
            Spread::of(took[at].iter().map(|took| took.0)),
            ratios(|took| took.0),
            Spread::of(took[at].iter().map(|took| took.1)).median,
            ratios(|took| took.1),
            loads[at],
        ));
    }
}
