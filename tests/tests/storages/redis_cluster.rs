//! A cluster of three masters with a replica each.

use std::time::{Duration, Instant};

use cacheme_storage::{
    Acquire, Acquired, Bytes, Filled, LeaseToken, RemoteEntry, RemoteStorage, conformance,
};
use tests::{RedisCluster, Server, redis_cli};

use super::{entry, eventually, open};

/// How often the servers were asked, command by command.
fn calls(cluster: &RedisCluster, command: &str) -> Vec<usize> {
    let calls = |server: &Server| {
        let stats = redis_cli(server.port(), &["info", "commandstats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()?.parse().ok())
            .unwrap_or(0)
    };
    cluster.servers.iter().map(calls).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_conforms() {
    let cluster = RedisCluster::start();
    conformance::remote(open(&cluster.url())).await;
    let sets = calls(&cluster, "set");
    assert_eq!(
        sets.iter().filter(|&&count| count > 10_000).count(),
        6,
        "spread, and copied to replicas: {sets:?}"
    );
}

/// How often each server read something that a client sent.
fn reads(cluster: &RedisCluster) -> Vec<usize> {
    let reads = |server: &Server| {
        let stats = redis_cli(server.port(), &["info", "stats"]);
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
    };
    cluster.servers.iter().map(reads).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_round_trip_to_each_server() {
    let cluster = RedisCluster::start();
    let storage = open(&cluster.url());
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.connect().await.unwrap();
    let (before, gets) = (reads(&cluster), calls(&cluster, "get"));
    storage.get(&keys).await.unwrap();
    let (after, got) = (reads(&cluster), calls(&cluster, "get"));
    assert_eq!(got.iter().sum::<usize>() - gets.iter().sum::<usize>(), keys.len());
    for (before, after) in before.iter().zip(&after) {
        // Ours, those of these questions, and what replicas say every second.
        assert!(after - before <= 8, "{before} reads became {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_or_frozen_master_is_replaced() {
    let mut cluster = RedisCluster::start();
    let storage = open(&cluster.url());
    let names: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.set(&entries(&keys)).await.unwrap();

    let masters = cluster.masters();
    assert_eq!(masters.len(), 3);
    cluster.servers[masters[0]].kill();
    all_slots_work(&*storage, &keys).await;
    cluster.servers[masters[0]].restart();
    cluster.wait_until_whole();

    // Its connections stay open and silent, so only callers who give up hint at it.
    let other = cluster.servers[masters[2]].port();
    cluster.servers[masters[1]].freeze();
    eventually("the cluster has a new master", async || {
        let _ = set_in_time(&*storage, &keys).await;
        let nodes = redis_cli(other, &["cluster", "nodes"]);
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
        .acquire(keys, &Acquire::new(token, Duration::from_secs(30)).stealing())
        .await
        .unwrap();
    assert!(granted.iter().all(Acquired::is_granted), "{granted:?}");
    assert_eq!(
        storage.fill(&entries(keys), token).await.unwrap(),
        vec![Filled::Stored; keys.len()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_are_followed() {
    let cluster = RedisCluster::start();
    let storage = open(&cluster.url());
    // All in one slot.
    let names: Vec<String> = (0..50).map(|n| format!("{{tag}}{n}")).collect();
    let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    storage.set(&entries(&keys)).await.unwrap();

    let slot = redis_cli(cluster.servers[0].port(), &["cluster", "keyslot", "tag"])
        .trim()
        .to_owned();
    let ports: Vec<u16> = cluster
        .masters()
        .iter()
        .map(|&place| cluster.servers[place].port())
        .collect();
    let has = |port: u16| redis_cli(port, &["cluster", "countkeysinslot", &slot]).trim() != "0";
    let from = *ports.iter().find(|&&port| has(port)).unwrap();
    let to = *ports.iter().find(|&&port| port != from).unwrap();
    let id = |port: u16| redis_cli(port, &["cluster", "myid"]).trim().to_owned();
    let (from_id, to_id) = (id(from), id(to));
    redis_cli(to, &["cluster", "setslot", &slot, "importing", &from_id]);
    redis_cli(from, &["cluster", "setslot", &slot, "migrating", &to_id]);
    // Half of the keys have gone before.
    for name in &names[..25] {
        redis_cli(
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
    let asked = calls(&cluster, "asking").iter().sum::<usize>();
    assert!(asked >= 25, "{asked} keys were asked for where they went");

    for name in &names[25..] {
        redis_cli(
            from,
            &["migrate", "127.0.0.1", &to.to_string(), name, "0", "5000"],
        );
    }
    for port in [to, from] {
        redis_cli(port, &["cluster", "setslot", &slot, "node", &to_id]);
    }
    assert_eq!(
        storage.get(&keys).await.unwrap(),
        expected,
        "after the slot moved"
    );
    storage.remove(&keys).await.unwrap();
    assert_eq!(storage.get(&keys).await.unwrap(), vec![None; keys.len()]);
}
