//! C2 and L3 where the answer to a request for leases is lost: no lease stays that no load owns.

use std::future::pending;
use std::time::Duration;

use cacheme::{BoxError, Cacheme, LoadContext, Node, Policy};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::fakes::{Op, Remote};
use crate::source::process;

#[derive(Node, Clone)]
#[node(key = "item:{0}", value = u64, tier(storage = "near", ttl = "1m"), load = load)]
struct Item(u64);

async fn load(node: &Item, _: &mut LoadContext<Item>) -> Result<u64, BoxError> {
    // Longer than a lease.
    tokio::time::sleep(Policy::<u64>::DEFAULT_LEASE * 3).await;
    Ok(node.0)
}

/// A load that ends at once.
async fn at_once(process: &Cacheme, id: u64) -> u64 {
    process.get_with(&Item(id), || async { id }).await
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn c2_a_lease_whose_answer_was_cut_off_is_given_back_while_its_load_goes_on() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    near.cut_answers(&[Op::Acquire]);
    let mut loading = tokio::spawn({
        let first = first.clone();
        async move { first.get(&Item(1)).await.unwrap() }
    });
    tokio::time::sleep(10 * MS).await;
    assert!((&mut loading).now_or_never().is_none(), "it loads");
    assert_eq!(near.leases(), 0);
    near.cut_answers(&[]);
    let start = Instant::now();
    assert_eq!(at_once(&second, 1).await, 1);
    assert!(start.elapsed() < 10 * MS, "{:?}", start.elapsed());
    assert_eq!(near.values(), 1);
    assert_eq!(loading.await.unwrap(), 1);
    // A bulk read and a refresh as well.
    near.cut_answers(&[Op::Acquire]);
    let (bulk, refresh) = ([Item(2), Item(3)], Item(1));
    let waiting = async { tokio::join!(first.get_all(&bulk), first.refresh(&refresh)) };
    assert!(tokio::time::timeout(10 * MS, waiting).await.is_err());
    assert_eq!(near.leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn l3_a_release_that_fails_is_tried_again_until_it_works() {
    let near = Remote::new("near");
    let process = process(&near).await;
    near.cut_answers(&[Op::Acquire]);
    near.break_down(&[Op::Release, Op::Fill]);
    for id in 0..100 {
        assert_eq!(at_once(&process, id).await, id);
    }
    tokio::time::sleep(1_000 * MS).await;
    assert_eq!(near.leases(), 100);
    let tries = near.calls(Op::Release);
    assert!(
        (4..=30).contains(&tries),
        "of a hundred, some try for all: {tries}"
    );
    near.break_down(&[]);
    tokio::time::sleep(1_100 * MS).await;
    assert_eq!(near.leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn l3_a_release_is_tried_no_longer_than_its_lease_may_last() {
    let near = Remote::new("near");
    let process = process(&near).await;
    for (cut, broken) in [
        (&[Op::Acquire][..], &[Op::Release][..]),
        (&[], &[Op::Release, Op::Fill]),
    ] {
        near.cut_answers(cut);
        near.break_down(broken);
        assert_eq!(at_once(&process, 1).await, 1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let tries = near.calls(Op::Release);
        assert!(tries > 0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(near.calls(Op::Release), tries);
        assert_eq!(near.leases(), 0, "it has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn l3_a_lease_that_could_not_be_filled_is_given_back() {
    let near = Remote::new("near");
    let process = process(&near).await;
    near.break_down(&[Op::Fill]);
    assert_eq!(at_once(&process, 1).await, 1);
    assert_eq!(near.leases(), 0);
    // And when the first try to do so fails.
    near.break_down(&[Op::Fill, Op::Release]);
    assert_eq!(at_once(&process, 2).await, 2);
    assert_eq!(near.leases(), 1);
    near.break_down(&[]);
    tokio::time::sleep(100 * MS).await;
    assert_eq!(near.leases(), 0);
}

#[tokio::test(start_paused = true)]
async fn l1_a_lease_granted_to_a_caller_that_went_away_while_asking_is_given_back() {
    let near = Remote::new("near");
    let process = process(&near).await;
    // Before the deadline, and after the first release.
    near.lag(300 * MS);
    let asking = process.get_with(&Item(1), pending::<u64>);
    assert!(tokio::time::timeout(10 * MS, asking).await.is_err());
    tokio::time::sleep(300 * MS).await;
    assert_eq!(near.leases(), 1, "the server does not know");
    tokio::time::sleep(1_000 * MS).await;
    assert_eq!(near.leases(), 0, "a second at most");
}

#[tokio::test(start_paused = true)]
async fn c2_a_server_that_was_frozen_grants_nothing_to_callers_that_have_gone() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    near.lag(Duration::from_secs(15));
    let asking: Vec<_> = (0..100)
        .map(|id| {
            let first = first.clone();
            tokio::spawn(async move { at_once(&first, id).await })
        })
        .collect();
    for asking in asking {
        asking.await.unwrap();
    }
    near.lag(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(near.leases(), 0);
    let start = Instant::now();
    for id in 0..100 {
        assert_eq!(at_once(&second, id).await, id);
    }
    assert!(start.elapsed() < 10 * MS, "{:?}", start.elapsed());
    assert_eq!(near.values(), 100);
}

#[tokio::test(start_paused = true)]
async fn r1_a_lease_granted_for_less_is_renewed_and_lasts_as_long_as_its_load() {
    let near = Remote::new("near");
    let (first, second) = (process(&near).await, process(&near).await);
    near.grant_shortly(Duration::from_secs(1));
    let (one, other) = tokio::join!(first.get(&Item(1)), second.get(&Item(1)));
    assert_eq!((one.unwrap(), other.unwrap()), (1, 1));
    assert_eq!(first.stats::<Item>().loads + second.stats::<Item>().loads, 1);
    assert_eq!(near.values(), 1);
    // Also when the first renewal fails.
    near.break_down(&[Op::Renew]);
    let loading = tokio::spawn({
        let first = first.clone();
        async move { first.get(&Item(2)).await.unwrap() }
    });
    tokio::time::sleep(500 * MS).await;
    near.break_down(&[]);
    assert_eq!(loading.await.unwrap(), 2);
    assert_eq!(near.values(), 2);
}

#[tokio::test(start_paused = true)]
async fn r1_a_short_load_renews_no_lease() {
    let near = Remote::new("near");
    let process = process(&near).await;
    near.grant_shortly(Duration::from_secs(1));
    for id in 0..10 {
        let load = || async {
            tokio::time::sleep(20 * MS).await;
            id
        };
        assert_eq!(process.get_with(&Item(id), load).await, id);
    }
    assert_eq!(near.values(), 10);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(near.calls(Op::Renew), 0);
}

/// Runs something on a runtime of its own, which is gone afterwards.
fn on_a_runtime<T>(run: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(run)
}

#[test]
fn l3_leases_dropped_without_a_runtime_are_given_back_with_the_next_request() {
    let near = Remote::new("near");
    let process = on_a_runtime(process(&near));
    let mut asking = Box::pin(process.get_with(&Item(1), pending::<u64>));
    assert!(on_a_runtime(async { (&mut asking).now_or_never() }).is_none());
    drop(asking);
    assert_eq!(near.leases(), 1);
    on_a_runtime(async {
        assert_eq!(at_once(&process, 2).await, 2);
        tokio::task::yield_now().await;
        assert_eq!(near.leases(), 0);
    });
    // And those whose releases a runtime took with it.
    near.break_down(&[Op::Release, Op::Fill]);
    assert_eq!(on_a_runtime(at_once(&process, 3)), 3);
    assert_eq!(near.leases(), 1);
    near.break_down(&[]);
    on_a_runtime(async {
        assert_eq!(at_once(&process, 4).await, 4);
        tokio::time::sleep(100 * MS).await;
        assert_eq!(near.leases(), 0);
    });
}
