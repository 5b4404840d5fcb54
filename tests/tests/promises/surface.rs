//! Set-up: the builder, `register_storage`, `nodes`, `check`, dynamic nodes, the loader's context.

use std::time::Duration;

use cacheme::{Bincode, BoxError, Cacheme, DynamicKind, Error, LoadContext, Node, Policy, Storage};
use cacheme_storage::{Acquire, LeaseToken, LocalCache, RemoteStorage as _};
use tests::MemoryRemote;

use crate::world::{Item, RemoteItem, SECOND, Source, World};

#[test]
fn a_prefix_must_be_plain() {
    for prefix in ["", "a:b", "ä", "a b", "{a}"] {
        let error = Cacheme::builder().prefix(prefix).build().unwrap_err();
        assert!(
            matches!(&error, Error::Prefix { prefix: it, .. } if it == prefix),
            "{error}"
        );
    }
    let cacheme = Cacheme::builder().prefix("A-z_0.9@").build().unwrap();
    let node = RemoteItem::new(1, &Source::default());
    assert_eq!(cacheme.full_key(&node), "A-z_0.9@:remote-item:1:v1");
    assert_eq!(
        Cacheme::builder().build().unwrap().full_key(&node),
        "cacheme:remote-item:1:v1"
    );
}

#[tokio::test]
async fn a_storage_name_is_taken_once() {
    let world = World::new().await;
    let other = Storage::open("local://lru?size=1").unwrap();
    let error = world.cacheme.register_storage("local", other).await.unwrap_err();
    assert!(matches!(&error, Error::StorageRegistered { storage } if storage == "local"));
}

#[tokio::test]
async fn nodes_lists_every_kind_of_the_program() {
    let world = World::new().await;
    let nodes = world.cacheme.nodes();
    let item = nodes
        .iter()
        .find(|node| node.name == "Item")
        .expect("it was never used");
    assert_eq!(
        (&*item.key, &*item.version, item.serializable),
        ("item:{id}", "v1", true)
    );
    let tiers: Vec<_> = item.tiers.iter().map(|tier| (&*tier.storage, tier.ttl)).collect();
    assert_eq!(
        tiers,
        [("local", Some(60 * SECOND)), ("remote", Some(600 * SECOND))]
    );
    assert_eq!(item.load_timeout, Policy::<u64>::DEFAULT_LOAD_TIMEOUT);
    assert!(nodes.is_sorted_by(|a, b| a.name <= b.name));
    assert!(!nodes.iter().any(|node| node.name == "surface-listed"));

    // One that is named at run time is listed where it was met.
    let kind = DynamicKind::new(Policy::<u64>::new("surface-listed", "").tier("local", None)).unwrap();
    world.cacheme.set(&kind.node(&1), 1).await.unwrap();
    let nodes = world.cacheme.nodes();
    let listed = nodes.iter().find(|node| node.name == "surface-listed").unwrap();
    assert_eq!(&*listed.key, "surface-listed:{key}");
    assert_eq!(world.cacheme.all_stats().len(), 1);
}

