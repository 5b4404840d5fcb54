//! Calls over more keys than a storage can answer for within its time limit.

use std::time::Duration;

use cacheme::{BoxError, Cacheme, Error, LoadContext, Loaded, Node, NotStored, TierStats};
use tests::{MemoryRemote, Operation, Trouble};

use super::world::{Bulk, RemoteItem, SECOND, Source, World, settle, timed};

/// The time limit of a storage when nothing else is said.
const LIMIT: Duration = Duration::from_millis(500);
/// The keys of a piece when nothing is known of a storage.
const PIECE: usize = 2_000;

/// What the last tier of `Bulk` counted.
fn remote_tier(cacheme: &Cacheme) -> TierStats {
    cacheme.stats::<Bulk>().tiers.remove(1)
}

fn reasons(tier: &TierStats) -> Vec<(NotStored, u64)> {
    tier.not_stored.iter().collect()
}

/// How many keys each call of `operation` had since the last look.
fn sizes(remote: &MemoryRemote, operation: Operation) -> Vec<usize> {
    let calls = remote.take_calls().into_iter();
    let calls = calls.filter(|(called, _)| *called == operation);
    calls.map(|(_, keys)| keys).collect()
}

async fn get(world: &World, ids: std::ops::Range<u64>, source: &Source) {
    let values = world
        .cacheme
        .get_all(&Bulk::all(ids.clone(), source))
        .await
        .unwrap();
    let expected: Vec<u64> = ids.map(|id| source.value(id)).collect();
    assert!(values == expected, "values in their order");
}

#[tokio::test(start_paused = true)]
async fn r3_100_000_keys_are_loaded_once_and_found_again() {
    for (remote, count) in [
        (MemoryRemote::new(), 100_000),
        (MemoryRemote::without_leases(), 20_000),
        (MemoryRemote::new().with_renewals(), 20_000),
        (MemoryRemote::new().with_shards(3), 20_000),
    ] {
        // One call for all would take twice the time limit.
        let pace = LIMIT * 2 / u32::try_from(count).unwrap();
        remote.set_pace(pace);
        let (world, source) = (World::over(remote).await, Source::default());
        get(&world, 0..count, &source).await;
        let all = usize::try_from(count).unwrap();
        assert_eq!((source.loads(), source.batches().len()), (all, 1));
        let stored = remote_tier(&world.cacheme);
        assert_eq!((stored.fills, stored.troubles), (count, 0));
        assert_eq!(reasons(&stored), []);
        assert!(world.remote.take_calls().iter().all(|(_, keys)| *keys <= PIECE));

        let other = world.neighbour().await;
        get(&other, 0..count, &source).await;
        assert_eq!(source.loads(), all, "what was stored is not loaded again");
        assert_eq!(remote_tier(&other.cacheme).hits, count);
    }
}

#[tokio::test(start_paused = true)]
async fn r3_a_call_that_fits_is_made_as_one() {
    let (world, source) = (World::new().await, Source::default());
    get(&world, 0..PIECE as u64, &source).await;
    assert_eq!(
        world.remote.take_calls(),
        [Operation::Get, Operation::Acquire, Operation::Fill].map(|operation| (operation, PIECE))
    );
}

#[tokio::test(start_paused = true)]
async fn r3_many_keys_of_a_chain_that_begins_with_a_remote_tier_are_found_in_pieces() {
    const COUNT: usize = 5_000;
    let (world, source) = (World::new().await, Source::default());
    world.remote.set_pace(Duration::from_micros(150));
    let nodes: Vec<_> = (0..COUNT as u64).map(|id| RemoteItem::new(id, &source)).collect();
    world.cacheme.get_all(&nodes).await.unwrap();
    assert_eq!(source.loads(), COUNT);
    world.remote.take_calls();
    world.cacheme.get_all(&nodes).await.unwrap();
    assert_eq!(source.loads(), COUNT);
    assert_eq!(sizes(&world.remote, Operation::Get), [PIECE, PIECE, 1_000]);

    // Of pieces up to one that fails the values are handed out.
    world
        .remote
        .set_trouble_after(Operation::Get, 1, Trouble::Refuses);
    world.cacheme.get_all(&nodes).await.unwrap();
    assert_eq!(source.loads(), COUNT + COUNT - PIECE);
    assert_eq!(sizes(&world.remote, Operation::Get), [PIECE, PIECE]);
}

