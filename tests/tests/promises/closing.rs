//! The end of an instance: what `close` waits for, does and tells.

use std::time::Duration;

use cacheme::{DynamicKind, Error, MsgPack, Policy, Storage};
use cacheme_storage::LocalCache;
use tests::{MemoryRemote, Operation, Trouble};

use crate::world::{Item, RemoteItem, SECOND, Source, World, poll_once, settle, timed};

#[tokio::test(start_paused = true)]
async fn l1_close_waits_for_a_load_under_way_and_refuses_new_calls() {
    let (world, source) = (World::new().await, Source::default());
    let cacheme = &world.cacheme;
    let (held, known) = (Item::new(1, &source), Item::new(2, &source));
    cacheme.get(&known).await.unwrap();
    let gate = source.hold();
    let caller = {
        let (cacheme, held) = (cacheme.clone(), held.clone());
        tokio::spawn(async move { cacheme.get(&held).await })
    };
    gate.reached().await;
    let mut closing = Box::pin(cacheme.close(10 * SECOND));
    assert!(poll_once(&mut closing).await.is_none(), "a load is under way");

    for (call, result) in [
        ("a hit", cacheme.get(&known).await.map(drop)),
        ("a load", cacheme.get(&Item::new(3, &source)).await.map(drop)),
        (
            "get_all",
            cacheme.get_all(&[held.clone(), known.clone()]).await.map(drop),
        ),
        ("peek", cacheme.peek(&known).await.map(drop)),
        ("refresh", cacheme.refresh(&known).await.map(drop)),
        ("set", cacheme.set(&known, 1).await),
        ("invalidate", cacheme.invalidate(&known).await),
    ] {
        assert!(matches!(result, Err(Error::Closed)), "{call}: {result:?}");
    }
    let local = || Storage::local(LocalCache::lru(10).build());
    let late = [
        cacheme.register_storage("late", local()).await,
        cacheme.register_storage_lazy("late", local()),
    ];
    assert!(
        late.iter().all(|late| matches!(late, Err(Error::Closed))),
        "{late:?}"
    );
    // What comes with the call still answers, without a cache.
    assert_eq!(cacheme.get_with(&known, || async { 7 }).await, 7);
    assert_eq!(source.loads(), 2);
    assert_eq!(world.remote.count(Operation::Close), 0);

    gate.open();
    closing.await.unwrap();
    assert_eq!(caller.await.unwrap().unwrap(), 1_000);
    assert!(
        world.remote.value(&cacheme.full_key(&held)).is_some(),
        "it was stored"
    );
    assert_eq!(world.remote.count(Operation::Close), 1);
}

#[tokio::test(start_paused = true)]
async fn c1_close_waits_for_a_change_under_way() {
    let (world, source) = (World::new().await, Source::default());
    let item = Item::new(1, &source);
    world.cacheme.get(&item).await.unwrap();
    let gate = world.remote.hold_before(Operation::Remove);
    let change = {
        let (cacheme, item) = (world.cacheme.clone(), item.clone());
        tokio::spawn(async move { cacheme.invalidate(&item).await })
    };
    gate.reached().await;
    let mut closing = Box::pin(world.cacheme.close(10 * SECOND));
    assert!(poll_once(&mut closing).await.is_none(), "a change is under way");
    change.abort();
    assert!(
        poll_once(&mut closing).await.is_none(),
        "it goes on without its caller"
    );
    gate.open();
    closing.await.unwrap();
    assert!(world.remote.is_empty());
}

#[tokio::test(start_paused = true)]
async fn l3_close_ends_after_its_time_and_names_what_goes_on() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, gate) = (world.cacheme.clone(), source.hold());
    let item = Item::new(1, &source);
    let caller = tokio::spawn(async move { cacheme.get(&item).await });
    gate.reached().await;
    let (closed, took) = timed(world.cacheme.close(2 * SECOND)).await;
    let error = closed.unwrap_err();
    let Error::StillBusy { nodes, after } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((&nodes[..], *after), (&["Item".to_owned()][..], 2 * SECOND));
    assert!(error.to_string().contains("`Item`"), "{error}");
    assert!((2 * SECOND..3 * SECOND).contains(&took), "{took:?}");
    assert_eq!(
        world.remote.count(Operation::Close),
        1,
        "it is closed all the same"
    );
    gate.open();
    assert_eq!(caller.await.unwrap().unwrap(), 1_000, "its caller has an answer");
}

