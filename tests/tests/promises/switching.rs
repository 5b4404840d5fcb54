//! Storages that are replaced, taken away or switched off while a service runs.

use cacheme::{Cacheme, DynamicKind, Error, MsgPack, Policy, Storage};
use cacheme_storage::LocalCache;
use tests::{MemoryRemote, Operation, Trouble};

use crate::world::{Item, LocalItem, RemoteItem, SECOND, SoloItem, Source, World, settle};

/// The ways to switch an `Item` off, and on again.
const WAYS: [fn(&Cacheme, bool); 2] = [
    |cacheme, on| cacheme.set_enabled(on),
    |cacheme, on| cacheme.set_kind_enabled("Item", on),
];

#[tokio::test(start_paused = true)]
async fn c1_what_is_off_neither_reads_nor_stores_and_serves_nothing_old_afterwards() {
    for (way, switch) in WAYS.into_iter().enumerate() {
        let (world, source) = (World::new().await, Source::default());
        let (cacheme, item) = (&world.cacheme, Item::new(1, &source));
        cacheme.get(&item).await.unwrap();
        switch(cacheme, false);
        source.bump();
        world.remote.take_calls();
        for _ in 0..2 {
            assert_eq!(cacheme.get(&item).await.unwrap(), 1_001, "way {way}");
        }
        assert_eq!(
            cacheme
                .get_all(&[item.clone(), Item::new(2, &source)])
                .await
                .unwrap(),
            [1_001, 2_001]
        );
        assert_eq!(cacheme.peek(&item).await.unwrap(), None);
        assert_eq!(cacheme.get_with(&item, || async { 5 }).await, 5);
        assert_eq!(world.remote.take_calls(), [], "way {way}");
        assert_eq!(source.loads(), 5);

        cacheme.invalidate(&item).await.unwrap();
        assert!(world.remote.is_empty(), "changes are sent");
        switch(cacheme, true);
        assert_eq!(cacheme.get(&item).await.unwrap(), 1_001, "way {way}");
        assert_eq!(cacheme.get(&item).await.unwrap(), 1_001);
        assert_eq!(source.loads(), 6, "it is cached again");
        let stats = cacheme.stats::<Item>();
        assert_eq!((stats.loads, stats.tiers.len()), (6 + 1, 2), "counters go on");
    }
}

#[tokio::test(start_paused = true)]
async fn c3_changes_of_what_is_off_reach_other_processes() {
    let (ours, source) = (World::over(MemoryRemote::with_bus()).await, Source::default());
    let (theirs, item) = (ours.neighbour().await, Item::new(1, &source));
    settle().await;
    ours.cacheme.set_enabled(false);
    let changes: [(&str, u64); 3] = [("invalidate", 1_001), ("set", 1_002), ("refresh", 1_003)];
    for (change, expected) in changes {
        theirs.cacheme.get(&item).await.unwrap();
        source.bump();
        match change {
            "invalidate" => ours.cacheme.invalidate(&item).await.unwrap(),
            "set" => ours.cacheme.set(&item, 7).await.unwrap(),
            _ => assert_eq!(ours.cacheme.refresh(&item).await.unwrap(), expected),
        }
        settle().await;
        assert_eq!(theirs.cacheme.get(&item).await.unwrap(), expected, "{change}");
    }
}

