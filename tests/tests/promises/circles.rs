//! L3: loads that wait for themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cacheme::{
    BoxError, Cacheme, Error, KeyWriter, Load, LoadContext, Loaded, Node, Policy, Storage, memoize,
};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join, join_all};

use crate::world::{SECOND, World, settle, timed};

/// How a load asks for what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Get,
    GetAll,
    /// All at once.
    Joined,
    GetWith,
    Refresh,
    /// After it has thrown itself out.
    Invalidates,
    /// After it has put in itself another value.
    Sets,
}

/// Which node needs which, and how it asks for them.
#[derive(Debug, Default)]
struct Needs(HashMap<u64, (Asks, Vec<u64>)>);

/// A node with one more than what it needs together.
#[derive(Clone, Debug)]
struct Sum {
    id: u64,
    needs: Arc<Needs>,
}

impl Sum {
    fn of(id: u64, needs: &Arc<Needs>) -> Self {
        Self {
            id,
            needs: Arc::clone(needs),
        }
    }
}

impl Node for Sum {
    type Value = u64;

    fn policy(&self) -> Policy<u64> {
        Policy::new("Sum", "sum:{id}")
            .tier("local", None)
            .load_timeout(10 * SECOND)
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal("sum:");
        key.part(&self.id);
    }
}

impl Load for Sum {
    async fn load(&self, cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        Ok(self.clone().sum(cx.cacheme().clone()).await?)
    }
}

impl Sum {
    /// A function of its own, or the loader's future would have itself inside.
    fn sum(self, cacheme: Cacheme) -> BoxFuture<'static, Result<u64, Error>> {
        Box::pin(async move {
            let nothing = (Asks::Get, Vec::new());
            let (asks, needs) = self.needs.0.get(&self.id).unwrap_or(&nothing);
            let needs: Vec<Self> = needs.iter().map(|id| Self::of(*id, &self.needs)).collect();
            for _ in 0..self.id % 3 {
                tokio::task::yield_now().await;
            }
            let mut sum = 1;
            match asks {
                Asks::GetAll => sum += cacheme.get_all(&needs).await?.iter().sum::<u64>(),
                Asks::Joined => {
                    for value in join_all(needs.iter().map(|node| cacheme.get(node))).await {
                        sum += value?;
                    }
                }
                Asks::Get | Asks::GetWith | Asks::Refresh | Asks::Invalidates | Asks::Sets => {
                    for node in needs {
                        sum += match asks {
                            Asks::GetWith => {
                                let with = cacheme.clone();
                                cacheme.get_with(&node, || node.clone().sum(with)).await?
                            }
                            Asks::Refresh => cacheme.refresh(&node).await?,
                            Asks::Invalidates => {
                                cacheme.invalidate(&self).await?;
                                cacheme.get(&node).await?
                            }
                            Asks::Sets => {
                                cacheme.set(&self, 7).await?;
                                cacheme.get(&node).await?
                            }
                            _ => cacheme.get(&node).await?,
                        };
                    }
                }
            }
            Ok(sum)
        })
    }
}

fn needs<const N: usize>(needs: [(u64, Asks, &[u64]); N]) -> Arc<Needs> {
    let needs = needs.into_iter().map(|(id, asks, of)| (id, (asks, of.to_vec())));
    Arc::new(Needs(needs.collect()))
}

/// The keys of the circle that a load failed for.
fn circle(error: &Error) -> Vec<String> {
    let mut error = error;
    loop {
        match error {
            Error::CircularLoad { keys } => return keys.clone(),
            Error::Load { .. } => {
                error = error
                    .downcast_load::<Error>()
                    .expect("it failed for another load")
            }
            other => panic!("{other:?}"),
        }
    }
}

fn keys(ids: &[u64]) -> Vec<String> {
    ids.iter().map(|id| format!("test:sum:{id}:v1")).collect()
}

