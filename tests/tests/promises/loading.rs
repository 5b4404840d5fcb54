//! L1 to L3.

use std::sync::Arc;
use std::time::Duration;

use cacheme::{BoxError, Cacheme, Error, LoadContext, Node, memoize};
use futures_util::FutureExt as _;
use tests::{Gate, Operation, Trouble};

use crate::world::{
    Bulk, Item, LocalItem, NoSource, RemoteItem, SECOND, Source, World, poll_once, settle, timed,
};

#[tokio::test(start_paused = true)]
async fn l1_a_load_goes_on_when_its_caller_is_gone() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let mut caller = Box::pin(world.cacheme.get(&node));
    assert!(poll_once(&mut caller).await.is_none());
    gate.reached().await;
    drop(caller);
    gate.open();
    settle().await;
    assert_eq!(world.cacheme.peek(&node).await.unwrap(), Some(1_000));
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    assert_eq!((source.loads(), world.cacheme.stats::<Item>().in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn l1_a_dropped_get_all_harms_nobody() {
    let (world, source) = (World::new().await, Source::default());
    let nodes = Bulk::all([1, 2], &source);
    let gate = source.hold();
    let mut caller = Box::pin(world.cacheme.get_all(&nodes));
    assert!(poll_once(&mut caller).await.is_none());
    gate.reached().await;
    let other = world.cacheme.get(&nodes[1]);
    drop(caller);
    gate.open();
    assert_eq!(other.await.unwrap(), 2_000);
    assert_eq!(source.batches(), [vec![1, 2]]);
}

#[tokio::test(start_paused = true)]
async fn l1_a_caller_dropped_while_it_reads_a_tier_is_replaced_by_who_waits() {
    for operation in [Operation::Acquire, Operation::Get] {
        let (world, source) = (World::new().await, Source::default());
        let nodes = Bulk::all([1, 2], &source);
        let gate = world.remote.hold_before(operation);
        let mut caller: std::pin::Pin<Box<dyn Future<Output = u64> + '_>> = match operation {
            Operation::Get => Box::pin(async { world.cacheme.get_all(&nodes).await.unwrap()[0] }),
            _ => Box::pin(async { world.cacheme.get(&nodes[0]).await.unwrap() }),
        };
        assert!((&mut caller).now_or_never().is_none());
        gate.reached().await;
        let (cacheme, node) = (world.cacheme.clone(), nodes[0].clone());
        let waiter = tokio::spawn(async move { cacheme.get(&node).await.unwrap() });
        settle().await;
        assert!(!waiter.is_finished());
        drop(caller);
        assert_eq!(waiter.await.unwrap(), 1_000);
        settle().await;
        assert_eq!(world.cacheme.stats::<Bulk>().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn l1_one_of_those_who_wait_for_a_borrowing_load_takes_over() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let mut leader = Box::pin(world.cacheme.get_with(&node, || source.load(1)));
    assert!((&mut leader).now_or_never().is_none());
    gate.reached().await;
    let waiters: Vec<_> = (0..5)
        .map(|_| {
            let (cacheme, node, source) = (world.cacheme.clone(), node.clone(), source.clone());
            tokio::spawn(async move { cacheme.get_with(&node, || source.load(1)).await })
        })
        .collect();
    settle().await;
    assert_eq!(source.loads(), 1);
    drop(leader);
    let (_, waited) = timed(async {
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), Ok(1_000));
        }
    })
    .await;
    assert_eq!(source.loads(), 2, "one more, not five");
    assert!(
        waited < SECOND,
        "the lease of who went away was given up, not waited for: {waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn l1_other_processes_need_not_wait_for_the_lease_of_a_dropped_load() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let node = Item::new(1, &source);
    let _gate = source.hold();
    let mut leader = Box::pin(world.cacheme.get_with(&node, || source.load(1)));
    assert!((&mut leader).now_or_never().is_none());
    drop(leader);
    settle().await;
    let (value, waited) = timed(neighbour.cacheme.get(&node)).await;
    assert_eq!(value.unwrap(), 1_000);
    assert!(waited < SECOND, "{waited:?}");
}

/// Callers that all wait for one load.
async fn ten_callers(
    world: &World,
    node: &Item,
    gate: &Gate,
) -> Vec<tokio::task::JoinHandle<Result<u64, Error>>> {
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let (cacheme, node) = (world.cacheme.clone(), node.clone());
            tokio::spawn(async move { cacheme.get(&node).await })
        })
        .collect();
    gate.reached().await;
    settle().await;
    gate.open();
    callers
}

