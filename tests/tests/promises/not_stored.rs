//! T3: what a tier does not store is counted by reason, and logged with its key.

use cacheme::{Cacheme, LoadContext, Node, NotStored, NotStoredCounts, Storage};
use tests::{MemoryRemote, Operation, Trouble};
use tracing::Level;

use crate::logged::Logged;
use crate::world::{Item, Source, World, settle};

/// Its loader says what becomes of its value.
#[derive(Node, Clone, Debug)]
#[node(
    key = "not-stored:{0}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    load = load_picky
)]
struct Picky(u64);

async fn load_picky(node: &Picky, cx: &mut LoadContext<Picky>) -> Result<u64, std::fmt::Error> {
    match node.0 {
        1 => cx.do_not_store(),
        2 => cx.ttl(std::time::Duration::ZERO),
        _ => {}
    }
    Ok(node.0)
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "not-stored-guarded:{0}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    doorkeeper = 100,
    load = load_guarded
)]
struct Guarded(u64);

async fn load_guarded(node: &Guarded, _: &mut LoadContext<Guarded>) -> Result<u64, std::fmt::Error> {
    Ok(node.0)
}

/// What was not stored locally, and remotely.
fn not_stored<N: Node>(cacheme: &Cacheme) -> [Vec<(NotStored, u64)>; 2] {
    let stats = cacheme.stats::<N>();
    [0, 1].map(|at: usize| stats.tiers[at].not_stored.iter().collect())
}

#[tokio::test(start_paused = true)]
async fn t3_a_value_that_no_tier_may_store_is_counted_in_each_by_reason_and_logged_with_its_key() {
    let (told, _listening) = Logged::listen();
    let world = World::new().await;
    let once = |reason| [vec![(reason, 1)], vec![(reason, 1)]];
    world.cacheme.get(&Picky(1)).await.unwrap();
    assert_eq!(not_stored::<Picky>(&world.cacheme), once(NotStored::DoNotStore));
    let logged = told.at(Level::DEBUG);
    for storage in ["storage=local", "storage=remote"] {
        let line = logged.iter().find(|line| line.contains(storage)).unwrap();
        for part in ["node=Picky", "test:not-stored:1:v1", "reason=do_not_store"] {
            assert!(line.contains(part), "{line}");
        }
    }
    world.cacheme.get(&Guarded(1)).await.unwrap();
    assert_eq!(not_stored::<Guarded>(&world.cacheme), once(NotStored::Doorkeeper));

    let other = World::new().await;
    other.cacheme.get(&Picky(2)).await.unwrap();
    assert_eq!(not_stored::<Picky>(&other.cacheme), once(NotStored::LifeOver));
    let shown = other.cacheme.stats::<Picky>().to_string();
    assert!(shown.contains("not stored: life_over 1"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn t3_a_fill_that_a_change_came_before_is_counted_in_local_tiers_too() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let read = tokio::spawn({
        let (cacheme, node) = (world.cacheme.clone(), node.clone());
        async move { cacheme.get(&node).await }
    });
    gate.reached().await;
    world.cacheme.invalidate(&node).await.unwrap();
    gate.open();
    read.await.unwrap().unwrap();
    settle().await;
    let fenced = vec![(NotStored::Fenced, 1)];
    assert_eq!(not_stored::<Item>(&world.cacheme), [fenced.clone(), fenced]);

    // In another process, which is not told here: the lease is gone.
    let other = world.neighbour().await;
    let gate = source.hold();
    let read = tokio::spawn({
        let (cacheme, node) = (other.cacheme.clone(), node.clone());
        async move { cacheme.get(&node).await }
    });
    gate.reached().await;
    world.cacheme.invalidate(&node).await.unwrap();
    gate.open();
    read.await.unwrap().unwrap();
    let lost = vec![(NotStored::LeaseLost, 1)];
    assert_eq!(not_stored::<Item>(&other.cacheme), [lost.clone(), lost]);
}

#[tokio::test(start_paused = true)]
async fn t3_what_a_remote_storage_does_not_take_is_counted_there_and_stored_nearby() {
    for (remote, operation, trouble, reason) in [
        (
            MemoryRemote::new(),
            Operation::Acquire,
            Trouble::Refuses,
            NotStored::NoLease,
        ),
        (
            MemoryRemote::new(),
            Operation::Fill,
            Trouble::Refuses,
            NotStored::StorageFailed,
        ),
        (
            MemoryRemote::new(),
            Operation::Fill,
            Trouble::Hangs,
            NotStored::StorageFailed,
        ),
        (
            MemoryRemote::new(),
            Operation::Fill,
            Trouble::IsTooSmall,
            NotStored::TooLarge,
        ),
        (
            MemoryRemote::without_leases(),
            Operation::Set,
            Trouble::IsTooSmall,
            NotStored::TooLarge,
        ),
    ] {
        let (world, source) = (World::over(remote).await, Source::default());
        world.remote.set_trouble_with(operation, trouble);
        world.cacheme.get(&Item::new(1, &source)).await.unwrap();
        let [local, remote] = not_stored::<Item>(&world.cacheme);
        assert_eq!((local, remote), (vec![], vec![(reason, 1)]), "{operation:?}");
        let tiers = world.cacheme.stats::<Item>().tiers;
        assert_eq!((tiers[0].fills, tiers[1].fills), (1, 0), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t3_set_counts_what_a_tier_refused() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.remote.set_trouble_with(Operation::Set, Trouble::IsTooSmall);
    world.cacheme.set(&node, 7).await.unwrap();
    let [local, remote] = not_stored::<Item>(&world.cacheme);
    assert_eq!((local, remote), (vec![], vec![(NotStored::TooLarge, 1)]));
}

#[tokio::test]
async fn t3_a_local_storage_without_room_is_counted() {
    #[derive(Node, Clone, Debug)]
    #[node(key = "not-stored-heavy:{0}", value = u64, tier(storage = "heavy", ttl = "60s"), weigh = weigh)]
    struct Heavy(u64);

    fn weigh(value: &u64) -> u32 {
        u32::try_from(*value).unwrap()
    }

    let cacheme = Cacheme::builder().build().unwrap();
    let storage = Storage::open("local://tlfu?weight=100").unwrap();
    cacheme.register_storage("heavy", storage).await.unwrap();
    assert_eq!(cacheme.get_with(&Heavy(1), || async { 1_000_u64 }).await, 1_000);
    cacheme.set(&Heavy(2), 1_000).await.unwrap();
    let counts: NotStoredCounts = cacheme.stats::<Heavy>().tiers[0].not_stored;
    assert_eq!(
        (counts.get(NotStored::NoRoom), counts.total()),
        (2, 2),
        "{counts:?}"
    );
    assert_eq!(cacheme.peek(&Heavy(2)).await.unwrap(), None);
}
