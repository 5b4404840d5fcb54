//! What a hit costs in heap allocations: in memory nothing, whatever the key is, and few in a remote storage. A process of
//! its own, since its allocator counts.

#![allow(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use cacheme::{BoxError, Cacheme, DynamicKind, LoadContext, Node, Policy, Storage, memoize};
use cacheme_storage::{
    Acquire, Acquired, Bytes, Capabilities, Filled, LeaseToken, RemoteEntry, RemoteStorage,
};

struct Counting;

thread_local! {
    /// Allocations of this thread, or `None` while nobody counts.
    static COUNT: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count_one() {
    // A thread that is being torn down has no locals left, and measures nothing.
    let _ = COUNT.try_with(|count| count.set(count.get().map(|count| count + 1)));
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `run` allocates on this thread.
fn allocations<T>(run: impl FnOnce() -> T) -> (T, usize) {
    COUNT.set(Some(0));
    let result = run();
    (result, COUNT.take().expect("nobody else stops the count"))
}

/// Runs a future that must not wait, as a hit in memory does not.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a hit in memory waits"),
    }
}

type Shared = Arc<[u64]>;

#[derive(Node, Clone)]
#[node(key = "user:{user_id}:info", value = u64, tier(storage = "local", ttl = "1h"), load = load_number)]
struct NumberNode {
    user_id: i64,
}

async fn load_number(node: &NumberNode, _cx: &mut LoadContext<NumberNode>) -> Result<u64, BoxError> {
    Ok(node.user_id.unsigned_abs())
}

#[derive(Node, Clone)]
#[node(
    key = "user:{name}:{group}/{part:display}",
    value = Shared,
    serializer = none,
    tier(storage = "local", ttl = "1h"),
    load = load_shared
)]
struct TextNode {
    name: String,
    group: Option<(u64, &'static str)>,
    part: std::net::Ipv4Addr,
}

async fn load_shared(_: &TextNode, _cx: &mut LoadContext<TextNode>) -> Result<Shared, BoxError> {
    Ok(vec![1, 2, 3].into())
}

#[memoize(node = NumberNode { user_id })]
async fn memoized(db: &str, user_id: i64) -> Result<u64, std::fmt::Error> {
    panic!("{db} is asked for {user_id}, which is in memory")
}

#[memoize(key = "borrowed:{name}:{id}", ttl = "1h", cacheme = cacheme)]
async fn memoized_by_borrowed_text(cacheme: &Cacheme, name: &str, id: u64) -> u64 {
    name.len() as u64 + id
}

struct Repository(Cacheme);

impl Repository {
    #[memoize(key = "method:{name}:{id}", ttl = "1h", cacheme = &self.0)]
    async fn memoized_method(&self, name: &str, id: u64) -> u64 {
        name.len() as u64 + id
    }
}

/// A string key that is borrowed by the call is copied by its node, since nodes own their fields: an `Arc` does not.
#[derive(Node, Clone)]
#[node(key = "shared:{0}", value = Shared, serializer = none, tier(storage = "local"))]
struct ArcNode(Arc<str>);

#[memoize(node = ArcNode(Arc::clone(name)))]
async fn memoized_by_text(name: &Arc<str>) -> Shared {
    vec![name.len() as u64].into()
}

#[derive(Node, Clone)]
#[node(key = "formatted:{0:display}", value = u64, tier(storage = "local"))]
struct FormattedNode(Formatted);

/// What a `format!` on the way would look like to this test.
#[derive(Clone)]
struct Formatted(u64);

impl std::fmt::Display for Formatted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("number {}", self.0))
    }
}

#[tokio::test]
async fn a_hit_in_memory_allocates_nothing() {
    for url in ["local://lru?size=1000", "local://tlfu?size=1000"] {
        let name = if url.contains("lru") { "local" } else { "other" };
        let storage = Storage::open(url).unwrap();
        let instance = Cacheme::builder().build().unwrap();
        instance.register_storage("local", storage.clone()).await.unwrap();
        // The process-wide one as well, which has the first of them.
        if name == "local" {
            cacheme::register_storage("local", storage).await.unwrap();
        }
        let number = NumberNode { user_id: -1 };
        let text = TextNode {
            name: "a name with spaces: escaped".into(),
            group: Some((7, "~")),
            part: [127, 0, 0, 1].into(),
        };
        let shared: Arc<str> = "key".into();
        for cacheme in [cacheme::default_instance(), &instance] {
            cacheme.get(&number).await.unwrap();
            cacheme.get(&text).await.unwrap();
        }
        memoized_by_text(&shared).await;

        let hit = allocations(|| at_once(cacheme::get(&number)).unwrap());
        assert_eq!(hit, (1, 0), "an integer key");
        let (value, count) = allocations(|| at_once(cacheme::get(&text)).unwrap());
        assert_eq!(
            (&*value, count),
            (&[1, 2, 3][..], 0),
            "a text key, escaped, and an `Arc` value"
        );
        let hit = allocations(|| at_once(instance.get(&number)).unwrap());
        assert_eq!(hit, (1, 0), "{url}");
        let (_, count) = allocations(|| at_once(instance.get(&text)).unwrap());
        assert_eq!(count, 0, "{url}");
        let hit = allocations(|| at_once(memoized("the database", -1)));
        assert_eq!(hit, (Ok(1), 0), "a memoized function");
        let (value, count) = allocations(|| at_once(memoized_by_text(&shared)));
        assert_eq!(
            (&*value, count),
            (&[3][..], 0),
            "a memoized function with a text key"
        );
        let repository = Repository(instance.clone());
        let borrowed = || memoized_by_borrowed_text(&instance, "a:b", 4);
        let method = || repository.memoized_method("a:b", 4);
        borrowed().await;
        method().await;
        assert_eq!(
            allocations(|| at_once(borrowed())),
            (7, 0),
            "a key of borrowed arguments"
        );
        assert_eq!(allocations(|| at_once(method())), (7, 0), "a memoized method");
        let hit = allocations(|| at_once(instance.get_with(&number, async || 0)));
        assert_eq!(hit, (1, 0), "get_with");
    }
}

