//! A cluster of three masters with a replica each.

use std::process::Command;
use std::time::{Duration, Instant};

use cacheme_storage::{Acquired, Bytes, Filled, LeaseToken, RemoteEntry, RemoteStorage, conformance};
use tests::{Server, redis};

use super::{entry, eventually, open};

pub(super) struct Cluster {
    pub(super) servers: Vec<Server>,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        let servers: Vec<_> = (0..6)
            .map(|_| {
                let bus = tests::free_port().to_string();
                redis(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "800",
                    "--repl-diskless-sync-delay",
                    "0",
                    "--cluster-port",
                    &bus,
                ])
            })
            .collect();
        let addresses: Vec<_> = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port()))
            .collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stdout)
        );
        let cluster = Self { servers };
        cluster.whole().await;
        cluster
    }

    /// Waits until every server knows all others, and every replica can take the place of its master.
    async fn whole(&self) {
        for server in &self.servers {
            eventually("the cluster is whole", async || {
                let state = cli(server.port(), &["cluster", "info"]);
                let nodes = cli(server.port(), &["cluster", "nodes"]);
                let replication = cli(server.port(), &["info", "replication"]);
                let in_step = ["role:master", "master_link_status:up"]
                    .iter()
                    .any(|fact| replication.contains(fact));
                state.contains("cluster_state:ok")
                    && nodes.matches("slave").count() == 3
                    && !nodes.contains("fail")
                    && in_step
            })
            .await;
        }
    }

    pub(super) fn url(&self) -> String {
        let ports = [self.servers[0].port(), self.servers[4].port()];
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1])
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(Server::port).collect()
    }

    /// The places of the masters.
    fn masters(&self) -> Vec<usize> {
        let is_master = |place: &usize| cli(self.servers[*place].port(), &["role"]).starts_with("master");
        (0..self.servers.len()).filter(is_master).collect()
    }

    /// How often the servers were asked, command by command.
    fn calls(&self, command: &str) -> Vec<usize> {
        let calls = |server: &Server| {
            let stats = cli(server.port(), &["info", "commandstats"]);
            let line = stats
                .lines()
                .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
            line.and_then(|line| line.split(',').next()?.parse().ok())
                .unwrap_or(0)
        };
        self.servers.iter().map(calls).collect()
    }
}

