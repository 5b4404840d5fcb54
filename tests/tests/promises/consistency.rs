//! C2 to C4. C1 is in `fences.rs`, the escaping of C4 in `tests/keys.rs`.

use std::time::Duration;

use cacheme::{
    Bincode, BoxError, Cacheme, DynamicKind, Error, KeyWriter, Load, LoadContext, Node, NotStored, Policy,
    Storage,
};
use cacheme_storage::{Acquire, LeaseToken, LocalCache, RemoteStorage as _};
use serde::{Deserialize, Serialize};
use tests::{MemoryRemote, Operation};

use crate::world::{Bulk, Item, RemoteItem, SECOND, Source, World, settle, timed};

#[tokio::test(start_paused = true)]
async fn c2_a_fill_whose_lease_an_invalidation_took_away_is_refused() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let node = Item::new(1, &source);
    let gate = source.hold();
    let (cacheme, at) = (world.cacheme.clone(), node.clone());
    let old = tokio::spawn(async move { cacheme.get(&at).await.unwrap() });
    gate.reached().await;
    source.bump();
    neighbour.cacheme.invalidate(&node).await.unwrap();
    gate.open();
    assert_eq!(old.await.unwrap(), 1_000, "it goes to who waited for it");
    settle().await;
    let stats = world.cacheme.stats::<Item>();
    assert_eq!(
        (
            stats.tiers[1].not_stored.get(NotStored::LeaseLost),
            stats.tiers[1].fills
        ),
        (1, 0)
    );
    assert_eq!(
        stats.tiers[0].fills, 0,
        "what the remote storage refused goes no nearer"
    );
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
    assert_eq!(neighbour.cacheme.get(&node).await.unwrap(), 1_001);
}

#[tokio::test(start_paused = true)]
async fn c2_a_set_of_another_process_outlives_a_load_under_way() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let nodes = Bulk::all([1, 2], &source);
    let gate = source.hold();
    let (cacheme, at) = (world.cacheme.clone(), nodes.clone());
    let old = tokio::spawn(async move { cacheme.get_all(&at).await.unwrap() });
    gate.reached().await;
    neighbour.cacheme.set(&nodes[0], 7).await.unwrap();
    gate.open();
    assert_eq!(old.await.unwrap(), [1_000, 2_000]);
    settle().await;
    assert_eq!(world.cacheme.get_all(&nodes).await.unwrap(), [7, 2_000]);
}

#[tokio::test(start_paused = true)]
async fn c2_processes_share_one_load() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let gate = source.hold();
    let nodes = Bulk::all([1, 2, 3], &source);
    let (cacheme, at) = (world.cacheme.clone(), nodes.clone());
    let ours = tokio::spawn(async move { cacheme.get_all(&at).await.unwrap() });
    gate.reached().await;
    let (cacheme, at) = (neighbour.cacheme.clone(), nodes.clone());
    let theirs = tokio::spawn(async move { cacheme.get_all(&at).await.unwrap() });
    settle().await;
    assert_eq!(source.batches().len(), 1);
    gate.open();
    assert_eq!(ours.await.unwrap(), [1_000, 2_000, 3_000]);
    let (values, took) = timed(theirs).await;
    assert_eq!(values.unwrap(), [1_000, 2_000, 3_000]);
    assert!(took < SECOND, "{took:?}");
    assert_eq!(source.batches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn c2_who_waited_in_vain_hands_out_and_stores_nothing() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    // A process that takes the lease again and again, and never fills.
    let (remote, key) = (world.remote.clone(), world.cacheme.full_key(&node));
    let lease = Policy::<u64>::DEFAULT_LEASE;
    let other = tokio::spawn(async move {
        for token in 0.. {
            let keys = [key.as_bytes()];
            remote
                .acquire(&keys, &Acquire::new(LeaseToken(token), lease).stealing())
                .await
                .unwrap();
            tokio::time::sleep(SECOND).await;
        }
    });
    settle().await;
    let (value, took) = timed(world.cacheme.get(&node)).await;
    assert_eq!(value.unwrap(), 1_000);
    assert!(took >= lease && took < lease + SECOND, "{took:?}");
    let stats = world.cacheme.stats::<Item>();
    assert_eq!(
        (stats.tiers[0].fills, stats.tiers[1].fills, stats.loads),
        (0, 0, 1)
    );
    assert_eq!(world.cacheme.peek(&node).await.unwrap(), None);
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn c3_without_a_bus_a_local_copy_outlives_an_invalidation_by_its_ttl_at_most() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let node = Item::new(1, &source);
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_000);
    world.advance(59 * SECOND).await;
    source.bump();
    neighbour.cacheme.invalidate(&node).await.unwrap();
    assert_eq!(neighbour.cacheme.get(&node).await.unwrap(), 1_001);
    world.advance(SECOND).await;
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 1_001);
}