#[tokio::test(start_paused = true)]
async fn l3_a_load_that_asks_for_its_own_key_is_refused_at_once() {
    for asks in [
        Asks::Get,
        Asks::GetAll,
        Asks::Joined,
        Asks::GetWith,
        Asks::Refresh,
        Asks::Invalidates,
    ] {
        let world = World::new().await;
        let needs = needs([(1, asks, &[2, 1])]);
        let (result, took) = timed(world.cacheme.get(&Sum::of(1, &needs))).await;
        let error = result.unwrap_err();
        assert_eq!(circle(&error), keys(&[1]), "{asks:?}");
        assert_eq!(took, Duration::ZERO, "{asks:?}");
        settle().await;
        assert_eq!(world.cacheme.stats::<Sum>().in_flight, 0, "{asks:?}");
        // Not the load, but what it asked for was refused.
        let Error::Load { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            source.to_string(),
            "a load waits for itself: `test:sum:1:v1` → `test:sum:1:v1`"
        );
        // So for whoever leads the load, and whoever waits for it.
        let node = Sum::of(1, &needs);
        let both = join(
            world
                .cacheme
                .get_with(&node, || node.clone().sum(world.cacheme.clone())),
            world.cacheme.get(&node),
        );
        let (led, waited) = both.await;
        assert_eq!(circle(&led.unwrap_err()), keys(&[1]), "{asks:?}");
        assert_eq!(circle(&waited.unwrap_err()), keys(&[1]), "{asks:?}");
        assert_eq!(
            circle(&world.cacheme.refresh(&node).await.unwrap_err()),
            keys(&[1]),
            "{asks:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn l3_a_circle_over_several_loads_is_named() {
    for asks in [
        Asks::Get,
        Asks::GetAll,
        Asks::Joined,
        Asks::GetWith,
        Asks::Refresh,
        Asks::Invalidates,
    ] {
        let world = World::new().await;
        // Into a circle of three, past one that is none.
        let needs = needs([
            (0, asks, &[1]),
            (1, asks, &[9, 2]),
            (2, asks, &[3]),
            (3, asks, &[9, 1]),
        ]);
        let (result, took) = timed(world.cacheme.get(&Sum::of(0, &needs))).await;
        // The third closes it.
        assert_eq!(circle(&result.unwrap_err()), keys(&[3, 1, 2]), "{asks:?}");
        assert_eq!(took, Duration::ZERO, "{asks:?}");
        settle().await;
        assert_eq!(world.cacheme.stats::<Sum>().in_flight, 0, "{asks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn l3_callers_that_close_a_circle_at_once_all_end() {
    let world = World::new().await;
    let needs = needs([
        (0, Asks::Get, &[1]),
        (1, Asks::GetAll, &[2]),
        (2, Asks::Joined, &[0]),
    ]);
    let nodes = [0, 1, 2].map(|id| Sum::of(id, &needs));
    let (results, took) = timed(join_all(nodes.iter().map(|node| world.cacheme.get(node)))).await;
    for result in results {
        let mut circle = circle(&result.unwrap_err());
        circle.sort();
        assert_eq!(circle, keys(&[0, 1, 2]));
    }
    assert_eq!(took, Duration::ZERO);
    // The same in one call, each of whose loads is one of its own.
    let (result, took) = timed(world.cacheme.get_all(&nodes)).await;
    assert_eq!(circle(&result.unwrap_err()).len(), 3);
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn l3_a_load_may_write_its_own_key() {
    for asks in [Asks::Invalidates, Asks::Sets] {
        let world = World::new().await;
        let needs = needs([(1, asks, &[2])]);
        let (result, took) = timed(world.cacheme.get(&Sum::of(1, &needs))).await;
        assert_eq!(result.unwrap(), 2, "{asks:?}");
        assert_eq!(took, Duration::ZERO, "{asks:?}");
        // What it brings was overtaken by itself.
        let stored = world.cacheme.peek(&Sum::of(1, &needs)).await.unwrap();
        assert_eq!(stored, (asks == Asks::Sets).then_some(7), "{asks:?}");
    }
}

#[memoize(node = Memoized(number), cacheme = cacheme)]
async fn countdown(cacheme: &Cacheme, number: u64, end: u64) -> u64 {
    match number {
        0 => end,
        // The last step leads back.
        1 => Box::pin(countdown(cacheme, end, end)).await + 1,
        _ => Box::pin(countdown(cacheme, number - 1, end)).await + 1,
    }
}

#[derive(Node, Clone)]
#[node(key = "countdown:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
struct Memoized(u64);

#[memoize(node = Memoized(number), cacheme = cacheme)]
async fn countdown_or_error(cacheme: &Cacheme, number: u64) -> Result<u64, Error> {
    Box::pin(countdown_or_error(cacheme, number)).await
}

#[tokio::test(start_paused = true)]
async fn l3_a_memoized_function_that_calls_itself_with_the_same_key_says_so() {
    let world = World::new().await;
    let call = std::panic::AssertUnwindSafe(countdown(&world.cacheme, 3, 3)).catch_unwind();
    let (result, took) = timed(call).await;
    let panic = result.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(
        message,
        "a load waits for itself: `test:countdown:1:v1` → `test:countdown:3:v1` → `test:countdown:2:v1` → `test:countdown:1:v1`"
    );
    assert_eq!(took, Duration::ZERO);
    assert_eq!(countdown(&world.cacheme, 0, 0).await, 0);
    // Where its error can say so, it does.
    let error = countdown_or_error(&world.cacheme, 5).await.unwrap_err();
    assert!(
        matches!(&error, Error::CircularLoad { keys } if *keys == ["test:countdown:5:v1"]),
        "{error:?}"
    );
    assert_eq!(world.cacheme.stats::<Memoized>().in_flight, 0);
}

/// A node that is loaded with others, of which the first reads another.
#[derive(Node, Clone)]
#[node(key = "together:{id}", value = u64, tier(storage = "local", ttl = "1m"), load_all = load_together)]
struct Together {
    id: u64,
    #[node(skip)]
    reads: Reads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Nothing,
    Itself,
    TheLast,
    OfAnotherKind,
}

async fn load_together(
    nodes: &[Together],
    cx: &mut LoadContext<Together>,
) -> Result<Loaded<Together>, BoxError> {
    let (first, last) = (&nodes[0], &nodes[nodes.len() - 1]);
    let read = match first.reads {
        Reads::Nothing => 0,
        Reads::Itself => Box::pin(cx.cacheme().get(first)).await?,
        Reads::TheLast => Box::pin(cx.cacheme().get(last)).await?,
        Reads::OfAnotherKind => cx.cacheme().get(&Reader(last.id)).await?,
    };
    Ok(nodes.iter().map(|node| (node.clone(), node.id + read)).collect())
}

/// A node that reads one of those.
#[derive(Node, Clone)]
#[node(key = "reader:{0}", value = u64, tier(storage = "local", ttl = "1m"), load = load_reader)]
struct Reader(u64);

fn load_reader<'a>(
    node: &'a Reader,
    cx: &'a mut LoadContext<Reader>,
) -> BoxFuture<'a, Result<u64, BoxError>> {
    Box::pin(async move {
        let reads = Reads::Nothing;
        Ok(cx.cacheme().get(&Together { id: node.0, reads }).await?)
    })
}

#[tokio::test(start_paused = true)]
async fn l3_a_load_all_that_reads_what_it_was_asked_for_is_refused_at_once() {
    for (reads, expected) in [
        (Reads::Itself, vec!["test:together:1:v1"]),
        (Reads::TheLast, vec!["test:together:3:v1"]),
        (
            Reads::OfAnotherKind,
            vec!["test:reader:3:v1", "test:together:3:v1"],
        ),
    ] {
        let world = World::new().await;
        let nodes = [1, 2, 3].map(|id| Together { id, reads });
        let (result, took) = timed(world.cacheme.get_all(&nodes)).await;
        assert_eq!(circle(&result.unwrap_err()), expected, "{reads:?}");
        assert_eq!(took, Duration::ZERO, "{reads:?}");
        settle().await;
        assert_eq!(world.cacheme.stats::<Together>().in_flight, 0, "{reads:?}");
    }
}

/// A node that needs another at first, and later is needed by it.
#[derive(Node, Clone)]
#[node(key = "turning:{id}", value = u64, tier(storage = "local", ttl = "1m"), load = load_turning, load_timeout = "1s")]
struct Turning {
    id: u64,
    #[node(skip)]
    state: Arc<AtomicU64>,
    #[node(skip)]
    gate: Arc<tests::Gate>,
}

fn load_turning<'a>(
    node: &'a Turning,
    cx: &'a mut LoadContext<Turning>,
) -> BoxFuture<'a, Result<u64, BoxError>> {
    Box::pin(async move {
        let other = Turning {
            id: 1 - node.id,
            ..node.clone()
        };
        match (node.id, node.state.load(Ordering::SeqCst)) {
            (0, 0) => {
                node.gate.pass().await;
                Ok(cx.cacheme().get(&other).await? + 1)
            }
            (0, _) => Ok(10),
            _ => Ok(cx.cacheme().get(&other).await? + 1),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn l3_what_an_invalidated_load_waits_for_may_load_its_key_anew() {
    let world = World::new().await;
    let (state, gate) = (Arc::default(), Arc::new(tests::Gate::new()));
    let node = Turning { id: 0, state, gate };
    let (cacheme, asked) = (world.cacheme.clone(), node.clone());
    let old = tokio::spawn(async move { cacheme.get(&asked).await });
    node.gate.reached().await;
    node.state.store(1, Ordering::SeqCst);
    world.cacheme.invalidate(&node).await.unwrap();
    node.gate.open();
    assert_eq!(old.await.unwrap().unwrap(), 12);
    assert_eq!(world.cacheme.get(&node).await.unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn l3_a_key_of_another_instance_is_another_key() {
    let (outer, inner) = (World::new().await, World::new().await);
    let node = Sum::of(1, &needs([(1, Asks::Get, &[2])]));
    let value: Result<u64, Error> = outer
        .cacheme
        .get_with(&node, async || inner.cacheme.get(&node).await)
        .await;
    assert_eq!(value.unwrap(), 2);
}

/// Numbers that look random, the same ones for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

const NODES: u64 = 30;

/// Any needs, of nodes before alone unless there may be circles.
fn any_needs(dice: &mut Dice, circles: bool) -> Arc<Needs> {
    let asks = [Asks::Get, Asks::GetAll, Asks::Joined, Asks::GetWith];
    let needs = (0..NODES).map(|id| {
        let most = if circles { NODES } else { id };
        let count = if most == 0 { 0 } else { dice.below(4) };
        // Few lead back, or nothing would be without a circle.
        let count = if circles && dice.below(3) > 0 {
            count.min(1)
        } else {
            count
        };
        let of = (0..count).map(|_| dice.below(most)).collect();
        (id, (asks[dice.below(4) as usize], of))
    });
    Arc::new(Needs(needs.collect()))
}

/// What nodes are to have, `None` for those that need themselves in the end.
#[derive(Default)]
struct Expected {
    known: HashMap<u64, Option<u64>>,
}

impl Expected {
    fn of(&mut self, id: u64, needs: &Needs) -> Option<u64> {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        // As long as it is not known: whoever needs it now is needed by it.
        self.known.insert(id, None);
        let mut sum = Some(1);
        for needed in &needs.0[&id].1 {
            let of = self.of(*needed, needs);
            sum = sum.zip(of).map(|(sum, of)| sum + of);
        }
        self.known.insert(id, sum);
        sum
    }
}

async fn in_any_order(cacheme: &Cacheme, dice: &mut Dice, needs: &Arc<Needs>, context: &str) {
    let callers: Vec<_> = (0..6)
        .map(|_| {
            let count = 1 + dice.below(NODES);
            let asked: Vec<_> = (0..count).map(|_| Sum::of(dice.below(NODES), needs)).collect();
            let cacheme = cacheme.clone();
            let at_once = dice.below(2) == 0;
            tokio::spawn(async move {
                let mut got = Vec::new();
                if at_once {
                    // What fails there fails by itself as well.
                    let _ = cacheme.get_all(&asked).await;
                }
                for node in asked {
                    got.push((node.id, cacheme.get(&node).await));
                }
                got
            })
        })
        .collect();
    let mut expected = Expected::default();
    for caller in callers {
        for (id, got) in caller.await.unwrap() {
            match expected.of(id, needs) {
                Some(sum) => assert_eq!(got.unwrap(), sum, "{context}, {id}: {needs:?}"),
                None => assert!(!circle(&got.unwrap_err()).is_empty()),
            }
        }
    }
    // What others of a call that failed still load ends as well.
    while cacheme.stats::<Sum>().in_flight > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn l3_no_load_waits_in_a_circle_and_none_is_refused_that_does_not() {
    let begun = tokio::time::Instant::now();
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let needs = any_needs(&mut dice, seed % 2 == 1);
        let world = World::new().await;
        in_any_order(&world.cacheme, &mut dice, &needs, &format!("seed {seed}")).await;
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn l3_nor_on_several_threads() {
    for seed in 0..100 {
        let mut dice = Dice(1_000 + seed);
        let needs = any_needs(&mut dice, seed % 2 == 1);
        let cacheme = Cacheme::builder().prefix("test").build().unwrap();
        let local = Storage::open("local://lru?size=1000").unwrap();
        cacheme.register_storage("local", local).await.unwrap();
        // A load that waits in a circle takes ten seconds.
        let context = format!("seed {seed}");
        let all = in_any_order(&cacheme, &mut dice, &needs, &context);
        tokio::time::timeout(8 * SECOND, all).await.expect("nobody waits");
    }
}
