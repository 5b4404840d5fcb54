//! Values of many kilobytes that are held in place, not behind a pointer.

use std::future::Future;
use std::time::Duration;

use cacheme::{BoxError, Cacheme, KeyWriter, Load, LoadContext, Node, Policy, Storage, memoize};
use cacheme_storage::{Fence, LocalEntry, LocalValue, Lru, TinyLfu};
use tests::MemoryRemote;

/// The stack of a thread, as tokio and the standard library make it.
const STACK: usize = 2 << 20;

/// `N` bytes in place.
#[derive(Clone, Debug, PartialEq)]
struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> serde::Serialize for Bytes<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const N: usize> serde::Deserialize<'de> for Bytes<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let bytes = bytes.try_into();
        bytes
            .map(Self)
            .map_err(|_| serde::de::Error::custom("of another length"))
    }
}

#[derive(Clone, Debug)]
struct BytesNode<const N: usize> {
    id: u8,
    storages: &'static [&'static str],
}

impl<const N: usize> BytesNode<N> {
    fn new(id: u8, storages: &'static [&'static str]) -> Self {
        Self { id, storages }
    }
}

impl<const N: usize> Node for BytesNode<N> {
    type Value = Bytes<N>;

    fn policy(&self) -> Policy<Bytes<N>> {
        let policy = Policy::new("BytesNode", "bytes:{N}:{id}").serializer(cacheme::MsgPack);
        let hour = Some(Duration::from_secs(3_600));
        let tier = |policy: Policy<Bytes<N>>, storage: &&'static str| policy.tier(*storage, hour);
        self.storages.iter().fold(policy, tier)
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal("bytes:");
        key.part(&N);
        key.literal(":");
        key.part(&self.id);
    }
}

impl<const N: usize> Load for BytesNode<N> {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<Bytes<N>, BoxError> {
        tokio::task::yield_now().await;
        Ok(Bytes([self.id; N]))
    }
}

#[memoize(node = BytesNode::<N>::new(id, storages), cacheme = cacheme)]
async fn memoized<const N: usize>(
    cacheme: &Cacheme,
    id: u8,
    storages: &'static [&'static str],
) -> Result<Bytes<N>, NoBytes> {
    tokio::task::yield_now().await;
    if id == 0 {
        return Err(NoBytes);
    }
    Ok(Bytes([id; N]))
}

#[derive(Clone, Debug, PartialEq)]
struct NoBytes;

async fn instance() -> Cacheme {
    let cacheme = Cacheme::builder().build().unwrap();
    for (name, url) in [("tlfu", "local://tlfu?size=100"), ("lru", "local://lru?size=100")] {
        cacheme
            .register_storage(name, Storage::open(url).unwrap())
            .await
            .unwrap();
    }
    let remote = Storage::remote(MemoryRemote::new());
    cacheme.register_storage("remote", remote).await.unwrap();
    cacheme
}

const CHAINS: [&[&str]; 4] = [&["tlfu"], &["lru"], &["remote"], &["lru", "remote"]];

/// The last byte of what a call gives. Apart, since a debug build keeps room for each value that a function names.
async fn last<const N: usize, E>(call: impl Future<Output = Result<Bytes<N>, E>>) -> Result<u8, E> {
    Ok(Box::pin(call).await?.0[N - 1])
}

async fn last_of_all<const N: usize>(cacheme: &Cacheme, nodes: &[BytesNode<N>]) -> Vec<u8> {
    let all = cacheme.get_all(nodes).await.unwrap();
    all.iter().map(|bytes| bytes.0[N - 1]).collect()
}

async fn last_with<const N: usize>(cacheme: &Cacheme, node: BytesNode<N>) -> u8 {
    let load = || async { Bytes([node.id; N]) };
    cacheme.get_with(&node, load).await.0[N - 1]
}

async fn last_peeked<const N: usize>(cacheme: &Cacheme, node: BytesNode<N>) -> Option<u8> {
    let peeked = cacheme.peek(&node).await.unwrap();
    peeked.map(|bytes| bytes.0[N - 1])
}

async fn set<const N: usize>(cacheme: &Cacheme, node: BytesNode<N>) {
    cacheme.set(&node, Bytes([node.id; N])).await.unwrap();
}

