//! Values whose `Drop` panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cacheme::{BoxError, Cacheme, KeyWriter, Load, LoadContext, Node, Policy, Storage};
use cacheme_storage::{Clock, LocalCache, LocalCacheBuilder};
use tracing::Level;

use crate::logged::Logged;
use crate::world::settle;

/// A value whose copies panic when they are dropped.
#[derive(Debug)]
struct Cursed {
    id: u64,
    is_copy: bool,
    dropped: Arc<AtomicUsize>,
}

impl Clone for Cursed {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            is_copy: true,
            dropped: Arc::clone(&self.dropped),
        }
    }
}

impl Drop for Cursed {
    fn drop(&mut self) {
        if self.is_copy {
            self.dropped.fetch_add(1, Ordering::SeqCst);
            panic!("{} is cursed", self.id);
        }
    }
}

#[derive(Clone, Debug)]
struct CursedNode(u64, Arc<AtomicUsize>);

impl Node for CursedNode {
    type Value = Cursed;

    fn policy(&self) -> Policy<Cursed> {
        Policy::new("CursedNode", "cursed:{0}").tier("local", Some(Duration::from_secs(60)))
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal("cursed:");
        key.part(&self.0);
    }
}

impl Load for CursedNode {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<Cursed, BoxError> {
        Ok(Cursed {
            id: self.0,
            is_copy: false,
            dropped: Arc::clone(&self.1),
        })
    }
}

/// The ids of what a caller is given, whose copies are its own to drop.
fn ids(values: Vec<Cursed>) -> Vec<u64> {
    let id = |value: Cursed| {
        let id = value.id;
        std::mem::forget(value);
        id
    };
    values.into_iter().map(id).collect()
}

const SIZE: u64 = 8;

async fn cursed(local: LocalCacheBuilder) {
    let (clock, dropped) = (Clock::manual(), Arc::new(AtomicUsize::new(0)));
    let local = Storage::local(local.clock(clock.clone()).build());
    let cacheme = Cacheme::builder().build().unwrap();
    cacheme.register_storage("local", local.clone()).await.unwrap();
    let local = local.as_local().unwrap();
    let node = |id| CursedNode(id, Arc::clone(&dropped));
    let count = || dropped.load(Ordering::SeqCst);

    // What a load evicts is not its own trouble, alone or in a batch.
    for id in 0..3 * SIZE {
        assert_eq!(ids(vec![cacheme.get(&node(id)).await.unwrap()]), [id]);
        assert_eq!(ids(vec![cacheme.get(&node(id)).await.unwrap()]), [id], "a hit");
    }
    assert!(count() > 0, "something was evicted");
    let many: Vec<u64> = (100..100 + 2 * SIZE).collect();
    let nodes: Vec<_> = many.iter().copied().map(node).collect();
    assert_eq!(ids(cacheme.get_all(&nodes).await.unwrap()), many);
    let stats = cacheme.stats::<CursedNode>();
    assert_eq!((stats.load_failures, stats.in_flight), (0, 0));
    assert!(local.len() as u64 <= SIZE);

    // What is replaced, removed, or has expired leaves without a word to who did that.
    cacheme.refresh(&node(1)).await.map(std::mem::forget).unwrap();
    cacheme.refresh(&node(1)).await.map(std::mem::forget).unwrap();
    cacheme.set(&node(1), node(1).load_now()).await.unwrap();
    cacheme.invalidate(&node(1)).await.unwrap();
    assert!(cacheme.peek(&node(1)).await.unwrap().is_none());
    for id in 0..SIZE {
        ids(vec![cacheme.get(&node(id)).await.unwrap()]);
    }
    let (kept, before) = (local.len(), count());
    clock.advance(Duration::from_secs(61));
    tokio::time::sleep(Duration::from_secs(61)).await;
    for id in 0..SIZE {
        assert!(cacheme.peek(&node(id)).await.unwrap().is_none());
    }
    assert_eq!(local.len(), 0);
    assert_eq!(count(), before + kept, "each was dropped once");

    // Nor do those that leave together, which would be the end of the process.
    for id in 0..SIZE {
        ids(vec![cacheme.get(&node(id)).await.unwrap()]);
    }
    let (kept, before) = (local.len(), count());
    local.clear();
    assert_eq!((local.len(), count()), (0, before + kept));

    // Nobody is there any more who is told of what was loaded.
    let task = tokio::spawn({
        let (cacheme, nodes) = (cacheme.clone(), nodes.clone());
        async move { cacheme.get_all(&nodes).await.map(ids) }
    });
    settle().await;
    task.abort();
    settle().await;
    assert_eq!(cacheme.stats::<CursedNode>().in_flight, 0);

    let (kept, before) = (local.len(), count());
    drop(cacheme);
    drop(local.clone());
    assert!(kept > 0);
    assert_eq!(count(), before, "the storage is there still");
}

impl CursedNode {
    fn load_now(&self) -> Cursed {
        Cursed {
            id: self.0,
            is_copy: false,
            dropped: Arc::clone(&self.1),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t2_l2_a_value_whose_drop_panics_harms_nobody_else() {
    let (told, _listening) = Logged::listen();
    for local in [LocalCache::lru(SIZE as usize), LocalCache::tlfu(SIZE as usize)] {
        cursed(local).await;
    }
    let lines = told.at(Level::ERROR);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("is cursed"), "{lines:#?}");
}
