//! What stays in memory: a process of its own, since it is the process that is measured.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

#[path = "never/fakes.rs"]
#[allow(dead_code, reason = "no gates are needed here")]
mod fakes;

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};

use crate::fakes::{Op, Remote};

#[derive(Node, Clone, Debug)]
#[node(key = "near:{0}", value = u64, tier(storage = "local", ttl = "1h"), load = load)]
struct NearNode(u64);

#[derive(Node, Clone, Debug)]
#[node(key = "far:{0}", value = u64, tier(storage = "local", ttl = "1h"), tier(storage = "remote", ttl = "1h"))]
struct FarNode(u64);

async fn load(node: &NearNode, _: &mut LoadContext<NearNode>) -> Result<u64, BoxError> {
    tokio::task::yield_now().await;
    Ok(node.0)
}

async fn instance(remote: &Remote) -> Cacheme {
    let cacheme = Cacheme::builder().prefix("memory").build().unwrap();
    let local = Storage::open("local://lru?size=1000").unwrap();
    cacheme.register_storage("local", local).await.unwrap();
    cacheme
        .register_storage("remote", remote.storage())
        .await
        .unwrap();
    cacheme
}

async fn invalidate(cacheme: &Cacheme, near: std::ops::Range<u64>, far: std::ops::Range<u64>) {
    for number in near {
        cacheme.invalidate(&NearNode(number)).await.unwrap();
    }
    for number in far {
        cacheme.invalidate(&FarNode(number)).await.unwrap();
    }
}

/// What each of a million keys left, were it a byte only, would be as much as this.
const SLACK: usize = 1_000_000;

/// Each test measures alone.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn c1_invalidations_of_keys_that_nobody_caches_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let remote = Remote::new("remote");
    let cacheme = instance(&remote).await;
    invalidate(&cacheme, 0..1_000, 0..1_000).await;
    let before = live();
    invalidate(&cacheme, 1_000..1_001_000, 1_000..21_000).await;
    let grown = live().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more");
    let in_flight = cacheme
        .all_stats()
        .iter()
        .map(|stats| stats.in_flight)
        .sum::<usize>();
    assert_eq!(in_flight, 0);
    assert_eq!(remote.calls(Op::Remove), 21_000);
}

#[tokio::test]
async fn l3_a_rush_of_flights_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let cacheme = instance(&Remote::new("remote")).await;
    // Fills the storage.
    for number in 0..2_000 {
        cacheme.get(&NearNode(number)).await.unwrap();
    }
    let before = live();
    let nodes: Vec<NearNode> = (0..50_000).map(NearNode).collect();
    cacheme.get_all(&nodes).await.unwrap();
    drop(nodes);
    let grown = live().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more");
    assert_eq!(cacheme.stats::<NearNode>().in_flight, 0);
}

/// Bytes on the heap.
fn live() -> usize {
    heap::LIVE.load(std::sync::atomic::Ordering::SeqCst)
}

#[allow(
    unsafe_code,
    reason = "an allocator that counts can be written in no other way"
)]
mod heap {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) static LIVE: AtomicUsize = AtomicUsize::new(0);

    #[global_allocator]
    static COUNTING: Counting = Counting;

    struct Counting;

    // SAFETY: the system's allocator does the work, and is asked exactly what we are asked.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            LIVE.fetch_add(layout.size(), Ordering::SeqCst);
            // SAFETY: our caller keeps the promises that the system's allocator asks for.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
            // SAFETY: as above; the pointer comes from `alloc`, and so from the system's allocator.
            unsafe { System.dealloc(pointer, layout) }
        }
    }
}
