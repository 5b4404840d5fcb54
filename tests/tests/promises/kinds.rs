//! Kinds that are named at run time, and calls over nodes of several of them.

use std::sync::Arc;

use cacheme::{
    Bincode, BoxError, Cacheme, DynamicKind, DynamicNode, Error, KeyWriter, Load, LoadContext, Node, Policy,
    Storage,
};
use cacheme_storage::LocalCache;
use tests::{Gate, MemoryRemote, Operation, Trouble};

use crate::world::{SECOND, settle};

/// An instance with a local storage and two remote ones.
async fn instance() -> (Cacheme, MemoryRemote, MemoryRemote) {
    let cacheme = Cacheme::builder().prefix("test").build().unwrap();
    let (near, far) = (MemoryRemote::new(), MemoryRemote::new());
    let local = Storage::local(LocalCache::lru(1_000).build());
    cacheme.register_storage("local", local).await.unwrap();
    for (name, remote) in [("near", &near), ("far", &far)] {
        let storage = Storage::remote(remote.clone());
        cacheme.register_storage(name, storage).await.unwrap();
    }
    (cacheme, near, far)
}

/// A kind of this name over these storages.
fn kind(name: &str, tiers: &[&str]) -> DynamicKind<u64> {
    let policy = Policy::<u64>::new(name.to_owned(), "").serializer(Bincode);
    let policy = tiers.iter().fold(policy, |policy, tier| {
        policy.tier(tier.to_string(), Some(60 * SECOND))
    });
    DynamicKind::new(policy).unwrap()
}

/// A node of a kind that is named at run time, with a loader.
#[derive(Clone)]
struct Loaded {
    node: DynamicNode<u64>,
    value: u64,
    gate: Option<Arc<Gate>>,
}

impl Loaded {
    fn new(kind: &DynamicKind<u64>, id: u64, value: u64) -> Self {
        Self {
            node: kind.node(&id),
            value,
            gate: None,
        }
    }
}

