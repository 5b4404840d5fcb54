//! R1 to R5.

use std::time::Duration;

use cacheme::{Bincode, BoxError, Cacheme, Error, LoadContext, MsgPack, Node, Storage};
use cacheme_storage::LocalCache;
use tests::{MemoryRemote, Operation, Trouble};

use crate::world::{Bulk, HastyItem, Item, LocalItem, RemoteItem, SECOND, SoloItem, Source, World, settle};

#[tokio::test(flavor = "multi_thread")]
async fn r1_ten_thousand_callers_of_one_key_cause_one_load() {
    let (world, source) = (World::new().await, Source::default());
    let gate = source.hold();
    let node = Item::new(7, &source);
    let callers: Vec<_> = (0..10_000_usize)
        .map(|number| {
            let (cacheme, node, source) = (world.cacheme.clone(), node.clone(), source.clone());
            tokio::spawn(async move {
                match number % 3 {
                    0 => cacheme.get(&node).await.unwrap(),
                    1 => cacheme.get_all(&[node.clone(), node]).await.unwrap()[1],
                    _ => cacheme.get_with(&node, || source.load(7)).await.unwrap(),
                }
            })
        })
        .collect();
    gate.reached().await;
    gate.open();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 7_000);
    }
    assert_eq!(source.loads(), 1);
    let stats = world.cacheme.stats::<Item>();
    assert_eq!((stats.loads, stats.in_flight), (1, 0));
    // A third of them asks twice.
    let asked = 10_000 + 3_333;
    assert!(
        stats.joined < asked,
        "the one that loads joins nobody: {}",
        stats.joined
    );
}

#[tokio::test(start_paused = true)]
async fn r1_get_get_all_and_get_with_join_each_other() {
    let (world, source) = (World::new().await, Source::default());
    let item = |id| Item::new(id, &source);
    // 1 is loaded by `get`, 2 by `get_with`; `get_all` of three loads the third only.
    let gates = [source.hold(), source.hold()];
    let (cacheme, node) = (world.cacheme.clone(), item(1));
    let one = tokio::spawn(async move { cacheme.get(&node).await });
    gates[0].reached().await;
    let (cacheme, node, from) = (world.cacheme.clone(), item(2), source.clone());
    let two = tokio::spawn(async move { cacheme.get_with(&node, || from.load(2)).await });
    gates[1].reached().await;
    let (cacheme, nodes) = (world.cacheme.clone(), [item(1), item(2), item(3)]);
    let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    settle().await;
    assert_eq!(source.loads(), 3);
    assert!(!all.is_finished());
    // And the other way round: `get` and `get_with` join what `get_all` loads.
    let third = source.hold();
    let (cacheme, nodes) = (world.cacheme.clone(), [item(4)]);
    let four = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    third.reached().await;
    let (cacheme, node) = (world.cacheme.clone(), item(4));
    let joins = tokio::spawn(async move {
        let with = cacheme.get_with(&node, || async { panic!("somebody loads it already") });
        let (with, get): (u64, _) = futures_util::future::join(with, cacheme.get(&node)).await;
        (with, get.unwrap())
    });
    settle().await;
    gates.iter().chain([&third]).for_each(|gate| gate.open());
    assert_eq!(one.await.unwrap().unwrap(), 1_000);
    assert_eq!(two.await.unwrap().unwrap(), 2_000);
    assert_eq!(all.await.unwrap().unwrap(), [1_000, 2_000, 3_000]);
    assert_eq!(four.await.unwrap().unwrap(), [4_000]);
    assert_eq!(joins.await.unwrap(), (4_000, 4_000));
    assert_eq!(source.loads(), 4);
}

/// A node over three tiers.
#[derive(Node, Clone)]
#[node(
    key = "chained",
    value = u64,
    tier(storage = "near", ttl = "60s"),
    tier(storage = "middle", ttl = "5m"),
    tier(storage = "far", ttl = "1h"),
    load = load_chained
)]
struct Chained;

async fn load_chained(_: &Chained, _cx: &mut LoadContext<Chained>) -> Result<u64, BoxError> {
    Ok(0)
}

struct Chain {
    cacheme: Cacheme,
    clock: cacheme_storage::Clock,
    middle: MemoryRemote,
}