#[tokio::test(start_paused = true)]
async fn c1_a_removal_that_failed_while_off_counts_once_it_is_on() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (&world.cacheme, RemoteItem::new(1, &source));
    cacheme.get(&item).await.unwrap();
    cacheme.set_storage_enabled("remote", false);
    source.bump();
    world.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    let error = cacheme.invalidate(&item).await.unwrap_err();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error}");
    cacheme.set_storage_enabled("remote", true);
    assert_eq!(cacheme.get(&item).await.unwrap(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn c1_a_load_that_began_before_the_switch_is_stored_nowhere() {
    for off in [true, false] {
        let (world, source) = (
            World::over(MemoryRemote::without_leases()).await,
            Source::default(),
        );
        let (cacheme, item) = (world.cacheme.clone(), Item::new(1, &source));
        if !off {
            cacheme.set_enabled(false);
        }
        let gate = source.hold();
        let caller = {
            let (cacheme, item) = (cacheme.clone(), item.clone());
            tokio::spawn(async move { cacheme.get(&item).await })
        };
        gate.reached().await;
        cacheme.set_enabled(!off);
        source.bump();
        cacheme.invalidate(&item).await.unwrap();
        gate.open();
        assert_eq!(caller.await.unwrap().unwrap(), 1_000);
        assert!(world.remote.is_empty(), "off: {off}");
        assert_eq!(cacheme.get(&item).await.unwrap(), 1_001);
    }
}

/// Without leases only the flight keeps the old value from landing on the change.
#[tokio::test(start_paused = true)]
async fn c1_a_change_waits_for_a_store_that_began_before_the_switch() {
    let (world, source) = (
        World::over(MemoryRemote::without_leases()).await,
        Source::default(),
    );
    let (cacheme, item) = (world.cacheme.clone(), SoloItem::new(1, &source));
    let storing = world.remote.hold_before(Operation::Set);
    let caller = {
        let (cacheme, item) = (cacheme.clone(), item.clone());
        tokio::spawn(async move { cacheme.get(&item).await })
    };
    storing.reached().await;
    cacheme.set_storage_enabled("local", false);
    let change = {
        let (cacheme, item) = (cacheme.clone(), item.clone());
        tokio::spawn(async move { cacheme.invalidate(&item).await })
    };
    settle().await;
    storing.open();
    caller.await.unwrap().unwrap();
    change.await.unwrap().unwrap();
    assert!(world.remote.is_empty());
}

#[tokio::test(start_paused = true)]
async fn t1_one_storage_that_is_off_leaves_the_others_on() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (&world.cacheme, Item::new(1, &source));
    cacheme.set_storage_enabled("remote", false);
    cacheme.get(&item).await.unwrap();
    world.remote.take_calls();
    cacheme.get(&item).await.unwrap();
    assert_eq!(
        (source.loads(), world.remote.take_calls()),
        (1, vec![]),
        "the local tier has it"
    );
    cacheme.set_storage_enabled("remote", true);
    cacheme.set_storage_enabled("local", false);
    source.bump();
    assert_eq!(cacheme.get(&item).await.unwrap(), 1_001);
    assert!(world.remote.value(&cacheme.full_key(&item)).is_some());
    cacheme.get(&item).await.unwrap();
    assert_eq!(source.loads(), 2, "the remote tier has it");
}

#[tokio::test(start_paused = true)]
async fn r1_what_is_off_has_one_load_at_a_time() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (&world.cacheme, Item::new(1, &source));
    cacheme.set_enabled(false);
    let (one, other) = tokio::join!(cacheme.get(&item), cacheme.get(&item));
    assert_eq!((one.unwrap(), other.unwrap(), source.loads()), (1_000, 1_000, 1));
}

fn dynamic(name: &str) -> DynamicKind<u64> {
    let policy = Policy::<u64>::new(name.to_owned(), "").serializer(MsgPack);
    DynamicKind::new(policy.tier("local", Some(60 * SECOND))).unwrap()
}