async fn every_call<const N: usize>(storages: &'static [&'static str]) {
    let cacheme = instance().await;
    let node = |id| BytesNode::<N>::new(id, storages);
    for turn in ["a miss", "a hit"] {
        assert_eq!(last(cacheme.get(&node(1))).await.unwrap(), 1, "{turn}");
        let all = [node(1), node(2), node(3)];
        assert_eq!(Box::pin(last_of_all(&cacheme, &all)).await, [1, 2, 3], "{turn}");
        assert_eq!(Box::pin(last_with(&cacheme, node(4))).await, 4, "{turn}");
        let memoized = |id| last(memoized::<N>(&cacheme, id, storages));
        assert_eq!(memoized(5).await, Ok(5), "{turn}");
        assert_eq!(memoized(0).await, Err(NoBytes), "{turn}");
        assert_eq!(Box::pin(last_peeked(&cacheme, node(1))).await, Some(1), "{turn}");
    }
    assert_eq!(last(cacheme.refresh(&node(1))).await.unwrap(), 1);
    Box::pin(set(&cacheme, node(6))).await;
    assert_eq!(last(cacheme.get(&node(6))).await.unwrap(), 6);
    let task = tokio::spawn({
        let (cacheme, node) = (cacheme.clone(), node(7));
        async move { last(cacheme.get(&node)).await }
    });
    assert_eq!(task.await.unwrap().unwrap(), 7);
    cacheme.invalidate(&node(6)).await.unwrap();
    let (leader, waiter) = (node(8), node(8));
    let both = futures_util::future::join(last(cacheme.get(&leader)), last(cacheme.get(&waiter)));
    let both = both.await;
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (8, 8));
}

/// Runs every call on a thread with a stack as small as threads have; tasks run there as well.
fn on_a_small_stack<const N: usize>() {
    let work = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        for storages in CHAINS {
            runtime.block_on(Box::pin(every_call::<N>(storages)));
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    thread.unwrap().join().unwrap();
}

#[test]
fn t2_values_of_64_kib_in_place_fit_a_stack_of_2_mib() {
    on_a_small_stack::<{ 64 << 10 }>();
}

/// What the futures of all calls take for a value of `N` bytes. Nothing is polled.
async fn sizes<const N: usize>(cacheme: &Cacheme) -> Vec<(&'static str, usize)> {
    let node = BytesNode::<N>::new(1, &["lru", "remote"]);
    let nodes = [node.clone(), BytesNode::<N>::new(2, &["lru", "remote"])];
    vec![
        ("get", size_of_val(&cacheme.get(&node))),
        ("free get", size_of_val(&cacheme::get(&node))),
        ("get_all", size_of_val(&cacheme.get_all(&nodes))),
        ("free get_all", size_of_val(&cacheme::get_all(&nodes))),
        (
            "get_with",
            size_of_val(&cacheme.get_with(&node, || async { Bytes([1; N]) })),
        ),
        ("memoized", size_of_val(&memoized::<N>(cacheme, 1, &["lru"]))),
        ("refresh", size_of_val(&cacheme.refresh(&node))),
        ("set", size_of_val(&cacheme.set(&node, Bytes([1; N])))),
        ("free set", size_of_val(&cacheme::set(&node, Bytes([1; N])))),
        (
            "set_with_ttl",
            size_of_val(&cacheme.set_with_ttl(&node, Bytes([1; N]), Duration::from_secs(1))),
        ),
        ("peek", size_of_val(&cacheme.peek(&node))),
        ("free peek", size_of_val(&cacheme::peek(&node))),
    ]
}

#[tokio::test]
async fn t2_futures_are_as_small_for_large_values_as_for_small_ones() {
    /// The largest future of a call.
    const MOST: usize = 8_192;
    let cacheme = instance().await;
    let (small, large) = (sizes::<1>(&cacheme).await, sizes::<{ 64 << 10 }>(&cacheme).await);
    assert_eq!(small, large);
    for (call, size) in large {
        assert!(size <= MOST, "{call}: {size}");
    }
}

/// The engine by itself, which keeps what it is given where it is.
fn engine_on_a_small_stack<const N: usize>() {
    let work = || {
        let (tlfu, lru) = (TinyLfu::new(40), Lru::new(4));
        for id in 0..100u8 {
            assert!(tlfu.insert(id, [id; N]) && lru.insert(id, [id; N]));
            assert!(tlfu.get(&id).unwrap() == [id; N] && lru.get(&id).unwrap() == [id; N]);
            assert!(tlfu.read(&id, |bytes| bytes[0]) == Some(id));
        }
        tlfu.remove(&99);
        lru.remove(&99);
        tlfu.clear();
        lru.clear();
        let storage = Storage::open("local://tlfu?size=4").unwrap();
        let local = storage.as_local().unwrap();
        for id in 0..10u8 {
            let entry = LocalEntry::new(LocalValue::new([id; N]), None);
            assert!(local.insert(&[id], entry, &Fence::new()));
            let value = local.get(&[id]).unwrap();
            assert!(value.downcast_ref::<[u8; N]>().unwrap()[0] == id);
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work);
    thread.unwrap().join().unwrap();
}

#[test]
fn t2_the_engine_keeps_values_of_64_kib_in_place_on_a_stack_of_2_mib() {
    engine_on_a_small_stack::<{ 64 << 10 }>();
}
