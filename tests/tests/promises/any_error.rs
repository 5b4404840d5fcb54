//! L2: loads that come with their call may fail with any error type, and what waiters get depends on the type alone.

use std::borrow::Cow;
use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cacheme::{BoxError, Cacheme, Node, find_error, memoize};
use futures_util::future::join_all;
use tests::Gate;

use crate::world::World;

#[derive(Node, Clone)]
#[node(
    key = "any-error:{0}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    load_timeout = "10s"
)]
struct AnyNode(u64);

#[derive(Debug, Clone, PartialEq)]
struct NotFound(u64);

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {}", self.0)
    }
}

impl StdError for NotFound {}

/// The source of a test: how many loads there were, how many at once, and a gate that each passes.
struct Source {
    gate: Gate,
    loads: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Source {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            loads: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    /// The number of this load.
    async fn ask(&self) -> usize {
        let number = self.loads.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.gate.pass().await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        number
    }
}

/// A memoized function for each error type.
macro_rules! fallible {
    ($($name:ident: $error:ty = $fail:expr;)*) => {
        $(
            #[memoize(node = AnyNode(id), cacheme = cacheme)]
            async fn $name(cacheme: &Cacheme, source: &Source, id: u64) -> Result<u64, $error> {
                let number = source.ask().await;
                let fail: fn(usize) -> $error = $fail;
                Err(fail(number))
            }
        )*
    };
}

fallible! {
    cloned: NotFound = |number| NotFound(number as u64);
    word: &'static str = |_| "word";
    text: Cow<'static, str> = |number| format!("text {number}").into();
    boxed: BoxError = |number| NotFound(number as u64).into();
    by_anyhow: anyhow::Error = |number| anyhow::Error::new(NotFound(number as u64)).context("the shop").context("the page");
    by_eyre: eyre::Report = |number| eyre::Report::new(NotFound(number as u64)).wrap_err("the shop");
    by_io: io::Error = |number| io::Error::other(NotFound(number as u64));
    by_sqlx: sqlx::Error = |_| sqlx::Error::RowNotFound;
    local: Box<dyn StdError> = |number| NotFound(number as u64).into();
}

/// A caller in a task of its own, whose cacheme and source are shared.
fn spawned<R: Send + 'static>(
    world: &World,
    source: &Arc<Source>,
    call: impl AsyncCall<R>,
) -> tokio::task::JoinHandle<R> {
    tokio::spawn(call.run(world.cacheme.clone(), Arc::clone(source)))
}

trait AsyncCall<R> {
    fn run(self, cacheme: Cacheme, source: Arc<Source>) -> impl Future<Output = R> + Send + 'static;
}

impl<R, F: Future<Output = R> + Send + 'static, C: FnOnce(Cacheme, Arc<Source>) -> F> AsyncCall<R> for C {
    fn run(self, cacheme: Cacheme, source: Arc<Source>) -> impl Future<Output = R> + Send + 'static {
        self(cacheme, source)
    }
}

/// The errors of a leader and two waiters, which are spawned, in order. The test says how many loads there are to be.
macro_rules! errors_of_three {
    ($name:ident, $loads:expr) => {{
        let world = World::new().await;
        let source = Source::new();
        let call = || {
            spawned(
                &world,
                &source,
                |cacheme: Cacheme, source: Arc<Source>| async move { $name(&cacheme, &source, 1).await },
            )
        };
        let first = call();
        source.gate.reached().await;
        let rest = [call(), call()];
        tokio::task::yield_now().await;
        source.gate.open();
        let mut errors = vec![first.await.unwrap().unwrap_err()];
        for call in rest {
            errors.push(call.await.unwrap().unwrap_err());
        }
        assert_eq!(source.loads.load(Ordering::SeqCst), $loads);
        assert_eq!(source.most.load(Ordering::SeqCst), 1);
        errors
    }};
}

#[tokio::test(start_paused = true)]
async fn l2_waiters_get_clones_of_an_error_that_is_clone() {
    assert_eq!(
        errors_of_three!(cloned, 1),
        [NotFound(0), NotFound(0), NotFound(0)]
    );
    assert_eq!(errors_of_three!(word, 1), ["word"; 3]);
    assert_eq!(errors_of_three!(text, 1), ["text 0"; 3]);
}

