//! Replays traces and says how near each cache comes to the clairvoyant optimum.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use benches::args::Args;
use benches::belady;
use benches::peers::{self, CANDIDATES, Candidate, Setting};
use benches::reference::Reference;
use benches::replay::{Replayed, replay};
use benches::trace::Trace;

const USAGE: &str = "\
hit_ratio --trace FILE… [--capacity N,N…] [--cache NAME,NAME…] [--seed N,N…] [--reference NAME,NAME…] [--jobs N] [--out FILE]

  --trace     zstd-compressed little-endian u64 keys
  --capacity  entries; left out: what the MANIFEST.tsv beside the trace names
  --cache     left out: all of them (`--cache help` lists them)
  --seed      seeds of the hash, for the caches that take one; several: the mean of them (default 1)
  --reference caches to show from the REFERENCE.tsv beside the trace; every pair is named on which a cache of this run is more than a
              point of hit ratio under one of them, with any seed
  --jobs      replays at a time, each in one thread (default: one a core)
  --out       writes the table there as well";

/// One line of the table.
struct Row {
    trace: String,
    capacity: usize,
    cache: String,
    /// Percent of all accesses, the mean over the seeds.
    hit: f64,
    /// With each seed.
    hits: Vec<f64>,
    belady: f64,
    population: usize,
}

impl Row {
    /// 1 where nothing can hit.
    fn ratio(&self) -> f64 {
        self.ratio_of(self.hit)
    }

    fn ratio_of(&self, hit: f64) -> f64 {
        if self.belady == 0.0 {
            1.0
        } else {
            hit / self.belady
        }
    }

    fn comparable(&self) -> bool {
        self.population <= self.capacity
    }

    fn print(&self) -> String {
        let verdict = if self.comparable() {
            format!("{:.4}", self.ratio())
        } else {
            format!("not comparable (held {})", self.population)
        };
        let Self {
            trace,
            capacity,
            cache,
            hit,
            ..
        } = self;
        format!("{trace}\t{capacity}\t{cache}\t{hit:.2}\t{verdict}")
    }
}

fn main() {
    let args = Args::read(
        &["trace", "capacity", "cache", "seed", "reference", "jobs", "out"],
        USAGE,
    );
    let caches = chosen(&args);
    let seeds: Vec<u64> = if args.has("seed") {
        args.list("seed")
    } else {
        vec![1]
    };
    let given: Vec<usize> = args.list("capacity");
    if args.words("trace").is_empty() || seeds.is_empty() || given.contains(&0) {
        args.refuse("at least one trace and one seed, and no capacity of 0");
    }
    let references: Vec<String> = args.list("reference");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.one("jobs", cores).max(1);

    println!("trace\tcapacity\tcache\thit%\thit/belady");
    let mut table = vec!["trace\tcapacity\tcache\thit%\thit/belady".to_owned()];
    let mut rows = Vec::new();
    for file in args.words("trace") {
        let trace = Trace::read(Path::new(file)).unwrap_or_else(|why| args.refuse(&why));
        let capacities = match given.as_slice() {
            [] => trace.capacities().unwrap_or_else(|why| args.refuse(&why)),
            given => given.to_vec(),
        };
        let mut of_trace = run(&trace, &capacities, &caches, &seeds, jobs);
        if !references.is_empty() {
            let reference = Reference::beside(&trace.path).unwrap_or_else(|why| args.refuse(&why));
            add_references(&mut of_trace, &reference, &references);
        }
        for row in of_trace {
            println!("{}", row.print());
            table.push(row.print());
            rows.push(row);
        }
    }
    let ran: Vec<&str> = caches.iter().map(|cache| cache.name).collect();
    let mut summary = Vec::new();
    for reference in &references {
        summary.extend(under(&rows, &ran, &seeds, reference));
    }
    if seeds.len() > 1 {
        summary.extend(means_by_seed(&rows, &ran, &seeds));
    }
    let names = ran.iter().copied().chain(references.iter().map(String::as_str));
    summary.extend(names.map(|name| mean(&rows, name)));
    for line in summary {
        println!("{line}");
        table.push(line);
    }
    if args.has("out") {
        let out: String = args.one("out", String::new());
        if let Err(why) = std::fs::write(&out, table.join("\n") + "\n") {
            args.refuse(&format!("{out}: {why}"));
        }
    }
}

fn chosen(args: &Args) -> Vec<&'static Candidate> {
    let names: Vec<String> = args.list("cache");
    if names.iter().any(|name| name == "help") {
        for Candidate { name, about, .. } in CANDIDATES {
            println!("{name}\t{about}");
        }
        std::process::exit(0);
    }
    if names.is_empty() {
        return CANDIDATES.iter().collect();
    }
    let find = |name: &String| {
        peers::named(name)
            .unwrap_or_else(|| args.refuse(&format!("no cache is named `{name}`; see --cache help")))
    };
    names.iter().map(find).collect()
}

/// One piece of work: a cache, or the optimum, at one capacity.
struct Job {
    capacity: usize,
    cache: Option<&'static Candidate>,
}

