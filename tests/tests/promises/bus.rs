//! C3: what one process changes, the others hear of.

use std::time::Duration;

use cacheme::{Bincode, Cacheme, DynamicKind, Error, Policy, Storage};
use cacheme_storage::RemoteStorage as _;
use tests::{MemoryRemote, Operation, Trouble};
use tracing::Level;

use crate::fences::{At, Caller, Change, STEPS, Then, call, change, hold};
use crate::logged::Logged;
use crate::world::{Bulk, Item, LocalItem, RemoteItem, SECOND, Source, World, settle, timed};

/// How long a lost connection is away at most, when the server is there.
const AWAY: Duration = Duration::from_millis(100);

/// Two processes that share a storage with a bus, and a source.
pub(crate) async fn pair() -> (World, World, Source) {
    let ours = World::over(MemoryRemote::with_bus()).await;
    let theirs = ours.neighbour().await;
    assert_eq!(ours.remote.listeners(), 2, "registering waits for the bus");
    (ours, theirs, Source::default())
}

fn told(world: &World) -> u64 {
    world.cacheme.stats::<Item>().remote_invalidations
}

#[tokio::test(start_paused = true)]
async fn c3_others_drop_their_copies_when_they_receive_a_change() {
    for kind in [Change::Invalidate, Change::Set, Change::Refresh] {
        let (ours, theirs, source) = pair().await;
        let (node, other) = (Item::new(1, &source), Item::new(2, &source));
        theirs.cacheme.get(&node).await.unwrap();
        theirs.cacheme.get(&other).await.unwrap();
        let new = 1_000 + source.bump();
        change(&ours.cacheme, &node, kind, new).await.unwrap();
        settle().await;
        assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new, "{kind:?}");
        assert_eq!(
            theirs.cacheme.get(&other).await.unwrap(),
            2_000,
            "was not changed"
        );
        assert_eq!((told(&ours), told(&theirs)), (0, 1), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_change_of_many_keys_is_published_in_few_messages() {
    let (ours, theirs, source) = pair().await;
    let nodes = Bulk::all(0..1_000, &source);
    theirs.cacheme.get_all(&nodes).await.unwrap();
    source.bump();
    ours.remote.take_calls();
    ours.cacheme.invalidate_all(&nodes).await.unwrap();
    let calls = ours.remote.take_calls();
    assert_eq!(calls, [(Operation::Remove, 1_000), (Operation::Publish, 3)]);
    settle().await;
    assert_eq!(theirs.cacheme.stats::<Bulk>().remote_invalidations, 1_000);
    let expected: Vec<u64> = (0..1_000).map(|id| source.value(id)).collect();
    assert_eq!(theirs.cacheme.get_all(&nodes).await.unwrap(), expected);
}

/// A read of theirs, held at each of its steps, while a change of ours is made and told.
#[tokio::test(start_paused = true)]
async fn c3_nothing_older_is_seen_once_a_change_is_received() {
    let mut raced = 0;
    for caller in [Caller::Get, Caller::GetAll, Caller::GetWith, Caller::Promotion] {
        for at in STEPS {
            for kind in [Change::Invalidate, Change::Set, Change::Refresh] {
                for then in [Then::Late, Then::Early] {
                    raced += usize::from(race(caller, at, kind, then).await.is_some());
                }
            }
        }
    }
    assert!(raced >= 60, "{raced}");
}

async fn race(caller: Caller, at: At, kind: Change, then: Then) -> Option<()> {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    if let Caller::Promotion = caller {
        ours.cacheme.get(&node).await.unwrap();
        settle().await;
    }
    let gate = hold(at, &ours.remote, &source);
    let old = call(&theirs.cacheme, &node, &source, caller);
    settle().await;
    if old.is_finished() {
        return None;
    }
    gate.reached().await;
    let new = 1_000 + source.bump();
    let change = change(&ours.cacheme, &node, kind, new);
    let what = format!("{caller:?} held at {at:?}, {kind:?}, {then:?}");
    if let Then::Late = then {
        settle().await;
        if change.is_finished() {
            let found = theirs.cacheme.get(&node).await.unwrap();
            assert_eq!(found, new, "nobody new joins what was held: {what}");
        }
    }
    gate.open();
    change.await.unwrap();
    settle().await;
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new, "{what}");
    let old = old.await.unwrap();
    assert!(old == 1_000 || old == new, "{what}");
    settle().await;
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new, "later: {what}");
    assert_eq!(ours.cacheme.get(&node).await.unwrap(), new, "here: {what}");
    Some(())
}

