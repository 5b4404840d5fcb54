use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kinds::{redis, redis_server};
use crate::port::free_port;
use crate::server::{Program, Server};

/// How long servers may take to agree.
const LIMIT: Duration = Duration::from_secs(60);

/// A cluster of Redis servers: three masters with a replica each.
pub struct RedisCluster {
    /// Masters and replicas, in no order.
    pub servers: Vec<Server>,
}

impl RedisCluster {
    /// Starts six servers and joins them.
    ///
    /// # Panics
    ///
    /// When they cannot be started, or do not agree.
    pub fn start() -> Self {
        Self::start_with_timeout(800)
    }

    /// Starts six servers that never take a silent one for dead, so that nobody takes its place.
    ///
    /// # Panics
    ///
    /// When they cannot be started, or do not agree.
    pub fn start_patient() -> Self {
        Self::start_with_timeout(600_000)
    }

    fn start_with_timeout(ms: u32) -> Self {
        let ms = ms.to_string();
        let server = |_| {
            let bus = free_port().to_string();
            redis(&[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                &ms,
                "--repl-diskless-sync-delay",
                "0",
                "--cluster-port",
                &bus,
            ])
        };
        let cluster = Self {
            servers: (0..6).map(server).collect(),
        };
        let addresses = cluster
            .ports()
            .into_iter()
            .map(|port| format!("127.0.0.1:{port}"));
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(addresses).args([
            "--cluster-replicas",
            "1",
            "--cluster-yes",
        ]);
        // It waits without an end for nodes that do not find each other.
        let created = output_within(create);
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stdout)
        );
        cluster.wait_until_whole();
        cluster
    }

    /// Waits until every server knows all others, and every replica can take the place of its master.
    ///
    /// # Panics
    ///
    /// When that takes a minute.
    pub fn wait_until_whole(&self) {
        for port in self.ports() {
            wait_until("the cluster is whole", || {
                let state = redis_cli(port, &["cluster", "info"]);
                let nodes = redis_cli(port, &["cluster", "nodes"]);
                let replication = redis_cli(port, &["info", "replication"]);
                let in_step = ["role:master", "master_link_status:up"]
                    .iter()
                    .any(|fact| replication.contains(fact));
                state.contains("cluster_state:ok")
                    && nodes.matches("slave").count() == 3
                    && !nodes.contains("fail")
                    && in_step
            });
        }
    }

    /// The storage URL, with two of the servers.
    pub fn url(&self) -> String {
        let ports = [self.servers[0].port(), self.servers[4].port()];
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1])
    }

    /// Where the servers listen.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(Server::port).collect()
    }

    /// The places of the masters.
    pub fn masters(&self) -> Vec<usize> {
        let is_master =
            |place: &usize| redis_cli(self.servers[*place].port(), &["role"]).starts_with("master");
        (0..self.servers.len()).filter(is_master).collect()
    }
}

/// A Redis server, its replica and three sentinels that watch them under the name `main`.
pub struct RedisSentinels {
    /// The master at the beginning.
    pub master: Server,
    /// The replica at the beginning.
    pub replica: Server,
    /// Who watches them.
    pub sentinels: Vec<Server>,
}

impl RedisSentinels {
    /// Starts all five.
    ///
    /// # Panics
    ///
    /// When they cannot be started.
    pub fn start() -> Self {
        let master = redis(&["--repl-diskless-sync-delay", "0"]);
        let port = master.port();
        Self {
            master,
            replica: redis(&["--replicaof", "127.0.0.1", &port.to_string()]),
            sentinels: (0..3).map(|_| Server::start(redis_sentinel(port))).collect(),
        }
    }

    /// The storage URL, with all sentinels.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self
            .sentinels
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port()))
            .collect();
        format!("redis+sentinel://{}/0?master=main", hosts.join(","))
    }

    /// Waits until the sentinels know each other and the replica: before that, a fail-over cannot happen.
    ///
    /// # Panics
    ///
    /// When that takes a minute.
    pub fn wait_until_ready(&self) {
        for sentinel in &self.sentinels {
            wait_until("a sentinel knows its group", || {
                let facts = redis_cli(sentinel.port(), &["sentinel", "master", "main"]);
                let facts: Vec<_> = facts.lines().collect();
                ["num-slaves", "num-other-sentinels"]
                    .iter()
                    .zip(["1", "2"])
                    .all(|(name, count)| facts.windows(2).any(|pair| pair == [*name, count]))
            });
        }
    }
}

/// How to run a sentinel that watches the server on this port under the name `main`.
pub fn redis_sentinel(master: u16) -> Program {
    Program {
        command: Box::new(move |port, dir| {
            let file = dir.join("sentinel.conf");
            let settings = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
                dir.display()
            );
            fs::write(&file, settings).expect("our folder");
            vec![
                "redis-server".into(),
                file.display().to_string(),
                "--sentinel".into(),
            ]
        }),
        ..redis_server(&[])
    }
}

/// What `redis-cli` prints of the answer to a command.
///
/// # Panics
///
/// When it cannot be run.
pub fn redis_cli(port: u16, command: &[&str]) -> String {
    let mut cli = Command::new("redis-cli");
    cli.args(["-p", &port.to_string()]).args(command);
    String::from_utf8_lossy(&output_within(cli).stdout).into_owned()
}

/// Runs a program of Redis to its end, which comes in time.
fn output_within(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("redis-cli is there where redis-server is");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (sender, output) = mpsc::channel();
    // Ends with the program, which is killed where it takes too long.
    thread::spawn(move || sender.send(child.wait_with_output()));
    match output.recv_timeout(LIMIT) {
        Ok(output) => output.expect("its output can be read"),
        Err(_) => {
            // It may have ended just now.
            let _ = kill(pid, Signal::SIGKILL);
            panic!("not within {LIMIT:?}: {command:?}");
        }
    }
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
