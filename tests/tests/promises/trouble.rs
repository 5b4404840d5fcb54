//! T1 to T3.

use std::time::Duration;

use cacheme::{Cacheme, Error, Storage, memoize};
use tests::{MemoryRemote, Operation, Trouble};
use tracing::Level;

use crate::logged::Logged;
use crate::world::{Bulk, Item, NoSource, RemoteItem, SECOND, Source, World, poll_once, settle, timed};

/// The bound of one operation when nothing else is said.
const TIMEOUT: Duration = Storage::DEFAULT_TIMEOUT;

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_hangs_costs_a_bounded_wait_and_counts_as_a_miss() {
    let (world, source) = (World::new().await, Source::default());
    world.remote.set_trouble(Trouble::Hangs);
    let (value, took) = timed(world.cacheme.get(&Item::new(1, &source))).await;
    assert_eq!(value.unwrap(), 1_000);
    assert!(took >= TIMEOUT && took <= 2 * TIMEOUT, "{took:?}");
    let (values, took) = timed(world.cacheme.get_all(&Bulk::all(0..50, &source))).await;
    assert_eq!(values.unwrap().len(), 50);
    assert!(took <= 3 * TIMEOUT, "one wait an operation, not a key: {took:?}");
    // In memory it is there all the same.
    let (value, took) = timed(world.cacheme.get(&Item::new(1, &source))).await;
    assert_eq!((value.unwrap(), took), (1_000, Duration::ZERO));
    let (value, took) = timed(world.cacheme.peek(&Item::new(2, &source))).await;
    assert_eq!((value.unwrap(), took), (None, TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn t1_a_bulk_look_that_hangs_is_not_repeated() {
    let (world, source) = (World::new().await, Source::default());
    world.remote.set_trouble(Trouble::Hangs);
    let nodes: Vec<_> = (0..50).map(|id| RemoteItem::new(id, &source)).collect();
    let (values, took) = timed(world.cacheme.get_all(&nodes)).await;
    assert_eq!((values.unwrap().len(), took), (50, TIMEOUT));
    let tier = &world.cacheme.stats::<RemoteItem>().tiers[0];
    assert_eq!((tier.misses, tier.troubles), (50, 1));
    world.remote.recover();
    assert!(world.remote.is_empty(), "nothing was stored without a lease");
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_refuses_costs_no_wait() {
    for remote in [MemoryRemote::new(), MemoryRemote::without_leases()] {
        let (world, source) = (World::over(remote).await, Source::default());
        world.remote.set_trouble(Trouble::Refuses);
        let (value, took) = timed(world.cacheme.get(&RemoteItem::new(1, &source))).await;
        assert_eq!((value.unwrap(), took), (1_000, Duration::ZERO));
        let (values, took) = timed(world.cacheme.get_all(&Bulk::all(0..50, &source))).await;
        assert_eq!((values.unwrap().len(), took), (50, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn t1_one_operation_in_trouble_stops_no_read() {
    for trouble in [Trouble::Refuses, Trouble::Hangs] {
        for operation in [
            Operation::Get,
            Operation::Acquire,
            Operation::Fill,
            Operation::Release,
        ] {
            let (world, source) = (World::new().await, Source::default());
            world.remote.set_trouble_with(operation, trouble);
            assert_eq!(world.cacheme.get(&Item::new(1, &source)).await.unwrap(), 1_000);
            let nodes = Bulk::all(0..3, &source);
            assert_eq!(world.cacheme.get_all(&nodes).await.unwrap(), [0, 1_000, 2_000]);
            source.fail(9);
            assert!(world.cacheme.get(&Item::new(9, &source)).await.is_err());
            settle().await;
            assert_eq!(
                world.cacheme.stats::<Item>().in_flight,
                0,
                "{operation:?} {trouble:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_is_down_at_start_up_is_registered_and_used_once_it_is_up() {
    let (remote, source) = (MemoryRemote::new(), Source::default());
    remote.set_trouble(Trouble::Hangs);
    let cacheme = Cacheme::builder().build().unwrap();
    let (result, took) = timed(cacheme.register_storage("remote", Storage::remote(remote.clone()))).await;
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Unreached { .. }), "{error}");
    assert!(!error.to_string().contains('\n'));
    assert!(took <= 10 * TIMEOUT, "{took:?}");
    assert_eq!(cacheme.get(&RemoteItem::new(1, &source)).await.unwrap(), 1_000);
    remote.recover();
    assert_eq!(cacheme.get(&RemoteItem::new(1, &source)).await.unwrap(), 1_000);
    assert_eq!(cacheme.get(&RemoteItem::new(1, &source)).await.unwrap(), 1_000);
    assert_eq!(source.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn t1_invalidate_reports_what_it_could_not_reach_and_goes_on_trying() {
    for trouble in [Trouble::Refuses, Trouble::Hangs] {
        let (world, source) = (World::new().await, Source::default());
        let nodes = [Item::new(1, &source), Item::new(2, &source)];
        world.cacheme.get_all(&nodes).await.unwrap();
        let key = world.cacheme.full_key(&nodes[0]);
        world.remote.set_trouble(trouble);
        let (result, took) = timed(world.cacheme.invalidate_all(&nodes)).await;
        match result {
            Err(Error::NotInvalidated { name, keys, .. }) => assert_eq!((&*name, keys), ("remote", 2)),
            other => panic!("{other:?}"),
        }
        assert!(took <= 2 * TIMEOUT, "{took:?}");
        assert!(world.remote.value(&key).is_some());
        tokio::time::sleep(60 * SECOND).await;
        assert!(world.remote.value(&key).is_some());
        world.remote.recover();
        tokio::time::sleep(20 * SECOND).await;
        assert!(world.remote.value(&key).is_none(), "it went on trying");
        source.bump();
        assert_eq!(world.cacheme.get(&nodes[0]).await.unwrap(), 1_001);
    }
}

#[tokio::test(start_paused = true)]
async fn t1_what_could_not_be_invalidated_is_absent_for_this_process() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    world.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    world.cacheme.invalidate(&node).await.unwrap_err();
    source.bump();
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
    settle().await;
    let neighbour = world.neighbour().await;
    assert_eq!(
        neighbour.cacheme.peek(&node).await.unwrap(),
        Some(1_001),
        "replaced"
    );
    world.remote.recover();
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn t1_a_bulk_read_takes_what_could_not_be_invalidated_for_absent() {
    let (world, source) = (World::new().await, Source::default());
    let nodes = [1, 2].map(|id| RemoteItem::new(id, &source));
    world.cacheme.get_all(&nodes).await.unwrap();
    world.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    world.cacheme.invalidate(&nodes[0]).await.unwrap_err();
    source.bump();
    assert_eq!(world.cacheme.get_all(&nodes).await.unwrap(), [1_001, 2_000]);
}

#[tokio::test(start_paused = true)]
async fn t1_set_reports_a_storage_that_keeps_the_old_value() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    world.remote.set_trouble(Trouble::Refuses);
    assert!(matches!(
        world.cacheme.set(&node, 7).await,
        Err(Error::NotInvalidated { .. })
    ));
    world.remote.recover();
    tokio::time::sleep(SECOND).await;
    assert_eq!(world.neighbour().await.cacheme.peek(&node).await.unwrap(), None);
    // One that drops the old value without taking the new is a miss.
    world.remote.set_trouble_with(Operation::Set, Trouble::Refuses);
    world.cacheme.set(&node, 8).await.unwrap();
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 8);
    assert_eq!(world.neighbour().await.cacheme.peek(&node).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn c1_t1_refresh_reports_a_storage_that_keeps_the_old_value() {
    for trouble in [Trouble::Refuses, Trouble::Hangs] {
        let (world, source) = (World::new().await, Source::default());
        let node = Item::new(1, &source);
        world.cacheme.get(&node).await.unwrap();
        source.bump();
        world.remote.set_trouble(trouble);
        let waiter = world.cacheme.refresh(&node).await;
        match waiter {
            Err(Error::NotInvalidated { name, keys, .. }) => assert_eq!((&*name, keys), ("remote", 1)),
            other => panic!("{trouble:?}: {other:?}"),
        }
        assert_eq!(
            world.cacheme.get(&node).await.unwrap(),
            1_001,
            "this process reads the new value"
        );
        world.remote.recover();
        assert_eq!(
            world.neighbour().await.cacheme.peek(&node).await.unwrap(),
            Some(1_000),
            "that is what was reported"
        );
        tokio::time::sleep(20 * SECOND).await;
        assert_eq!(
            world.neighbour().await.cacheme.peek(&node).await.unwrap(),
            None,
            "{trouble:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn c1_t1_a_refresh_whose_value_is_not_taken_removes_the_older_one_before_it_returns() {
    // The lease takes the older value's place; without leases, or with none to be had, a removal does.
    for (remote, operation) in [
        (MemoryRemote::new(), Operation::Fill),
        (MemoryRemote::new(), Operation::Acquire),
        (MemoryRemote::without_leases(), Operation::Set),
    ] {
        let (world, source) = (World::over(remote).await, Source::default());
        let node = Item::new(1, &source);
        world.cacheme.get(&node).await.unwrap();
        source.bump();
        world.remote.set_trouble_with(operation, Trouble::Refuses);
        assert_eq!(
            world.cacheme.refresh(&node).await.unwrap(),
            1_001,
            "{operation:?}"
        );
        let seen = world.neighbour().await.cacheme.peek(&node).await.unwrap();
        assert_eq!(seen, None, "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t1_a_value_that_is_too_large_is_no_trouble_of_its_storage() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    for operation in [Operation::Set, Operation::Fill] {
        world.remote.set_trouble_with(operation, Trouble::IsTooSmall);
    }
    world.cacheme.set(&node, 7).await.unwrap();
    assert_eq!(
        world.neighbour().await.cacheme.peek(&node).await.unwrap(),
        None,
        "the older one is gone"
    );
    world.cacheme.refresh(&node).await.unwrap();
    world.cacheme.get(&Item::new(2, &source)).await.unwrap();
    assert_eq!(world.cacheme.stats::<Item>().tiers[1].troubles, 0);
}

#[tokio::test(start_paused = true)]
async fn t1_a_dropped_invalidation_goes_through() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    world.cacheme.get(&node).await.unwrap();
    let gate = world.remote.hold_before(Operation::Remove);
    let mut call = Box::pin(world.cacheme.invalidate(&node));
    assert!(crate::world::poll_once(&mut call).await.is_none());
    gate.reached().await;
    drop(call);
    gate.open();
    settle().await;
    assert!(world.remote.is_empty());
}

/// What is wrong with bytes under our key, made from right ones.
fn wrong(right: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let with = |at: usize, byte: u8| {
        let mut bytes = right.to_vec();
        bytes[at] ^= byte;
        bytes
    };
    vec![
        ("nothing at all", Vec::new()),
        ("foreign text", b"{\"user\": 1}".to_vec()),
        ("foreign bytes", vec![0xFF; 100]),
        ("one byte", right[..1].to_vec()),
        ("a torn header", right[..39].to_vec()),
        ("a header without payload", right[..40].to_vec()),
        ("a torn payload", right[..right.len() - 1].to_vec()),
        ("something appended", [right, b"+"].concat()),
        ("another version", with(4, 3)),
        ("another type", with(8, 1)),
        ("a flipped bit", with(right.len() - 1, 1)),
        (
            "a lease",
            [&cacheme_storage::LEASE_MAGIC[..], b"of another format"].concat(),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn t2_bytes_that_do_not_decode_are_a_miss_counted_and_overwritten() {
    for remote in [MemoryRemote::new, MemoryRemote::without_leases] {
        let (world, source) = (World::over(remote()).await, Source::default());
        let node = Item::new(1, &source);
        let key = world.cacheme.full_key(&node);
        world.cacheme.get(&node).await.unwrap();
        settle().await;
        let right = world.remote.value(&key).unwrap();
        for (what, bytes) in wrong(&right) {
            for bulk in [false, true] {
                world.remote.put(&key, bytes.clone());
                let reader = world.neighbour().await;
                assert_eq!(reader.cacheme.peek(&node).await.unwrap(), None, "{what}");
                let loads = source.loads();
                let value = if bulk {
                    reader
                        .cacheme
                        .get_all(&[node.clone(), Item::new(2, &source)])
                        .await
                        .unwrap()[0]
                } else {
                    reader.cacheme.get(&node).await.unwrap()
                };
                assert_eq!(value, 1_000);
                assert!(source.loads() > loads, "{what}");
                assert_eq!(reader.cacheme.stats::<Item>().tiers[1].undecodable, 2, "{what}");
                settle().await;
                let next = world.neighbour().await;
                assert_eq!(
                    next.cacheme.peek(&node).await.unwrap(),
                    Some(1_000),
                    "{what} stayed"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t2_a_bulk_look_counts_bytes_that_do_not_decode_once_and_they_are_overwritten() {
    let (world, source) = (World::new().await, Source::default());
    let nodes = [1, 2].map(|id| RemoteItem::new(id, &source));
    world.cacheme.get_all(&nodes).await.unwrap();
    let key = world.cacheme.full_key(&nodes[0]);
    for (what, bytes) in wrong(&world.remote.value(&key).unwrap()) {
        world.remote.put(&key, bytes);
        let (reader, loads) = (world.neighbour().await, source.loads());
        assert_eq!(
            reader.cacheme.get_all(&nodes).await.unwrap(),
            [1_000, 2_000],
            "{what}"
        );
        assert_eq!(source.loads() - loads, 1, "{what}");
        let tier = &reader.cacheme.stats::<RemoteItem>().tiers[0];
        assert_eq!((tier.hits, tier.misses, tier.undecodable), (1, 1, 1), "{what}");
        assert_eq!(
            reader.cacheme.peek(&nodes[0]).await.unwrap(),
            Some(1_000),
            "{what} stayed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn t3_trouble_is_counted_for_each_operation_and_logged_when_it_begins_and_ends() {
    let (told, _listening) = Logged::listen();
    let (world, source) = (World::new().await, Source::default());
    world.remote.set_trouble(Trouble::Refuses);
    for id in 0..5 {
        world.cacheme.get(&RemoteItem::new(id, &source)).await.unwrap();
    }
    let stats = world.cacheme.stats::<RemoteItem>();
    assert_eq!(stats.tiers[0].storage, "remote");
    // One release finds out for all whether what may have been granted can be given back.
    assert_eq!((stats.tiers[0].troubles, stats.tiers[0].misses), (5 + 1, 5));
    let warnings = told.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("storage=remote") && warnings[0].contains("told to by a test"));
    assert!(told.at(Level::INFO).is_empty());

    world.remote.recover();
    world.cacheme.get(&RemoteItem::new(7, &source)).await.unwrap();
    assert!(told.at(Level::INFO).is_empty(), "one success may be luck");
    tokio::time::sleep(5 * SECOND).await;
    world.cacheme.get(&RemoteItem::new(8, &source)).await.unwrap();
    world.cacheme.get(&RemoteItem::new(9, &source)).await.unwrap();
    let infos = told.at(Level::INFO);
    assert_eq!(infos.len(), 1, "{infos:#?}");
    assert!(infos[0].contains("trouble=over, 6 times in"), "{infos:#?}");
    assert_eq!(world.cacheme.stats::<RemoteItem>().tiers[0].troubles, 5 + 1);
    // Another node's trouble is its own.
    assert!(world.cacheme.stats::<Item>().tiers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn t3_undecodable_values_are_counted_and_logged_once() {
    let (told, _listening) = Logged::listen();
    let (world, source) = (World::new().await, Source::default());
    for id in 0..5 {
        let node = RemoteItem::new(id, &source);
        world.remote.put(&world.cacheme.full_key(&node), "foreign");
        world.cacheme.get(&node).await.unwrap();
    }
    assert_eq!(world.cacheme.stats::<RemoteItem>().tiers[0].undecodable, 5);
    let warnings = told.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for part in [
        "node=RemoteItem",
        "storage=remote",
        "test:remote-item:0:v1",
        "not written by Cacheme",
    ] {
        assert!(warnings[0].contains(part), "{part} in {warnings:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t3_failing_loaders_are_counted_and_logged_when_that_begins() {
    let (told, _listening) = Logged::listen();
    let (world, source) = (World::new().await, Source::default());
    source.fail(1);
    source.panic(2);
    for _ in 0..3 {
        world.cacheme.get(&RemoteItem::new(1, &source)).await.unwrap_err();
    }
    world.cacheme.get(&RemoteItem::new(2, &source)).await.unwrap_err();
    let stats = world.cacheme.stats::<RemoteItem>();
    assert_eq!((stats.loads, stats.load_failures), (4, 4));
    let warnings = told.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    for part in ["node=RemoteItem", "the source has no 1"] {
        assert!(warnings[0].contains(part), "{part} in {warnings:#?}");
    }
    source.mend();
    tokio::time::sleep(5 * SECOND).await;
    world.cacheme.get(&RemoteItem::new(1, &source)).await.unwrap();
    let infos = told.at(Level::INFO);
    assert_eq!(infos.len(), 1, "{infos:#?}");
    assert!(infos[0].contains("loads work again"), "{infos:#?}");
    tokio::time::sleep(60 * SECOND).await;
    source.fail(3);
    world.cacheme.get(&RemoteItem::new(3, &source)).await.unwrap_err();
    assert_eq!(told.at(Level::WARN).len(), 2, "it began anew");
}

/// Errors of memoized functions, which have in common that they can be cloned.
mod own_errors {
    use super::*;

    #[derive(Clone)]
    pub(super) struct Displayed;

    impl std::fmt::Display for Displayed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the shop is closed")
        }
    }

    #[derive(Clone, Debug)]
    pub(super) enum Debugged {
        NoShop,
    }

    #[derive(Clone)]
    pub(super) struct Mute;

    #[derive(Clone, Debug)]
    pub(super) struct Caused(NoSource);

    impl std::fmt::Display for Caused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no price")
        }
    }

    impl std::error::Error for Caused {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[memoize(node = RemoteItem::new(1, &Source::default()), cacheme = cacheme)]
    pub(super) async fn displayed(cacheme: &Cacheme) -> Result<u64, Displayed> {
        Err(Displayed)
    }

    #[memoize(node = RemoteItem::new(1, &Source::default()), cacheme = cacheme)]
    pub(super) async fn debugged(cacheme: &Cacheme) -> Result<u64, Debugged> {
        Err(Debugged::NoShop)
    }

    #[memoize(node = RemoteItem::new(1, &Source::default()), cacheme = cacheme)]
    pub(super) async fn mute(cacheme: &Cacheme) -> Result<u64, Mute> {
        Err(Mute)
    }

    #[memoize(node = RemoteItem::new(1, &Source::default()), cacheme = cacheme)]
    pub(super) async fn caused(cacheme: &Cacheme) -> Result<u64, Caused> {
        Err(Caused(NoSource(7)))
    }

    #[memoize(node = RemoteItem::new(1, &Source::default()), cacheme = cacheme)]
    pub(super) async fn shared(cacheme: &Cacheme) -> Result<u64, std::sync::Arc<anyhow::Error>> {
        Err(anyhow::anyhow!("anyhow says this").into())
    }

    #[memoize(node = RemoteItem::new(1, &Source::default()), cacheme = cacheme)]
    pub(super) async fn generic<E>(cacheme: &Cacheme, error: E) -> Result<u64, E>
    where
        E: Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        Err(error)
    }
}

#[tokio::test(start_paused = true)]
async fn t3_the_log_of_a_failing_load_has_the_error_of_a_memoized_function() {
    use own_errors::{caused, debugged, displayed, generic, mute, shared};

    async fn logs(of: impl AsyncFnOnce(&Cacheme) -> bool, text: &str) {
        let (told, _listening) = Logged::listen();
        let world = World::new().await;
        assert!(of(&world.cacheme).await, "{text}: it fails");
        let warnings = told.at(Level::WARN);
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
        assert!(warnings[0].contains(text), "{text} in {warnings:#?}");
    }
    logs(async |it| displayed(it).await.is_err(), "the shop is closed").await;
    logs(async |it| debugged(it).await.is_err(), "NoShop").await;
    logs(
        async |it| mute(it).await.is_err(),
        "the caller's own loader returned an error",
    )
    .await;
    logs(
        async |it| caused(it).await.is_err(),
        "no price: the source has no 7",
    )
    .await;
    logs(async |it| shared(it).await.is_err(), "anyhow says this").await;
    // By what the function declares of it.
    logs(async |it| generic(it, NoSource(7)).await.is_err(), "NoSource(7)").await;
}

#[tokio::test(start_paused = true)]
async fn t3_a_loader_or_storage_that_fails_now_and_then_is_a_line_a_minute() {
    let (told, _listening) = Logged::listen();
    let (world, source) = (World::new().await, Source::default());
    let pause = Duration::from_millis(100);
    for step in 0..3 * 600 {
        // Every second load fails, and every second call of the storage.
        let id = 10 + step;
        source.mend();
        if step % 2 == 0 {
            source.fail(id);
            world.remote.set_trouble(Trouble::Refuses);
        } else {
            world.remote.recover();
        }
        let loaded = world.cacheme.get(&RemoteItem::new(id, &source)).await;
        assert_eq!(loaded.is_err(), step % 2 == 0);
        tokio::time::sleep(pause).await;
    }
    let warnings = told.at(Level::WARN);
    let about = |what: &str| warnings.iter().filter(|line| line.contains(what)).count();
    // The begin, and the ends of the first and second minute.
    assert_eq!(
        (
            about("a load failed"),
            about("storage in trouble"),
            warnings.len()
        ),
        (3, 3, 6),
        "{warnings:#?}"
    );
    let counted = |line: &&String| line.contains("lasts for 60s, ");
    assert!(warnings.iter().filter(counted).count() >= 2, "{warnings:#?}");
    assert!(told.at(Level::INFO).is_empty(), "it was never well");
}

#[tokio::test(start_paused = true)]
async fn t3_a_load_that_hangs_is_logged() {
    let (told, _listening) = Logged::listen();
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let mut hanging = Box::pin(world.cacheme.get_with(&node, std::future::pending::<u64>));
    assert!(poll_once(&mut hanging).await.is_none());
    assert_eq!(world.cacheme.get_with(&node, || async { 7 }).await, 7);
    let warnings = told.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains("goes on for longer than 30s"),
        "{warnings:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn t3_a_set_up_that_cannot_work_is_logged_once_by_calls_that_bring_their_loads() {
    let (told, _listening) = Logged::listen();
    let (cacheme, source) = (Cacheme::builder().build().unwrap(), Source::default());
    for _ in 0..3 {
        assert_eq!(cacheme.get_with(&Item::new(1, &source), || async { 1 }).await, 1);
    }
    let errors = told.at(Level::ERROR);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0].contains("`local`, which is not registered"),
        "{errors:#?}"
    );
}