#[tokio::test(start_paused = true)]
async fn c3_a_change_is_published_last_and_before_the_call_returns() {
    for kind in [Change::Invalidate, Change::Set, Change::Refresh] {
        let (ours, theirs, source) = pair().await;
        let node = Item::new(1, &source);
        theirs.cacheme.get(&node).await.unwrap();
        let new = 1_000 + source.bump();
        let remote = match kind {
            Change::Invalidate => Operation::Remove,
            Change::Set => Operation::Set,
            Change::Refresh => Operation::Fill,
        };
        let (done, publish) = (
            ours.remote.hold_after(remote),
            ours.remote.hold_before(Operation::Publish),
        );
        ours.remote.take_calls();
        let change = change(&ours.cacheme, &node, kind, new);
        done.reached().await;
        assert_eq!(ours.remote.count(Operation::Publish), 0, "{kind:?}");
        done.open();
        publish.reached().await;
        settle().await;
        assert!(!change.is_finished() && told(&theirs) == 0, "{kind:?}");
        publish.open();
        change.await.unwrap();
        settle().await;
        assert_eq!(told(&theirs), 1, "{kind:?}");
    }
}

/// While a refresh tells of its value, that may be gone already: its flight is over for all who come then.
#[tokio::test(start_paused = true)]
async fn c2_nobody_joins_a_refresh_that_is_being_published() {
    let (ours, _theirs, source) = pair().await;
    let node = RemoteItem::new(1, &source);
    let publish = ours.remote.hold_before(Operation::Publish);
    let refresh = change(&ours.cacheme, &node, Change::Refresh, 1_000);
    publish.reached().await;
    let new = 1_000 + source.bump();
    let key = ours.cacheme.full_key(&node);
    ours.remote.remove(&[key.as_bytes()]).await.unwrap();
    let (value, took) = timed(ours.cacheme.get(&node)).await;
    assert_eq!((value.unwrap(), took), (new, Duration::ZERO));
    publish.open();
    refresh.await.unwrap();
    assert_eq!(ours.cacheme.get(&node).await.unwrap(), new);
}

/// A connection is lost while we write: whoever comes meanwhile brings back nothing older.
#[tokio::test(start_paused = true)]
async fn c1_a_set_during_which_others_may_have_changed_the_value_leaves_nothing_older() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    theirs.cacheme.get(&node).await.unwrap();
    let word = ours.remote.hold_before(Operation::Set);
    let set = change(&ours.cacheme, &node, Change::Set, 7);
    word.reached().await;
    ours.remote.cut_bus();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let read = call(&ours.cacheme, &node, &source, Caller::Get);
    settle().await;
    assert!(!read.is_finished(), "it waits for the set");
    word.open();
    set.await.unwrap();
    assert_eq!(read.await.unwrap(), 7);
    assert_eq!(ours.cacheme.get(&node).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn c1_a_refresh_during_which_others_may_have_changed_the_value_leaves_nothing_older() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    theirs.cacheme.get(&node).await.unwrap();
    let new = 1_000 + source.bump();
    let word = ours.remote.hold_before(Operation::Acquire);
    let refresh = change(&ours.cacheme, &node, Change::Refresh, new);
    word.reached().await;
    ours.remote.cut_bus();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let late = ours.remote.hold_after(Operation::Acquire);
    let read = call(&ours.cacheme, &node, &source, Caller::Get);
    late.reached().await;
    word.open();
    refresh.await.unwrap();
    late.open();
    assert_eq!(read.await.unwrap(), 1_000, "it began before the refresh was over");
    assert_eq!(ours.cacheme.get(&node).await.unwrap(), new);
}

