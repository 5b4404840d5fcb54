//! Replays traces and says how near each cache comes to the clairvoyant optimum.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use benches::args::Args;
use benches::belady;
use benches::peers::{self, CANDIDATES, Candidate, Setting};
use benches::replay::{Replayed, replay};
use benches::trace::Trace;

const USAGE: &str = "\
hit_ratio --trace FILE… [--capacity N,N…] [--cache NAME,NAME…] [--seed N,N…] [--jobs N] [--out FILE]

  --trace     zstd-compressed little-endian u64 keys
  --capacity  entries; left out: what the MANIFEST.tsv beside the trace names
  --cache     left out: all of them (`--cache help` lists them)
  --seed      seeds of the hash, for the caches that take one; several: the mean of them (default 1)
  --jobs      replays at a time, each in one thread (default: one a core)
  --out       writes the table there as well";

/// One line of the table.
struct Row {
    trace: String,
    capacity: usize,
    cache: &'static str,
    hit: f64,
    belady: f64,
    population: usize,
}

impl Row {
    /// 1 where nothing can hit.
    fn ratio(&self) -> f64 {
        if self.belady == 0.0 {
            1.0
        } else {
            self.hit / self.belady
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
    let args = Args::read(&["trace", "capacity", "cache", "seed", "jobs", "out"], USAGE);
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
        for row in run(&trace, &capacities, &caches, &seeds, jobs) {
            println!("{}", row.print());
            table.push(row.print());
            rows.push(row);
        }
    }
    for line in means(&rows, &caches) {
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
    let percent = |hits: f64| 100.0 * hits / trace.keys.len().max(1) as f64;
    let row = |job: &Job| {
        let cache = job.cache.map_or("belady", |cache| cache.name);
        let (hits, population) = done[&(job.capacity, cache)];
        Row {
            trace: trace.name.clone(),
            capacity: job.capacity,
            cache,
            hit: percent(hits),
            belady: percent(done[&(job.capacity, "belady")].0),
            population,
        }
    };
    jobs.iter().map(row).collect()
}

impl Job {
    /// Hits (the mean over the seeds) and the largest population.
    fn run(&self, keys: &[u64], next_uses: &[u32], seeds: &[u64]) -> (f64, usize) {
        let capacity = self.capacity;
        let Some(cache) = self.cache else {
            return (belady::hits_with(next_uses, capacity) as f64, 0);
        };
        let replays = seeds.iter().map(|&seed| {
            let built = cache.build(Setting {
                capacity,
                seed,
                counted: true,
            });
            replay(&*built, keys, capacity)
        });
        let (mut hits, mut population) = (0, 0);
        for Replayed {
            hits: h,
            population: p,
        } in replays
        {
            hits += h;
            population = population.max(p);
        }
        (hits as f64 / seeds.len() as f64, population)
    }
}

/// `mean cache hit/belady`; a cache that is not comparable somewhere says how many pairs its mean is over.
fn means(rows: &[Row], caches: &[&'static Candidate]) -> Vec<String> {
    let line = |cache: &&'static Candidate| {
        let of_cache = || rows.iter().filter(|row| row.cache == cache.name);
        let ratios: Vec<f64> = of_cache()
            .filter(|row| row.comparable())
            .map(Row::ratio)
            .collect();
        let (comparable, all) = (ratios.len(), of_cache().count());
        if comparable == 0 {
            return format!("mean\t{}\tnot comparable", cache.name);
        }
        let mean = ratios.iter().sum::<f64>() / comparable as f64;
        let note = if comparable == all {
            String::new()
        } else {
            format!("\tcomparable on {comparable} of {all}")
        };
        format!("mean\t{}\t{mean:.4}{note}", cache.name)
    };
    caches.iter().map(line).collect()
}