/// Two types of nodes that write the same key. Written by hand: two derived ones would be refused in every test here.
macro_rules! twin {
    ($name:ident: $value:ty, $policy_name:literal, $key:literal, $is:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Node for $name {
            type Value = $value;

            fn policy(&self) -> Policy<$value> {
                Policy::new($policy_name, $key)
                    .tier("local", Some(60 * SECOND))
                    .tier("remote", Some(600 * SECOND))
                    .serializer(Bincode)
            }

            fn write_key(&self, key: &mut KeyWriter) {
                key.literal("twin");
            }
        }

        impl Load for $name {
            async fn load(&self, _cx: &mut LoadContext<Self>) -> Result<$value, BoxError> {
                Ok($is)
            }
        }
    };
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Older {
    id: u64,
}

/// As `Older` after a release: the bytes of one would do for the other, the names tell them apart.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Newer {
    number: u64,
}

twin!(OlderNode: Older, "Twin", "twin", Older { id: 1 });
twin!(NewerNode: Newer, "Twin", "twin", Newer { number: 2 });
twin!(NumberNode: u64, "Twin", "twin", 3);
twin!(OtherNumberNode: u64, "OtherTwin", "twin-of-another-template", 4);

/// Templates that can give one key, and some that look as if they could.
macro_rules! post {
    ($name:ident, $key:literal, $version:literal) => {
        #[derive(Clone)]
        struct $name;

        impl Node for $name {
            type Value = u64;

            fn policy(&self) -> Policy<u64> {
                Policy::new(stringify!($name), $key).version($version)
            }

            fn write_key(&self, key: &mut KeyWriter) {
                key.literal(concat!("other-", $key));
            }
        }
    };
}

post!(AnyPost, "c4-post:{slug}", "v1");
post!(LatestPost, "c4-post:latest", "v1");
post!(LatestPostNow, "c4-post:latest", "v2");
post!(PostOfYear, "c4-post:{year}:{slug}", "v1");
post!(PostOf2024, "c4-post:2024:{slug}", "v1");
post!(NumberedLatest, "c4-numbered:latest", "v1");
post!(Numbered12, "c4-numbered:12", "v1");
post!(DynamicTwelve, "c4-dynamic:12", "v1");
post!(DynamicInner, "c4-dynamic:a:b", "v1");

#[derive(Node, Clone)]
#[node(key = "c4-numbered:{id}", value = u64)]
struct Numbered {
    id: u64,
}

#[tokio::test(start_paused = true)]
async fn c4_nodes_whose_templates_can_give_one_key_are_refused() {
    let world = World::new().await;
    let cacheme = &world.cacheme;
    cacheme.peek(&AnyPost).await.unwrap();
    let error = cacheme.peek(&LatestPost).await.unwrap_err();
    let Error::SameKey {
        node, other, example, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (&**node, &**other, &**example),
        ("LatestPost", "AnyPost", "c4-post:latest")
    );
    let text = error.to_string();
    for part in [
        "`c4-post:{slug}`",
        "`c4-post:latest`",
        "`v1`",
        "change the key or the version",
    ] {
        assert!(text.contains(part), "{text}");
    }
    cacheme.peek(&LatestPostNow).await.unwrap();
    cacheme.peek(&PostOfYear).await.unwrap();
    assert!(matches!(
        cacheme.peek(&PostOf2024).await,
        Err(Error::SameKey { .. })
    ));

    // A derived node knows what its fields can be, and need not have been used where the builder named it.
    let knowing = Cacheme::builder().nodes::<(Numbered,)>().build().unwrap();
    let error = knowing.peek(&Numbered12).await.unwrap_err();
    assert!(
        matches!(&error, Error::SameKey { other, .. } if other == "Numbered"),
        "{error}"
    );
    cacheme.peek(&Numbered { id: 1 }).await.unwrap();
    cacheme.peek(&NumberedLatest).await.unwrap();
    let error = cacheme.peek(&Numbered12).await.unwrap_err();
    assert!(
        matches!(&error, Error::SameKey { other, .. } if other == "Numbered"),
        "{error}"
    );
    cacheme.peek(&Numbered { id: 1 }).await.unwrap();

    // So do those that are named at run time.
    let kind = DynamicKind::new(Policy::<u64>::new("c4-dynamic", "")).unwrap();
    cacheme.peek(&kind.node(&12)).await.unwrap();
    assert!(matches!(
        cacheme.peek(&DynamicTwelve).await,
        Err(Error::SameKey { .. })
    ));
    cacheme.peek(&DynamicInner).await.unwrap();
    // What was refused is in nobody's way.
    let other = World::new().await.cacheme;
    other.peek(&LatestPost).await.unwrap();
    assert!(matches!(other.peek(&AnyPost).await, Err(Error::SameKey { .. })));
}

