//! What a server that does not answer costs in memory: a process of its own, since it is the process that is measured.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cacheme_storage::{Bytes, RemoteEntry, Storage};

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_costs_callers_their_timeout_and_no_memory() {
    const CALLERS: usize = 64;
    const SIZE: usize = 4 << 20;
    let server = tests::redis(&[]);
    let storage = Storage::open(&format!("redis://127.0.0.1:{}", server.port())).unwrap();
    let redis = Arc::clone(storage.as_remote().unwrap());
    redis.connect().await.unwrap();
    server.freeze();
    let before = memory();
    let value = Bytes::from(vec![7; SIZE]);
    let start = Instant::now();
    for _ in 0..4 {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                let (redis, value) = (Arc::clone(&redis), value.clone());
                tokio::spawn(async move {
                    let key = format!("{n}");
                    let entries = [RemoteEntry {
                        key: key.as_bytes(),
                        value,
                        ttl: None,
                    }];
                    tokio::time::timeout(Duration::from_millis(300), redis.set(&entries)).await
                })
            })
            .collect();
        for caller in callers {
            assert!(caller.await.unwrap().is_err(), "a frozen server answers");
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "4 rounds of 300 ms took {:?}",
        start.elapsed()
    );
    // 1 GiB was to be written. Two copies of 64 MiB may be under way, and what the connection had queued.
    let grown = memory().saturating_sub(before);
    assert!(grown < 450 << 20, "{} MiB more", grown >> 20);
    server.thaw();
    let found = tokio::time::timeout(Duration::from_secs(10), redis.get(&[b"k"])).await;
    assert_eq!(found.expect("the server is found again").unwrap(), [None]);
}

/// What this process holds in memory, in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
