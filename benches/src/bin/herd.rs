//! A herd of requests on few keys: how many loads reach the source.
//!
//! Every process makes the same number of requests, Zipf-distributed, over a chain of a small local tier and one Redis that is
//! started for the run. A load takes its time and is counted. No more loads are needed than there are distinct keys.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use benches::args::Args;
use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use tokio::sync::Semaphore;

const USAGE: &str = "\
herd [--processes N,N…] [--requests N] [--at-once N] [--load-ms N] [--keys N] [--local URL] [--seed N]

  --processes  that share one Redis (default: 1,4)
  --requests   in sum, over all processes (default: 100000)
  --at-once    under way in each process (default: 2000)
  --load-ms    how long a load takes (default: 100)
  --keys       of the Zipf distribution with exponent 1.001, shifted by 10 (default: 200000)
  --local      the near tier (default: local://tlfu?size=3000)";

/// What tells a process that it is one of several: its number, how many there are, and Redis.
const PART: &str = "CACHEME_HERD_PART";

#[derive(Node, Clone, Debug)]
#[node(
    key = "item:{number}",
    value = u64,
    tier(storage = "local", ttl = "10m"),
    tier(storage = "redis", ttl = "10m"),
    load = load,
    lease = "60s",
    load_timeout = "60s"
)]
struct ItemNode {
    number: u64,
}

static LOADS: AtomicU64 = AtomicU64::new(0);
static LOAD_TIME: OnceLock<Duration> = OnceLock::new();

async fn load(node: &ItemNode, _: &mut LoadContext<ItemNode>) -> Result<u64, BoxError> {
    LOADS.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(*LOAD_TIME.get().ok_or("it is set at the start")?).await;
    Ok(node.number)
}

#[derive(Clone, Debug)]
struct Job {
    requests: usize,
    at_once: usize,
    load: Duration,
    keys: usize,
    local: String,
    seed: u64,
}

impl Job {
    fn read(args: &Args) -> Self {
        Self {
            requests: args.one("requests", 100_000),
            at_once: args.one("at-once", 2_000),
            load: Duration::from_millis(args.one("load-ms", 100)),
            keys: args.one("keys", 200_000),
            local: args.one("local", "local://tlfu?size=3000".to_owned()),
            seed: args.one("seed", 1),
        }
    }

    /// The keys that process `part` of `parts` asks for.
    fn numbers(&self, part: usize, parts: usize) -> Vec<u64> {
        // The weights of the keys, summed up: a random share of the sum is looked for in it.
        let mut sums = Vec::with_capacity(self.keys);
        let mut sum = 0.0;
        for key in 0..self.keys {
            sum += (key as f64 + 10.0).powf(-1.001);
            sums.push(sum);
        }
        let mut random = StdRng::seed_from_u64(self.seed * 1_000 + part as u64);
        let share = |_| {
            let share = random.random::<f64>() * sum;
            sums.partition_point(|sum| *sum < share).min(self.keys - 1) as u64
        };
        (0..self.requests / parts).map(share).collect()
    }
}

fn main() -> Result<(), BoxError> {
    let known = [
        "processes",
        "requests",
        "at-once",
        "load-ms",
        "keys",
        "local",
        "seed",
    ];
    let args = Args::read(&known, USAGE);
    let job = Job::read(&args);
    if let Ok(part) = std::env::var(PART) {
        return take_part(&job, &part);
    }
    let mut counts: Vec<usize> = args.list("processes");
    if counts.is_empty() {
        counts = vec![1, 4];
    }
    println!("processes\trequests\tdistinct\tloads\tduplicates\tseconds\trequests/s");
    for count in counts {
        let server = tests::redis(&[]);
        let redis = format!("redis://127.0.0.1:{}?timeout=20s", server.port());
        let mut distinct = HashSet::new();
        let mut parts = Vec::new();
        for part in 0..count {
            distinct.extend(job.numbers(part, count));
            parts.push(Part::start(&format!("{part},{count},{redis}"))?);
        }
        for part in &mut parts {
            part.hear("ready")?;
        }
        let start = Instant::now();
        for part in &mut parts {
            part.go()?;
        }
        let mut loads = 0;
        for part in &mut parts {
            loads += part.hear("loads ")?.parse::<u64>()?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let requests = job.requests / count * count;
        println!(
            "{count}\t{requests}\t{}\t{loads}\t{}\t{seconds:.2}\t{:.0}",
            distinct.len(),
            loads as i64 - distinct.len() as i64,
            requests as f64 / seconds,
        );
    }
    Ok(())
}

/// One of the processes, as the first one sees it.
struct Part {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Part {
    fn start(part: &str) -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .env(PART, part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or("its output is ours")?);
        Ok(Self { child, said })
    }

    fn go(&mut self) -> Result<(), BoxError> {
        let input = self.child.stdin.as_mut().ok_or("its input is ours")?;
        Ok(input.write_all(b"go\n")?)
    }

    /// Waits for a line that begins like this, and gives the rest of it.
    fn hear(&mut self, word: &str) -> Result<String, BoxError> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        let rest = line.trim_end().strip_prefix(word);
        rest.map(str::to_owned)
            .ok_or_else(|| format!("a process said `{line}` in place of `{word}`").into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn take_part(job: &Job, part: &str) -> Result<(), BoxError> {
    let [number, count, redis] = part.splitn(3, ',').collect::<Vec<_>>()[..] else {
        return Err(format!("`{part}` is no part").into());
    };
    let numbers = job.numbers(number.parse()?, count.parse()?);
    LOAD_TIME.get_or_init(|| job.load);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cacheme = Cacheme::builder().prefix("herd").build()?;
        let local = Storage::open(&job.local)?;
        cacheme.register_storage("local", local).await?;
        cacheme.register_storage("redis", Storage::open(redis)?).await?;
        println!("ready");
        std::io::stdin().read_line(&mut String::new())?;
        let room = Arc::new(Semaphore::new(job.at_once));
        let mut requests = tokio::task::JoinSet::new();
        for number in numbers {
            let permit = Arc::clone(&room).acquire_owned().await?;
            let cacheme = cacheme.clone();
            requests.spawn(async move {
                let _permit = permit;
                cacheme.get(&ItemNode { number }).await
            });
            while let Some(done) = requests.try_join_next() {
                done??;
            }
        }
        while let Some(done) = requests.join_next().await {
            done??;
        }
        println!("loads {}", LOADS.load(Ordering::Relaxed));
        Ok(())
    })
}