#[tokio::test(start_paused = true)]
async fn l2_a_failed_load_reaches_all_who_waited_and_leaves_nothing() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    source.fail(1);
    let gate = source.hold();
    let mut errors = Vec::new();
    for caller in ten_callers(&world, &node, &gate).await {
        match caller.await.unwrap().unwrap_err() {
            Error::Load { key, source } => {
                assert_eq!(key, "test:item:1:v1");
                errors.push(source);
            }
            other => panic!("{other}"),
        }
    }
    assert!(
        errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])),
        "not the same error"
    );
    assert_eq!(source.loads(), 1);
    settle().await;
    assert!(world.remote.is_empty(), "neither a value nor a lease");
    let stats = world.cacheme.stats::<Item>();
    assert_eq!((stats.in_flight, stats.load_failures, stats.joined), (0, 1, 9));
    source.mend();
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn l2_a_panic_reaches_all_who_waited_and_leaves_nothing() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    source.panic(1);
    let gate = source.hold();
    for caller in ten_callers(&world, &node, &gate).await {
        match caller.await.unwrap().unwrap_err() {
            Error::LoadPanicked { key, message } => {
                assert_eq!((&*key, &*message), ("test:item:1:v1", "the source breaks at 1"));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(source.loads(), 1);
    settle().await;
    assert!(world.remote.is_empty());
    source.mend();
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    // The same in a `load_all`: all of its keys fail, and the next call tries again.
    source.panic(2);
    let nodes = Bulk::all([1, 2], &source);
    assert!(matches!(
        world.cacheme.get_all(&nodes).await,
        Err(Error::LoadPanicked { .. })
    ));
    source.mend();
    assert_eq!(world.cacheme.get_all(&nodes).await.unwrap(), [1_000, 2_000]);
}

#[tokio::test(start_paused = true)]
async fn l2_refresh_reports_a_failed_load_and_keeps_what_local_tiers_have() {
    let (world, source) = (World::new().await, Source::default());
    let node = LocalItem::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    source.fail(1);
    let error = world.cacheme.refresh(&node).await.unwrap_err();
    assert_eq!(error.downcast_load(), Some(&NoSource(1)));
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    source.mend();
    source.bump();
    assert_eq!(world.cacheme.refresh(&node).await.unwrap(), 1_001);
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
}

/// The error of a memoized function, told apart by whom it was made for.
#[derive(Clone, Debug, PartialEq)]
enum OwnError {
    NoSource(u64),
}

#[memoize(node = Item::new(id, source), cacheme = &world.cacheme)]
async fn memoized(world: &World, source: &Source, id: u64) -> Result<u64, OwnError> {
    source.load(id).await.map_err(|error| OwnError::NoSource(error.0))
}

#[tokio::test(start_paused = true)]
async fn l2_a_memoized_function_keeps_its_error_type() {
    let (world, source) = (World::new().await, Source::default());
    source.fail(1);
    let gate = source.hold();
    let leader = memoized(&world, &source, 1);
    let waiter = memoized(&world, &source, 1);
    let opener = async {
        gate.reached().await;
        settle().await;
        gate.open();
    };
    let (leader, waiter, ()) = futures_util::future::join3(leader, waiter, opener).await;
    assert_eq!(
        (leader, waiter),
        (Err(OwnError::NoSource(1)), Err(OwnError::NoSource(1)))
    );
    assert_eq!(source.loads(), 1);
    // `get` cannot be given that error: it loads for itself, by the node's own loader.
    let gate = source.hold();
    let other = async {
        gate.reached().await;
        let node = Item::new(1, &source);
        let get = world.cacheme.get(&node);
        let opener = async {
            settle().await;
            gate.open();
        };
        futures_util::future::join(get, opener).await.0
    };
    let (leader, got) = futures_util::future::join(memoized(&world, &source, 1), other).await;
    assert_eq!(leader, Err(OwnError::NoSource(1)));
    assert_eq!(got.unwrap_err().downcast_load(), Some(&NoSource(1)));
    assert_eq!(source.loads(), 3);
    source.mend();
    assert_eq!(memoized(&world, &source, 1).await, Ok(1_000));
}

#[tokio::test(start_paused = true)]
async fn l2_trouble_of_storages_never_shows_up_in_a_memoized_function() {
    for trouble in [Trouble::Refuses, Trouble::Hangs] {
        let (world, source) = (World::new().await, Source::default());
        world.remote.set_trouble(trouble);
        assert_eq!(memoized(&world, &source, 1).await, Ok(1_000));
        assert_eq!(memoized(&world, &source, 1).await, Ok(1_000));
        assert_eq!(source.loads(), 1, "the local tier has it");
    }
    // A chain that cannot be: no storage of that name.
    let source = Source::default();
    let nowhere = cacheme::Cacheme::builder().build().unwrap();
    let node = Item::new(1, &source);
    assert_eq!(nowhere.get_with(&node, || source.load(1)).await, Ok(1_000));
}

#[tokio::test(start_paused = true)]
async fn l2_a_panic_of_a_memoized_function_reaches_all_who_waited() {
    let (world, source) = (World::new().await, Source::default());
    let world = Arc::new(world);
    source.panic(1);
    let gate = source.hold();
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let (world, source) = (Arc::clone(&world), source.clone());
            tokio::spawn(async move { memoized(&world, &source, 1).await })
        })
        .collect();
    gate.reached().await;
    settle().await;
    gate.open();
    for caller in callers {
        let panic = caller.await.unwrap_err().into_panic();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.ends_with("the source breaks at 1"), "{message}");
    }
    assert_eq!(source.loads(), 1);
    settle().await;
    assert!(world.remote.is_empty());
    source.mend();
    assert_eq!(memoized(&world, &source, 1).await, Ok(1_000));
}