#[tokio::test(start_paused = true)]
async fn r3_what_came_before_a_piece_that_fails_is_kept() {
    const COUNT: u64 = 10_000;
    // Of a read the hits.
    let (world, source) = (World::new().await, Source::default());
    get(&world, 0..COUNT, &source).await;
    let other = world.neighbour().await;
    other.remote.set_trouble_after(Operation::Get, 3, Trouble::Hangs);
    let (_, took) = timed(get(&other, 0..COUNT, &source)).await;
    assert_eq!(took, LIMIT, "one time limit");
    assert_eq!(remote_tier(&other.cacheme).hits, 6_000);
    assert_eq!(source.loads(), 10_000 + 4_000);
    assert_eq!(
        other.remote.count(Operation::Get),
        4,
        "none after the one that failed"
    );

    // Of a request for leases those that were granted, of a fill what is stored.
    for (operation, calls, stored, reason) in [
        (Operation::Acquire, 2, 4_000, NotStored::NoLease),
        (Operation::Fill, 3, 6_000, NotStored::StorageFailed),
    ] {
        let (world, source) = (World::new().await, Source::default());
        world.remote.set_trouble_after(operation, calls, Trouble::Refuses);
        get(&world, 0..COUNT, &source).await;
        assert_eq!(source.loads(), 10_000);
        let tier = remote_tier(&world.cacheme);
        assert_eq!((tier.fills, tier.troubles), (stored, 1), "{operation:?}");
        assert_eq!(reasons(&tier), [(reason, COUNT - stored)]);
        assert_eq!(world.remote.count(operation), calls + 1, "{operation:?}");
        // Nobody keeps the leases of what was not stored: another process stores it.
        settle().await;
        world.remote.recover();
        let other = world.neighbour().await;
        let (_, took) = timed(get(&other, 0..COUNT, &source)).await;
        assert_eq!(took, Duration::ZERO, "{operation:?}");
        assert_eq!(source.loads() as u64, 20_000 - stored, "{operation:?}");
        assert_eq!(remote_tier(&other.cacheme).fills, COUNT - stored);
    }

    // Of a removal what was removed.
    let world = World::new().await;
    get(&world, 0..COUNT, &source).await;
    world
        .remote
        .set_trouble_after(Operation::Remove, 1, Trouble::Refuses);
    let removed = world.cacheme.invalidate_all(&Bulk::all(0..COUNT, &source)).await;
    let Err(Error::NotInvalidated { keys, .. }) = removed else {
        panic!("{removed:?}")
    };
    assert_eq!(keys, 8_000);
    assert_eq!(sizes(&world.remote, Operation::Remove), [PIECE, PIECE]);
    world.remote.recover();
    tokio::time::sleep(SECOND).await;
    assert!(
        world.remote.is_empty(),
        "the others are removed in the background"
    );
}

#[tokio::test(start_paused = true)]
async fn r3_a_dead_storage_costs_a_large_call_one_time_limit() {
    let (world, source) = (World::new().await, Source::default());
    world.remote.set_trouble(Trouble::Hangs);
    let (_, took) = timed(get(&world, 0..20_000, &source)).await;
    assert_eq!(took, LIMIT);
    let nodes = Bulk::all(0..20_000, &source);
    let (removed, took) = timed(world.cacheme.invalidate_all(&nodes)).await;
    assert!(removed.is_err());
    assert_eq!(took, LIMIT);

    // One that dies when it is to store: nobody waits for the leases to be given up.
    let world = World::new().await;
    for operation in [Operation::Fill, Operation::Release] {
        world.remote.set_trouble_with(operation, Trouble::Hangs);
    }
    let (_, took) = timed(get(&world, 0..20_000, &source)).await;
    assert_eq!(took, LIMIT);
}

#[tokio::test(start_paused = true)]
async fn r3_a_slow_storage_gets_smaller_pieces_until_all_is_stored() {
    const COUNT: usize = 1_000;
    let remote = MemoryRemote::new().with_renewals();
    // Two thousand keys would take eight times the time limit.
    remote.set_pace(Duration::from_millis(2));
    let (world, source) = (World::over(remote).await, Source::default());
    let nodes: Vec<_> = (0..COUNT as u64).map(|id| RemoteItem::new(id, &source)).collect();
    let mut loads = Vec::new();
    while loads.last() != Some(&0) {
        assert!(loads.len() < 8, "it converges: {loads:?}");
        let before = source.loads();
        world.cacheme.get_all(&nodes).await.unwrap();
        loads.push(source.loads() - before);
    }
    assert!(loads.is_sorted_by(|before, after| before >= after), "{loads:?}");

    // Once it is fast again, pieces grow.
    world.remote.set_pace(Duration::ZERO);
    world.cacheme.get_all(&nodes).await.unwrap();
    world.remote.take_calls();
    world.cacheme.get_all(&nodes).await.unwrap();
    assert_eq!(sizes(&world.remote, Operation::Get), [COUNT]);
}

