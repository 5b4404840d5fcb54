//! C1 in every interleaving: a load in flight, held at each of its steps, while the key is invalidated, set or
//! refreshed.

use std::fmt::Debug;
use std::sync::Arc;

use cacheme::{Cacheme, Load};
use tests::{Gate, MemoryRemote, Operation};
use tokio::task::JoinHandle;

use crate::world::{Item, LocalItem, RemoteItem, SoloItem, Source, World, poll_once, settle};

/// Who loads the old value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    Get,
    GetAll,
    GetWith,
    /// Finds it on the remote storage and fills the local tier.
    Promotion,
}

/// What comes in between.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Invalidate,
    Set,
    Refresh,
}

/// Where the caller is held meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Load,
    Before(Operation),
    After(Operation),
}

/// When it goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// After the change was made, or has come as far as it can without the caller.
    Late,
    /// While the change begins.
    Early,
    /// After the change is held at its first word to the remote storage.
    Between,
}

pub(crate) const STEPS: [At; 11] = [
    At::Load,
    At::Before(Operation::Get),
    At::After(Operation::Get),
    At::Before(Operation::Acquire),
    At::After(Operation::Acquire),
    At::Before(Operation::Fill),
    At::After(Operation::Fill),
    At::Before(Operation::Set),
    At::After(Operation::Set),
    At::Before(Operation::Release),
    At::After(Operation::Release),
];

pub(crate) fn hold(at: At, remote: &MemoryRemote, source: &Source) -> Arc<Gate> {
    match at {
        At::Load => source.hold(),
        At::Before(operation) => remote.hold_before(operation),
        At::After(operation) => remote.hold_after(operation),
    }
}

pub(crate) fn change<N: Load<Value = u64> + Debug>(
    cacheme: &Cacheme,
    node: &N,
    kind: Change,
    new: u64,
) -> JoinHandle<()> {
    let (cacheme, node) = (cacheme.clone(), node.clone());
    tokio::spawn(async move {
        match kind {
            Change::Invalidate => cacheme.invalidate(&node).await.unwrap(),
            Change::Set => cacheme.set(&node, new).await.unwrap(),
            Change::Refresh => assert_eq!(cacheme.refresh(&node).await.unwrap(), new),
        }
    })
}

pub(crate) fn call<N: Load<Value = u64>>(
    cacheme: &Cacheme,
    node: &N,
    source: &Source,
    caller: Caller,
) -> JoinHandle<u64> {
    let (cacheme, node, source) = (cacheme.clone(), node.clone(), source.clone());
    tokio::spawn(async move {
        match caller {
            Caller::Get | Caller::Promotion => cacheme.get(&node).await.unwrap(),
            Caller::GetAll => cacheme.get_all(&[node.clone(), node]).await.unwrap()[0],
            Caller::GetWith => cacheme.get_with(&node, || source.load(1)).await.unwrap(),
        }
    })
}

/// One interleaving. `None` if the caller does not come to that step.
async fn race<N: Load<Value = u64> + Debug>(
    make: impl Fn(&Source) -> N,
    remote: MemoryRemote,
    (caller, at, kind, then): (Caller, At, Change, Then),
) -> Option<()> {
    let (world, source) = (World::over(remote).await, Source::default());
    let node = make(&source);
    if let Caller::Promotion = caller {
        world.neighbour().await.cacheme.get(&node).await.unwrap();
        settle().await;
    }
    let gate = hold(at, &world.remote, &source);
    let old = call(&world.cacheme, &node, &source, caller);
    settle().await;
    if old.is_finished() {
        return None;
    }
    gate.reached().await;
    let new = 1_000 + source.bump();
    let word = match then {
        Then::Between => Some(world.remote.hold_before(match kind {
            Change::Invalidate => Operation::Remove,
            Change::Set => Operation::Set,
            Change::Refresh => Operation::Acquire,
        })),
        Then::Late | Then::Early => None,
    };
    let change = change(&world.cacheme, &node, kind, new);
    if let Then::Late | Then::Between = then {
        settle().await;
    }
    let what = format!("{caller:?} held at {at:?}, {kind:?}, {then:?}, {node:?}");
    if change.is_finished() {
        assert_eq!(
            world.cacheme.get(&node).await.unwrap(),
            new,
            "before it goes on: {what}"
        );
    }
    gate.open();
    if let Some(word) = word {
        settle().await;
        word.open();
    }
    change.await.unwrap();
    assert_eq!(world.cacheme.get(&node).await.unwrap(), new, "{what}");
    let old = old.await.unwrap();
    assert!(old == 1_000 || old == new, "{what}");
    settle().await;
    // Nothing comes later, neither here nor on the remote storage.
    assert_eq!(world.cacheme.get(&node).await.unwrap(), new, "later: {what}");
    let found = world.neighbour().await.cacheme.peek(&node).await;
    // A node without remote tier has nothing there.
    assert!([None, Some(new)].contains(&found.unwrap()), "remotely: {what}");
    Some(())
}