/// A node whose loads may take two seconds.
#[derive(Node, Clone)]
#[node(
    key = "slow:{id}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    load = load_slow,
    load_timeout = "2s"
)]
struct SlowNode {
    id: u64,
    #[node(skip)]
    source: Source,
}

async fn load_slow(node: &SlowNode, _cx: &mut LoadContext<SlowNode>) -> Result<u64, NoSource> {
    node.source.load(node.id).await
}

const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

fn slow(source: &Source) -> SlowNode {
    SlowNode {
        id: 1,
        source: source.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn l3_a_load_that_takes_too_long_ends() {
    let (world, source) = (World::new().await, Source::default());
    let _never_opened = source.hold();
    let (result, took) = timed(world.cacheme.get(&slow(&source))).await;
    match result {
        Err(Error::LoadTimedOut { key, after }) => {
            assert_eq!((&*key, after), ("test:slow:1:v1", LOAD_TIMEOUT));
        }
        other => panic!("{other:?}"),
    }
    assert!(took >= LOAD_TIMEOUT && took < LOAD_TIMEOUT + SECOND, "{took:?}");
    settle().await;
    assert!(world.remote.is_empty());
    assert_eq!(world.cacheme.get(&slow(&source)).await.unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn l3_a_leader_that_nobody_polls_holds_others_up_for_the_load_timeout_at_most() {
    let (world, source) = (World::new().await, Source::default());
    let gate = source.hold();
    let node = slow(&source);
    // As if it were left in a `select!` whose other branch goes on and on.
    let mut stuck = Box::pin(world.cacheme.get_with(&node, || source.load(1)));
    assert!(poll_once(&mut stuck).await.is_none());
    gate.reached().await;
    gate.open();
    source.bump();

    let others = (0..4).map(|_| world.cacheme.get_with(&node, || source.load(1)));
    let (values, took) = timed(futures_util::future::join_all(others)).await;
    assert_eq!(values, [Ok(1_001), Ok(1_001), Ok(1_001), Ok(1_001)]);
    assert_eq!(source.loads(), 2, "one of them took over");
    assert!(took >= LOAD_TIMEOUT, "{took:?}");
    // The lease of who is stuck is waited for as well: 5 s, and two pauses.
    assert!(took < LOAD_TIMEOUT + 6 * SECOND, "{took:?}");

    // Polled again at last, it gives its value to its caller and to nobody else.
    assert_eq!(stuck.await, Ok(1_000));
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
    assert_eq!(
        world
            .neighbour()
            .await
            .cacheme
            .peek(&node)
            .await
            .unwrap()
            .unwrap_or(1_001),
        1_001
    );
    assert_eq!(world.cacheme.stats::<SlowNode>().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn l3_a_leader_that_is_stuck_in_memory_only_costs_the_load_timeout() {
    let (world, source) = (World::new().await, Source::default());
    let node = LocalItem::new(1, &source);
    let gate = source.hold();
    let mut stuck = Box::pin(world.cacheme.get_with(&node, || source.load(1)));
    assert!(poll_once(&mut stuck).await.is_none());
    gate.reached().await;
    let (value, took) = timed(world.cacheme.get(&node)).await;
    assert_eq!(value.unwrap(), 1_000);
    let bound = 30 * SECOND;
    assert!(took >= bound && took < bound + SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn l3_a_get_that_nobody_polls_while_it_reads_a_tier_is_taken_over() {
    let (world, source) = (World::new().await, Source::default());
    let node = slow(&source);
    for operation in [Operation::Acquire, Operation::Fill] {
        let _never_opened = world.remote.hold_before(operation);
        let mut stuck = Box::pin(world.cacheme.get(&node));
        assert!(poll_once(&mut stuck).await.is_none());
        settle().await;
        let (value, took) = timed(world.cacheme.get(&node)).await;
        assert_eq!(value.unwrap(), 1_000);
        assert!(took < LOAD_TIMEOUT + 6 * SECOND, "{operation:?}: {took:?}");
        drop(stuck);
        world.cacheme.invalidate(&node).await.unwrap();
        settle().await;
        assert_eq!(world.cacheme.stats::<SlowNode>().in_flight, 0);
    }
}

/// A node in memory whose loads may take two seconds.
#[derive(Node, Clone)]
#[node(
    key = "slow-local:{id}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    load = load_slow_local,
    load_timeout = "2s"
)]
struct SlowLocal {
    id: u64,
    #[node(skip)]
    source: Source,
}

async fn load_slow_local(node: &SlowLocal, _cx: &mut LoadContext<SlowLocal>) -> Result<u64, NoSource> {
    node.source.load(node.id).await
}

fn paused() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

#[test]
fn l3_a_runtime_that_nobody_drives_holds_others_up_for_the_load_timeout_at_most() {
    for call in ["get", "get_all", "refresh", "get_with"] {
        let stuck = paused();
        let (world, node, source) = stuck.block_on(async {
            let (world, source) = (World::new().await, Source::default());
            let node = |id| SlowLocal {
                id,
                source: source.clone(),
            };
            let gate = source.hold();
            let (cacheme, asked, second, from) = (world.cacheme.clone(), node(1), node(2), source.clone());
            tokio::spawn(async move {
                match call {
                    "get" => drop(cacheme.get(&asked).await),
                    "get_all" => drop(cacheme.get_all(&[asked, second]).await),
                    "refresh" => drop(cacheme.refresh(&asked).await),
                    _ => drop(cacheme.get_with(&asked, || from.load(1)).await),
                }
            });
            gate.reached().await;
            settle().await;
            gate.open();
            (world, node(1), source)
        });
        source.bump();
        let (value, took) = paused().block_on(timed(world.cacheme.get(&node)));
        assert_eq!(value.unwrap(), 1_001, "{call}");
        assert!(took <= LOAD_TIMEOUT, "{call}: {took:?}");
        // Driven again at last, the load that was stuck stores nothing.
        stuck.block_on(settle());
        let value = stuck.block_on(world.cacheme.get(&node));
        assert_eq!(value.unwrap(), 1_001, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn l3_a_load_that_somebody_drives_is_waited_for_until_it_ends() {
    let (world, source) = (World::new().await, Source::default());
    let gate = source.hold();
    let callers = [(); 2].map(|()| {
        let (cacheme, source) = (world.cacheme.clone(), source.clone());
        tokio::spawn(async move { cacheme.get(&SlowLocal { id: 1, source }).await })
    });
    gate.reached().await;
    tokio::time::sleep(LOAD_TIMEOUT - Duration::from_millis(1)).await;
    gate.open();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), 1_000);
    }
    assert_eq!(source.loads(), 1);
}

/// A node whose loader asks for the node itself.
#[derive(Node, Clone)]
#[node(key = "itself", value = u64, tier(storage = "local", ttl = "60s"), load = load_itself, load_timeout = "1s")]
struct ItselfNode;

async fn load_itself(_: &ItselfNode, cx: &mut LoadContext<ItselfNode>) -> Result<u64, BoxError> {
    Ok(ask_again(cx.cacheme().clone()).await?? + 1)
}

/// A function of its own, or the loader's future would have itself inside.
fn ask_again(cacheme: Cacheme) -> tokio::task::JoinHandle<Result<u64, Error>> {
    tokio::spawn(async move { cacheme.get(&ItselfNode).await })
}

#[tokio::test(start_paused = true)]
async fn l3_a_loader_that_waits_for_itself_ends() {
    let world = World::new().await;
    let (result, took) = timed(world.cacheme.get(&ItselfNode)).await;
    assert!(matches!(result, Err(Error::LoadTimedOut { .. })), "{result:?}");
    assert!(took < 3 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn l3_a_leader_in_another_process_that_dies_costs_its_lease_once() {
    let (world, source) = (World::new().await, Source::default());
    let node = RemoteItem::new(1, &source);
    let dead = world.neighbour().await;
    let _gate = source.hold();
    let mut leader = Box::pin(dead.cacheme.get_with(&node, || source.load(1)));
    assert!(poll_once(&mut leader).await.is_none());
    // A process that is gone says nothing: its lease stays.
    std::mem::forget(leader);
    let (value, took) = timed(world.cacheme.get(&node)).await;
    assert_eq!(value.unwrap(), 1_000);
    let lease = cacheme::Policy::<u64>::DEFAULT_LEASE;
    assert!(took <= lease + SECOND, "{took:?}");
    let (value, took) = timed(world.cacheme.get(&node)).await;
    assert_eq!((value.unwrap(), took), (1_000, Duration::ZERO));
}