#[tokio::test(start_paused = true)]
async fn r3_leases_of_a_large_call_last_until_all_is_stored() {
    const COUNT: u64 = 50_000;
    let remote = MemoryRemote::new().with_renewals();
    // To ask for all leases takes ten seconds, twice the time of a lease; so does it to store the values.
    remote.set_pace(Duration::from_micros(200));
    let (world, source) = (World::over(remote).await, Source::default());
    // Others are patient all the time: nobody loads what is being loaded.
    let waiter = tokio::spawn({
        let (cacheme, node) = (world.cacheme.clone(), Bulk::all([COUNT - 1], &source));
        async move {
            tokio::time::sleep(SECOND * 12).await;
            cacheme.get_all(&node).await
        }
    });
    let (_, took) = timed(get(&world, 0..COUNT, &source)).await;
    assert!(took > SECOND * 25, "{took:?}");
    assert!(
        took < SECOND * 60,
        "renewals cost less than what they are for: {took:?}"
    );
    assert_eq!(waiter.await.unwrap().unwrap(), [source.value(COUNT - 1)]);
    assert_eq!(source.loads(), 50_000);
    let tier = remote_tier(&world.cacheme);
    assert_eq!((tier.fills, tier.troubles), (COUNT, 0));
    assert_eq!(reasons(&tier), []);
}

#[tokio::test(start_paused = true)]
async fn c1_a_change_overtakes_a_large_call_that_stores_without_leases() {
    const COUNT: u64 = 6_000;
    let (world, source) = (
        World::over(MemoryRemote::without_leases()).await,
        Source::default(),
    );
    let gate = world.remote.hold_before(Operation::Set);
    let read = tokio::spawn({
        let (cacheme, nodes) = (world.cacheme.clone(), Bulk::all(0..COUNT, &source));
        async move { cacheme.get_all(&nodes).await }
    });
    gate.reached().await;
    // Of the first piece, which is being stored, and of the last one, which is not yet.
    source.bump();
    let changed = Bulk::all([0, COUNT - 1], &source);
    let mut invalidated = Box::pin(world.cacheme.invalidate_all(&changed));
    assert!(super::world::poll_once(&mut invalidated).await.is_none());
    gate.open();
    invalidated.await.unwrap();
    read.await.unwrap().unwrap();
    let other = world.neighbour().await;
    for node in &changed {
        assert_eq!(other.cacheme.get(node).await.unwrap(), source.value(node.id));
    }
    assert_eq!(source.loads(), 6_000 + 2);
}

#[tokio::test(start_paused = true)]
async fn c3_a_large_change_is_published_in_pieces() {
    const COUNT: u64 = 10_000;
    let (world, source) = (World::over(MemoryRemote::with_bus()).await, Source::default());
    let other = world.neighbour().await;
    get(&world, 0..COUNT, &source).await;
    get(&other, 0..COUNT, &source).await;
    settle().await;
    source.bump();
    world
        .remote
        .set_trouble_after(Operation::Publish, 2, Trouble::Refuses);
    world.remote.take_calls();
    let nodes = Bulk::all(0..COUNT, &source);
    let Err(Error::NotInvalidated { keys, .. }) = world.cacheme.invalidate_all(&nodes).await else {
        panic!("they were not told of all")
    };
    assert_eq!(keys, 6_000);
    assert_eq!(world.remote.count(Operation::Publish), 3);
    settle().await;
    assert_eq!(other.cacheme.stats::<Bulk>().remote_invalidations, 4_000);
    world.remote.recover();
    tokio::time::sleep(SECOND).await;
    assert_eq!(other.cacheme.stats::<Bulk>().remote_invalidations, COUNT);
    get(&other, 0..COUNT, &source).await;
}

#[tokio::test(start_paused = true)]
async fn t1_what_is_owed_to_a_dead_shard_holds_up_no_other() {
    const COUNT: u64 = 5_000;
    let (world, source) = (
        World::over(MemoryRemote::new().with_shards(2)).await,
        Source::default(),
    );
    get(&world, 0..COUNT, &source).await;
    world.remote.set_trouble(Trouble::Refuses);
    let nodes = Bulk::all(0..COUNT, &source);
    world.cacheme.invalidate_all(&nodes).await.unwrap_err();
    world.remote.recover();
    world.remote.set_trouble_of_shard(1, Trouble::Hangs);
    tokio::time::sleep(SECOND * 2).await;
    let shard = |node: &Bulk| {
        let key = format!("test:bulk:{}:v1", node.id);
        (key.bytes().map(usize::from).sum::<usize>() % 2, key)
    };
    let kept = nodes
        .iter()
        .map(shard)
        .filter(|(_, key)| world.remote.value(key).is_some());
    let kept: Vec<usize> = kept.map(|(shard, _)| shard).collect();
    assert!(
        !kept.is_empty() && kept.iter().all(|shard| *shard == 1),
        "{} are kept",
        kept.len()
    );
    world.remote.recover();
    tokio::time::sleep(SECOND * 20).await;
    assert!(world.remote.is_empty());
}

