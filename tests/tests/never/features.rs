//! What a node, a loader and a caller can say about how long a value is kept.

use std::sync::Arc;
use std::time::Duration;

use cacheme::{BoxError, LoadContext, Node, Policy, Storage};
use tokio::time::{Instant, sleep};

use crate::fakes::{Local, Op, Remote};
use crate::source::cacheme;

#[derive(Node, Clone, Debug)]
#[node(
    key = "row:{id}",
    value = Option<u64>,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "near", ttl = "10m"),
    load = row,
    negative_ttl = "5s"
)]
struct RowNode {
    id: u64,
    #[node(skip)]
    says: Says,
}

#[derive(Clone, Copy, Debug, Default)]
struct Says {
    value: Option<u64>,
    ttl: Option<Duration>,
    do_not_store: bool,
}

async fn row(node: &RowNode, cx: &mut LoadContext<RowNode>) -> Result<Option<u64>, BoxError> {
    if let Some(ttl) = node.says.ttl {
        cx.ttl(ttl);
    }
    if node.says.do_not_store {
        cx.do_not_store();
    }
    Ok(node.says.value)
}

fn row_node(says: Says) -> RowNode {
    RowNode { id: 1, says }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn r4_none_is_a_value_and_lives_for_its_negative_ttl_at_most_in_every_tier() {
    let near = Remote::new("near");
    let instance = async || cacheme([("near", near.storage()), ("local", Local::default().storage())]).await;
    let (first, second) = (instance().await, instance().await);
    let node = row_node(Says::default());
    assert_eq!(first.get(&node).await.unwrap(), None);
    seconds(3).await;
    assert_eq!(second.get(&node).await.unwrap(), None);
    assert_eq!(second.stats::<RowNode>().loads, 0, "a value, not a miss");
    seconds(3).await;
    assert_eq!(near.values(), 0);
    assert_eq!(first.peek(&node).await.unwrap(), None::<Option<u64>>);
    assert_eq!(
        second.peek(&node).await.unwrap(),
        None::<Option<u64>>,
        "promoted for the rest of its life only"
    );

    let there = row_node(Says {
        value: Some(1),
        ..Says::default()
    });
    first.get(&there).await.unwrap();
    seconds(30).await;
    assert_eq!(
        first.peek(&there).await.unwrap(),
        Some(Some(1)),
        "others live as long as the tiers say"
    );
    first.set(&there, None).await.unwrap();
    seconds(6).await;
    assert_eq!(first.peek(&there).await.unwrap(), None::<Option<u64>>);
}

#[tokio::test(start_paused = true)]
async fn r2_a_loader_bounds_the_life_of_its_value_in_every_tier() {
    let near = Remote::new("near");
    let local = Local::default();
    let cacheme = cacheme([("near", near.storage()), ("local", local.storage())]).await;
    let says = Says {
        value: Some(1),
        ttl: Some(Duration::from_secs(20)),
        ..Says::default()
    };
    cacheme.get(&row_node(says)).await.unwrap();
    assert_eq!(local.lives(), [Duration::from_secs(20)]);
    seconds(19).await;
    assert_eq!(near.values(), 1);
    seconds(1).await;
    assert_eq!(near.values(), 0);
    // Only ever shortens.
    let says = Says {
        ttl: Some(Duration::from_secs(100)),
        ..says
    };
    cacheme.get(&row_node(says)).await.unwrap();
    assert_eq!(local.lives(), [Duration::from_secs(60)]);
}

#[tokio::test(start_paused = true)]
async fn l2_what_a_loader_does_not_want_stored_is_handed_out_and_leaves_no_lease() {
    let near = Remote::new("near");
    let local = Local::default();
    let cacheme = cacheme([("near", near.storage()), ("local", local.storage())]).await;
    let node = row_node(Says {
        value: Some(1),
        do_not_store: true,
        ..Says::default()
    });
    let start = Instant::now();
    for loads in 1..4 {
        assert_eq!(cacheme.get(&node).await.unwrap(), Some(1));
        assert_eq!(cacheme.stats::<RowNode>().loads, loads);
    }
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "nobody waited for a lease"
    );
    assert_eq!((near.values(), near.leases(), local.lives().len()), (0, 0, 0));
    cacheme.set(&node, Some(2)).await.unwrap();
    assert_eq!(cacheme.refresh(&node).await.unwrap(), Some(1));
    assert_eq!(
        cacheme.peek(&node).await.unwrap(),
        None,
        "nor does the older one stay"
    );
}