#[tokio::test]
async fn what_allocates_is_counted() {
    let cacheme = Cacheme::builder().build().unwrap();
    let local = Storage::open("local://lru?size=10").unwrap();
    cacheme.register_storage("local", local).await.unwrap();
    let node = FormattedNode(Formatted(1));
    cacheme.set(&node, 1).await.unwrap();
    let (value, count) = allocations(|| at_once(cacheme.get_with(&node, async || 0)));
    assert_eq!(value, 1);
    assert!(count > 0, "a `format!` in the key goes unseen");
    // A key that is too long for the stack.
    let kind = DynamicKind::new(Policy::<u64>::new("allocations", "").tier("local", None)).unwrap();
    let node = kind.node(&"long".repeat(100));
    cacheme.set(&node, 1).await.unwrap();
    let (_, count) = allocations(|| at_once(cacheme.get_with(&node, async || 0)));
    assert!((1..=3).contains(&count), "{count}");
}

#[derive(Node, Clone)]
#[node(key = "remote:{0}", value = u64, tier(storage = "remote", ttl = "1h"), load = load_remote)]
struct RemoteNode(u64);

async fn load_remote(node: &RemoteNode, _cx: &mut LoadContext<RemoteNode>) -> Result<u64, BoxError> {
    Ok(node.0)
}

/// A server that answers at once. A call of it allocates its future and its answer, and nothing else.
#[derive(Default)]
struct AtOnce(Mutex<HashMap<Vec<u8>, Bytes>>);

#[async_trait]
impl RemoteStorage for AtOnce {
    fn location(&self) -> String {
        "at-once://".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none().with_leases()
    }

    async fn connect(&self) -> cacheme_storage::Result<()> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        1
    }

    async fn get(&self, keys: &[&[u8]]) -> cacheme_storage::Result<Vec<Option<Bytes>>> {
        let held = self.0.lock().unwrap();
        Ok(keys.iter().map(|key| held.get(*key).cloned()).collect())
    }

    async fn set(&self, _: &[RemoteEntry<'_>]) -> cacheme_storage::Result<()> {
        Ok(())
    }

    async fn remove(&self, _: &[&[u8]]) -> cacheme_storage::Result<()> {
        Ok(())
    }

    async fn clear(&self, _: &[u8]) -> cacheme_storage::Result<()> {
        Ok(())
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> cacheme_storage::Result<Vec<Acquired>> {
        let found = self.get(keys).await?.into_iter();
        Ok(found
            .map(|found| match found {
                None => request.granted_at(0),
                Some(value) => Acquired::Value(value.into()),
            })
            .collect())
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], _: LeaseToken) -> cacheme_storage::Result<Vec<Filled>> {
        let mut held = self.0.lock().unwrap();
        for entry in entries {
            held.insert(entry.key.to_vec(), entry.value.clone());
        }
        Ok(vec![Filled::Stored; entries.len()])
    }

    async fn release(&self, _: &[&[u8]], _: LeaseToken) -> cacheme_storage::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_hit_in_a_remote_storage_allocates_little_for_the_call_and_next_to_nothing_for_a_key() {
    let cacheme = Cacheme::builder().build().unwrap();
    let storage = Storage::remote(AtOnce::default());
    cacheme.register_storage("remote", storage).await.unwrap();
    let nodes: Vec<_> = (0..60).map(RemoteNode).collect();
    for _ in 0..2 {
        // The second time is a hit, after which what is kept for the next call is there.
        cacheme.get_all(&nodes).await.unwrap();
        cacheme.get(&nodes[7]).await.unwrap();
    }
    let (value, one) = allocations(|| at_once(cacheme.get(&nodes[7])).unwrap());
    assert_eq!(value, 7);
    let of = |count: usize| {
        let (values, allocated) = allocations(|| at_once(cacheme.get_all(&nodes[..count])).unwrap());
        assert_eq!(values.len(), count);
        allocated
    };
    let (twenty, sixty) = (of(20), of(60));
    assert!(one <= 10, "{one} for a key");
    assert!(twenty <= 23, "{twenty} for twenty keys");
    assert!(sixty <= twenty + 1, "{sixty} for sixty keys, {twenty} for twenty");
}
