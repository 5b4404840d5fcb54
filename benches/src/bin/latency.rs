//! How long single gets take while others evict, and what a hit costs in caches of any size.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use benches::args::Args;
use benches::histogram::Histogram;
use benches::peers::{self, Candidate, Peer, Setting};
use benches::race::race;
use benches::stats::Spread;
use benches::table::Table;
use benches::workload;

const USAGE: &str = "\
latency [--entries N,N…] [--cache NAME,NAME…] [--gets N] [--rounds N] [--out FILE]

  --entries  capacities (default 1000,100000,10000000)
  --cache    default cacheme,quick_cache,moka; `nothing` is always there: what the clock and the machine do by themselves
  --gets     timed gets at each capacity, while another thread inserts new keys (default 5000000)
  --rounds   rounds of 2000000 untimed hits, uniform over all keys (default 5)
  --out      writes the table there as well";

/// What the capacity and the clock alone do.
struct Nothing;

impl Peer for Nothing {
    fn get(&self, key: u64) -> Option<u64> {
        std::hint::black_box(Some(key))
    }

    fn insert(&self, key: u64, value: u64) {
        std::hint::black_box((key, value));
    }

    fn population(&self) -> usize {
        0
    }
}

fn main() {
    let args = Args::read(&["entries", "cache", "gets", "rounds", "out"], USAGE);
    let entries: Vec<usize> = match args.list("entries") {
        none if none.is_empty() => vec![1_000, 100_000, 10_000_000],
        some => some,
    };
    let names: Vec<String> = match args.list("cache") {
        none if none.is_empty() => ["cacheme", "quick_cache", "moka"].map(str::to_owned).into(),
        some => some,
    };
    let find = |name: &String| {
        peers::named(name).unwrap_or_else(|| args.refuse(&format!("no cache is named `{name}`")))
    };
    let caches: Vec<&Candidate> = names.iter().map(find).collect();
    let gets: usize = args.one("gets", 5_000_000);
    let rounds: usize = args.one("rounds", 5);
    if rounds == 0 || gets == 0 || entries.contains(&0) {
        args.refuse("at least one round, one get and one entry");
    }
    let mut table = Table::begin(
        &args.one("out", String::new()),
        "entries\tcache\tns a hit min\tns a hit median\tns a hit max\thit%\t\
         get p50 ns\tp99\tp99.9\tp99.99\tp99.999\tmax\tinserts meanwhile",
    );
    for capacity in entries {
        measure("nothing", capacity, &Nothing, gets, rounds, &mut table);
        for candidate in &caches {
            let cache = candidate.build(Setting {
                capacity,
                seed: 1,
                counted: false,
            });
            measure(candidate.name, capacity, &*cache, gets, rounds, &mut table);
        }
    }
}

fn measure(name: &str, capacity: usize, cache: &dyn Peer, gets: usize, rounds: usize, table: &mut Table) {
    for key in workload::universe(capacity).rev() {
        cache.insert(key, key);
    }
    cache.settle();
    let keys = workload::uniform(capacity, 2_000_000, 1);
    let mut hits = 0;
    let hit = |_| {
        let (took, found) = race(1, |_| cache.get_all(&keys));
        hits += found[0];
        took.cpu_ns(keys.len())
    };
    let hit = Spread::of((0..rounds).map(hit).collect::<Vec<_>>());
    let share = 100.0 * hits as f64 / (rounds * keys.len()) as f64;
    let (histogram, inserts) = under_pressure(cache, capacity, gets);
    table.line(&format!(
        "{capacity}\t{name}\t{hit:.1}\t{share:.1}\t{}\t{}\t{}\t{}\t{}\t{}\t{inserts}",
        histogram.quantile(0.5),
        histogram.quantile(0.99),
        histogram.quantile(0.999),
        histogram.quantile(0.9999),
        histogram.quantile(0.99999),
        histogram.max(),
    ));
}

/// One thread times its gets; one inserts keys that were never there, each of which evicts.
fn under_pressure(cache: &dyn Peer, capacity: usize, gets: usize) -> (Histogram, u64) {
    let keys = workload::zipf(capacity, gets.min(1_000_000), 2);
    let (done, inserts) = (AtomicBool::new(false), AtomicU64::new(0));
    let (_, histograms) = race(2, |thread| {
        let mut histogram = Histogram::default();
        if thread == 0 {
            for key in keys.iter().cycle().take(gets) {
                let began = Instant::now();
                std::hint::black_box(cache.get(*key));
                histogram.record(began.elapsed().as_nanos() as u64);
            }
            done.store(true, Ordering::Relaxed);
        } else {
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                for key in workload::strangers(next, 256) {
                    cache.insert(key, key);
                }
                next += 256;
            }
            inserts.store(next, Ordering::Relaxed);
        }
        histogram
    });
    let mut all = Histogram::default();
    histograms.iter().for_each(|histogram| all.add(histogram));
    (all, inserts.into_inner())
}
