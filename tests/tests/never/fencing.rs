//! C1 and what hangs on it, one interleaving a test.

use std::time::Duration;

use cacheme::{BoxError, Error, Load, LoadContext, Node, Policy};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use crate::fakes::{Local, Op, Remote};
use crate::source::{Source, cacheme, process, process_without_local, reading};

/// A node whose chain the test makes up.
macro_rules! node {
    ($name:ident, $key:literal, |$policy:ident| $chain:expr) => {
        #[derive(Clone, Debug)]
        struct $name {
            source: Source,
        }

        impl $name {
            /// One whose source has 1 at first.
            fn new() -> Self {
                let source = Source::new(1);
                Self { source }
            }
        }

        impl Node for $name {
            type Value = u64;

            fn policy(&self) -> Policy<u64> {
                let $policy = Policy::new(stringify!($name), $key).serializer(cacheme::Bincode);
                $chain
            }

            fn write_key(&self, key: &mut cacheme::KeyWriter) {
                key.literal($key);
            }
        }

        impl Load for $name {
            async fn load(&self, _: &mut LoadContext<Self>) -> Result<u64, BoxError> {
                self.source.load().await
            }
        }
    };
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

node!(Chained, "chained", |policy| policy
    .tier("local", MINUTE)
    .tier("near", MINUTE));

node!(Unguarded, "unguarded", |policy| policy
    .tier("near", MINUTE)
    .tier("far", MINUTE)
    .lease(None));

#[tokio::test(start_paused = true)]
async fn c1_a_remote_read_under_way_is_not_promoted_after_invalidate() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    let other = process(&near).await;
    assert_eq!(other.get(&node).await.unwrap(), 1);
    let mut read = near.gate_after(Op::Acquire);
    let reader = reading(&cacheme, &node);
    read.arrived().await;
    node.source.change(2);
    cacheme.invalidate(&node).await.unwrap();
    read.open();
    assert_eq!(reader.await.unwrap(), 1, "it began before");
    assert_eq!(cacheme.get(&node).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn reads_do_not_go_back_to_a_refresh_that_another_process_overtook() {
    let near = Remote::new("near");
    let here = process(&near).await;
    let there = process(&near).await;
    let node = Chained::new();
    // A read that has not reached the remote tier yet,
    let mut asks = near.gate_before(Op::Acquire);
    let reader = reading(&here, &node);
    asks.arrived().await;
    // a refresh that takes its place, whose fill is on its way back,
    let mut filled = near.gate_after(Op::Fill);
    let refresh = tokio::spawn({
        let (here, node) = (here.clone(), node.clone());
        async move { here.refresh(&node).await.unwrap() }
    });
    filled.arrived().await;
    // and another process that writes over it.
    there.set(&node, 2).await.unwrap();
    asks.open();
    assert_eq!(reader.await.unwrap(), 2, "what is there by now");
    filled.open();
    assert_eq!(refresh.await.unwrap(), 1, "what it loaded");
    assert_eq!(here.get(&node).await.unwrap(), 2, "seen here before");
}

#[tokio::test(start_paused = true)]
async fn c1_a_copy_to_a_nearer_remote_tier_without_leases_does_not_survive_invalidate() {
    let (near, far) = (Remote::new("near"), Remote::new("far"));
    let cacheme = process_without_local(&near, &far).await;
    let node = Unguarded::new();
    cacheme.set(&node, 1).await.unwrap();
    near.remove_all();
    node.source.change(2);

    let mut removal = far.gate_before(Op::Remove);
    let invalidation = tokio::spawn({
        let (cacheme, node) = (cacheme.clone(), node.clone());
        async move { cacheme.invalidate(&node).await }
    });
    removal.arrived().await;
    let mut copy = near.gate_before(Op::Set);
    let reader = reading(&cacheme, &node);
    copy.arrived().await;
    removal.open();
    while near.calls(Op::Remove) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    copy.open();
    assert_eq!(reader.await.unwrap(), 1, "it began before invalidate was over");
    invalidation.await.unwrap().unwrap();
    assert_eq!(cacheme.get(&node).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn c1_a_leader_left_lying_between_two_tiers_writes_nothing_after_invalidate() {
    let (near, far) = (Remote::new("near"), Remote::new("far"));
    let cacheme = process_without_local(&near, &far).await;
    let node = Unguarded::new();
    let mut first = far.gate_after(Op::Set);
    let mut left = Box::pin(cacheme.get_with(&node, || async { 1_u64 }));
    assert!((&mut left).now_or_never().is_none());
    first.arrived().await;
    cacheme.invalidate(&node).await.unwrap();
    assert_eq!(cacheme.stats::<Unguarded>().in_flight, 0);
    first.open();
    assert_eq!(left.await, 1);
    assert_eq!((near.values(), far.values()), (0, 0));
    assert_eq!(near.calls(Op::Set), 0);
}

#[tokio::test(start_paused = true)]
async fn c1_a_write_left_lying_does_not_reach_the_storage_after_invalidate() {
    let (near, far) = (Remote::new("near"), Remote::new("far"));
    let cacheme = process_without_local(&near, &far).await;
    let node = Unguarded::new();
    // It stands where a driver waits for a connection: nothing is sent yet.
    let mut write = far.gate_before(Op::Set);
    let mut left = Box::pin(cacheme.get_with(&node, || async { 1_u64 }));
    assert!((&mut left).now_or_never().is_none());
    write.arrived().await;
    cacheme.invalidate(&node).await.unwrap();
    write.open();
    assert_eq!(left.await, 1);
    assert_eq!((near.values(), far.values()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn c1_what_could_not_be_removed_is_not_read_by_this_process_and_is_replaced() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1);
    node.source.change(2);
    near.break_down(&[Op::Remove]);
    let failed = cacheme.invalidate(&node).await;
    assert!(
        matches!(&failed, Err(Error::NotInvalidated { name, keys: 1, .. }) if name == "near"),
        "{failed:?}"
    );
    assert_eq!(near.values(), 1, "the old value is there still");
    assert_eq!(cacheme.peek(&node).await.unwrap(), None);
    assert_eq!(cacheme.get(&node).await.unwrap(), 2);
    let other = process(&near).await;
    assert_eq!(other.get(&node).await.unwrap(), 2, "the load replaced it");
    let removals = near.calls(Op::Remove);
    sleep(Duration::from_secs(50)).await;
    assert_eq!(near.calls(Op::Remove), removals, "nothing is owed any more");
}

#[tokio::test(start_paused = true)]
async fn c1_what_could_not_be_removed_is_removed_later() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1);
    near.break_down(&[Op::Remove, Op::Set]);
    cacheme.invalidate(&node).await.unwrap_err();
    cacheme.set(&node, 5).await.unwrap_err();
    sleep(Duration::from_secs(2)).await;
    near.break_down(&[]);
    assert_eq!(
        cacheme.get(&node).await.unwrap(),
        5,
        "what was set is kept locally"
    );
    sleep(Duration::from_secs(20)).await;
    assert_eq!(near.values(), 0);
    assert_eq!(cacheme.get(&node).await.unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn c1_a_refresh_that_could_not_reach_a_storage_leaves_nothing_older_to_be_read() {
    let near = Remote::new("near");
    let local = Local::default();
    let cacheme = cacheme([("near", near.storage()), ("local", local.storage())]).await;
    let node = Chained::new();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1);
    node.source.change(2);
    near.break_down(&[Op::Acquire, Op::Fill, Op::Remove]);
    let refreshed = cacheme.refresh(&node).await;
    assert!(
        matches!(&refreshed, Err(cacheme::Error::NotInvalidated { name, keys: 1, .. }) if name == "near"),
        "the older value may stay there for others: {refreshed:?}"
    );
    assert_eq!(
        cacheme.peek(&node).await.unwrap(),
        Some(2),
        "the load went on all the same"
    );
    near.break_down(&[Op::Remove]);
    cacheme_storage::LocalStorage::clear(&local);
    assert_eq!(cacheme.get(&node).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn c1_a_refresh_without_leases_leaves_nothing_older_to_be_read() {
    let (near, far) = (Remote::new("near"), Remote::new("far"));
    let cacheme = process_without_local(&near, &far).await;
    let node = Unguarded::new();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1);
    node.source.change(2);
    far.break_down(&[Op::Set]);
    assert_eq!(cacheme.refresh(&node).await.unwrap(), 2);
    near.remove_all();
    assert_eq!(cacheme.get(&node).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn c1_set_takes_the_place_of_a_load_under_way() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    let loading = node.source.hold();
    let reader = reading(&cacheme, &node);
    node.source.reached().await;
    cacheme.set(&node, 7).await.unwrap();
    drop(loading);
    assert_eq!(reader.await.unwrap(), 1);
    assert_eq!(cacheme.get(&node).await.unwrap(), 7);
    let other = process(&near).await;
    assert_eq!(other.get(&node).await.unwrap(), 7, "the fill was refused");
}

#[tokio::test(start_paused = true)]
async fn c1_refresh_never_joins_an_older_load() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    let loading = node.source.hold();
    let reader = reading(&cacheme, &node);
    node.source.reached().await;
    node.source.change(2);
    assert_eq!(cacheme.refresh(&node).await.unwrap(), 2);
    drop(loading);
    assert_eq!(reader.await.unwrap(), 1);
    assert_eq!(cacheme.get(&node).await.unwrap(), 2);
}

node!(LocalLast, "local_last", |policy| policy
    .tier("near", MINUTE)
    .tier("local", MINUTE));

#[tokio::test(start_paused = true)]
async fn c2_a_local_copy_behind_a_remote_tier_does_not_fill_it() {
    let near = Remote::new("near");
    let first = process(&near).await;
    let second = process(&near).await;
    let node = LocalLast::new();
    second.get(&node).await.unwrap();
    node.source.change(2);
    first.invalidate(&node).await.unwrap();
    assert_eq!(second.get(&node).await.unwrap(), 1, "its own copy, for its ttl");
    assert_eq!(first.get(&node).await.unwrap(), 2);
    assert_eq!(second.get(&node).await.unwrap(), 2);
    near.remove_all();
    assert_eq!(
        second.get(&node).await.unwrap(),
        2,
        "not back to what it had before"
    );
}

#[derive(Debug)]
struct Brittle;

impl Clone for Brittle {
    fn clone(&self) -> Self {
        panic!("there is only one")
    }
}

#[derive(Clone, Debug)]
struct BrittleNode(Source);

impl Node for BrittleNode {
    type Value = Brittle;

    fn policy(&self) -> Policy<Brittle> {
        Policy::new("BrittleNode", "brittle").tier("local", MINUTE)
    }

    fn write_key(&self, key: &mut cacheme::KeyWriter) {
        key.literal("brittle");
    }
}

impl Load for BrittleNode {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<Brittle, BoxError> {
        self.0.load().await.map(|_| Brittle)
    }
}

#[tokio::test(start_paused = true)]
async fn l2_a_panic_while_a_value_is_stored_reaches_the_caller() {
    let cacheme = cacheme([("local", Local::default().storage())]).await;
    let node = BrittleNode(Source::new(1));
    let failed = cacheme.get(&node).await;
    assert!(
        matches!(&failed, Err(Error::LoadPanicked { message, .. }) if message == "there is only one"),
        "{failed:?}"
    );
    assert_eq!(node.0.loads(), 1, "loaded once, not for ever");
    assert_eq!(cacheme.stats::<BrittleNode>().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn l1_a_caller_that_goes_away_while_it_asks_for_a_lease_gives_it_back() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    let mut asked = near.gate_after(Op::Acquire);
    let mut gone = Box::pin(cacheme.get(&node));
    assert!((&mut gone).now_or_never().is_none());
    asked.arrived().await;
    drop(gone);
    let start = Instant::now();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "waited {:?}",
        start.elapsed()
    );
    assert_eq!(near.leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn l3_a_leader_that_is_never_polled_again_is_replaced_after_the_load_timeout() {
    let near = Remote::new("near");
    let cacheme = process(&near).await;
    let node = Chained::new();
    let mut left = Box::pin(cacheme.get_with(&node, std::future::pending::<u64>));
    assert!((&mut left).now_or_never().is_none());
    let start = Instant::now();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1);
    let waited = start.elapsed();
    // Its lease has long ended by then.
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    assert!(waited < Duration::from_secs(31), "{waited:?}");
    drop(left);
    assert_eq!(cacheme.peek(&node).await.unwrap(), Some(1));
}