#[tokio::test]
async fn check_names_every_mistake_with_node_and_storage() {
    let cacheme = Cacheme::builder().nodes::<(Item, RemoteItem)>().build().unwrap();
    let Err(Error::Check(found)) = cacheme.check() else {
        panic!("nothing is registered")
    };
    let named = |name: &str, at: &str| {
        found.iter().any(|error| {
            matches!(error, Error::StorageNotRegistered { node, storage } if node == name && storage == at)
        })
    };
    assert!(named("Item", "local") && named("Item", "remote") && named("RemoteItem", "remote"));
    let text = Error::Check(found).to_string();
    assert!(text.contains(
        "node `Item` has a tier on storage `remote`, which is not registered; call `register_storage(\"remote\", …)` at start-up"
    ));

    // A remote tier where the node has no serializer.
    let kind = DynamicKind::new(Policy::<u64>::new("surface-bare", "").tier("bytes", None)).unwrap();
    cacheme
        .register_storage("bytes", Storage::remote(MemoryRemote::new()))
        .await
        .unwrap();
    let error = cacheme.set(&kind.node(&1), 1).await.unwrap_err();
    assert!(
        matches!(&error, Error::NoSerializer { node, storage } if node == "surface-bare" && storage == "bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_before_set_up_names_the_storage_and_works_after_it() {
    let (cacheme, source) = (Cacheme::builder().build().unwrap(), Source::default());
    let node = RemoteItem::new(1, &source);
    let error = cacheme.get(&node).await.unwrap_err();
    assert!(
        matches!(&error, Error::StorageNotRegistered { storage, .. } if storage == "remote"),
        "{error}"
    );
    cacheme
        .register_storage("remote", Storage::remote(MemoryRemote::new()))
        .await
        .unwrap();
    assert_eq!(cacheme.get(&node).await.unwrap(), 1_000);
}

#[tokio::test]
async fn dynamic_kinds_of_one_name_are_one_kind() {
    let policy = || {
        Policy::<String>::new("surface-dynamic", "")
            .version("v2")
            .tier("local", Some(SECOND))
            .serializer(Bincode)
    };
    let world = World::new().await;
    let (one, two) = (
        DynamicKind::new(policy()).unwrap(),
        DynamicKind::new(policy()).unwrap(),
    );
    world.cacheme.set(&one.node("a"), "x".into()).await.unwrap();
    assert_eq!(
        world.cacheme.peek(&two.node("a")).await.unwrap().as_deref(),
        Some("x")
    );
    for other in [
        policy().version("v3"),
        policy().tier("more", None),
        policy().load_timeout(SECOND),
        policy().lease(None),
        policy().serializer(cacheme::Json),
    ] {
        let error = DynamicKind::new(other).unwrap_err();
        assert!(error.to_string().contains("another policy"), "{error}");
    }
    assert!(
        DynamicKind::new(
            Policy::<u64>::new("surface-dynamic", "")
                .version("v2")
                .tier("local", Some(SECOND))
        )
        .is_err()
    );
}

#[tokio::test]
async fn dynamic_keys_are_escaped() {
    let kind = DynamicKind::new(Policy::<u64>::new("surface:odd name", "")).unwrap();
    assert_eq!(kind.node("a:b").key(), "surface%3Aodd%20name:a%3Ab");
    assert_eq!(kind.node(&("a", 1)).key(), "surface%3Aodd%20name:(a,1)");
    assert_ne!(kind.node("(a,1)").key(), kind.node(&("a", 1)).key());
}

/// A node whose loader says how long its value may live.
#[derive(Node, Clone)]
#[node(key = "surface-told:{0}", value = u64, tier(storage = "local", ttl = "60s"), tier(storage = "remote", ttl = "10m"), load = load_published)]
struct PublishedNode(u64);

async fn load_published(node: &PublishedNode, cx: &mut LoadContext<PublishedNode>) -> Result<u64, BoxError> {
    match node.0 {
        0 => cx.do_not_store(),
        // The shortest counts, and never more than the tiers say.
        id => {
            cx.ttl(Duration::from_secs(3_600));
            cx.ttl(Duration::from_secs(id));
            cx.ttl(Duration::from_secs(2 * id));
        }
    }
    Ok(node.0)
}

#[tokio::test(start_paused = true)]
async fn a_loader_shortens_the_life_of_its_value_or_keeps_it_out() {
    let world = World::new().await;
    world
        .cacheme
        .get_all(&[PublishedNode(0), PublishedNode(5), PublishedNode(7_000)])
        .await
        .unwrap();
    assert_eq!(world.cacheme.get(&PublishedNode(3)).await.unwrap(), 3);
    let ttl = |id| world.remote.ttl(&world.cacheme.full_key(&PublishedNode(id)));
    assert_eq!((ttl(3), ttl(5)), (Some(3 * SECOND), Some(5 * SECOND)));
    assert_eq!(ttl(7_000), Some(600 * SECOND), "only ever shorter");
    assert_eq!(world.cacheme.peek(&PublishedNode(0)).await.unwrap(), None);
    world.advance(4 * SECOND).await;
    assert_eq!(world.cacheme.peek(&PublishedNode(3)).await.unwrap(), None);
    assert_eq!(world.cacheme.peek(&PublishedNode(5)).await.unwrap(), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_loader_reads_other_nodes_of_its_instance() {
    #[derive(Node, Clone)]
    #[node(key = "surface-sum", value = u64, tier(storage = "local", ttl = "60s"), load = load_sum)]
    struct SumNode {
        #[node(skip)]
        source: Source,
    }

    async fn load_sum(node: &SumNode, cx: &mut LoadContext<SumNode>) -> Result<u64, BoxError> {
        let items = [1, 2, 3].map(|id| Item::new(id, &node.source));
        Ok(cx.cacheme().get_all(&items).await?.into_iter().sum())
    }

    let (world, source) = (World::new().await, Source::default());
    let sum = SumNode {
        source: source.clone(),
    };
    assert_eq!(world.cacheme.get(&sum).await.unwrap(), 6_000);
    assert_eq!(world.cacheme.get(&Item::new(2, &source)).await.unwrap(), 2_000);
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn set_with_ttl_only_shortens() {
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let key = world.cacheme.full_key(&node);
    world.cacheme.set_with_ttl(&node, 1, 5 * SECOND).await.unwrap();
    assert_eq!(world.remote.ttl(&key), Some(5 * SECOND));
    world
        .cacheme
        .set_with_ttl(&node, 1, 5_000 * SECOND)
        .await
        .unwrap();
    assert_eq!(world.remote.ttl(&key), Some(600 * SECOND));
    let error = world
        .cacheme
        .set_with_ttl(&node, 1, Duration::ZERO)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Policy { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn invalidate_all_calls_each_tier_once() {
    let (world, source) = (World::new().await, Source::default());
    let nodes: Vec<_> = [1, 2, 3, 2].map(|id| Item::new(id, &source)).into();
    world.cacheme.get_all(&nodes).await.unwrap();
    world.remote.take_calls();
    world.cacheme.invalidate_all(&nodes).await.unwrap();
    assert_eq!(world.remote.take_calls(), [(tests::Operation::Remove, 3)]);
    assert!(world.remote.is_empty());
    world.cacheme.invalidate_all::<Item>(&[]).await.unwrap();
    assert_eq!(world.remote.take_calls(), []);
}

#[tokio::test(start_paused = true)]
async fn tiers_are_looked_at_in_their_order() {
    // A remote tier before a local one: the local is behind, and is asked only where the remote has nothing.
    let cacheme = Cacheme::builder().build().unwrap();
    let remote = MemoryRemote::new();
    let policy = Policy::<u64>::new("surface-order", "")
        .tier("front", Some(SECOND))
        .tier("back", None)
        .serializer(Bincode);
    let node = DynamicKind::new(policy).unwrap().node(&1);
    cacheme
        .register_storage("front", Storage::remote(remote.clone()))
        .await
        .unwrap();
    let back = Storage::local(LocalCache::lru(10).build());
    cacheme.register_storage("back", back).await.unwrap();
    cacheme.set(&node, 1).await.unwrap();
    tokio::time::advance(2 * SECOND).await;
    let found: u64 = cacheme
        .get_with(&node, || async { panic!("the back tier has it") })
        .await;
    assert_eq!(found, 1);
    let all = cacheme.all_stats();
    let tiers: Vec<_> = all[0].tiers.iter().map(|tier| (tier.hits, tier.misses)).collect();
    assert_eq!(tiers, [(0, 1), (1, 0)]);
    // A copy in memory may be older than what another process invalidated: the remote tier is not filled from it.
    assert_eq!(remote.value(&cacheme.full_key(&node)), None);
}

/// In a remote tier first, and in memory behind it.
#[derive(Node, Clone, Debug)]
#[node(
    key = "behind:{0}",
    value = u64,
    serializer = Bincode,
    tier(storage = "front", ttl = "1h"),
    tier(storage = "back", ttl = "1h"),
    load = newest,
)]
struct Behind(u64);

async fn newest(_: &Behind, _: &mut LoadContext<Behind>) -> Result<u64, BoxError> {
    Ok(3)
}

/// A process with a memory of its own behind the storage that it shares.
async fn behind(remote: &MemoryRemote) -> Cacheme {
    let cacheme = Cacheme::builder().build().unwrap();
    let front = Storage::remote(remote.clone());
    cacheme.register_storage("front", front).await.unwrap();
    let back = Storage::local(LocalCache::lru(10).build());
    cacheme.register_storage("back", back).await.unwrap();
    cacheme
}

#[tokio::test(start_paused = true)]
async fn reads_do_not_go_back_to_what_lies_behind_something_newer() {
    let remote = MemoryRemote::new();
    let (ours, other) = (behind(&remote).await, behind(&remote).await);
    let nodes = [Behind(1), Behind(2)];
    for node in &nodes {
        ours.set(node, 1).await.unwrap();
        other.set(node, 2).await.unwrap();
    }
    assert_eq!(ours.get_all(&nodes).await.unwrap(), [2, 2]);
    let peeked = Behind(3);
    ours.set(&peeked, 1).await.unwrap();
    other.set(&peeked, 2).await.unwrap();
    assert_eq!(ours.peek(&peeked).await.unwrap(), Some(2));
    other.invalidate_all(&nodes).await.unwrap();
    other.invalidate(&peeked).await.unwrap();
    assert_eq!(ours.get_all(&nodes).await.unwrap(), [3, 3]);
    assert_eq!(ours.peek(&peeked).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn c2_what_a_remote_tier_refuses_is_not_left_behind_it() {
    let remote = MemoryRemote::new();
    let (ours, other) = (behind(&remote).await, behind(&remote).await);
    let node = Behind(1);
    let load = || async {
        other.invalidate(&node).await.unwrap();
        1
    };
    assert_eq!(ours.get_with(&node, load).await, 1, "whoever asked is given it");
    assert_eq!(ours.get(&node).await.unwrap(), 3, "but it is not kept");
}

/// Two remote tiers, of which the nearer forgets sooner.
#[derive(Node, Clone, Debug)]
#[node(
    key = "deep:{0}",
    value = u64,
    serializer = Bincode,
    tier(storage = "front", ttl = "1s"),
    tier(storage = "deep", ttl = "1h"),
    load = newer,
)]
struct Deep(u64);

async fn newer(_: &Deep, _: &mut LoadContext<Deep>) -> Result<u64, BoxError> {
    Ok(2)
}

#[tokio::test(start_paused = true)]
async fn c1_nothing_is_copied_to_a_nearer_remote_tier_behind_a_refresh() {
    let (front, deep) = (MemoryRemote::new(), MemoryRemote::new());
    let process = async || {
        let cacheme = Cacheme::builder().build().unwrap();
        for (name, remote) in [("front", &front), ("deep", &deep)] {
            let storage = Storage::remote(remote.clone());
            cacheme.register_storage(name, storage).await.unwrap();
        }
        cacheme
    };
    let (ours, other) = (process().await, process().await);
    ours.set(&Deep(1), 1).await.unwrap();
    tokio::time::advance(2 * SECOND).await;
    let asked = deep.hold_before(tests::Operation::Acquire);
    let refreshing = ours.clone();
    let refresh = tokio::spawn(async move { refreshing.refresh(&Deep(1)).await });
    asked.reached().await;
    // A third process refreshes as well, and its load fails: what it held is free.
    let (key, token) = (ours.full_key(&Deep(1)), LeaseToken(3));
    let keys = [key.as_bytes()];
    front
        .acquire(&keys, &Acquire::new(token, SECOND).stealing())
        .await
        .unwrap();
    front.release(&keys, token).await.unwrap();
    assert_eq!(other.get(&Deep(1)).await.unwrap(), 1);
    asked.open();
    assert_eq!(refresh.await.unwrap().unwrap(), 2);
    assert_eq!(ours.get(&Deep(1)).await.unwrap(), 2);
}
