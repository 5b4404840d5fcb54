//! Nanoseconds an operation, next to quick_cache in the same run.

use benches::args::Args;
use benches::peers::{self, Candidate, Peer, Setting};
use benches::race::{Took, race};
use benches::stats::Spread;
use benches::table::Table;
use benches::workload;

const USAGE: &str = "\
throughput [--capacity N,N…] [--threads N,N…] [--job NAME,NAME…] [--cache NAME,NAME…] [--rounds N] [--operations N] [--out FILE]

  --capacity    entries (default 100000,1000000)
  --threads     threads (default 1,2,8)
  --job         of hits, mix, misses (default: all)
                  hits    every get finds its key; Zipf over 0.8 of the capacity
                  mix     three gets, one insert; Zipf over a million keys
                  misses  a get that finds nothing, then an insert; one operation
  --cache       left out: all but those that wait for a thread of their own; quick_cache, the measure, is always there
  --rounds      interleaved rounds (default 7)
  --operations  of each thread in a round (default 1000000)
  --out         writes the table there as well";

const UNIVERSE: usize = 1_000_000;
const MEASURE: &str = "quick_cache";
const LEFT_OUT: [&str; 3] = ["moka_sync16", "quick_cache_held", "stretto"];

fn main() {
    let known = [
        "capacity",
        "threads",
        "job",
        "cache",
        "rounds",
        "operations",
        "out",
    ];
    let args = Args::read(&known, USAGE);
    let or = |name, otherwise: &[usize]| match args.list(name) {
        none if none.is_empty() => otherwise.to_vec(),
        some => some,
    };
    let names: Vec<String> = args.list("cache");
    let mut caches: Vec<&Candidate> = if names.is_empty() {
        let asked_for = |candidate: &&Candidate| !LEFT_OUT.contains(&candidate.name);
        peers::CANDIDATES.iter().filter(asked_for).collect()
    } else {
        let find = |name: &String| {
            peers::named(name).unwrap_or_else(|| args.refuse(&format!("no cache is named `{name}`")))
        };
        names.iter().map(find).collect()
    };
    caches.retain(|cache| cache.name != MEASURE);
    caches.insert(0, peers::named(MEASURE).expect("it is there"));
    let jobs: Vec<String> = match args.list("job") {
        none if none.is_empty() => ["hits", "mix", "misses"].map(str::to_owned).into(),
        some => some,
    };
    let rounds: usize = args.one("rounds", 7);
    let operations: usize = args.one("operations", 1_000_000);
    if rounds == 0 || operations == 0 {
        args.refuse("at least one round and one operation");
    }
    let mut table = Table::begin(
        &args.one("out", String::new()),
        "job\tcapacity\tthreads\tcache\tns min\tns median\tns max\tratio min\tratio median\tratio max\t\
         cpu ns median\tcpu ratio min\tcpu ratio median\tcpu ratio max\thit%",
    );
    for capacity in or("capacity", &[100_000, 1_000_000]) {
        for threads in or("threads", &[1, 2, 8]) {
            for job in &jobs {
                let job = match job.as_str() {
                    "hits" => Job::Hits,
                    "mix" => Job::Mix,
                    "misses" => Job::Misses,
                    other => args.refuse(&format!("no job is named `{other}`")),
                };
                let heat = Heat {
                    job,
                    capacity,
                    threads,
                    operations,
                };
                heat.run(&caches, rounds, &mut table);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Hits,
    Mix,
    Misses,
}

/// All caches at one job, capacity and number of threads.
struct Heat {
    job: Job,
    capacity: usize,
    threads: usize,
    operations: usize,
}

/// A cache in a heat.
struct Runner {
    name: &'static str,
    cache: Box<dyn Peer>,
    took: Vec<Took>,
    hits: u64,
    /// Keys that no universe holds and that were inserted already.
    strangers: u64,
}

impl Heat {
    fn run(&self, caches: &[&'static Candidate], rounds: usize, table: &mut Table) {
        let keys: Vec<Vec<u64>> = (0..self.threads).map(|thread| self.keys(thread as u64)).collect();
        let mut runners: Vec<Runner> = caches.iter().map(|cache| self.enter(cache)).collect();
        for _ in 0..rounds {
            for runner in &mut runners {
                self.round(runner, &keys);
            }
        }
        let total = self.operations * self.threads;
        let wall = |took: &Took| took.wall_ns(total, self.threads);
        let cpu = |took: &Took| took.cpu_ns(total);
        for runner in &runners {
            let ratio = |by: &dyn Fn(&Took) -> f64| {
                let pairs = runner.took.iter().zip(&runners[0].took);
                Spread::of(pairs.map(|(its, measure)| by(its) / by(measure)))
            };
            table.line(&format!(
                "{}\t{}\t{}\t{}\t{:.1}\t{:.2}\t{:.1}\t{:.2}\t{:.1}",
                match self.job {
                    Job::Hits => "hits",
                    Job::Mix => "mix",
                    Job::Misses => "misses",
                },
                self.capacity,
                self.threads,
                runner.name,
                Spread::of(runner.took.iter().map(wall)),
                ratio(&wall),
                Spread::of(runner.took.iter().map(cpu)).median,
                ratio(&cpu),
                100.0 * runner.hits as f64 / (total * rounds) as f64,
            ));
        }
    }

    fn keys(&self, thread: u64) -> Vec<u64> {
        match self.job {
            Job::Hits => workload::zipf(self.capacity / 5 * 4, self.operations, thread + 1),
            Job::Mix => workload::zipf(UNIVERSE, self.operations, thread + 1),
            // Made for each round.
            Job::Misses => Vec::new(),
        }
    }

    /// Builds the cache and warms it up.
    fn enter(&self, candidate: &Candidate) -> Runner {
        let setting = Setting {
            capacity: self.capacity,
            seed: 1,
            counted: false,
        };
        let cache = candidate.build(setting);
        // Often asked for first, and again while there are misses: admission policies want to be convinced.
        let warm: Vec<u64> = match self.job {
            Job::Hits => workload::universe(self.capacity / 5 * 4).collect(),
            Job::Mix => workload::zipf(UNIVERSE, 2 * UNIVERSE, 0),
            Job::Misses => workload::strangers(0, 2 * self.capacity),
        };
        for _ in 0..5 {
            let mut hits = 0;
            for chunk in warm.chunks(4_096) {
                hits += cache.replay(chunk);
                cache.settle();
            }
            if !matches!(self.job, Job::Hits) || hits == warm.len() as u64 {
                break;
            }
        }
        Runner {
            name: candidate.name,
            cache,
            took: Vec::new(),
            hits: 0,
            strangers: 2 * self.capacity as u64,
        }
    }

    fn round(&self, runner: &mut Runner, keys: &[Vec<u64>]) {
        let cache = &*runner.cache;
        let (took, hits) = match self.job {
            Job::Hits => race(self.threads, |thread| cache.get_all(&keys[thread])),
            Job::Mix => race(self.threads, |thread| cache.mix(&keys[thread])),
            Job::Misses => {
                let new = |thread: usize| {
                    let start = runner.strangers + (thread * self.operations) as u64;
                    workload::strangers(start, self.operations)
                };
                let new: Vec<Vec<u64>> = (0..self.threads).map(new).collect();
                runner.strangers += (self.threads * self.operations) as u64;
                race(self.threads, |thread| cache.replay(&new[thread]))
            }
        };
        runner.took.push(took);
        runner.hits += hits.iter().sum::<u64>();
    }
}