async fn races<N: Load<Value = u64> + Debug>(
    make: impl Fn(&Source) -> N + Copy,
    remote: fn() -> MemoryRemote,
) -> usize {
    let mut raced = 0;
    for caller in [Caller::Get, Caller::GetAll, Caller::GetWith, Caller::Promotion] {
        for at in STEPS {
            for kind in [Change::Invalidate, Change::Set, Change::Refresh] {
                for then in [Then::Late, Then::Early, Then::Between] {
                    raced += usize::from(race(make, remote(), (caller, at, kind, then)).await.is_some());
                }
            }
        }
    }
    raced
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_older_is_seen_in_memory() {
    let raced = races(|source| LocalItem::new(1, source), MemoryRemote::new).await;
    assert!(raced >= 24, "{raced}");
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_older_is_seen_on_a_remote_storage() {
    let raced = races(|source| RemoteItem::new(1, source), MemoryRemote::new).await;
    assert!(raced >= 100, "{raced}");
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_older_is_seen_in_memory_over_a_remote_storage() {
    let raced = races(|source| Item::new(1, source), MemoryRemote::new).await;
    assert!(raced >= 100, "{raced}");
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_older_is_seen_where_changes_are_published() {
    let raced = races(|source| Item::new(1, source), MemoryRemote::with_bus).await;
    assert!(raced >= 100, "{raced}");
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_older_is_seen_without_leases() {
    let raced = races(|source| Item::new(1, source), MemoryRemote::without_leases).await;
    assert!(raced >= 60, "{raced}");
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_older_is_seen_by_a_node_that_wants_no_leases() {
    let raced = races(|source| SoloItem::new(1, source), MemoryRemote::new).await;
    assert!(raced >= 60, "{raced}");
}

/// The other side: the change is held at its word to the remote storage, and a read comes in between.
#[tokio::test(start_paused = true)]
async fn c1_a_read_between_the_steps_of_a_change_promotes_nothing_old() {
    for kind in [Change::Invalidate, Change::Set, Change::Refresh] {
        for caller in [Caller::Get, Caller::GetAll, Caller::GetWith] {
            for after in [false, true] {
                for at in [
                    None,
                    Some(At::After(Operation::Get)),
                    Some(At::After(Operation::Acquire)),
                ] {
                    let (world, source) = (World::new().await, Source::default());
                    let node = Item::new(1, &source);
                    world.neighbour().await.cacheme.get(&node).await.unwrap();
                    let new = 1_000 + source.bump();
                    let operation = match kind {
                        Change::Invalidate => Operation::Remove,
                        Change::Set => Operation::Set,
                        Change::Refresh => Operation::Acquire,
                    };
                    let word = if after {
                        world.remote.hold_after(operation)
                    } else {
                        world.remote.hold_before(operation)
                    };
                    let change = change(&world.cacheme, &node, kind, new);
                    word.reached().await;
                    let gate = at.map(|at| hold(at, &world.remote, &source));
                    let read = call(&world.cacheme, &node, &source, caller);
                    settle().await;
                    word.open();
                    let what = format!("{kind:?} held after: {after}, {caller:?} held at {at:?}");
                    if gate.is_some() {
                        settle().await;
                        let done = change.is_finished();
                        if done {
                            assert_eq!(world.cacheme.get(&node).await.unwrap(), new, "{what}");
                        }
                    }
                    gate.iter().for_each(|gate| gate.open());
                    change.await.unwrap();
                    assert_eq!(world.cacheme.get(&node).await.unwrap(), new, "{what}");
                    read.await.unwrap();
                    settle().await;
                    assert_eq!(world.cacheme.get(&node).await.unwrap(), new, "later: {what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_refresh_never_joins_a_load_that_began_before() {
    let (world, source) = (World::new().await, Source::default());
    for node in [Item::new(1, &source), Item::new(2, &source)] {
        let gate = source.hold();
        let old = call(&world.cacheme, &node, &source, Caller::Get);
        gate.reached().await;
        let new = 1_000 * node.id + source.bump();
        assert_eq!(world.cacheme.refresh(&node).await.unwrap(), new);
        gate.open();
        assert!(old.await.unwrap() < new, "it gets what it waited for");
        assert_eq!(world.cacheme.get(&node).await.unwrap(), new);
    }
}

/// A refresh waits for a set that is on its way, and its caller goes away: whoever comes then does not bring back what the set
/// is about to replace.
#[tokio::test(start_paused = true)]
async fn c1_a_refresh_whose_caller_goes_away_lets_nobody_past_a_set_under_way() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.neighbour().await.cacheme.get(&node).await.unwrap();
    source.bump();
    let word = world.remote.hold_before(Operation::Set);
    let set = change(&world.cacheme, &node, Change::Set, 7);
    word.reached().await;
    let mut refresh = Box::pin(world.cacheme.refresh(&node));
    assert!(poll_once(&mut refresh).await.is_none());
    drop(refresh);
    let late = world.remote.hold_after(Operation::Acquire);
    let read = call(&world.cacheme, &node, &source, Caller::Get);
    settle().await;
    word.open();
    set.await.unwrap();
    late.open();
    assert_ne!(read.await.unwrap(), 1_000);
    settle().await;
    assert_eq!(
        world.cacheme.get(&node).await.unwrap(),
        1_001,
        "the refresh went on"
    );
}

#[tokio::test(start_paused = true)]
async fn c1_many_changes_at_once_leave_the_last_one() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let old = call(&world.cacheme, &node, &source, Caller::Get);
    gate.reached().await;
    let set = |value| {
        let (cacheme, node) = (world.cacheme.clone(), node.clone());
        async move { cacheme.set(&node, value).await.unwrap() }
    };
    let first = world.remote.hold_before(Operation::Set);
    let one = tokio::spawn(set(1));
    first.reached().await;
    let two = tokio::spawn(set(2));
    settle().await;
    assert!(
        !two.is_finished(),
        "it waits until the first has written, or it would be overwritten"
    );
    gate.open();
    first.open();
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(old.await.unwrap(), 1_000);
    settle().await;
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 2);
    assert_eq!(world.neighbour().await.cacheme.get(&node).await.unwrap(), 2);
}