#[tokio::test(start_paused = true)]
async fn r5_set_with_ttl_counts_from_the_call_in_every_tier() {
    let near = Remote::new("near");
    let local = Local::default();
    let cacheme = cacheme([("near", near.storage()), ("local", local.storage())]).await;
    let node = row_node(Says::default());
    let mut slow = near.gate_after(Op::Set);
    let set = tokio::spawn({
        let (cacheme, node) = (cacheme.clone(), node.clone());
        async move {
            cacheme
                .set_with_ttl(&node, Some(3), Duration::from_millis(900))
                .await
        }
    });
    slow.arrived().await;
    sleep(Duration::from_millis(400)).await;
    slow.open();
    set.await.unwrap().unwrap();
    assert_eq!(local.lives(), [Duration::from_millis(500)]);
    sleep(Duration::from_millis(499)).await;
    assert_eq!(cacheme.get(&node).await.unwrap(), Some(3));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(cacheme.peek(&node).await.unwrap(), None);
    assert!(cacheme.set_with_ttl(&node, None, Duration::ZERO).await.is_err());
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "spread:{0}",
    value = u64,
    tier(storage = "local", ttl = "100s"),
    tier(storage = "near", ttl = "100s"),
    ttl_jitter = 0.2
)]
struct SpreadNode(u64);

#[tokio::test(start_paused = true)]
async fn r2_jitter_only_ever_shortens_and_is_one_for_all_tiers_of_a_value() {
    let near = Remote::new("near");
    let local = Local::default();
    let cacheme = cacheme([("near", near.storage()), ("local", local.storage())]).await;
    for number in 0..200 {
        cacheme.get_with(&SpreadNode(number), || async { 1 }).await;
    }
    cacheme
        .set_with_ttl(&SpreadNode(1_000), 1, Duration::from_secs(50))
        .await
        .unwrap();
    let mut lives = local.lives();
    lives.sort_unstable();
    let short = lives.remove(0);
    let seconds = Duration::from_secs;
    assert!(seconds(40) <= short && short <= seconds(50), "{short:?}");
    assert!(
        lives
            .iter()
            .all(|life| seconds(80) <= *life && *life <= seconds(100)),
        "{lives:?}"
    );
    // All 200 within a tenth of the range has a chance of 10^-200.
    assert!(
        lives[199] - lives[0] > seconds(2),
        "they expire together: {lives:?}"
    );
    // Each is gone from both tiers at one time.
    for life in [short, lives[0], lives[100], lives[199]] {
        sleep(life.saturating_sub(near.elapsed())).await;
        assert_eq!(local.alive(), near.values());
    }
}

#[test]
fn policies_that_cannot_work_are_refused() {
    let policy = || Policy::<Option<u64>>::new("Node", "node:{id}");
    for (wrong, says) in [
        (policy().ttl_jitter(1.0), "ttl_jitter"),
        (policy().ttl_jitter(-0.1), "ttl_jitter"),
        (policy().ttl_jitter(f64::NAN), "ttl_jitter"),
        (policy().negative_ttl(Duration::ZERO), "negative_ttl"),
    ] {
        let error = cacheme::DynamicKind::new(wrong).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

fn size(text: &Arc<str>) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "text:{length}",
    value = Arc<str>,
    tier(storage = "local"),
    load = text,
    serializer = none,
    weigh = size,
)]
struct TextNode {
    length: usize,
}

async fn text(node: &TextNode, _cx: &mut LoadContext<TextNode>) -> Result<Arc<str>, BoxError> {
    Ok("x".repeat(node.length).into())
}

#[tokio::test]
async fn a_storage_of_a_weight_holds_what_the_node_says_its_values_weigh() {
    for url in ["local://tlfu?weight=100", "local://lru?weight=100"] {
        let storage = Storage::open(url).unwrap();
        let cacheme = cacheme([("local", storage.clone())]).await;
        let held = storage.as_local().unwrap();
        // Loaded, set and refreshed, light and heavy: nothing is stored that is heavier than all may be.
        for length in [40, 30, 20, 101] {
            assert_eq!(cacheme.get(&TextNode { length }).await.unwrap().len(), length);
        }
        assert_eq!(held.len(), 3, "{url}: 40 + 30 + 20 of 100");
        let heavy = TextNode { length: 20 };
        cacheme.set(&heavy, "y".repeat(101).into()).await.unwrap();
        assert_eq!(
            cacheme.peek(&heavy).await.unwrap(),
            None,
            "too heavy, and the old value is gone"
        );
        cacheme.refresh(&TextNode { length: 90 }).await.unwrap();
        assert!(held.len() <= 2, "{url}: 90 leaves room for none of the others");
        assert_eq!(
            held.entry(b"cacheme:text:90:v1").map_or(90, |entry| entry.weight),
            90
        );
    }
}
