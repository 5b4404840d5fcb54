//! Several real processes on one Redis. Each runs this very binary, with its part in the environment.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

use std::collections::HashSet;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};
use futures_util::StreamExt as _;
use futures_util::stream;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[derive(Node, Clone, Debug)]
#[node(
    key = "number:{number}",
    value = u64,
    tier(storage = "local", ttl = "1m"),
    tier(storage = "redis", ttl = "1m"),
    load = load,
    lease = lease()
)]
struct NumberNode {
    number: u64,
}

/// In a part only.
fn lease() -> Duration {
    let said = env::var("CACHEME_PART_LEASE_MS").ok();
    said.map_or(Duration::from_secs(1), |text| {
        Duration::from_millis(text.parse().unwrap())
    })
}

/// Where this process writes down what it loads, a line a load, and how long a load takes.
static SOURCE: OnceLock<(File, Duration)> = OnceLock::new();

async fn load(node: &NumberNode, _: &mut LoadContext<NumberNode>) -> Result<u64, BoxError> {
    let (mut loads, time) = (&SOURCE.get().unwrap().0, SOURCE.get().unwrap().1);
    // One write of a short line to a file that is appended to is not torn apart by those of other processes.
    loads.write_all(format!("{}\n", node.number).as_bytes())?;
    println!("loading");
    tokio::time::sleep(time).await;
    Ok(node.number * 2)
}

/// What the tests below run: reads the numbers of its part, some at a time, once it is told to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other tests run it"]
async fn part() {
    let get = |name: &str| env::var(format!("CACHEME_PART_{name}")).expect("run by another test");
    let loads = OpenOptions::new().append(true).open(get("LOADS")).unwrap();
    let time = Duration::from_millis(get("LOAD_MS").parse().unwrap());
    SOURCE.set((loads, time)).unwrap();
    let numbers: Vec<u64> = get("NUMBERS")
        .split(',')
        .map(|text| text.parse().unwrap())
        .collect();
    let cacheme = Cacheme::builder().prefix("processes").build().unwrap();
    for (name, url) in [("local", "local://lru?size=50"), ("redis", &get("REDIS"))] {
        cacheme
            .register_storage(name, Storage::open(url).unwrap())
            .await
            .unwrap();
    }
    println!("ready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let cacheme = Arc::new(cacheme);
    stream::iter(numbers)
        .map(|number| {
            let cacheme = Arc::clone(&cacheme);
            tokio::spawn(async move {
                let value = cacheme.get(&NumberNode { number }).await.unwrap();
                assert_eq!(value, number * 2);
            })
        })
        .buffer_unordered(64)
        .for_each(async |read| read.unwrap())
        .await;
    println!("done");
}

struct Part {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Part {
    fn start(redis: &str, loads: &Path, lease_ms: u64, load_ms: u64, numbers: &[u64]) -> Self {
        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "part", "--nocapture"])
            .env("CACHEME_PART_REDIS", redis)
            .env("CACHEME_PART_LOADS", loads)
            .env("CACHEME_PART_LEASE_MS", lease_ms.to_string())
            .env("CACHEME_PART_LOAD_MS", load_ms.to_string())
            .env("CACHEME_PART_NUMBERS", numbers.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut part = Self { child, said };
        part.hear("ready");
        part
    }

    fn go(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Waits until it says this.
    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if line.trim_end().ends_with(word) {
                return;
            }
            line.clear();
        }
        panic!("the process ended before it said `{word}`");
    }

    fn end(mut self) {
        self.hear("done");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redis, and an empty file for the loads, in a folder that goes with it.
fn set_up() -> (tests::Server, String, tempfile::TempDir, PathBuf) {
    let server = tests::redis(&[]);
    let url = format!("redis://127.0.0.1:{}?timeout=10s", server.port());
    let folder = tempfile::tempdir().unwrap();
    let loads = folder.path().join("loads");
    File::create(&loads).unwrap();
    (server, url, folder, loads)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file)
        .unwrap()
        .lines()
        .map(Into::into)
        .collect()
}

#[test]
fn r1_four_processes_with_one_redis_load_each_key_once() {
    const PROCESSES: u64 = 4;
    const REQUESTS: u64 = 1_500;
    let (_server, redis, _folder, loads) = set_up();
    let mut asked = HashSet::new();
    let mut parts: Vec<Part> = (0..PROCESSES)
        .map(|process| {
            // Few keys that everybody asks for, many that few do.
            let number = |request: u64| {
                let mut z = (process * REQUESTS + request).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let share = ((z ^ (z >> 27)) >> 11) as f64 / (1_u64 << 53) as f64;
                (600.0_f64.powf(share) - 1.0) as u64
            };
            let numbers: Vec<u64> = (0..REQUESTS).map(number).collect();
            asked.extend(numbers.iter().copied());
            // A lease that no stall of this machine outlasts.
            Part::start(&redis, &loads, 60_000, 30, &numbers)
        })
        .collect();
    parts.iter_mut().for_each(Part::go);
    parts.into_iter().for_each(Part::end);
    let loads = lines(&loads);
    let distinct: HashSet<_> = loads.iter().collect();
    assert_eq!(distinct.len(), asked.len());
    assert_eq!(
        loads.len(),
        asked.len(),
        "{} loads too many",
        loads.len() - asked.len()
    );
}

#[test]
fn l3_a_process_that_is_killed_while_it_loads_costs_the_others_its_lease_and_no_more() {
    let (_server, redis, _folder, loads) = set_up();
    let mut killed = Part::start(&redis, &loads, 3_000, 3_600_000, &[7]);
    let mut others: Vec<Part> = (0..3)
        .map(|_| Part::start(&redis, &loads, 3_000, 1, &[7, 7, 7]))
        .collect();
    killed.go();
    killed.hear("loading");
    others.iter_mut().for_each(Part::go);
    let start = Instant::now();
    let pid = i32::try_from(killed.child.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    others.into_iter().for_each(Part::end);
    // Far below the load_timeout of 30 s, whatever else this machine does.
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(lines(&loads), ["7", "7"], "the killed one, and one of the others");
}