/// A refresh that waits for a set holds its place for who comes, also when others may have changed the value: it has not begun.
/// So does one that takes its place.
#[tokio::test(start_paused = true)]
async fn c1_nobody_is_let_past_a_set_that_a_refresh_waits_for() {
    for overtaken in [false, true] {
        let (ours, _theirs, source) = pair().await;
        let node = Item::new(1, &source);
        assert_eq!(ours.cacheme.get(&node).await.unwrap(), 1_000);
        let storing = ours.remote.hold_before(Operation::Set);
        let new = 1_000 + source.bump();
        let set = change(&ours.cacheme, &node, Change::Set, new);
        storing.reached().await;
        let mut refreshes = vec![change(&ours.cacheme, &node, Change::Refresh, new)];
        settle().await;
        // Would hold one that does not wait.
        let stealing = overtaken.then(|| ours.remote.hold_before(Operation::Acquire));
        if overtaken {
            refreshes.push(change(&ours.cacheme, &node, Change::Refresh, new));
            settle().await;
        }
        ours.remote.cut_bus();
        settle().await;
        // Were it to read now, it would find what the set replaces.
        let looked = ours.remote.hold_after(Operation::Acquire);
        let early = call(&ours.cacheme, &node, &source, Caller::Get);
        settle().await;
        let loading = source.hold();
        storing.open();
        set.await.unwrap();
        looked.open();
        settle().await;
        let late = call(&ours.cacheme, &node, &source, Caller::Get);
        settle().await;
        loading.open();
        stealing.iter().for_each(|stealing| stealing.open());
        assert_eq!(late.await.unwrap(), new, "the set was over");
        early.await.unwrap();
        for refresh in refreshes {
            refresh.await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c3_an_instance_ignores_its_own_messages() {
    let (ours, _, source) = pair().await;
    let node = Item::new(1, &source);
    ours.cacheme.set(&node, 7).await.unwrap();
    settle().await;
    ours.remote.take_calls();
    assert_eq!(ours.cacheme.get(&node).await.unwrap(), 7);
    assert_eq!(ours.remote.take_calls(), [], "it is in memory");
}

#[tokio::test(start_paused = true)]
async fn c3_after_a_lost_connection_nothing_is_trusted_that_was_held() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    theirs.cacheme.get(&node).await.unwrap();
    let back = ours.remote.hold_before(Operation::Listen);
    let also_back = ours.remote.hold_before(Operation::Listen);
    ours.remote.cut_bus();
    settle().await;
    theirs.cacheme.get(&node).await.unwrap();
    let hits = theirs.cacheme.stats::<Item>().tiers[1].hits;
    assert_eq!(hits, 1, "what was held is gone");

    // Meanwhile copies go by their ttl, as without a bus.
    let new = 1_000 + source.bump();
    ours.cacheme.invalidate(&node).await.unwrap();
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), 1_000);

    back.reached().await;
    also_back.reached().await;
    back.open();
    also_back.open();
    settle().await;
    assert_eq!(ours.remote.listeners(), 2);
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new, "what was missed");
}

/// Whatever is asked, what was held is not what is answered.
#[tokio::test(start_paused = true)]
async fn c3_no_call_answers_with_what_was_held_before_the_connection_was_lost() {
    for call in ["get", "get_all", "get_with", "peek"] {
        let (ours, theirs, source) = pair().await;
        let nodes = [Item::new(1, &source), Item::new(2, &source)];
        assert_eq!(theirs.cacheme.get_all(&nodes).await.unwrap(), [1_000, 2_000]);
        let back = [(); 2].map(|()| ours.remote.hold_before(Operation::Listen));
        ours.remote.cut_bus();
        source.bump();
        // Nobody hears of it.
        ours.cacheme.invalidate_all(&nodes).await.unwrap();
        settle().await;
        match call {
            "get" => assert_eq!(theirs.cacheme.get(&nodes[0]).await.unwrap(), 1_001),
            "get_all" => assert_eq!(theirs.cacheme.get_all(&nodes).await.unwrap(), [1_001, 2_001]),
            "get_with" => {
                let load = || async { source.load(1).await };
                assert_eq!(theirs.cacheme.get_with(&nodes[0], load).await.unwrap(), 1_001);
            }
            _ => assert_eq!(theirs.cacheme.peek(&nodes[0]).await.unwrap(), None),
        }
        // What came since is held as ever.
        let value = theirs.cacheme.get(&nodes[0]).await.unwrap();
        ours.remote.take_calls();
        assert_eq!(theirs.cacheme.get(&nodes[0]).await.unwrap(), value);
        assert_eq!(ours.remote.take_calls(), [], "{call}");
        back.iter().for_each(|back| back.open());
    }
}

