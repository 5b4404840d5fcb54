//! R3: the default `load_all`, each of whose loads is a load of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cacheme::{BoxError, Error, KeyWriter, Load, LoadContext, Node, Policy};
use futures_util::future::BoxFuture;
use tests::Operation;

use crate::world::{Item, LocalItem, NoSource, SECOND, Source, World, poll_once, settle, timed};

/// What a [`Loading`] does to get its value, which is its number in the end.
type Body = dyn Fn(Loading, cacheme::Cacheme) -> BoxFuture<'static, Result<u64, BoxError>> + Send + Sync;

const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// A node whose loader is any closure.
#[derive(Clone)]
struct Loading {
    id: u64,
    body: Arc<Body>,
}

impl Node for Loading {
    type Value = u64;

    fn policy(&self) -> Policy<u64> {
        Policy::new("Loading", "loading:{id}")
            .tier("local", None)
            .tier("remote", None)
            .load_timeout(LOAD_TIMEOUT)
            .serializer(cacheme::Bincode)
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal("loading:");
        key.part(&self.id);
    }
}

impl Load for Loading {
    async fn load(&self, cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        (self.body)(self.clone(), cx.cacheme().clone()).await
    }
}

fn loading<F>(
    ids: impl IntoIterator<Item = u64>,
    body: impl Fn(Loading, cacheme::Cacheme) -> F + Send + Sync + 'static,
) -> Vec<Loading>
where
    F: Future<Output = Result<u64, BoxError>> + Send + 'static,
{
    let body: Arc<Body> = Arc::new(move |node, cacheme| Box::pin(body(node, cacheme)));
    let node = |id| Loading {
        id,
        body: Arc::clone(&body),
    };
    ids.into_iter().map(node).collect()
}

impl Loading {
    /// Another one with the same loader.
    fn with_id(&self, id: u64) -> Self {
        Self {
            id,
            body: Arc::clone(&self.body),
        }
    }
}

fn items(ids: impl IntoIterator<Item = u64>, source: &Source) -> Vec<Item> {
    ids.into_iter().map(|id| Item::new(id, source)).collect()
}

#[tokio::test(start_paused = true)]
async fn r3_a_load_lands_when_it_ends() {
    let (world, source) = (World::new().await, Source::default());
    let neighbour = world.neighbour().await;
    let gates = [1, 2, 3].map(|_| source.hold());
    let (cacheme, nodes) = (world.cacheme.clone(), items(1..4, &source));
    let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    for gate in &gates {
        gate.reached().await;
    }
    let waiter = world.cacheme.clone();
    let second = Item::new(2, &source);
    let waiter = tokio::spawn(async move { waiter.get(&second).await });
    gates[1].open();
    settle().await;
    assert_eq!(waiter.await.unwrap().unwrap(), 2_000);
    assert!(!all.is_finished());
    for (id, value) in [(1, None), (2, Some(2_000)), (3, None)] {
        for world in [&world, &neighbour] {
            let found = world.cacheme.peek(&Item::new(id, &source)).await;
            assert_eq!(found.unwrap(), value, "{id}");
        }
    }
    gates.iter().for_each(|gate| gate.open());
    assert_eq!(all.await.unwrap().unwrap(), [1_000, 2_000, 3_000]);
    assert_eq!(world.cacheme.stats::<Item>().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn r3_a_load_that_fails_hangs_or_panics_does_so_for_its_key_alone() {
    for trouble in ["fails", "panics", "hangs"] {
        let (world, source) = (World::new().await, Source::default());
        let _never_opened = match trouble {
            "fails" => {
                source.fail(1);
                None
            }
            "panics" => {
                source.panic(1);
                None
            }
            _ => Some(source.hold()),
        };
        let (cacheme, nodes) = (world.cacheme.clone(), items([1, 2, 3], &source));
        let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
        settle().await;
        // The others are there at once, for everybody.
        let neighbour = world.neighbour().await;
        for id in [2, 3] {
            let found = neighbour.cacheme.peek(&Item::new(id, &source)).await;
            assert_eq!(found.unwrap(), Some(1_000 * id), "{trouble} {id}");
        }
        let (result, took) = timed(all).await;
        let took_its_time = took >= 30 * SECOND;
        assert_eq!(took_its_time, trouble == "hangs", "{trouble}: {took:?}");
        let (Error::Load { key, .. } | Error::LoadPanicked { key, .. } | Error::LoadTimedOut { key, .. }) =
            result.unwrap().unwrap_err()
        else {
            panic!("{trouble}")
        };
        assert_eq!(key, "test:item:1:v1", "{trouble}");
        let stats = world.cacheme.stats::<Item>();
        assert_eq!((stats.load_failures, stats.in_flight), (1, 0), "{trouble}");
        source.mend();
        let values = world.cacheme.get_all(&items([1, 2, 3], &source)).await;
        assert_eq!(values.unwrap(), [1_000, 2_000, 3_000], "{trouble}");
        assert_eq!(source.loads(), 4, "{trouble}");
    }
}

/// A value whose clone panics where its number is odd.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Brittle(u64);

impl Clone for Brittle {
    fn clone(&self) -> Self {
        assert!(self.0.is_multiple_of(2), "{} is not to be cloned", self.0);
        Self(self.0)
    }
}

#[derive(Node, Clone)]
#[node(key = "brittle:{0}", value = Brittle, tier(storage = "local", ttl = "1m"), load = load_brittle)]
struct BrittleNode(u64);

async fn load_brittle(node: &BrittleNode, _cx: &mut LoadContext<BrittleNode>) -> Result<Brittle, BoxError> {
    Ok(Brittle(node.0))
}

#[tokio::test(start_paused = true)]
async fn r3_a_value_that_panics_while_it_is_stored_does_so_for_its_key_alone() {
    let world = World::new().await;
    let nodes: Vec<_> = (0..20).map(BrittleNode).collect();
    let error = world.cacheme.get_all(&nodes).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "loading `test:brittle:1:v1` panicked: 1 is not to be cloned"
    );
    settle().await;
    for node in nodes {
        let found = world.cacheme.peek(&node).await.unwrap();
        assert_eq!(found.is_some(), node.0.is_multiple_of(2), "{}", node.0);
    }
}

#[tokio::test(start_paused = true)]
async fn r3_each_load_has_the_load_timeout_for_itself() {
    const MOST: usize = 64;
    let world = World::new().await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&running), Arc::clone(&most));
    let nodes = loading(0..256, move |node, _| {
        let (running, most) = counts.clone();
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(600)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(node.id)
        }
    });
    // Others who want the same are as patient.
    let (cacheme, others) = (world.cacheme.clone(), nodes.clone());
    let (values, took) = timed(world.cacheme.get_all(&nodes)).await;
    assert_eq!(values.unwrap(), (0..256).collect::<Vec<_>>());
    assert_eq!(took, Duration::from_millis(4 * 600));
    assert_eq!(most.load(Ordering::SeqCst), MOST);
    cacheme.get_all(&others).await.unwrap();
    let stats = world.cacheme.stats::<Loading>();
    assert_eq!((stats.loads, stats.in_flight), (256, 0));
}

