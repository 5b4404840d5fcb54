//! Kinds that are named at run time, once nobody has them any more.

use std::sync::{Arc, Barrier};

use cacheme::{
    Bincode, BoxError, Cacheme, DynamicKind, DynamicNode, Error, KeyWriter, Load, LoadContext, Node, Policy,
    Storage,
};
use cacheme_storage::LocalCache;
use tests::{Gate, MemoryRemote, Operation, Trouble};

use crate::world::{SECOND, World, settle};

fn policy(name: &str, tiers: &[&str]) -> Policy<u64> {
    let policy = Policy::<u64>::new(name.to_owned(), "").serializer(Bincode);
    tiers.iter().fold(policy, |policy, tier| {
        policy.tier(tier.to_string(), Some(60 * SECOND))
    })
}

fn kind(name: &str, tiers: &[&str]) -> DynamicKind<u64> {
    DynamicKind::new(policy(name, tiers)).unwrap()
}

/// Whether nothing is known of a kind, neither in the process nor in the instance.
fn is_gone(name: &str, cacheme: &Cacheme) -> bool {
    let other_value = DynamicKind::new(Policy::<String>::new(name.to_owned(), ""));
    let is_free = match other_value {
        Ok(_) => true,
        Err(Error::Policy { .. }) => false,
        Err(other) => panic!("{other}"),
    };
    is_free && known(name, cacheme).is_empty()
}

/// The kinds that the instance knows whose names begin so.
fn known(name: &str, cacheme: &Cacheme) -> Vec<String> {
    let mut known: Vec<_> = cacheme.nodes().iter().map(|info| info.name.to_string()).collect();
    known.retain(|known| known.starts_with(name));
    let mut counted: Vec<_> = cacheme
        .all_stats()
        .iter()
        .map(|stats| stats.name.to_string())
        .collect();
    counted.retain(|known| known.starts_with(name));
    assert_eq!(known, counted, "what is known is counted");
    known
}

/// An instance with memory alone.
async fn in_memory() -> Cacheme {
    let cacheme = Cacheme::builder().prefix("test").build().unwrap();
    let local = Storage::local(LocalCache::lru(10_000).build());
    cacheme.register_storage("local", local).await.unwrap();
    cacheme
}

#[tokio::test(start_paused = true)]
async fn c4_thousands_of_kinds_are_known_until_they_are_dropped() {
    let cacheme = in_memory().await;
    let name = |number: u64| format!("thousands-{number}");
    let mut nodes = Vec::new();
    for number in 0..4_000 {
        let node = kind(&name(number), &["local"]).node(&1);
        cacheme.set(&node, number).await.unwrap();
        nodes.push(node);
    }
    assert_eq!(known("thousands-", &cacheme).len(), 4_000);
    // A node keeps its kind, and a clone its own.
    let (kept, clone) = (nodes.swap_remove(7), nodes[11].clone());
    drop(nodes);
    assert_eq!(known("thousands-", &cacheme), [name(11), name(7)]);
    assert_eq!(cacheme.peek(&kept).await.unwrap(), Some(7));
    assert_eq!(cacheme.peek(&clone).await.unwrap(), Some(11));
    drop((kept, clone));
    for number in [0, 7, 11, 3_999] {
        assert!(is_gone(&name(number), &cacheme), "{number}");
        // Neither its name nor its template is taken any more.
        let other = DynamicKind::new(Policy::<String>::new(name(number), "").tier("local", None));
        let node = other.unwrap().node(&1);
        assert_eq!(cacheme.peek(&node).await.unwrap(), None, "it is of another type");
    }
}

/// Handles of one name keep each what they were used with.
#[tokio::test(start_paused = true)]
async fn c4_a_kind_lives_as_long_as_one_of_its_handles() {
    let cacheme = in_memory().await;
    let handles = [(); 3].map(|()| kind("handles", &["local"]));
    for (value, handle) in (1..).zip(&handles) {
        cacheme.set(&handle.node(&1), value).await.unwrap();
    }
    for handle in handles {
        assert_eq!(cacheme.peek(&handle.node(&1)).await.unwrap(), Some(3));
        assert_eq!(known("handles", &cacheme), ["handles"]);
    }
    assert!(is_gone("handles", &cacheme));
}

/// It was not told of the change, since there was nothing to be told.
#[tokio::test(start_paused = true)]
async fn c3_a_kind_made_anew_serves_no_copies_that_others_changed_meanwhile() {
    let ours = World::over(MemoryRemote::with_bus()).await;
    let theirs = ours.neighbour().await;
    let tiers = ["local", "remote"];
    let older = kind("anew", &tiers);
    for id in 1..=3 {
        ours.cacheme.set(&older.node(&id), 10 * id).await.unwrap();
    }
    drop(older);
    assert!(is_gone("anew", &ours.cacheme));

    let other_process = kind("anew", &tiers);
    let theirs = &theirs.cacheme;
    theirs.set(&other_process.node(&1), 11).await.unwrap();
    theirs.invalidate(&other_process.node(&2)).await.unwrap();
    drop(other_process);
    settle().await;

    let newer = kind("anew", &tiers);
    let peek = async |id: u64| ours.cacheme.peek(&newer.node(&id)).await.unwrap();
    assert_eq!(peek(1).await, Some(11));
    assert_eq!(peek(2).await, None);
    assert_eq!(peek(3).await, Some(30), "the remote tier has it");
    // What comes since is held as ever.
    let node = newer.node(&3);
    assert_eq!(ours.cacheme.get_with(&node, || async { 0 }).await, 30);
    ours.remote.take_calls();
    assert_eq!(ours.cacheme.get_with(&node, || async { 0 }).await, 30);
    assert_eq!(ours.remote.take_calls(), []);
}