/// Copies that no bus tells of, or another one, are none the worse for it.
#[tokio::test(start_paused = true)]
async fn c3_a_lost_connection_concerns_only_kinds_on_that_bus() {
    let (world, source) = (World::over(MemoryRemote::with_bus()).await, Source::default());
    let other = MemoryRemote::with_bus();
    let storage = Storage::remote(other.clone());
    world.cacheme.register_storage("other", storage).await.unwrap();
    let told_elsewhere = DynamicKind::new(
        Policy::<u64>::new("bus-elsewhere", "")
            .tier("local", Some(60 * SECOND))
            .tier("other", Some(60 * SECOND))
            .serializer(Bincode),
    );
    let elsewhere = told_elsewhere.unwrap().node(&1);
    let (node, local) = (Item::new(1, &source), LocalItem::new(1, &source));
    world.cacheme.set(&elsewhere, 7).await.unwrap();
    world.cacheme.get(&node).await.unwrap();
    world.cacheme.get(&local).await.unwrap();
    for _ in 0..3 {
        world.remote.cut_bus();
        tokio::time::sleep(SECOND).await;
        assert_eq!(world.remote.listeners(), 1);
        source.bump();
        assert_eq!(world.cacheme.get(&local).await.unwrap(), 1_000, "it is in memory");
        other.take_calls();
        assert_eq!(world.cacheme.peek(&elsewhere).await.unwrap(), Some(7));
        assert_eq!(other.take_calls(), [], "it is in memory");
        world.remote.take_calls();
        world.cacheme.get(&node).await.unwrap();
        assert_ne!(world.remote.take_calls(), [], "this one is not");
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_lost_connection_fences_what_is_in_flight() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    let gate = source.hold();
    let old = call(&theirs.cacheme, &node, &source, Caller::Get);
    gate.reached().await;
    ours.remote.cut_bus();
    let new = 1_000 + source.bump();
    // Nobody hears of it.
    ours.cacheme.invalidate(&node).await.unwrap();
    tokio::time::sleep(AWAY).await;
    settle().await;
    assert_eq!(ours.remote.listeners(), 2);
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new);
    gate.open();
    assert_eq!(old.await.unwrap(), 1_000);
    settle().await;
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new);
}