#[tokio::test(start_paused = true)]
async fn r3_loads_that_queue_are_waited_for_and_begin_at_once_for_others() {
    let (world, source) = (World::new().await, Source::default());
    let mut gates: Vec<_> = (0..64).map(|_| source.hold()).collect();
    let from = source.clone();
    let nodes = loading(0..100, move |node, _| {
        let from = from.clone();
        async move { Ok(from.load(node.id).await?) }
    });
    let (cacheme, asked) = (world.cacheme.clone(), nodes.clone());
    let all = tokio::spawn(async move { cacheme.get_all(&asked).await });
    for gate in &gates {
        gate.reached().await;
    }
    assert_eq!(source.loads(), 64);
    // One that queues begins for somebody else; the others go on queueing.
    let (value, took) = timed(world.cacheme.get(&nodes[80])).await;
    assert_eq!((value.unwrap(), took), (80_000, Duration::ZERO));
    let with = world
        .cacheme
        .get_with(&nodes[81], || async { panic!("it is being loaded") });
    let with: Result<u64, Error> = with.await;
    assert_eq!(with.unwrap(), 81_000);
    assert_eq!(source.loads(), 66);
    // Those that wait for the queue in their order are patient.
    let (cacheme, asked) = (world.cacheme.clone(), nodes[64..].to_vec());
    let others = tokio::spawn(async move { cacheme.get_all(&asked).await });
    tokio::time::sleep(LOAD_TIMEOUT - Duration::from_millis(1)).await;
    assert_eq!(others.await.unwrap().unwrap().len(), 36);
    gates.drain(..).for_each(|gate| gate.open());
    assert_eq!(all.await.unwrap().unwrap().len(), 100);
    assert_eq!(source.loads(), 100, "each once");
}

#[tokio::test(start_paused = true)]
async fn r3_queued_loads_keep_their_waiters_patient() {
    let world = World::new().await;
    // Three turns of nearly the time that one may take.
    let nodes = loading(0..192, |node, _| async move {
        tokio::time::sleep(LOAD_TIMEOUT - Duration::from_millis(1)).await;
        Ok(node.id)
    });
    let (cacheme, asked) = (world.cacheme.clone(), nodes.clone());
    let first = tokio::spawn(async move { cacheme.get_all(&asked).await });
    settle().await;
    let (cacheme, asked) = (world.cacheme.clone(), nodes);
    let second = tokio::spawn(async move { cacheme.get_all(&asked).await });
    assert_eq!(first.await.unwrap().unwrap().len(), 192);
    assert_eq!(second.await.unwrap().unwrap().len(), 192);
    assert_eq!(world.cacheme.stats::<Loading>().loads, 192);
}