#[tokio::test(start_paused = true)]
async fn l3_leases_are_given_back_to_the_shards_that_live() {
    const COUNT: u64 = 100;
    let (world, source) = (
        World::over(MemoryRemote::new().with_shards(2)).await,
        Source::default(),
    );
    (0..COUNT).for_each(|id| source.fail(id));
    world
        .remote
        .set_trouble_with(Operation::Release, Trouble::Refuses);
    let nodes = Bulk::all(0..COUNT, &source);
    world.cacheme.get_all(&nodes).await.unwrap_err();
    assert!(!world.remote.is_empty(), "leases are left");
    source.mend();
    world.remote.recover();
    world.remote.set_trouble_of_shard(1, Trouble::Refuses);
    tokio::time::sleep(SECOND * 2).await;
    world.remote.recover();
    let other = world.neighbour().await;
    let living = nodes.into_iter().filter(|node| {
        let key = format!("test:bulk:{}:v1", node.id);
        key.bytes().map(usize::from).sum::<usize>() % 2 == 0
    });
    let living: Vec<Bulk> = living.collect();
    let (_, took) = timed(other.cacheme.get_all(&living)).await;
    assert_eq!(took, Duration::ZERO, "nobody holds leases there");
}

/// Values of which the one of 7 is large.
#[derive(Node, Clone, Debug)]
#[node(
    key = "sized:{0}",
    value = String,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    load_all = load_sized
)]
struct Sized(u64);

async fn load_sized(nodes: &[Sized], _cx: &mut LoadContext<Sized>) -> Result<Loaded<Sized>, BoxError> {
    let mut loaded = Loaded::new();
    for node in nodes {
        let length = if node.0 == 7 { 5_000 } else { 10 };
        loaded.insert(node.clone(), "v".repeat(length));
    }
    Ok(loaded)
}

#[tokio::test(start_paused = true)]
async fn r6_a_value_that_is_too_large_keeps_no_other_out() {
    for remote in [
        MemoryRemote::new(),
        MemoryRemote::without_leases(),
        MemoryRemote::new().with_shards(3),
    ] {
        remote.set_value_limit(1_000);
        let world = World::over(remote).await;
        let nodes: Vec<Sized> = (0..50).map(Sized).collect();
        world.cacheme.get_all(&nodes).await.unwrap();
        let tier = world.cacheme.stats::<Sized>().tiers.remove(1);
        assert_eq!(reasons(&tier), [(NotStored::TooLarge, 1)]);
        assert_eq!((tier.fills, tier.troubles), (49, 0));
        assert!(world.remote.value("test:sized:7:v1").is_none());
        assert!(world.remote.value("test:sized:8:v1").is_some());
        // It is kept nearby, as is what a storage in trouble does not take, and holds no lease.
        let tier = world.cacheme.stats::<Sized>().tiers.remove(0);
        assert_eq!((tier.fills, reasons(&tier)), (50, vec![]));
        world.remote.take_calls();
        let (_, took) = timed(world.neighbour().await.cacheme.get(&Sized(7))).await;
        assert_eq!(took, Duration::ZERO, "nobody waits for a lease");
    }
}

#[tokio::test(start_paused = true)]
async fn r3_a_piece_has_some_mebibytes_at_most() {
    #[derive(Node, Clone, Debug)]
    #[node(key = "heavy:{0}", value = String, tier(storage = "remote"), load_all = load_heavy)]
    struct Heavy(u64);

    async fn load_heavy(nodes: &[Heavy], _cx: &mut LoadContext<Heavy>) -> Result<Loaded<Heavy>, BoxError> {
        let mut loaded = Loaded::new();
        for node in nodes {
            // The first one alone is larger than a piece.
            let length = if node.0 == 0 { 5 << 20 } else { 1 << 20 };
            loaded.insert(node.clone(), "v".repeat(length));
        }
        Ok(loaded)
    }

    let world = World::new().await;
    let nodes: Vec<Heavy> = (0..8).map(Heavy).collect();
    world.cacheme.get_all(&nodes).await.unwrap();
    assert_eq!(sizes(&world.remote, Operation::Fill), [1, 3, 3, 1]);
}
