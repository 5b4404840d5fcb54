//! L4: what a call does in the background stays within its span.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cacheme::{BoxError, LoadContext, Loaded, Node};
use tests::{Operation, Trouble};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Instrument as _, Metadata, Subscriber, info_span};
use tracing_core::span::Current;

use crate::logged::Logged;
use crate::world::{Item, NoSource, SECOND, Source, World, poll_once, settle};

/// A subscriber that knows in which span this thread is, and keeps what is logged with the span in which that was.
#[derive(Clone, Default)]
struct Spans {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    made: AtomicU64,
    known: Mutex<HashMap<u64, &'static Metadata<'static>>>,
    entered: Mutex<Vec<Id>>,
    events: Mutex<Vec<(Option<&'static str>, String)>>,
}

impl Spans {
    /// Listens until the guard is dropped.
    fn listen() -> (Self, DefaultGuard) {
        // For the reason that is told there.
        drop(Logged::listen());
        let spans = Self::default();
        let guard = tracing::subscriber::set_default(spans.clone());
        (spans, guard)
    }

    /// The spans in which a text was logged.
    fn of(&self, text: &str) -> Vec<Option<&'static str>> {
        let events = self.shared.events.lock().unwrap();
        let of = events.iter().filter(|(_, event)| event.contains(text));
        of.map(|(span, _)| *span).collect()
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let number = self.shared.made.fetch_add(1, Ordering::Relaxed) + 1;
        self.shared
            .known
            .lock()
            .unwrap()
            .insert(number, attributes.metadata());
        Id::from_u64(number)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let span = self.current_span().metadata().map(|span| span.name());
        self.shared.events.lock().unwrap().push((span, text.0));
    }

    fn enter(&self, span: &Id) {
        self.shared.entered.lock().unwrap().push(span.clone());
    }

    fn exit(&self, span: &Id) {
        assert_eq!(self.shared.entered.lock().unwrap().pop().as_ref(), Some(span));
    }

    fn current_span(&self) -> Current {
        match self.shared.entered.lock().unwrap().last() {
            Some(id) => Current::new(id.clone(), self.shared.known.lock().unwrap()[&id.into_u64()]),
            None => Current::none(),
        }
    }
}

/// A node whose loads tell where they are.
#[derive(Node, Clone)]
#[node(
    key = "told:{id}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    load = load_published
)]
struct PublishedNode {
    id: u64,
    #[node(skip)]
    source: Source,
}

async fn load_published(node: &PublishedNode, _cx: &mut LoadContext<PublishedNode>) -> Result<u64, NoSource> {
    tracing::info!("load {}", node.id);
    node.source.load(node.id).await
}

/// The same, all at once.
#[derive(Node, Clone)]
#[node(
    key = "told-together:{id}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    load_all = load_together
)]
struct ToldTogether {
    id: u64,
}

async fn load_together(
    nodes: &[ToldTogether],
    _cx: &mut LoadContext<ToldTogether>,
) -> Result<Loaded<ToldTogether>, BoxError> {
    tracing::info!("load {} together", nodes.len());
    Ok(nodes.iter().map(|node| (node.clone(), node.id)).collect())
}

#[tokio::test(start_paused = true)]
async fn l4_loads_run_within_the_span_of_the_caller_that_began_them() {
    let (spans, _guard) = Spans::listen();
    let (world, source) = (World::new().await, Source::default());
    let node = |id| PublishedNode {
        id,
        source: source.clone(),
    };
    let first = node(1);
    let one = world.cacheme.get(&first).instrument(info_span!("one"));
    one.await.unwrap();
    assert_eq!(spans.of("load 1"), [Some("one")]);

    let nodes = [node(2), node(3)];
    let all = world.cacheme.get_all(&nodes).instrument(info_span!("all"));
    all.await.unwrap();
    assert_eq!(spans.of("load 2"), [Some("all")]);
    assert_eq!(spans.of("load 3"), [Some("all")]);

    let nodes = [1, 2].map(|id| ToldTogether { id });
    let together = world.cacheme.get_all(&nodes).instrument(info_span!("together"));
    together.await.unwrap();
    assert_eq!(spans.of("load 2 together"), [Some("together")]);

    let (nothing, refreshed) = (spans.of("load 4"), node(4));
    assert_eq!(nothing, []);
    let refresh = world
        .cacheme
        .refresh(&refreshed)
        .instrument(info_span!("refresh"));
    refresh.await.unwrap();
    assert_eq!(spans.of("load 4"), [Some("refresh")]);

    // Without one, it is in none.
    world.cacheme.get(&node(5)).await.unwrap();
    assert_eq!(spans.of("load 5"), [None]);
}