#[tokio::test(start_paused = true)]
async fn c3_a_change_that_cannot_be_published_now_is_published_later() {
    for trouble in [Trouble::Refuses, Trouble::Hangs] {
        for kind in [Change::Invalidate, Change::Set, Change::Refresh] {
            let (ours, theirs, source) = pair().await;
            let node = Item::new(1, &source);
            theirs.cacheme.get(&node).await.unwrap();
            let new = 1_000 + source.bump();
            ours.remote.set_trouble_with(Operation::Publish, trouble);
            let reported = match kind {
                Change::Invalidate => ours.cacheme.invalidate(&node).await,
                Change::Set => ours.cacheme.set(&node, new).await,
                Change::Refresh => ours.cacheme.refresh(&node).await.map(drop),
            };
            let what = format!("{trouble:?}, {kind:?}");
            match reported {
                Err(Error::NotInvalidated { name, keys, .. }) => {
                    assert_eq!((name.as_str(), keys), ("remote", 1), "{what}");
                }
                other => panic!("{what}: {other:?}"),
            }
            assert!(ours.cacheme.stats::<Item>().tiers[1].troubles > 0, "{what}");
            assert_eq!(theirs.cacheme.get(&node).await.unwrap(), 1_000, "{what}");
            ours.remote.recover();
            tokio::time::sleep(2 * SECOND).await;
            assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new, "{what}");
            assert_eq!(ours.cacheme.get(&node).await.unwrap(), new, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c3_t3_a_storage_without_a_bus_for_us_is_used_without_it_and_logged_once() {
    let (told, _guard) = Logged::listen();
    let remote = MemoryRemote::with_bus();
    remote.set_trouble_with(Operation::Publish, Trouble::Lacks);
    remote.set_trouble_with(Operation::Listen, Trouble::Lacks);
    let (world, source) = (World::over(remote.clone()).await, Source::default());
    for id in 0..3 {
        let node = Item::new(id, &source);
        world.cacheme.get(&node).await.unwrap();
        world.cacheme.invalidate(&node).await.unwrap();
        tokio::time::sleep(SECOND).await;
    }
    let warnings = told.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("local copies live for their ttl"),
        "{warnings:?}"
    );
    assert_eq!(world.cacheme.stats::<Item>().tiers[1].troubles, 3);
    // Once it is there it is used, and that is logged when it has lasted for some seconds.
    remote.recover();
    tokio::time::sleep(15 * SECOND).await;
    assert_eq!(remote.listeners(), 1);
    let news = told.at(Level::INFO);
    assert!(
        news.iter()
            .any(|text| text.contains("those of other processes received, again")),
        "{news:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn t1_t3_a_bus_that_never_answers_costs_a_bounded_wait_when_registered_and_is_logged() {
    let (told, _guard) = Logged::listen();
    let remote = MemoryRemote::with_bus();
    remote.set_trouble_with(Operation::Listen, Trouble::Hangs);
    let cacheme = Cacheme::builder().prefix("test").build().unwrap();
    let storage = Storage::remote(remote.clone());
    let (registered, took) = timed(cacheme.register_storage("remote", storage)).await;
    registered.unwrap();
    assert_eq!(took, Storage::DEFAULT_TIMEOUT * 10);
    let warnings = told.at(Level::WARN);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let source = Source::default();
    assert_eq!(cacheme.get(&RemoteItem::new(1, &source)).await.unwrap(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn c3_a_bus_that_is_not_wanted_is_not_used() {
    let remote = MemoryRemote::with_bus();
    let cacheme = Cacheme::builder().prefix("test").build().unwrap();
    let storage = Storage::remote(remote.clone()).with_bus(false);
    cacheme.register_storage("remote", storage).await.unwrap();
    let source = Source::default();
    let node = RemoteItem::new(1, &source);
    cacheme.get(&node).await.unwrap();
    remote.take_calls();
    cacheme.invalidate(&node).await.unwrap();
    settle().await;
    assert_eq!(remote.take_calls(), [(Operation::Remove, 1)]);
    assert_eq!(remote.listeners(), 0);
}

#[tokio::test(start_paused = true)]
async fn c3_an_instance_that_is_gone_listens_no_longer() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    theirs.cacheme.get(&node).await.unwrap();
    ours.remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    theirs.cacheme.invalidate(&node).await.unwrap_err();
    drop(theirs);
    settle().await;
    assert_eq!(ours.remote.listeners(), 1);
    // What it owes is still paid, without listening for it.
    ours.remote.recover();
    ours.remote.take_calls();
    tokio::time::sleep(SECOND).await;
    assert_eq!(ours.remote.count(Operation::Remove), 1);
    assert_eq!(ours.remote.listeners(), 1);
}

#[test]
fn c3_a_runtime_that_ends_takes_its_trust_with_it_and_the_next_listens_anew() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let (source, first) = (Source::default(), runtime());
    let node = Item::new(1, &source);
    let (ours, theirs) = first.block_on(async {
        let (ours, theirs, _) = pair().await;
        theirs.cacheme.get(&node).await.unwrap();
        (ours, theirs)
    });
    drop(first);
    assert_eq!(ours.remote.listeners(), 0);
    let new = 1_000 + source.bump();
    runtime().block_on(async {
        // Nobody of theirs hears this.
        ours.cacheme.invalidate(&node).await.unwrap();
        assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new);
        settle().await;
        assert_eq!(
            ours.remote.listeners(),
            2,
            "whoever uses the storage listens again"
        );
    });
}