#[tokio::test(start_paused = true)]
async fn l2_leader_and_waiters_get_one_form_of_an_error_of_any_source() {
    for error in errors_of_three!(boxed, 1) {
        assert_eq!(error.to_string(), "there is no 0");
        assert_eq!(find_error::<NotFound>(&error), Some(&NotFound(0)));
    }
    for error in errors_of_three!(by_anyhow, 1) {
        assert_eq!(format!("{error:#}"), "the page: the shop: there is no 0");
        assert_eq!(error.chain().count(), 3);
        assert_eq!(find_error::<NotFound>(&error), Some(&NotFound(0)));
        assert_eq!(error.root_cause().downcast_ref(), Some(&NotFound(0)));
    }
    for error in errors_of_three!(by_eyre, 1) {
        assert_eq!(format!("{error:#}"), "the shop: there is no 0");
        assert_eq!(find_error::<NotFound>(&error), Some(&NotFound(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn l2_other_errors_are_their_callers_own_and_loads_run_one_at_a_time() {
    let errors = errors_of_three!(by_io, 3);
    let mut numbers: Vec<_> = errors
        .iter()
        .map(|error| error.get_ref().unwrap().to_string())
        .collect();
    numbers.sort();
    assert_eq!(numbers, ["there is no 0", "there is no 1", "there is no 2"]);
    assert!(
        errors_of_three!(by_sqlx, 3)
            .iter()
            .all(|error| matches!(error, sqlx::Error::RowNotFound))
    );
}

#[tokio::test(start_paused = true)]
async fn l2_an_error_that_cannot_leave_its_thread_is_its_callers_own() {
    let world = World::new().await;
    let source = Source::new();
    source.gate.open();
    let calls = (0..3).map(|_| local(&world.cacheme, &source, 1));
    let errors = join_all(calls).await;
    assert!(
        errors
            .iter()
            .all(|error| error.as_ref().is_err_and(|error| error.is::<NotFound>()))
    );
    assert_eq!(
        (
            source.loads.load(Ordering::SeqCst),
            source.most.load(Ordering::SeqCst)
        ),
        (3, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn l2_a_caller_queues_for_loads_of_others_for_its_load_timeout_at_most() {
    let world = World::new().await;
    let loads = AtomicUsize::new(0);
    let slow = || async {
        loads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(4)).await;
        Err(io::Error::other("down"))
    };
    let begun = tokio::time::Instant::now();
    let calls = join_all((0..20).map(|_| world.cacheme.get_with(&AnyNode(1), slow))).await;
    assert!(calls.iter().all(Result::is_err));
    assert_eq!(loads.load(Ordering::SeqCst), 20);
    // Three loads one after the other; the rest begin when ten seconds are over.
    assert_eq!(begun.elapsed().as_secs(), 14);
}

#[tokio::test(start_paused = true)]
async fn l2_get_with_takes_the_errors_that_can_be_shared() {
    let world = World::new().await;
    let cacheme = &world.cacheme;
    let error = cacheme
        .get_with(&AnyNode(1), || async { Err(anyhow::anyhow!("one")) })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "one");
    let error = cacheme
        .get_with(&AnyNode(1), || async { Err(BoxError::from("two")) })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "two");
    let error = cacheme
        .get_with(&AnyNode(1), || async { Err(eyre::eyre!("three")) })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "three");
    let error = cacheme
        .get_with(&AnyNode(1), || async { Err(io::Error::other("four")) })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "four");
    let error = cacheme
        .get_with(&AnyNode(1), || async { Err(sqlx::Error::PoolClosed) })
        .await
        .unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolClosed));
    assert_eq!(
        cacheme
            .get_with(&AnyNode(1), || async { Ok::<_, &'static str>(5) })
            .await,
        Ok(5)
    );
    assert_eq!(cacheme.get_with(&AnyNode(1), || async { 6 }).await, 5);
}

#[tokio::test(start_paused = true)]
async fn l2_a_shared_error_reaches_callers_with_another_type() {
    let world = World::new().await;
    let gate = Arc::new(Gate::new());
    let first = {
        let (cacheme, gate) = (world.cacheme.clone(), Arc::clone(&gate));
        let load = move || async move {
            gate.pass().await;
            Err::<u64, _>(anyhow::Error::new(NotFound(7)).context("the shop"))
        };
        tokio::spawn(async move { cacheme.get_with(&AnyNode(1), load).await })
    };
    gate.reached().await;
    let cacheme = world.cacheme.clone();
    let second = tokio::spawn(async move {
        let load = || async { Err::<u64, BoxError>("a second load".into()) };
        cacheme.get_with(&AnyNode(1), load).await
    });
    tokio::task::yield_now().await;
    gate.open();
    assert_eq!(
        format!("{:#}", first.await.unwrap().unwrap_err()),
        "the shop: there is no 7"
    );
    let error = second.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the shop");
    assert_eq!(find_error::<NotFound>(&error), Some(&NotFound(7)));
}

#[tokio::test]
async fn l3_a_circle_is_an_error_of_any_source() {
    let world = World::new().await;
    let cacheme = &world.cacheme;
    let inner = || async { Ok::<_, anyhow::Error>(1) };
    let outer = || async { cacheme.get_with(&AnyNode(1), inner).await };
    let error = cacheme.get_with(&AnyNode(1), outer).await.unwrap_err();
    assert!(
        matches!(find_error(&error), Some(cacheme::Error::CircularLoad { .. })),
        "{error:#}"
    );
}

#[tokio::test]
async fn l2_a_type_is_found_in_every_chain() {
    let io = io::Error::other(NotFound(1));
    let boxed: BoxError = Box::new(io);
    assert_eq!(find_error(&boxed), Some(&NotFound(1)));
    let shared: Arc<dyn StdError + Send + Sync> = Arc::new(NotFound(2));
    assert_eq!(find_error(&shared), Some(&NotFound(2)));
    assert_eq!(
        find_error(&anyhow::Error::new(shared).context("above")),
        Some(&NotFound(2))
    );
    let own = cacheme::Error::Load {
        key: "a".into(),
        source: Arc::new(NotFound(3)),
    };
    assert_eq!(find_error(&own), Some(&NotFound(3)));
    assert_eq!(find_error::<fmt::Error>(&own), None);
}

/// A function of a type that says nothing of its parameters but what it needs.
#[memoize(node = AnyNode(id), cacheme = cacheme)]
async fn generic<E: StdError + Send + Sync + 'static>(
    cacheme: &Cacheme,
    id: u64,
    error: Cell<Option<E>>,
) -> Result<u64, E> {
    Err(error.take().expect("asked once"))
}

#[tokio::test]
async fn l2_errors_of_type_parameters_are_shared_as_their_bounds_say() {
    let world = World::new().await;
    let error = generic(&world.cacheme, 1, Cell::new(Some(NotFound(1)))).await;
    assert_eq!(error, Err(NotFound(1)));
}