impl Node for Loaded {
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

impl Load for Loaded {
    async fn load(&self, _cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        if self.value == 0 {
            return Err("there is none".into());
        }
        Ok(self.value)
    }
}

#[tokio::test(start_paused = true)]
async fn c1_invalidate_all_reaches_the_nodes_of_every_kind() {
    let (cacheme, near, far) = instance().await;
    let kinds = [
        kind("reach-local", &["local"]),
        kind("reach-near", &["local", "near"]),
        kind("reach-far", &["far"]),
        kind("reach-both", &["near", "far"]),
    ];
    let nodes: Vec<_> = (0..3)
        .flat_map(|id| kinds.iter().map(move |kind| kind.node(&id)))
        .collect();
    for node in &nodes {
        cacheme.set(node, 1).await.unwrap();
    }
    let kept = kinds[1].node(&7);
    cacheme.set(&kept, 7).await.unwrap();
    near.take_calls();
    far.take_calls();
    let named: Vec<_> = nodes.iter().chain(&nodes[..2]).cloned().collect();
    cacheme.invalidate_all(&named).await.unwrap();
    for node in &nodes {
        assert_eq!(cacheme.peek(node).await.unwrap(), None, "{node:?}");
    }
    let removals = |remote: &MemoryRemote| {
        let mut calls = remote.take_calls();
        calls.retain(|(operation, _)| *operation == Operation::Remove);
        calls
    };
    assert_eq!(removals(&near), [(Operation::Remove, 3); 2], "once for each kind");
    assert_eq!(removals(&far), [(Operation::Remove, 3); 2], "once for each kind");
    assert_eq!(
        cacheme.peek(&kept).await.unwrap(),
        Some(7),
        "nobody asked for that one"
    );
}

#[tokio::test(start_paused = true)]
async fn c1_invalidate_all_fences_loads_of_every_kind() {
    let (cacheme, ..) = instance().await;
    let kinds = [
        kind("fenced-local", &["local"]),
        kind("fenced-near", &["local", "near"]),
        kind("fenced-far", &["far"]),
    ];
    let gates = [(); 3].map(|()| Arc::new(Gate::new()));
    let mut loads = Vec::new();
    for (kind, gate) in kinds.iter().zip(&gates) {
        let (cacheme, mut node) = (cacheme.clone(), Loaded::new(kind, 1, 1));
        node.gate = Some(Arc::clone(gate));
        loads.push(tokio::spawn(async move { cacheme.get(&node).await.unwrap() }));
        gate.reached().await;
    }
    let nodes: Vec<_> = kinds.iter().map(|kind| Loaded::new(kind, 1, 2)).collect();
    cacheme.invalidate_all(&nodes).await.unwrap();
    gates.iter().for_each(|gate| gate.open());
    for load in loads {
        assert_eq!(load.await.unwrap(), 1, "it is handed to its caller");
    }
    settle().await;
    for node in &nodes {
        assert_eq!(cacheme.get(node).await.unwrap(), 2, "it was kept nowhere");
    }
}

#[tokio::test(start_paused = true)]
async fn c1_t1_a_kind_that_cannot_be_reached_keeps_no_other_from_being_invalidated() {
    let (cacheme, _near, far) = instance().await;
    let kinds = [
        kind("unreached-far", &["far"]),
        kind("unreached-unknown", &["nowhere"]),
        kind("unreached-near", &["local", "near"]),
        kind("unreached-too", &["local", "far"]),
        kind("unreached-local", &["local"]),
    ];
    let nodes: Vec<_> = [0, 2, 3, 4, 0, 3].map(|at: usize| kinds[at].node(&at)).into();
    for node in &nodes {
        cacheme.set(node, 1).await.unwrap();
    }
    far.set_trouble(Trouble::Refuses);
    let mut named = nodes.clone();
    named.insert(1, kinds[1].node(&1));
    named.push(kinds[0].node(&2));
    let Err(Error::Several(errors)) = cacheme.invalidate_all(&named).await else {
        panic!("two things are wrong")
    };
    assert!(
        matches!(&errors[0], Error::StorageNotRegistered { node, storage } if node == "unreached-unknown" && storage == "nowhere"),
        "{errors:?}"
    );
    assert!(
        matches!(&errors[1], Error::NotInvalidated { name, keys: 3, .. } if name == "far"),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2, "{errors:?}");
    let text = Error::Several(errors).to_string();
    assert!(text.contains("`nowhere`") && text.contains("`far`"), "{text}");
    far.recover();
    for node in &nodes {
        assert_eq!(cacheme.peek(node).await.unwrap(), None, "{node:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c1_t1_every_storage_that_was_not_reached_is_named() {
    let (cacheme, near, far) = instance().await;
    let node = kind("unreached-both", &["near", "far"]).node(&1);
    cacheme.set(&node, 1).await.unwrap();
    for remote in [&near, &far] {
        remote.set_trouble(Trouble::Refuses);
    }
    for result in [cacheme.invalidate(&node).await, cacheme.set(&node, 2).await] {
        let Err(Error::Several(errors)) = result else {
            panic!("{result:?}")
        };
        let names = errors.iter().filter_map(|error| match error {
            Error::NotInvalidated { name, keys: 1, .. } => Some(name.as_str()),
            _ => None,
        });
        assert_eq!(names.collect::<Vec<_>>(), ["far", "near"], "{errors:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r3_get_all_reads_and_loads_the_nodes_of_every_kind_in_their_order() {
    let (cacheme, near, far) = instance().await;
    let kinds = [
        kind("all-near", &["local", "near"]),
        kind("all-far", &["far"]),
        kind("all-none", &[]),
    ];
    let node = |at: usize, id: u64| Loaded::new(&kinds[at], id, 100 * at as u64 + id);
    cacheme.set(&node(1, 3), 103).await.unwrap();
    let nodes: Vec<_> = [(1, 1), (0, 2), (2, 4), (1, 3), (0, 1), (1, 1)]
        .map(|(at, id)| node(at, id))
        .into();
    far.take_calls();
    assert_eq!(cacheme.get_all(&nodes).await.unwrap(), [101, 2, 204, 103, 1, 101]);
    for (at, id, remote) in [(0, 2, &near), (0, 1, &near), (1, 1, &far)] {
        let key = cacheme.full_key(&node(at, id));
        assert_eq!(remote.ttl(&key), Some(60 * SECOND), "{key}");
    }
    assert_eq!(far.count(Operation::Get), 1, "one call for what is of one kind");
}

#[tokio::test(start_paused = true)]
async fn r3_a_kind_whose_load_fails_keeps_no_other_from_being_cached() {
    let (cacheme, near, _far) = instance().await;
    let kinds = [kind("failing-far", &["far"]), kind("failing-near", &["near"])];
    let nodes = [
        Loaded::new(&kinds[0], 1, 0),
        Loaded::new(&kinds[1], 2, 2),
        Loaded::new(&kinds[0], 3, 3),
    ];
    let error = cacheme.get_all(&nodes).await.unwrap_err();
    let failed = cacheme.full_key(&nodes[0]);
    assert!(
        matches!(&error, Error::Load { key, .. } if *key == failed),
        "{error}"
    );
    settle().await;
    assert!(near.value(&cacheme.full_key(&nodes[1])).is_some());
    assert_eq!(cacheme.peek(&nodes[2]).await.unwrap(), Some(3));
}