fn run(
    trace: &Trace,
    capacities: &[usize],
    caches: &[&'static Candidate],
    seeds: &[u64],
    workers: usize,
) -> Vec<Row> {
    let next_uses = belady::next_uses(&trace.keys);
    let mut jobs = Vec::new();
    for &capacity in capacities {
        jobs.push(Job {
            capacity,
            cache: None,
        });
        jobs.extend(caches.iter().map(|&cache| Job {
            capacity,
            cache: Some(cache),
        }));
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let replayed = job.run(&trace.keys, &next_uses, seeds);
                    let name = job.cache.map_or("belady", |cache| cache.name);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    done.insert((job.capacity, name), replayed);
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let percent = |hits: u64| 100.0 * hits as f64 / trace.keys.len().max(1) as f64;
    let row = |job: &Job| {
        let cache = job.cache.map_or("belady", |cache| cache.name);
        let replayed: &Vec<Replayed> = &done[&(job.capacity, cache)];
        let hits: Vec<f64> = replayed.iter().map(|replayed| percent(replayed.hits)).collect();
        let populations = replayed.iter().map(|replayed| replayed.population);
        Row {
            trace: trace.name.clone(),
            capacity: job.capacity,
            cache: cache.to_owned(),
            hit: average(&hits),
            hits,
            belady: percent(done[&(job.capacity, "belady")][0].hits),
            population: populations.max().unwrap_or(0),
        }
    };
    jobs.iter().map(row).collect()
}

impl Job {
    /// What came out with each seed; the optimum has none.
    fn run(&self, keys: &[u64], next_uses: &[u32], seeds: &[u64]) -> Vec<Replayed> {
        let capacity = self.capacity;
        let Some(cache) = self.cache else {
            return vec![Replayed {
                hits: belady::hits_with(next_uses, capacity),
                population: 0,
            }];
        };
        let replays = seeds.iter().map(|&seed| {
            let built = cache.build(Setting {
                capacity,
                seed,
                counted: true,
            });
            replay(&*built, keys, capacity)
        });
        replays.collect()
    }
}

fn average(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// Adds what the file beside the trace says of other caches, where it does.
fn add_references(rows: &mut Vec<Row>, reference: &Reference, caches: &[String]) {
    let optima: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].cache == "belady").collect();
    for cache in caches {
        for &at in &optima {
            let Row {
                trace,
                capacity,
                belady,
                ..
            } = &rows[at];
            if let Some(hit) = reference.hit(trace, *capacity, cache) {
                rows.push(Row {
                    trace: trace.clone(),
                    capacity: *capacity,
                    cache: cache.clone(),
                    hit,
                    hits: vec![hit],
                    belady: *belady,
                    population: 0,
                });
            }
        }
    }
}

/// A cache may be so many points of hit ratio under a reference before it is named.
const ALLOWED: f64 = 1.0;

/// `under reference cache N of M`, over pairs and seeds, and before it a line for each of the N: how far, where, with which seed.
fn under(rows: &[Row], caches: &[&str], seeds: &[u64], reference: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for cache in caches {
        let (mut compared, before) = (0, lines.len());
        for row in rows.iter().filter(|row| row.cache == *cache) {
            let same = |other: &&Row| {
                other.cache == reference && other.trace == row.trace && other.capacity == row.capacity
            };
            let Some(other) = rows.iter().find(same) else {
                continue;
            };
            for (seed, hit) in seeds.iter().zip(&row.hits) {
                compared += 1;
                let difference = hit - other.hit;
                if difference < -ALLOWED {
                    let Row { trace, capacity, .. } = row;
                    lines.push(format!(
                        "under\t{reference}\t{cache}\t{trace}\t{capacity}\tseed {seed}\t{difference:.2}"
                    ));
                }
            }
        }
        let count = lines.len() - before;
        lines.push(format!("under\t{reference}\t{cache}\t{count} of {compared}"));
    }
    lines
}

/// `seed N cache hit/belady`: means over the pairs.
fn means_by_seed(rows: &[Row], caches: &[&str], seeds: &[u64]) -> Vec<String> {
    let mut lines = Vec::new();
    for cache in caches {
        for (at, seed) in seeds.iter().enumerate() {
            let of_cache = rows.iter().filter(|row| row.cache == *cache && row.comparable());
            let ratios: Vec<f64> = of_cache.map(|row| row.ratio_of(row.hits[at])).collect();
            if !ratios.is_empty() {
                lines.push(format!("seed {seed}\t{cache}\t{:.4}", average(&ratios)));
            }
        }
    }
    lines
}

/// `mean cache hit/belady`; a cache that is not comparable somewhere says how many pairs its mean is over.
fn mean(rows: &[Row], cache: &str) -> String {
    let of_cache = || rows.iter().filter(|row| row.cache == cache);
    let ratios: Vec<f64> = of_cache()
        .filter(|row| row.comparable())
        .map(Row::ratio)
        .collect();
    let (comparable, all) = (ratios.len(), of_cache().count());
    if comparable == 0 {
        return format!("mean\t{cache}\tnot comparable");
    }
    let note = if comparable == all {
        String::new()
    } else {
        format!("\tcomparable on {comparable} of {all}")
    };
    format!("mean\t{cache}\t{:.4}{note}", average(&ratios))
}