fn cli(port: u16, command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(command)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_conforms() {
    let cluster = Cluster::start().await;
    conformance::remote(open(&cluster.url())).await;
    let sets = cluster.calls("set");
    assert_eq!(
        sets.iter().filter(|&&count| count > 10_000).count(),
        6,
        "spread, and copied to replicas: {sets:?}"
    );
}

/// How often each server read something that a client sent.
fn reads(cluster: &Cluster) -> Vec<usize> {
    let reads = |server: &Server| {
        let stats = cli(server.port(), &["info", "stats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
    };
    cluster.servers.iter().map(reads).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_round_trip_to_each_server() {
    let cluster = Cluster::start().await;
    let storage = open(&cluster.url());
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.connect().await.unwrap();
    let (before, gets) = (reads(&cluster), cluster.calls("get"));
    storage.get(&keys).await.unwrap();
    let (after, got) = (reads(&cluster), cluster.calls("get"));
    assert_eq!(got.iter().sum::<usize>() - gets.iter().sum::<usize>(), keys.len());
    for (before, after) in before.iter().zip(&after) {
        // Ours, those of these questions, and what replicas say every second.
        assert!(after - before <= 8, "{before} reads became {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_or_frozen_master_is_replaced() {
    let mut cluster = Cluster::start().await;
    let storage = open(&cluster.url());
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.set(&entries(&keys)).await.unwrap();

    let masters = cluster.masters();
    assert_eq!(masters.len(), 3);
    cluster.servers[masters[0]].kill();
    all_slots_work(&*storage, &keys).await;
    cluster.servers[masters[0]].restart();
    cluster.whole().await;

    // Its connections stay open and silent, so only callers who give up hint at it.
    let other = cluster.servers[masters[2]].port();
    cluster.servers[masters[1]].freeze();
    eventually("the cluster has a new master", async || {
        let _ = set_in_time(&*storage, &keys).await;
        let nodes = cli(other, &["cluster", "nodes"]);
        nodes
            .lines()
            .filter(|node| node.contains("master") && !node.contains("fail"))
            .count()
            == 3
    })
    .await;
    let elected = Instant::now();
    eventually("the storage knows the new master", async || {
        set_in_time(&*storage, &keys).await
    })
    .await;
    assert!(
        elected.elapsed() < Duration::from_secs(3),
        "found after {:?}",
        elected.elapsed()
    );
    all_slots_work(&*storage, &keys).await;
    cluster.servers[masters[1]].thaw();
    all_slots_work(&*storage, &keys).await;
}

fn entries<'k>(keys: &[&'k [u8]]) -> Vec<RemoteEntry<'k>> {
    keys.iter().map(|key| entry(key, key.to_vec(), None)).collect()
}

/// Whether a write to all slots works, for a caller with a timeout.
async fn set_in_time(storage: &dyn RemoteStorage, keys: &[&[u8]]) -> bool {
    let entries = entries(keys);
    let set = tokio::time::timeout(Duration::from_millis(400), storage.set(&entries)).await;
    set.is_ok_and(|set| set.is_ok())
}

/// Writes to all slots until that works, as callers with a timeout do; then everything else works too.
async fn all_slots_work(storage: &dyn RemoteStorage, keys: &[&[u8]]) {
    eventually("every slot takes writes", async || {
        set_in_time(storage, keys).await
    })
    .await;
    let expected: Vec<_> = keys.iter().map(|key| Some(Bytes::copy_from_slice(key))).collect();
    assert_eq!(storage.get(keys).await.unwrap(), expected);
    let token = LeaseToken(3);
    let granted = storage
        .acquire(keys, token, Duration::from_secs(30), true)
        .await
        .unwrap();
    assert_eq!(granted, vec![Acquired::Granted; keys.len()]);
    assert_eq!(
        storage.fill(&entries(keys), token).await.unwrap(),
        vec![Filled::Stored; keys.len()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_are_followed() {
    let cluster = Cluster::start().await;
    let storage = open(&cluster.url());
    // All in one slot.
    let names: Vec<String> = (0..50).map(|n| format!("{{tag}}{n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.set(&entries(&keys)).await.unwrap();

    let slot = cli(cluster.servers[0].port(), &["cluster", "keyslot", "tag"])
        .trim()
        .to_owned();
    let ports: Vec<u16> = cluster
        .masters()
        .iter()
        .map(|&place| cluster.servers[place].port())
        .collect();
    let has = |port: u16| cli(port, &["cluster", "countkeysinslot", &slot]).trim() != "0";
    let from = *ports.iter().find(|&&port| has(port)).unwrap();
    let to = *ports.iter().find(|&&port| port != from).unwrap();
    let id = |port: u16| cli(port, &["cluster", "myid"]).trim().to_owned();
    let (from_id, to_id) = (id(from), id(to));
    cli(to, &["cluster", "setslot", &slot, "importing", &from_id]);
    cli(from, &["cluster", "setslot", &slot, "migrating", &to_id]);
    // Half of the keys have gone before.
    for name in &names[..25] {
        cli(
            from,
            &["migrate", "127.0.0.1", &to.to_string(), name, "0", "5000"],
        );
    }
    let expected: Vec<_> = keys.iter().map(|key| Some(Bytes::copy_from_slice(key))).collect();
    assert_eq!(
        storage.get(&keys).await.unwrap(),
        expected,
        "while the slot moves"
    );
    let asked = cluster.calls("asking").iter().sum::<usize>();
    assert!(asked >= 25, "{asked} keys were asked for where they went");

    for name in &names[25..] {
        cli(
            from,
            &["migrate", "127.0.0.1", &to.to_string(), name, "0", "5000"],
        );
    }
    for port in [to, from] {
        cli(port, &["cluster", "setslot", &slot, "node", &to_id]);
    }
    assert_eq!(
        storage.get(&keys).await.unwrap(),
        expected,
        "after the slot moved"
    );
    storage.remove(&keys).await.unwrap();
    assert_eq!(storage.get(&keys).await.unwrap(), vec![None; keys.len()]);
}