#[tokio::test(start_paused = true)]
async fn l4_a_load_that_waits_for_something_first_stays_within_its_span() {
    let (spans, _guard) = Spans::listen();
    let (world, source) = (World::new().await, Source::default());
    let node = |id| PublishedNode {
        id,
        source: source.clone(),
    };
    // For the load of another process, which brings nothing.
    source.fail(1);
    let neighbour = world.neighbour().await;
    let gate = source.hold();
    let (theirs, first) = (neighbour.cacheme.clone(), node(1));
    let theirs = tokio::spawn(async move { theirs.get(&first).await });
    gate.reached().await;
    let (cacheme, nodes) = (world.cacheme.clone(), [node(1), node(2)]);
    let ours = async move { cacheme.get_all(&nodes).await }.instrument(info_span!("ours"));
    let ours = tokio::spawn(ours);
    settle().await;
    source.mend();
    gate.open();
    theirs.await.unwrap().unwrap();
    ours.await.unwrap().unwrap();
    assert_eq!(spans.of("load 2"), [Some("ours")]);
    source.fail(3);
    let gate = source.hold();
    let (theirs, third) = (neighbour.cacheme.clone(), node(3));
    let theirs = tokio::spawn(async move { theirs.get(&third).await });
    gate.reached().await;
    let (cacheme, third) = (world.cacheme.clone(), node(3));
    let ours = tokio::spawn(async move { cacheme.get(&third).await }.instrument(info_span!("after")));
    settle().await;
    gate.open();
    theirs.await.unwrap().unwrap_err();
    ours.await.unwrap().unwrap_err();
    assert_eq!(spans.of("load 3"), [None, Some("after")]);
    // Also what goes wrong is told there.
    assert_eq!(spans.of("a load failed"), [None, Some("after")]);

    // For a value that is being stored.
    source.mend();
    let gate = world.remote.hold_before(Operation::Set);
    let (cacheme, fourth) = (world.cacheme.clone(), node(4));
    let set = tokio::spawn(async move { cacheme.set(&fourth, 7).await });
    gate.reached().await;
    let (cacheme, fourth) = (world.cacheme.clone(), node(4));
    let refresh = async move { cacheme.refresh(&fourth).await }.instrument(info_span!("refresh"));
    let refresh = tokio::spawn(refresh);
    settle().await;
    assert_eq!(spans.of("load 4"), []);
    gate.open();
    set.await.unwrap().unwrap();
    assert_eq!(refresh.await.unwrap().unwrap(), 4_000);
    assert_eq!(spans.of("load 4"), [Some("refresh")]);
}

#[tokio::test(start_paused = true)]
async fn l4_what_goes_on_for_a_caller_that_is_gone_stays_within_its_span() {
    let (spans, _guard) = Spans::listen();
    let (world, source) = (World::new().await, Source::default());
    let node = Item::new(1, &source);
    let _never_opened = source.hold();
    world
        .remote
        .set_trouble_with(Operation::Release, Trouble::Refuses);
    let leader = world.cacheme.get_with(&node, || source.load(1));
    let mut leader = Box::pin(leader.instrument(info_span!("gone")));
    assert!(poll_once(&mut leader).await.is_none());
    drop(leader);
    settle().await;
    assert_eq!(spans.of("storage in trouble"), [Some("gone")]);
    // So do changes. Trouble is over once the storage has been quiet.
    world.remote.recover();
    world.advance(6 * SECOND).await;
    world
        .cacheme
        .set(&node, 1)
        .instrument(info_span!("set"))
        .await
        .unwrap();
    assert_eq!(spans.of("works again"), [Some("set")]);
}
