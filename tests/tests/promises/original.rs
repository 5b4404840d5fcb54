//! The faults of the original (DESIGN.md, section 9), each by the use that showed it.

use std::time::Duration;

use cacheme::{Bincode, BoxError, DynamicKind, Error, Node, Policy};
use futures_util::FutureExt as _;

use crate::world::{Bulk, HastyItem, Item, LocalItem, SECOND, Source, World, poll_once, settle};

#[tokio::test(start_paused = true)]
async fn original_a_failed_load_left_later_callers_hanging() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    source.fail(1);
    world.cacheme.get(&node).await.unwrap_err();
    source.mend();
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn original_a_cancelled_load_left_later_callers_hanging() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let mut with = Box::pin(world.cacheme.get_with(&node, || source.load(1)));
    assert!(poll_once(&mut with).await.is_none());
    drop(with);
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn original_keys_that_get_all_found_remotely_stayed_in_flight() {
    let (world, source) = (World::new().await, Source::default());
    let nodes = Bulk::all(0..3, &source);
    world.neighbour().await.cacheme.get_all(&nodes).await.unwrap();
    assert_eq!(world.cacheme.get_all(&nodes).await.unwrap(), [0, 1_000, 2_000]);
    let stats = world.cacheme.stats::<Bulk>();
    assert_eq!((stats.in_flight, stats.loads, stats.tiers[1].hits), (0, 0, 3));
    source.bump();
    world.cacheme.invalidate_all(&nodes).await.unwrap();
    assert_eq!(world.cacheme.get_all(&nodes).await.unwrap(), [1, 1_001, 2_001]);
    assert_eq!(world.cacheme.get(&nodes[1]).await.unwrap(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn original_duplicates_in_get_all_collapsed() {
    let (world, source) = (World::new().await, Source::default());
    let nodes = Bulk::all([2, 1, 2, 2], &source);
    assert_eq!(
        world.cacheme.get_all(&nodes).await.unwrap(),
        [2_000, 1_000, 2_000, 2_000]
    );
    assert_eq!(source.batches(), [vec![2, 1]]);
    assert_eq!(
        world.cacheme.get_all(&nodes).await.unwrap(),
        [2_000, 1_000, 2_000, 2_000]
    );
}

#[tokio::test(start_paused = true)]
async fn original_refresh_joined_a_load_that_began_earlier() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let (cacheme, at) = (world.cacheme.clone(), node.clone());
    let older = tokio::spawn(async move { cacheme.get(&at).await });
    gate.reached().await;
    source.bump();
    assert_eq!(world.cacheme.refresh(&node).await.unwrap(), 1_001);
    gate.open();
    assert_eq!(older.await.unwrap().unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn original_a_value_being_loaded_reappeared_after_invalidate() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let gate = source.hold();
    let (cacheme, at) = (world.cacheme.clone(), node.clone());
    let older = tokio::spawn(async move { cacheme.get(&at).await });
    gate.reached().await;
    source.bump();
    world.cacheme.invalidate(&node).await.unwrap();
    gate.open();
    older.await.unwrap().unwrap();
    settle().await;
    assert_eq!(world.cacheme.peek(&node).await.unwrap(), None);
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn original_promotion_gave_an_entry_a_whole_new_ttl() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.neighbour().await.cacheme.get(&node).await.unwrap();
    source.bump();
    tokio::time::advance(590 * SECOND).await;
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    world.advance(10 * SECOND).await;
    assert_eq!(
        world.cacheme.get(&node).await.unwrap(),
        1_001,
        "its ten minutes are over"
    );
}

#[tokio::test(start_paused = true)]
async fn original_two_kinds_with_equal_keys_shared_entries() {
    let world = World::new().await;
    let kind = |name: &'static str| {
        let policy = Policy::<u64>::new(name, "").tier("local", None);
        DynamicKind::new(policy).unwrap()
    };
    let (one, two) = (kind("original-one"), kind("original-two"));
    world.cacheme.set(&one.node("key"), 1).await.unwrap();
    assert_eq!(world.cacheme.peek(&two.node("key")).await.unwrap(), None);
    // Kinds that cannot be told apart are refused.
    let other_value = Policy::<String>::new("original-one", "").tier("local", None);
    assert!(matches!(DynamicKind::new(other_value), Err(Error::Policy { .. })));
}

#[tokio::test(start_paused = true)]
async fn original_corrupt_payloads_raised_instead_of_reloading() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.remote.put(&world.cacheme.full_key(&node), "\u{80}pickle?");
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    assert_eq!(
        world.neighbour().await.cacheme.peek(&node).await.unwrap(),
        Some(1_000)
    );
}

/// With a real Redis: `bad_input::a_ttl_of_a_millisecond_and_of_a_hundred_years_work_on_redis`.
#[tokio::test(start_paused = true)]
async fn original_a_ttl_under_a_second_failed() {
    let (world, source) = (World::new().await, Source::default());
    let node = HastyItem::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    let ttl = world.remote.ttl(&world.cacheme.full_key(&node));
    assert_eq!(ttl, Some(Duration::from_millis(2)));
}

#[tokio::test(start_paused = true)]
async fn original_an_all_local_get_all_was_not_counted() {
    let (world, source) = (World::new().await, Source::default());
    let nodes = [LocalItem::new(1, &source), LocalItem::new(2, &source)];
    world.cacheme.get_all(&nodes).await.unwrap();
    let before = world.cacheme.stats::<LocalItem>();
    world.cacheme.get_all(&nodes).await.unwrap();
    let after = world.cacheme.stats::<LocalItem>();
    assert_eq!(after.tiers[0].hits - before.tiers[0].hits, 2);
    assert_eq!((after.tiers[0].misses, after.loads), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn original_the_hit_rate_of_nothing_divided_by_zero() {
    let world = World::new().await;
    assert_eq!(world.cacheme.stats::<Item>().hit_rate(), None);
    let (source, node) = (Source::default(), Item::new(1, &Source::default()));
    world.cacheme.peek(&node).await.unwrap();
    let stats = world.cacheme.stats::<Item>();
    assert_eq!(
        (stats.hit_rate(), stats.tiers[1].hit_rate()),
        (Some(0.0), Some(0.0))
    );
    assert!(stats.to_string().contains("0.0 %"), "{stats}");
    assert_eq!(source.loads(), 0);
}

/// Not a fault of the original: what it could do and we must too, a kind of node that is named at run time.
#[tokio::test(start_paused = true)]
async fn original_build_node_lives_on() {
    let world = World::new().await;
    let policy = Policy::<String>::new("original-built", "")
        .version("v7")
        .tier("local", Some(60 * SECOND))
        .tier("remote", Some(600 * SECOND))
        .serializer(Bincode);
    let node = DynamicKind::new(policy).unwrap().node("a:b");
    assert_eq!(world.cacheme.full_key(&node), "test:original-built:a%3Ab:v7");
    assert_eq!(node.key(), "original-built:a%3Ab");
    let load = || async { Ok::<_, std::sync::Arc<BoxError>>("built".to_owned()) };
    assert_eq!(world.cacheme.get_with(&node, load).await.unwrap(), "built");
    let again = world.cacheme.get_with(&node, || async { panic!("it is cached") });
    let again: String = again.now_or_never().expect("a hit in memory waits for nothing");
    assert_eq!(again, "built");
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "page:{id}",
    value = u64,
    tier(storage = "local"),
    tier(storage = "remote"),
    doorkeeper = 1_000
)]
struct Page {
    id: u64,
}

#[tokio::test(start_paused = true)]
async fn original_the_doorkeeper_did_nothing() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let get = async |world: &World, id| world.cacheme.get_with(&Page { id }, || source.load(id)).await;
    assert_eq!(get(&world, 1).await, Ok(1_000));
    assert_eq!(world.cacheme.peek(&Page { id: 1 }).await.unwrap(), None);
    assert!(world.remote.is_empty(), "seen once: returned, not stored");
    assert_eq!(get(&world, 1).await, Ok(1_000));
    assert_eq!(source.loads(), 2);
    let stored = world.cacheme.stats::<Page>();
    assert_eq!(
        stored.tiers.iter().map(|tier| tier.fills).collect::<Vec<_>>(),
        [1, 1]
    );
    for world in [&world, &neighbour] {
        assert_eq!(get(world, 1).await, Ok(1_000));
    }
    assert_eq!(source.loads(), 2, "seen twice: stored, also for others");
    let promoted = neighbour.cacheme.stats::<Page>();
    assert_eq!(
        promoted.tiers[0].fills, 1,
        "who found it remotely keeps it near at once"
    );

    // Among 1 000 others a key is remembered, among many more it is not.
    let others = async |ids: std::ops::Range<u64>| {
        for id in ids {
            get(&world, id).await.unwrap();
        }
    };
    get(&world, 2).await.unwrap();
    others(100..600).await;
    get(&world, 2).await.unwrap();
    assert_eq!(world.cacheme.peek(&Page { id: 2 }).await.unwrap(), Some(2_000));
    get(&world, 3).await.unwrap();
    others(10_000..11_100).await;
    get(&world, 3).await.unwrap();
    assert_eq!(world.cacheme.peek(&Page { id: 3 }).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn original_the_doorkeeper_stays_out_of_what_was_asked_for() {
    let world = World::new().await;
    let node = Page { id: 1 };
    world.cacheme.set(&node, 7).await.unwrap();
    assert_eq!(world.cacheme.peek(&node).await.unwrap(), Some(7));
    let none = Policy::<u64>::new("Node", "node:{id}").doorkeeper(0);
    let error = DynamicKind::new(none).unwrap_err().to_string();
    assert!(error.contains("doorkeeper"), "{error}");
}