#[tokio::test(start_paused = true)]
async fn l3_calls_of_close_at_once_and_later_ones_have_one_result() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, gate) = (world.cacheme.clone(), source.hold());
    let item = Item::new(1, &source);
    let _caller = tokio::spawn(async move { cacheme.get(&item).await });
    gate.reached().await;
    let close = |seconds| timed(world.cacheme.close(seconds * SECOND));
    let ((one, took), (other, other_took)) = tokio::join!(close(2), close(3));
    for closed in [one, other, world.cacheme.close(Duration::ZERO).await] {
        assert!(matches!(closed, Err(Error::StillBusy { .. })), "{closed:?}");
    }
    assert!(
        took >= 2 * SECOND && other_took >= 2 * SECOND,
        "{took:?} {other_took:?}"
    );
    assert_eq!(world.remote.count(Operation::Close), 1);
}

#[tokio::test(start_paused = true)]
async fn l1_a_call_of_close_that_is_dropped_is_taken_over_by_the_next() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, gate) = (world.cacheme.clone(), source.hold());
    let item = Item::new(1, &source);
    let caller = tokio::spawn(async move { cacheme.get(&item).await });
    gate.reached().await;
    let mut closing = Box::pin(world.cacheme.close(Duration::MAX));
    assert!(poll_once(&mut closing).await.is_none());
    drop(closing);
    gate.open();
    world.cacheme.close(Duration::MAX).await.unwrap();
    assert_eq!(caller.await.unwrap().unwrap(), 1_000);
    assert_eq!(world.remote.count(Operation::Close), 1);
}

#[tokio::test(start_paused = true)]
async fn t1_close_tries_removals_once_more_and_names_those_that_are_left() {
    for recovers in [false, true] {
        let (world, source) = (World::new().await, Source::default());
        let items = [1, 2].map(|id| Item::new(id, &source));
        world.cacheme.get_all(&items).await.unwrap();
        world.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
        world.cacheme.invalidate_all(&items).await.unwrap_err();
        if recovers {
            world.remote.recover();
        }
        world.remote.take_calls();
        let closed = world.cacheme.close(10 * SECOND).await;
        assert_eq!(world.remote.count(Operation::Remove), 1);
        assert_eq!(world.remote.is_empty(), recovers);
        if recovers {
            closed.unwrap();
            continue;
        }
        let error = closed.unwrap_err();
        let Error::OldValuesLeft { name, keys } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(name, "remote");
        assert_eq!(keys[..], ["test:item:1:v1", "test:item:2:v1"]);
        assert!(
            error.to_string().contains("`test:item:1:v1`, `test:item:2:v1`"),
            "{error}"
        );
        tokio::time::sleep(100 * SECOND).await;
        assert_eq!(
            world.remote.count(Operation::Remove),
            1,
            "nothing goes on in the background"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn c2_close_gives_back_the_leases_that_could_not_be_given_back_before() {
    let (world, source) = (World::new().await, Source::default());
    let (cacheme, item) = (world.cacheme.clone(), RemoteItem::new(1, &source));
    world
        .remote
        .set_trouble_with(Operation::Release, Trouble::Refuses);
    let caller = tokio::spawn(async move { cacheme.get_with(&item, std::future::pending::<u64>).await });
    settle().await;
    caller.abort();
    settle().await;
    assert!(!world.remote.is_empty(), "the lease is there");
    world.remote.recover();
    let (closed, took) = timed(world.cacheme.close(10 * SECOND)).await;
    closed.unwrap();
    assert!(world.remote.is_empty());
    assert!(took < 2 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn c3_a_closed_instance_receives_nothing_and_serves_nothing() {
    let world = World::over(MemoryRemote::with_bus()).await;
    settle().await;
    assert_eq!(world.remote.listeners(), 1);
    let policy = Policy::<u64>::new("closing-dynamic", "").serializer(MsgPack);
    let kind = DynamicKind::new(policy.tier("local", None)).unwrap();
    world.cacheme.set(&kind.node(&1), 1).await.unwrap();
    assert_eq!(world.cacheme.peek(&kind.node(&1)).await.unwrap(), Some(1));
    world.cacheme.close(SECOND).await.unwrap();
    settle().await;
    assert_eq!(world.remote.listeners(), 0);
    for node in [kind.node(&1), kind.clone().node(&1)] {
        let peeked = world.cacheme.peek(&node).await;
        assert!(matches!(peeked, Err(Error::Closed)), "{peeked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_does_not_close_holds_nobody_up_and_is_named() {
    for trouble in [Trouble::Hangs, Trouble::Refuses] {
        let world = World::new().await;
        world.remote.set_trouble_with(Operation::Close, trouble);
        let (closed, took) = timed(world.cacheme.close(SECOND)).await;
        let error = closed.unwrap_err();
        assert!(
            matches!(&error, Error::NotClosed { name, .. } if name == "remote"),
            "{error:?}"
        );
        assert!(took <= Storage::DEFAULT_TIMEOUT * 2, "{took:?}");
    }
}