#[tokio::test(start_paused = true)]
async fn c1_kinds_that_are_named_at_run_time_are_switched_in_all_their_handles() {
    let (world, kind) = (World::new().await, dynamic("switching"));
    let (cacheme, other) = (&world.cacheme, dynamic("switching"));
    for kind in [&kind, &other] {
        cacheme.set(&kind.node(&1), 1).await.unwrap();
    }
    for on in [false, true] {
        cacheme.set_kind_enabled("switching", on);
        for kind in [&kind, &other] {
            assert_eq!(cacheme.peek(&kind.node(&1)).await.unwrap(), None, "{on}");
        }
    }
    cacheme.set(&kind.node(&1), 2).await.unwrap();
    assert_eq!(
        cacheme.peek(&other.node(&1)).await.unwrap(),
        Some(2),
        "they are one kind"
    );
    let known = |name: &str| cacheme.nodes().iter().filter(|info| info.name == name).count();
    assert_eq!(known("switching"), 1);
    drop((kind, other));
    assert_eq!(known("switching"), 0, "it goes away with its handles");
    assert!(DynamicKind::new(Policy::<String>::new("switching", "")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn c1_after_a_storage_is_replaced_every_node_uses_the_new_one() {
    let (world, source) = (World::over(MemoryRemote::with_bus()).await, Source::default());
    let (cacheme, newer) = (&world.cacheme, MemoryRemote::with_bus());
    let (item, local) = (Item::new(1, &source), LocalItem::new(1, &source));
    cacheme.get(&item).await.unwrap();
    cacheme.get(&local).await.unwrap();
    source.bump();
    cacheme
        .replace_storage("remote", Storage::remote(newer.clone()))
        .await
        .unwrap();
    assert_eq!(
        cacheme.get(&item).await.unwrap(),
        1_001,
        "nothing of the old one is served"
    );
    assert_eq!(
        cacheme.get(&local).await.unwrap(),
        1_000,
        "other nodes keep what they have"
    );
    assert!(newer.value(&cacheme.full_key(&item)).is_some());
    settle().await;
    assert_eq!((world.remote.listeners(), newer.listeners()), (0, 1));
    assert_eq!(world.remote.count(Operation::Close), 1);

    // The bus of the new one is heard.
    let theirs = World::over(newer).await;
    settle().await;
    source.bump();
    theirs.cacheme.invalidate(&item).await.unwrap();
    settle().await;
    assert_eq!(cacheme.get(&item).await.unwrap(), 1_002);
}

#[tokio::test(start_paused = true)]
async fn c2_a_load_under_way_while_its_storage_is_replaced_is_stored_nowhere_and_leaves_no_lease() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (world.cacheme.clone(), Item::new(1, &source));
    let newer = MemoryRemote::new();
    let gate = source.hold();
    let caller = {
        let (cacheme, item) = (cacheme.clone(), item.clone());
        tokio::spawn(async move { cacheme.get(&item).await })
    };
    gate.reached().await;
    let replacing = {
        let (cacheme, newer) = (cacheme.clone(), newer.clone());
        tokio::spawn(async move { cacheme.replace_storage("remote", Storage::remote(newer)).await })
    };
    settle().await;
    source.bump();
    assert_eq!(
        cacheme.get(&item).await.unwrap(),
        1_001,
        "nobody waits for the old one"
    );
    gate.open();
    replacing.await.unwrap().unwrap();
    assert_eq!(caller.await.unwrap().unwrap(), 1_000);
    assert!(world.remote.is_empty(), "neither a value nor a lease");
    assert_eq!(cacheme.get(&item).await.unwrap(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn c1_removals_that_failed_go_on_in_the_new_storage() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (&world.cacheme, RemoteItem::new(1, &source));
    cacheme.get(&item).await.unwrap();
    source.bump();
    world.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    cacheme.invalidate(&item).await.unwrap_err();
    // The same server, reached in another way.
    cacheme
        .replace_storage("remote", Storage::remote(world.remote.clone()))
        .await
        .unwrap();
    assert_eq!(
        cacheme.peek(&item).await.unwrap(),
        None,
        "the old value counts as absent"
    );
    world.remote.recover();
    tokio::time::sleep(SECOND).await;
    assert!(world.remote.is_empty(), "it was removed in the background");
}

#[tokio::test(start_paused = true)]
async fn c1_a_change_that_a_replacement_overtakes_reaches_the_new_storage() {
    for operation in [Operation::Remove, Operation::Set] {
        let (world, source) = (World::new().await, Source::default());
        let (cacheme, item) = (world.cacheme.clone(), Item::new(1, &source));
        let newer = MemoryRemote::new();
        World::over(newer.clone()).await.cacheme.get(&item).await.unwrap();
        source.bump();
        let gate = world.remote.hold_before(operation);
        let changing = {
            let (cacheme, item) = (cacheme.clone(), item.clone());
            tokio::spawn(async move {
                match operation {
                    Operation::Set => cacheme.set(&item, 7).await,
                    _ => cacheme.invalidate(&item).await,
                }
            })
        };
        gate.reached().await;
        let replacing = {
            let (cacheme, newer) = (cacheme.clone(), Storage::remote(newer.clone()));
            tokio::spawn(async move { cacheme.replace_storage("remote", newer).await })
        };
        settle().await;
        gate.open();
        changing.await.unwrap().unwrap();
        replacing.await.unwrap().unwrap();
        assert!(newer.is_empty(), "the older value is gone: {operation:?}");
        assert_eq!(cacheme.get(&item).await.unwrap(), 1_001);
    }
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_is_replaced_also_by_one_that_cannot_be_reached() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item, newer) = (&world.cacheme, RemoteItem::new(1, &source), MemoryRemote::new());
    newer.set_trouble(Trouble::Refuses);
    let error = cacheme
        .replace_storage("remote", Storage::remote(newer.clone()))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unreached { name, .. } if name == "remote"),
        "{error:?}"
    );
    assert_eq!(cacheme.get(&item).await.unwrap(), 1_000);
    newer.recover();
    cacheme.refresh(&item).await.unwrap();
    assert!(newer.value(&cacheme.full_key(&item)).is_some());
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_is_taken_away_is_not_registered_and_can_be_again() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (&world.cacheme, Item::new(1, &source));
    let kind = dynamic("taken-away");
    cacheme.set(&kind.node(&1), 1).await.unwrap();
    cacheme.get(&item).await.unwrap();
    for name in ["remote", "local"] {
        cacheme.unregister_storage(name).await.unwrap();
        let error = cacheme.get(&item).await.unwrap_err();
        assert!(matches!(error, Error::StorageNotRegistered { .. }), "{error:?}");
    }
    assert_eq!(world.remote.count(Operation::Close), 1);
    let gone = cacheme.peek(&kind.node(&1)).await;
    assert!(
        matches!(gone, Err(Error::StorageNotRegistered { .. })),
        "{gone:?}"
    );
    let unknown = [
        cacheme.unregister_storage("local").await,
        cacheme
            .replace_storage("local", Storage::local(LocalCache::lru(9).build()))
            .await,
    ];
    assert!(
        unknown
            .iter()
            .all(|unknown| matches!(unknown, Err(Error::UnknownStorage { .. })))
    );

    let local = Storage::local(LocalCache::lru(10).build());
    cacheme.register_storage("local", local).await.unwrap();
    cacheme
        .register_storage("remote", Storage::remote(world.remote.clone()))
        .await
        .unwrap();
    assert_eq!(cacheme.get(&item).await.unwrap(), 1_000);
    assert_eq!(cacheme.peek(&kind.node(&1)).await.unwrap(), None);
    cacheme.set(&kind.node(&1), 2).await.unwrap();
    assert_eq!(cacheme.peek(&kind.node(&1)).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn t1_a_removal_that_is_left_when_its_storage_is_taken_away_is_named() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (&world.cacheme, Item::new(1, &source));
    cacheme.get(&item).await.unwrap();
    world.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    cacheme.invalidate(&item).await.unwrap_err();
    let error = cacheme.unregister_storage("remote").await.unwrap_err();
    let Error::OldValuesLeft { name, keys } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (&**name, &keys[..]),
        ("remote", &["test:item:1:v1".to_owned()][..])
    );
}

#[tokio::test(start_paused = true)]
async fn l1_close_after_switches_waits_for_what_began_before_them() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (world.cacheme.clone(), Item::new(1, &source));
    let gate = source.hold();
    let caller = tokio::spawn(async move { cacheme.get(&item).await });
    gate.reached().await;
    world.cacheme.set_enabled(false);
    world.cacheme.set_enabled(true);
    let closed = world.cacheme.close(SECOND).await;
    assert!(matches!(closed, Err(Error::StillBusy { .. })), "{closed:?}");
    world.cacheme.set_enabled(false);
    gate.open();
    assert_eq!(caller.await.unwrap().unwrap(), 1_000);
}

/// Set for the process that the test below runs.
#[tokio::test(start_paused = true)]
#[ignore = "another test runs it with the environment that it needs"]
async fn part_of_an_environment_that_disables() {
    let (world, source) = (World::new().await, Source::default());
    let (item, remote) = (Item::new(1, &source), RemoteItem::new(1, &source));
    for _ in 0..2 {
        world.cacheme.get(&item).await.unwrap();
        world.cacheme.get(&remote).await.unwrap();
    }
    println!("loads={}", source.loads());
}

#[test]
fn t1_the_environment_switches_off_at_start_up() {
    for (said, loads) in [
        ("", 2),
        ("1", 4),
        ("all", 4),
        ("Item", 3),
        ("remote", 3),
        ("local,remote", 4),
    ] {
        let part = "switching::part_of_an_environment_that_disables";
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args([part, "--exact", "--ignored", "--nocapture"])
            .env("CACHEME_DISABLE", said)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{said}: {text}");
        assert!(text.contains(&format!("loads={loads}\n")), "{said}: {text}");
    }
}