#[tokio::test(start_paused = true)]
async fn c4_two_nodes_with_one_key_are_refused() {
    let world = World::new().await;
    world.cacheme.get(&OlderNode).await.unwrap();
    for error in [
        world.cacheme.get(&NumberNode).await.unwrap_err(),
        world.cacheme.get_all(&[NumberNode]).await.unwrap_err(),
        world.cacheme.invalidate(&NumberNode).await.unwrap_err(),
        world.cacheme.peek(&NumberNode).await.unwrap_err(),
        world.cacheme.set(&NumberNode, 1).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::SameKey { .. }), "{error}");
    }
    // What comes with the call still answers.
    assert_eq!(world.cacheme.get_with(&NumberNode, || async { 3 }).await, 3);
    assert_eq!(world.cacheme.get(&OlderNode).await.unwrap(), Older { id: 1 });
}

#[tokio::test(start_paused = true)]
async fn c4_an_older_shape_or_another_type_on_a_remote_storage_is_a_miss() {
    let world = World::new().await;
    assert_eq!(world.cacheme.get(&OlderNode).await.unwrap(), Older { id: 1 });
    let newer = world.neighbour().await;
    assert_eq!(newer.cacheme.get(&NewerNode).await.unwrap(), Newer { number: 2 });
    assert_eq!(newer.cacheme.stats::<NewerNode>().tiers[1].undecodable, 1);
    // Overwritten: a third process finds it.
    let third = world.neighbour().await;
    assert_eq!(
        third.cacheme.peek(&NewerNode).await.unwrap(),
        Some(Newer { number: 2 })
    );
    let number = world.neighbour().await;
    assert_eq!(number.cacheme.get_all(&[NumberNode]).await.unwrap(), [3]);
    // The same type of value under another node.
    let other = world.neighbour().await;
    assert_eq!(other.cacheme.peek(&OtherNumberNode).await.unwrap(), None);
    assert_eq!(other.cacheme.get(&OtherNumberNode).await.unwrap(), 4);
    assert_eq!(
        number.cacheme.get(&NumberNode).await.unwrap(),
        3,
        "its own copy in memory"
    );
}

#[tokio::test(start_paused = true)]
async fn c4_another_nodes_entry_in_a_shared_local_storage_is_a_miss() {
    let local = Storage::local(LocalCache::lru(10).build());
    let mut instances = Vec::new();
    for _ in 0..2 {
        let cacheme = Cacheme::builder().build().unwrap();
        cacheme.register_storage("local", local.clone()).await.unwrap();
        let remote = Storage::remote(MemoryRemote::new());
        cacheme.register_storage("remote", remote).await.unwrap();
        instances.push(cacheme);
    }
    assert_eq!(instances[0].get(&OlderNode).await.unwrap(), Older { id: 1 });
    assert_eq!(instances[1].peek(&NumberNode).await.unwrap(), None);
    assert_eq!(instances[1].get(&NumberNode).await.unwrap(), 3);
    assert_eq!(instances[0].get(&OlderNode).await.unwrap(), Older { id: 1 });
}

#[tokio::test(start_paused = true)]
async fn c4_instances_with_other_prefixes_share_nothing() {
    let (remote, source) = (MemoryRemote::new(), Source::default());
    let mut values = Vec::new();
    for prefix in ["one", "two"] {
        let cacheme = Cacheme::builder().prefix(prefix).build().unwrap();
        cacheme
            .register_storage("remote", Storage::remote(remote.clone()))
            .await
            .unwrap();
        values.push(cacheme.get(&RemoteItem::new(1, &source)).await.unwrap());
        source.bump();
    }
    assert_eq!(values, [1_000, 1_001]);
    assert_eq!(remote.count(Operation::Fill), 2);
    assert!(remote.value("one:remote-item:1:v1").is_some() && remote.value("two:remote-item:1:v1").is_some());
    assert!(remote.ttl("one:remote-item:1:v1").unwrap() > Duration::from_secs(599));
}