#[tokio::test(start_paused = true)]
async fn r3_loads_may_read_nodes_of_their_own_batch() {
    // Each reads the one before; all the last, which queues; all those before at once.
    for style in ["the one before", "the last", "all before", "in tasks"] {
        let world = World::new().await;
        let nodes = loading(0..300, move |node, cacheme| async move {
            tokio::task::yield_now().await;
            let value = match style {
                "the one before" if node.id > 0 => cacheme.get(&node.with_id(node.id - 1)).await? + 1,
                "the last" if node.id < 299 => cacheme.get(&node.with_id(299)).await? + node.id - 299,
                "all before" => {
                    let before: Vec<_> = (0..node.id).map(|id| node.with_id(id)).collect();
                    cacheme.get_all(&before).await?.len() as u64
                }
                "in tasks" if node.id < 299 => {
                    let next = node.with_id(node.id + 1);
                    let task = tokio::spawn(async move { cacheme.get(&next).await });
                    task.await?? - 1
                }
                _ => node.id,
            };
            Ok(value)
        });
        let (values, took) = timed(world.cacheme.get_all(&nodes)).await;
        assert_eq!(values.unwrap(), (0..300).collect::<Vec<_>>(), "{style}");
        assert_eq!(took, Duration::ZERO, "{style}");
        let stats = world.cacheme.stats::<Loading>();
        assert_eq!((stats.loads, stats.in_flight), (300, 0), "{style}");
    }
}

/// Two kinds whose loaders read each other's nodes: a row reads its cell, a cell the row before.
#[derive(Node, Clone)]
#[node(value = u64, tier(storage = "local", ttl = "1m"), load = load_row, load_timeout = "1s")]
struct RowNode(u64);

#[derive(Node, Clone)]
#[node(value = u64, tier(storage = "local", ttl = "1m"), load = load_cell, load_timeout = "1s")]
struct CellNode(u64);

async fn load_row(node: &RowNode, cx: &mut LoadContext<RowNode>) -> Result<u64, BoxError> {
    tokio::task::yield_now().await;
    Ok(Box::pin(cx.cacheme().get(&CellNode(node.0))).await? + 1)
}

fn load_cell<'a>(
    node: &'a CellNode,
    cx: &'a mut LoadContext<CellNode>,
) -> BoxFuture<'a, Result<u64, BoxError>> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        match node.0.checked_sub(1) {
            Some(before) => Ok(cx.cacheme().get(&RowNode(before)).await?),
            None => Ok(0),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn r3_kinds_whose_loaders_read_each_other_do_not_wait_in_a_circle() {
    let world = World::new().await;
    let rows: Vec<_> = (0..100).map(RowNode).collect();
    let cells: Vec<_> = (0..100).rev().map(CellNode).collect();
    let both = futures_util::future::join(world.cacheme.get_all(&rows), world.cacheme.get_all(&cells));
    let ((rows, cells), took) = timed(both).await;
    assert_eq!(rows.unwrap(), (1..101).collect::<Vec<_>>());
    assert_eq!(cells.unwrap(), (0..100).rev().collect::<Vec<_>>());
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn l1_the_loads_of_a_dropped_get_all_go_on() {
    let (world, source) = (World::new().await, Source::default());
    let nodes: Vec<_> = (0..100).map(|id| LocalItem::new(id, &source)).collect();
    let gate = source.hold();
    let mut caller = Box::pin(world.cacheme.get_all(&nodes));
    assert!(poll_once(&mut caller).await.is_none());
    gate.reached().await;
    drop(caller);
    gate.open();
    settle().await;
    for node in &nodes {
        assert_eq!(world.cacheme.peek(node).await.unwrap(), Some(1_000 * node.id));
    }
    assert_eq!(source.loads(), 100);
}

#[tokio::test(start_paused = true)]
async fn r3_loads_that_end_while_others_land_land_together() {
    let (world, source) = (World::new().await, Source::default());
    // As many groups as land at once, of one load each.
    let fills = [(); 4].map(|()| world.remote.hold_before(Operation::Fill));
    let gates: Vec<_> = (0..60).map(|_| source.hold()).collect();
    let (cacheme, nodes) = (world.cacheme.clone(), items(0..60, &source));
    let all = tokio::spawn(async move { cacheme.get_all(&nodes).await });
    for gate in &gates {
        gate.reached().await;
    }
    world.remote.take_calls();
    let mut gates = gates.iter();
    for fill in &fills {
        gates.next().unwrap().open();
        fill.reached().await;
    }
    gates.for_each(|gate| gate.open());
    settle().await;
    fills.iter().for_each(|fill| fill.open());
    assert_eq!(all.await.unwrap().unwrap().len(), 60);
    let one = (Operation::Fill, 1);
    assert_eq!(
        world.remote.take_calls(),
        [one, one, one, one, (Operation::Fill, 56)]
    );
}

#[tokio::test(start_paused = true)]
async fn r3_a_failed_load_of_the_default_load_all_is_the_first_in_order() {
    let (world, source) = (World::new().await, Source::default());
    source.fail(2);
    source.fail(1);
    let error = world
        .cacheme
        .get_all(&items([3, 2, 1], &source))
        .await
        .unwrap_err();
    assert_eq!(error.downcast_load(), Some(&NoSource(2)));
}