async fn chain(far: &MemoryRemote) -> Chain {
    let cacheme = Cacheme::builder().build().unwrap();
    let (clock, middle) = (cacheme_storage::Clock::manual(), MemoryRemote::without_leases());
    let local = LocalCache::tlfu(10).clock(clock.clone()).build();
    for (name, storage) in [
        ("near", Storage::local(local)),
        ("middle", Storage::remote(middle.clone())),
        ("far", Storage::remote(far.clone())),
    ] {
        cacheme.register_storage(name, storage).await.unwrap();
    }
    Chain {
        cacheme,
        clock,
        middle,
    }
}

#[tokio::test(start_paused = true)]
async fn r2_a_hit_fills_the_tiers_before_with_the_life_that_is_left() {
    let far = MemoryRemote::new();
    let writer = chain(&far).await;
    writer
        .cacheme
        .set_with_ttl(&Chained, 1, Duration::from_secs(30))
        .await
        .unwrap();
    tokio::time::advance(10 * SECOND).await;

    let reader = chain(&far).await;
    assert_eq!(reader.cacheme.get(&Chained).await.unwrap(), 1);
    let key = reader.cacheme.full_key(&Chained);
    let ttl = reader.middle.ttl(&key).expect("it was filled");
    assert!(ttl <= 20 * SECOND && ttl > 19 * SECOND, "{ttl:?}");
    let stats = reader.cacheme.stats::<Chained>();
    assert_eq!(
        (stats.tiers[0].fills, stats.tiers[1].fills, stats.loads),
        (1, 1, 0)
    );

    // In memory it lives as long, and not for the minute of its tier.
    far.take_calls();
    reader.clock.advance(19 * SECOND);
    assert_eq!(reader.cacheme.get(&Chained).await.unwrap(), 1);
    assert_eq!(
        (far.take_calls(), reader.cacheme.stats::<Chained>().tiers[0].hits),
        (vec![], 1)
    );
    reader.clock.advance(2 * SECOND);
    tokio::time::advance(21 * SECOND).await;
    assert_eq!(reader.cacheme.get(&Chained).await.unwrap(), 0, "loaded anew");
}

#[tokio::test(start_paused = true)]
async fn r2_a_tier_keeps_no_longer_than_its_own_ttl() {
    let far = MemoryRemote::new();
    let writer = chain(&far).await;
    writer.cacheme.set(&Chained, 1).await.unwrap();
    let reader = chain(&far).await;
    assert_eq!(reader.cacheme.get(&Chained).await.unwrap(), 1);
    let ttl = reader.middle.ttl(&reader.cacheme.full_key(&Chained)).unwrap();
    assert_eq!(ttl, 300 * SECOND, "that of the tier, not the hour of the far one");
    reader.clock.advance(61 * SECOND);
    far.take_calls();
    assert_eq!(reader.cacheme.get(&Chained).await.unwrap(), 1);
    assert_eq!(
        reader.cacheme.stats::<Chained>().tiers[1].hits,
        1,
        "memory let it go"
    );
    assert_eq!(far.take_calls(), []);
}

