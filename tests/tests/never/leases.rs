//! C2, R1 and R3 across processes that share a remote storage, one interleaving a test.

use std::time::Duration;

use cacheme::NotStored;
use cacheme::{BoxError, Load, LoadContext, Node, Policy};
use cacheme_storage::{Acquire, LeaseToken, RemoteStorage};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::fakes::{Op, Remote};
use crate::source::{Source, process, reading};

/// A node with a source for each key.
#[derive(Clone, Debug)]
struct Numbered {
    number: u64,
    source: Source,
}

impl Node for Numbered {
    type Value = u64;

    fn policy(&self) -> Policy<u64> {
        let minute = Some(Duration::from_secs(60));
        Policy::new("Numbered", "numbered:{number}")
            .tier("local", minute)
            .tier("near", minute)
            .load_timeout(Duration::from_secs(2))
            .serializer(cacheme::Bincode)
    }

    fn write_key(&self, key: &mut cacheme::KeyWriter) {
        key.literal("numbered:");
        key.part(&self.number);
    }
}

impl Load for Numbered {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        self.source.load().await
    }
}

fn numbered(number: u64) -> Numbered {
    Numbered {
        number,
        source: Source::new(number),
    }
}

#[tokio::test(start_paused = true)]
async fn c2_a_fill_after_another_process_invalidated_is_refused() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    let node = numbered(1);
    let loading = node.source.hold();
    let reader = reading(&first, &node);
    node.source.reached().await;
    node.source.change(2);
    second.invalidate(&node).await.unwrap();
    drop(loading);
    assert_eq!(reader.await.unwrap(), 1, "it began before");
    assert_eq!(second.get(&node).await.unwrap(), 2);
    assert_eq!(first.get(&node).await.unwrap(), 2, "nor was it kept locally");
    assert_eq!(
        first.stats::<Numbered>().tiers[1]
            .not_stored
            .get(NotStored::LeaseLost),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn r1_processes_wait_for_the_one_that_loads() {
    let near = Remote::new("near");
    let node = numbered(1);
    let loading = node.source.hold();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (process, node) = (process(&near).await, node.clone());
        readers.push(tokio::spawn(async move { process.get(&node).await.unwrap() }));
    }
    node.source.reached().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    drop(loading);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 1);
    }
    assert_eq!(node.source.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn l3_a_waiter_for_another_process_is_woken_where_the_storage_reports_changes() {
    let near = Remote::new("near");
    near.tell();
    let (first, second) = (process(&near).await, process(&near).await);
    for fails in [false, true] {
        let node = numbered(u64::from(fails));
        let loading = node.source.hold();
        if fails {
            node.source.fail();
        }
        let theirs = tokio::spawn({
            let (first, node) = (first.clone(), node.clone());
            async move { first.get(&node).await }
        });
        node.source.reached().await;
        let ours = tokio::spawn({
            let (second, node) = (second.clone(), node.clone());
            async move { (second.get(&node).await.unwrap(), Instant::now()) }
        });
        tokio::time::sleep(Duration::from_millis(1_234)).await;
        let looks = near.calls(Op::Acquire);
        let given_up = Instant::now();
        drop(loading);
        assert_eq!(theirs.await.unwrap().is_err(), fails);
        let (value, at) = ours.await.unwrap();
        assert_eq!(value, u64::from(fails));
        assert!(at - given_up < Duration::from_millis(2), "{:?}", at - given_up);
        assert_eq!(near.calls(Op::Acquire), looks + 1);
    }
}

#[tokio::test(start_paused = true)]
async fn l3_a_process_that_died_with_a_lease_costs_the_others_its_time_once() {
    let near = Remote::new("near");
    let process = process(&near).await;
    let node = numbered(1);
    let key = process.full_key(&node).into_bytes();
    let lease = Policy::<u64>::DEFAULT_LEASE;
    near.acquire(&[&key], &Acquire::new(LeaseToken(1), lease))
        .await
        .unwrap();
    let start = Instant::now();
    assert_eq!(process.get(&node).await.unwrap(), 1);
    let waited = start.elapsed();
    assert!(
        lease <= waited && waited < lease + Duration::from_millis(300),
        "{waited:?}"
    );
    assert_eq!(near.values(), 1, "and the next fill is stored");
}

#[tokio::test(start_paused = true)]
async fn l3_waiting_for_a_lease_that_never_ends_is_bounded() {
    let near = Remote::new("near");
    let process = process(&near).await;
    let node = numbered(1);
    let key = process.full_key(&node).into_bytes();
    near.acquire(&[&key], &Acquire::new(LeaseToken(1), Duration::from_secs(3600)))
        .await
        .unwrap();
    let start = Instant::now();
    assert_eq!(process.get(&node).await.unwrap(), 1);
    // The time of a lease and that of a load.
    assert!(start.elapsed() < Policy::<u64>::DEFAULT_LEASE + Duration::from_secs(2 + 1));
    assert_eq!(near.values(), 0, "handed out, stored nowhere");
    assert_eq!(process.peek(&node).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn r1_a_memoized_caller_that_waits_for_a_lease_is_not_taken_for_dead() {
    let near = Remote::new("near");
    let process = process(&near).await;
    let node = numbered(1);
    let key = process.full_key(&node).into_bytes();
    // Longer than the node's load_timeout.
    near.acquire(&[&key], &Acquire::new(LeaseToken(1), Duration::from_secs(4)))
        .await
        .unwrap();
    let loads = std::cell::Cell::new(0);
    let load = || async {
        loads.set(loads.get() + 1);
        5_u64
    };
    let (a, b, c) = tokio::join!(
        process.get_with(&node, load),
        process.get_with(&node, load),
        process.get_with(&node, load),
    );
    assert_eq!((a, b, c), (5, 5, 5));
    assert_eq!(loads.get(), 1);
    assert_eq!(
        process.stats::<Numbered>().joined,
        2,
        "and nobody had to join again"
    );
    assert_eq!(near.values(), 1);
}

#[tokio::test(start_paused = true)]
async fn r3_a_key_that_another_process_loads_does_not_wait_for_our_own_load() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    let (x, y) = (numbered(1), numbered(2));
    let x_loading = x.source.hold();
    let theirs = reading(&second, &x);
    x.source.reached().await;
    let y_loading = y.source.hold();
    let both = [x.clone(), y.clone()];
    let mut ours = Box::pin(first.get_all(&both).map(Result::unwrap));
    assert!((&mut ours).now_or_never().is_none());
    tokio::select! {
        () = y.source.reached() => {}
        _ = &mut ours => panic!("it cannot have `y` yet"),
    }
    drop(x_loading);
    assert_eq!(theirs.await.unwrap(), 1);
    let start = Instant::now();
    assert_eq!(first.get(&x).await.unwrap(), 1);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(y_loading);
    assert_eq!(ours.await, [1, 2]);
    assert_eq!((x.source.loads(), y.source.loads()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn r3_bulk_reads_with_overlapping_keys_in_any_order_load_each_key_once() {
    let near = Remote::new("near");
    let processes = [process(&near).await, process(&near).await];
    let nodes: Vec<Numbered> = (0..12).map(numbered).collect();
    let mut readers = Vec::new();
    for turn in 0..24_usize {
        let process = processes[turn % 2].clone();
        let mut mine = nodes.clone();
        mine.rotate_left(turn / 2);
        if turn % 3 == 0 {
            mine.reverse();
        }
        mine.truncate(8);
        readers.push(tokio::spawn(async move {
            let values = process.get_all(&mine).await.unwrap();
            let wanted: Vec<u64> = mine.iter().map(|node| node.number).collect();
            assert_eq!(values, wanted);
        }));
    }
    let all = futures_util::future::try_join_all(readers);
    let bound = Duration::from_secs(1);
    tokio::time::timeout(bound, all)
        .await
        .expect("nobody waits for a lease to end")
        .unwrap();
    for node in &nodes {
        assert_eq!(node.source.loads(), 1, "{}", node.number);
    }
    assert!(
        processes
            .iter()
            .all(|process| process.stats::<Numbered>().in_flight == 0)
    );
}

#[derive(Node, Clone)]
#[node(key = "slow:{0}", value = u64, tier(storage = "near", ttl = "1m"), load = slow)]
struct Slow(u64);

async fn slow(node: &Slow, _: &mut LoadContext<Slow>) -> Result<u64, BoxError> {
    tokio::time::sleep(Policy::<u64>::DEFAULT_LEASE * 3).await;
    Ok(node.0)
}

#[tokio::test(start_paused = true)]
async fn r1_a_lease_lasts_as_long_as_the_load_that_it_is_for() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    let start = Instant::now();
    let (one, other) = tokio::join!(first.get(&Slow(1)), second.get(&Slow(1)));
    assert_eq!((one.unwrap(), other.unwrap()), (1, 1));
    assert_eq!(first.stats::<Slow>().loads + second.stats::<Slow>().loads, 1);
    assert_eq!(near.values(), 1);
    assert!(start.elapsed() < Policy::<u64>::DEFAULT_LEASE * 3 + Duration::from_secs(1));
    // Asked for now and then, and no more once the load is over.
    let renewals = near.calls(Op::Renew);
    assert!((5..=9).contains(&renewals), "{renewals}");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(near.calls(Op::Renew), renewals);

    let load = || async {
        tokio::time::sleep(Policy::<u64>::DEFAULT_LEASE * 2).await;
        2
    };
    let (one, other) = tokio::join!(
        first.get_with(&Slow(2), load),
        second.get_with(&Slow(2), || async { 3 }),
    );
    assert_eq!((one, other), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn r3_leases_last_for_loads_that_queue_as_well() {
    let near = Remote::new("near");
    let process = process(&near).await;
    let nodes: Vec<_> = (0..130).map(Slow).collect();
    let start = Instant::now();
    assert_eq!(
        process.get_all(&nodes).await.unwrap(),
        (0..130).collect::<Vec<_>>()
    );
    assert_eq!(
        start.elapsed(),
        Policy::<u64>::DEFAULT_LEASE * 3 * 3,
        "three turns"
    );
    let stats = process.stats::<Slow>();
    assert_eq!(
        (
            near.values(),
            stats.tiers[0].fills,
            stats.tiers[0].not_stored.total()
        ),
        (130, 130, 0)
    );
    // All in one call, twice and a half in the time of a lease.
    let renewals = near.calls(Op::Renew);
    assert!((20..=30).contains(&renewals), "{renewals}");
}

#[tokio::test(start_paused = true)]
async fn c2_a_lease_that_was_taken_away_is_not_renewed() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    let slow = tokio::spawn({
        let first = first.clone();
        async move { first.get(&Slow(1)).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    second.invalidate(&Slow(1)).await.unwrap();
    assert_eq!(second.get_with(&Slow(1), || async { 7 }).await, 7, "at once");
    assert_eq!(slow.await.unwrap(), 1);
    assert_eq!(first.peek(&Slow(1)).await.unwrap(), Some(7));
}

#[derive(Node, Clone)]
#[node(key = "unleased:{0}", value = u64, tier(storage = "near", ttl = "1m"), lease = none)]
struct Unleased(u64);

#[tokio::test(start_paused = true)]
async fn c1_without_leases_nobody_waits_and_the_fence_remains() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    let node = Unleased(1);
    let mut slow = Box::pin(first.get_with(&node, || async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        1
    }));
    assert!((&mut slow).now_or_never().is_none());
    assert_eq!(second.get_with(&node, || async { 2 }).await, 2, "at once");
    first.invalidate(&node).await.unwrap();
    assert_eq!(slow.await, 1);
    assert_eq!(first.peek(&node).await.unwrap(), None);
    assert_eq!((near.calls(Op::Acquire), near.calls(Op::Fill)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_has_no_leases_to_give_is_not_waited_for() {
    let near = Remote::new("near");
    let process = process(&near).await;
    near.refuse_leases();
    let start = Instant::now();
    assert_eq!(process.get(&numbered(1)).await.unwrap(), 1);
    assert!(
        start.elapsed() < Duration::from_millis(100),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(process.peek(&numbered(1)).await.unwrap(), Some(1), "kept locally");
    assert_eq!(near.values(), 0);
}