/// A node with a loader that is held.
#[derive(Clone)]
struct Held {
    node: DynamicNode<u64>,
    gate: Arc<Gate>,
}

impl Node for Held {
    type Value = u64;

    fn policy(&self) -> Policy<u64> {
        self.node.policy()
    }

    fn write_key(&self, key: &mut KeyWriter) {
        self.node.write_key(key);
    }

    fn dynamic_kind(&self) -> Option<&DynamicKind<u64>> {
        self.node.dynamic_kind()
    }
}

impl Load for Held {
    async fn load(&self, _cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        self.gate.pass().await;
        Ok(1)
    }
}

/// Without leases, only the flight itself keeps what is old from being stored.
#[tokio::test(start_paused = true)]
async fn c1_a_kind_dropped_while_it_loads_is_fenced_by_the_one_made_anew() {
    for changes in [false, true] {
        let world = World::over(MemoryRemote::without_leases()).await;
        let (cacheme, name) = (&world.cacheme, format!("loading-{changes}"));
        let gate = Arc::new(Gate::new());
        let held = |kind: &DynamicKind<u64>| Held {
            node: kind.node(&1),
            gate: Arc::clone(&gate),
        };
        let caller = {
            let (cacheme, node) = (cacheme.clone(), held(&kind(&name, &["local", "remote"])));
            tokio::spawn(async move { cacheme.get(&node).await })
        };
        gate.reached().await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert!(!is_gone(&name, cacheme), "its load goes on");

        let anew = kind(&name, &["local", "remote"]);
        if changes {
            cacheme.invalidate(&held(&anew)).await.unwrap();
        }
        gate.open();
        settle().await;
        let expected = (!changes).then_some(1);
        assert_eq!(cacheme.peek(&held(&anew)).await.unwrap(), expected);
        assert_eq!(world.remote.is_empty(), changes);
        assert_eq!(
            cacheme
                .all_stats()
                .iter()
                .filter(|stats| stats.name == name)
                .count(),
            1
        );
        drop(anew);
        assert!(is_gone(&name, cacheme), "its load has ended");
    }
}

#[tokio::test(start_paused = true)]
async fn c1_what_a_dropped_kind_could_not_remove_is_removed_later() {
    let world = World::new().await;
    let (cacheme, remote, full_key) = (&world.cacheme, &world.remote, "test:owing:1:v1");
    let older = kind("owing", &["remote"]);
    cacheme.set(&older.node(&1), 1).await.unwrap();
    remote.set_trouble_with(Operation::Remove, Trouble::Refuses);
    let error = cacheme.invalidate(&older.node(&1)).await.unwrap_err();
    assert!(matches!(error, Error::NotInvalidated { .. }), "{error}");
    drop(older);
    settle().await;
    assert!(!is_gone("owing", cacheme), "it is still at it");

    // Made anew, it knows what is old.
    let anew = kind("owing", &["remote"]);
    assert!(remote.value(full_key).is_some());
    assert_eq!(cacheme.peek(&anew.node(&1)).await.unwrap(), None);
    drop(anew);

    remote.recover();
    tokio::time::sleep(SECOND).await;
    assert_eq!(remote.value(full_key), None);
    assert!(is_gone("owing", cacheme), "nothing is left to be done");
}

/// A value that knows its kind.
#[derive(Clone)]
struct Knowing {
    _kind: DynamicKind<Knowing>,
    _alive: Arc<()>,
}

#[tokio::test(start_paused = true)]
async fn c4_an_instance_that_is_gone_leaves_nothing_in_the_handles_of_kinds() {
    let knowing = DynamicKind::new(Policy::<Knowing>::new("knowing", "").tier("local", None)).unwrap();
    for _ in 0..3 {
        let (cacheme, alive) = (in_memory().await, Arc::new(()));
        let seen = Arc::downgrade(&alive);
        let value = Knowing {
            _kind: knowing.clone(),
            _alive: alive,
        };
        cacheme.set(&knowing.node(&1), value).await.unwrap();
        assert!(cacheme.peek(&knowing.node(&1)).await.unwrap().is_some());
        assert!(seen.upgrade().is_some(), "it is cached");
        drop(cacheme);
        assert!(seen.upgrade().is_none(), "the instance took its storage with it");
    }
    drop(knowing);
    assert!(is_gone("knowing", &in_memory().await));
}

#[test]
fn c4_threads_make_use_and_drop_kinds_of_the_same_names_at_once() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let cacheme = runtime().block_on(in_memory());
    let start = Barrier::new(4);
    std::thread::scope(|threads| {
        for thread in 0..4_u64 {
            let (cacheme, start) = (&cacheme, &start);
            threads.spawn(move || {
                start.wait();
                runtime().block_on(async {
                    for round in 0..1_000 {
                        let node =
                            kind(["at-once-a", "at-once-b"][round as usize % 2], &["local"]).node(&thread);
                        cacheme.set(&node, round).await.unwrap();
                        assert_eq!(cacheme.peek(&node).await.unwrap(), Some(round));
                    }
                });
            });
        }
    });
    for name in ["at-once-a", "at-once-b"] {
        assert!(is_gone(name, &cacheme));
    }
}