#[tokio::test(start_paused = true)]
async fn r3_each_tier_is_asked_once_and_order_and_duplicates_stay() {
    let (world, source) = (World::new().await, Source::default());
    let filler = world.neighbour().await;
    filler.cacheme.get_all(&Bulk::all(0..70, &source)).await.unwrap();
    world.cacheme.get_all(&Bulk::all(0..40, &source)).await.unwrap();
    let before = source.batches().len();
    world.remote.take_calls();

    // 40 in memory, 30 on the remote storage, 30 nowhere; half of them twice, backwards.
    let ids: Vec<u64> = (0..100).rev().chain(0..50).collect();
    let values = world
        .cacheme
        .get_all(&Bulk::all(ids.iter().copied(), &source))
        .await
        .unwrap();
    assert_eq!(values, ids.iter().map(|id| 1_000 * id).collect::<Vec<_>>());
    assert_eq!(
        world.remote.take_calls(),
        [
            (Operation::Get, 60),
            (Operation::Acquire, 30),
            (Operation::Fill, 30)
        ]
    );
    let batches = source.batches();
    assert_eq!(batches.len() - before, 1, "one `load_all`");
    let mut loaded = batches.last().unwrap().clone();
    loaded.sort_unstable();
    assert_eq!(loaded, (70..100).collect::<Vec<_>>());

    // Now all is in memory.
    assert_eq!(
        world
            .cacheme
            .get_all(&Bulk::all(0..100, &source))
            .await
            .unwrap()
            .len(),
        100
    );
    assert_eq!(world.remote.take_calls(), []);
    assert!(
        world
            .cacheme
            .get_all(&Bulk::all([], &source))
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn r3_a_storage_without_leases_is_asked_once_too() {
    let (world, source) = (
        World::over(MemoryRemote::without_leases()).await,
        Source::default(),
    );
    world.cacheme.get_all(&Bulk::all(0..50, &source)).await.unwrap();
    assert_eq!(
        world.remote.take_calls(),
        [(Operation::Get, 50), (Operation::Set, 50)]
    );
    assert_eq!(source.batches().len(), 1);
    // Nor does a chain without a nearer tier look twice.
    world
        .cacheme
        .get_all(&remote_items(0..50, &source))
        .await
        .unwrap();
    assert_eq!(
        world.remote.take_calls(),
        [(Operation::Get, 50), (Operation::Set, 50)]
    );
}

/// Nodes over the remote storage alone.
fn remote_items(ids: impl IntoIterator<Item = u64>, source: &Source) -> Vec<RemoteItem> {
    ids.into_iter().map(|id| RemoteItem::new(id, source)).collect()
}

#[tokio::test(start_paused = true)]
async fn r1_what_is_filled_behind_the_look_of_a_bulk_read_is_not_loaded_again() {
    let (world, source) = (World::new().await, Source::default());
    let looked = world.remote.hold_after(Operation::Get);
    let (cacheme, nodes) = (world.cacheme.clone(), remote_items([1, 2], &source));
    let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    looked.reached().await;
    // It has seen nothing, and no flight of it can be joined yet.
    let one = RemoteItem::new(1, &source);
    assert_eq!(world.cacheme.get(&one).await.unwrap(), 1_000);
    // Another is under way when it goes on.
    let loading = source.hold();
    let (cacheme, two) = (world.cacheme.clone(), RemoteItem::new(2, &source));
    let two = tokio::spawn(async move { cacheme.get(&two).await });
    loading.reached().await;
    looked.open();
    settle().await;
    assert!(!all.is_finished());
    loading.open();
    assert_eq!(all.await.unwrap().unwrap(), [1_000, 2_000]);
    assert_eq!(two.await.unwrap().unwrap(), 2_000);
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn r1_a_bulk_read_joins_what_is_in_flight_though_it_is_not_stored() {
    let (world, source) = (World::new().await, Source::default());
    let loading = source.hold();
    let (cacheme, one) = (world.cacheme.clone(), RemoteItem::new(1, &source));
    let one = tokio::spawn(async move { cacheme.get(&one).await });
    loading.reached().await;
    // What is being loaded goes nowhere, so nobody finds it in a tier.
    world.remote.set_trouble_with(Operation::Fill, Trouble::Refuses);
    let looked = world.remote.hold_after(Operation::Get);
    let (cacheme, nodes) = (world.cacheme.clone(), remote_items([1, 2, 3], &source));
    let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    settle().await;
    loading.open();
    assert_eq!(one.await.unwrap().unwrap(), 1_000);
    looked.open();
    assert_eq!(all.await.unwrap().unwrap(), [1_000, 2_000, 3_000]);
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn r3_a_chain_that_begins_with_a_remote_tier_is_asked_once_too() {
    let (world, source) = (World::new().await, Source::default());
    let filler = world.neighbour().await;
    filler
        .cacheme
        .get_all(&remote_items(0..30, &source))
        .await
        .unwrap();
    world.remote.take_calls();
    let loads = source.loads();

    let ids: Vec<u64> = (0..50).rev().chain(20..40).collect();
    let values = world
        .cacheme
        .get_all(&remote_items(ids.clone(), &source))
        .await
        .unwrap();
    assert_eq!(values, ids.iter().map(|id| 1_000 * id).collect::<Vec<_>>());
    assert_eq!(
        world.remote.take_calls(),
        [
            (Operation::Get, 70),
            (Operation::Acquire, 20),
            (Operation::Fill, 20)
        ]
    );
    assert_eq!(source.loads() - loads, 20);
    let stats = world.cacheme.stats::<RemoteItem>();
    let tier = &stats.tiers[0];
    assert_eq!((tier.hits, tier.misses, stats.in_flight), (40, 20, 0));

    world
        .cacheme
        .get_all(&remote_items(0..50, &source))
        .await
        .unwrap();
    assert_eq!(world.remote.take_calls(), [(Operation::Get, 50)]);
}

#[tokio::test(start_paused = true)]
async fn r3_keys_in_flight_are_joined() {
    let (world, source) = (World::new().await, Source::default());
    let gate = source.hold();
    let (cacheme, nodes) = (world.cacheme.clone(), Bulk::all([1, 2], &source));
    let first = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    gate.reached().await;
    let (cacheme, nodes) = (world.cacheme.clone(), Bulk::all([3, 2, 4, 1], &source));
    let second = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    settle().await;
    assert!(!second.is_finished());
    gate.open();
    assert_eq!(first.await.unwrap().unwrap(), [1_000, 2_000]);
    assert_eq!(second.await.unwrap().unwrap(), [3_000, 2_000, 4_000, 1_000]);
    assert_eq!(source.batches(), [vec![1, 2], vec![3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn r3_a_failed_key_is_named_and_the_others_are_cached() {
    let (world, source) = (World::new().await, Source::default());
    source.fail(2);
    let error = world
        .cacheme
        .get_all(&Bulk::all([1, 2, 3], &source))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "loading `test:bulk:2:v1` failed");
    assert_eq!(error.downcast_load(), Some(&crate::world::NoSource(2)));
    settle().await;
    source.mend();
    assert_eq!(
        world
            .cacheme
            .get_all(&Bulk::all([1, 2, 3], &source))
            .await
            .unwrap(),
        [1_000, 2_000, 3_000]
    );
    assert_eq!(source.batches(), [vec![1, 2, 3], vec![2]]);
    assert_eq!(world.cacheme.stats::<Bulk>().load_failures, 1);
}

#[tokio::test(start_paused = true)]
async fn r3_a_key_that_load_all_leaves_out_is_an_error_that_names_it() {
    let (world, source) = (World::new().await, Source::default());
    source.leave_out(2);
    let nodes = Bulk::all([1, 2, 3], &source);
    let error = world.cacheme.get_all(&nodes).await.unwrap_err();
    let Error::LeftOut { node, key } = &error else {
        panic!("{error}")
    };
    assert_eq!((node.as_str(), key.as_str()), ("Bulk", "test:bulk:2:v1"));
    // The same through `get`, which loads one by `load_all`.
    let error = world.cacheme.get(&nodes[1]).await.unwrap_err();
    assert!(
        cacheme_storage::Chain(&error).to_string().contains("left out"),
        "{error}"
    );
    assert_eq!(world.cacheme.peek(&nodes[2]).await.unwrap(), Some(3_000));
}

#[tokio::test(start_paused = true)]
async fn r3_the_default_load_all_loads_concurrently() {
    let (world, source) = (World::new().await, Source::default());
    let gates: Vec<_> = (0..20).map(|_| source.hold()).collect();
    let nodes: Vec<_> = (0..20).map(|id| Item::new(id, &source)).collect();
    let cacheme = world.cacheme.clone();
    let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    for gate in &gates {
        gate.reached().await;
    }
    // Backwards, so that they end in another order than they began.
    for gate in gates.iter().rev() {
        gate.open();
        settle().await;
    }
    assert_eq!(
        all.await.unwrap().unwrap(),
        (0..20).map(|id| 1_000 * id).collect::<Vec<_>>()
    );
}

/// Declares a node whose value is nothing much.
macro_rules! nothing {
    ($($name:ident: $value:ty = $is:expr, $serializer:expr;)*) => {$(
        #[derive(Node, Clone)]
        #[node(
            value = $value,
            serializer = $serializer,
            tier(storage = "local", ttl = "60s"),
            tier(storage = "remote", ttl = "10m"),
            load = Self::load_nothing
        )]
        struct $name {
            #[node(skip)]
            source: Source,
        }

        impl $name {
            async fn load_nothing(node: &Self, _cx: &mut LoadContext<Self>) -> Result<$value, BoxError> {
                node.source.load(0).await?;
                Ok($is)
            }
        }
    )*};
}

nothing! {
    NoneNode: Option<u64> = None, MsgPack;
    // MessagePack does not tell it from `None`.
    SomeNoneNode: Option<Option<u64>> = Some(None), Bincode;
    EmptyTextNode: String = String::new(), MsgPack;
    UnitNode: () = (), MsgPack;
    EmptyListNode: Vec<()> = Vec::new(), MsgPack;
    ZeroNode: u64 = 0, MsgPack;
    FalseNode: bool = false, MsgPack;
}

#[tokio::test(start_paused = true)]
async fn r4_nothing_is_a_value() {
    let world = World::new().await;
    macro_rules! check {
        ($($name:ident = $is:expr),*) => {$({
            let source = Source::default();
            let node = $name { source: source.clone() };
            for _ in 0..3 {
                assert_eq!(world.cacheme.get(&node).await.unwrap(), $is);
            }
            // Another process finds it on the remote storage.
            let neighbour = world.neighbour().await;
            assert_eq!(neighbour.cacheme.get_all(&[node.clone(), node.clone()]).await.unwrap(), [$is, $is]);
            assert_eq!(neighbour.cacheme.peek(&node).await.unwrap(), Some($is));
            assert_eq!(source.loads(), 1, stringify!($name));
        })*};
    }
    check!(
        NoneNode = None,
        SomeNoneNode = Some(None),
        EmptyTextNode = String::new(),
        UnitNode = (),
        EmptyListNode = Vec::<()>::new(),
        ZeroNode = 0,
        FalseNode = false
    );
}

#[tokio::test(start_paused = true)]
async fn r5_what_has_expired_is_loaded_anew() {
    let (world, source) = (World::new().await, Source::default());
    let node = HastyItem::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    world.cacheme.get(&node).await.unwrap();
    assert_eq!(source.loads(), 1);
    source.bump();
    world.advance(Duration::from_millis(1)).await;
    assert_eq!(
        world.cacheme.get(&node).await.unwrap(),
        1_000,
        "from the remote storage"
    );
    world.advance(Duration::from_millis(1)).await;
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn r5_a_server_that_keeps_what_has_expired_changes_nothing() {
    for bulk in [false, true] {
        let (world, source) = (World::new().await, Source::default());
        let nodes = [HastyItem::new(1, &source), HastyItem::new(2, &source)];
        world.cacheme.get_all(&nodes).await.unwrap();
        world.remote.keep_expired();
        source.bump();
        world.advance(Duration::from_millis(3)).await;
        let values = if bulk {
            world.cacheme.get_all(&nodes).await.unwrap()
        } else {
            vec![
                world.cacheme.get(&nodes[0]).await.unwrap(),
                world.cacheme.get(&nodes[1]).await.unwrap(),
            ]
        };
        assert_eq!(values, [1_001, 2_001]);
        assert_eq!(world.cacheme.peek(&nodes[1]).await.unwrap(), Some(2_001));
    }
}

#[tokio::test(start_paused = true)]
async fn r1_nodes_without_leases_share_loads_in_the_process() {
    let (world, source) = (World::new().await, Source::default());
    let node = SoloItem::new(1, &source);
    let gate = source.hold();
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let (cacheme, node) = (world.cacheme.clone(), node.clone());
            tokio::spawn(async move { cacheme.get(&node).await.unwrap() })
        })
        .collect();
    gate.reached().await;
    gate.open();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 1_000);
    }
    assert_eq!(source.loads(), 1);
    assert_eq!(world.remote.count(Operation::Acquire), 0);
}

#[tokio::test(start_paused = true)]
async fn r3_counts_hits_and_misses_of_a_local_chain() {
    let (world, source) = (World::new().await, Source::default());
    let nodes: Vec<_> = (0..3).map(|id| LocalItem::new(id, &source)).collect();
    world.cacheme.get_all(&nodes).await.unwrap();
    world.cacheme.get_all(&nodes).await.unwrap();
    let stats = world.cacheme.stats::<LocalItem>();
    assert_eq!((stats.tiers[0].hits, stats.tiers[0].misses), (3, 3));
    assert_eq!(stats.hit_rate(), Some(0.5));
}
