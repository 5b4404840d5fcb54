//! T3 for those who look at metrics: what is counted reaches the recorder of the application.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

use cacheme_storage::Bytes;
use tests::MemoryRemote;

use crate::world::{Item, Source, World, settle};

/// Keeps the last of each metric, by name and labels.
#[derive(Clone, Default)]
struct Kept {
    values: Arc<Mutex<BTreeMap<String, f64>>>,
    described: Arc<Mutex<BTreeMap<String, String>>>,
}

struct One {
    kept: Kept,
    name: String,
}

impl Kept {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Arc::new(One {
            kept: self.clone(),
            name: format!("{}{{{}}}", key.name(), labels.join(",")),
        })
    }

    fn take(&self) -> BTreeMap<String, f64> {
        std::mem::take(&mut self.values.lock().unwrap())
    }
}

impl One {
    fn put(&self, value: f64) {
        self.kept.values.lock().unwrap().insert(self.name.clone(), value);
    }
}

impl CounterFn for One {
    fn increment(&self, _: u64) {
        unreachable!("counters are set")
    }

    fn absolute(&self, value: u64) {
        self.put(value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, _: f64) {
        unreachable!("gauges are set")
    }

    fn decrement(&self, _: f64) {
        unreachable!("gauges are set")
    }

    fn set(&self, value: f64) {
        self.put(value);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, what: SharedString) {
        let mut described = self.described.lock().unwrap();
        described.insert(key.as_str().to_owned(), what.to_string());
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, what: SharedString) {
        self.describe_counter(key, unit, what);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        unreachable!("there are none")
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        unreachable!("there are none")
    }
}

#[tokio::test(start_paused = true)]
async fn t3_what_is_counted_reaches_the_recorder_of_the_application() {
    let (world, source) = (World::over(MemoryRemote::with_bus()).await, Source::default());
    let node = Item::new(1, &source);
    world.neighbour().await.cacheme.invalidate(&node).await.unwrap();
    world.remote.publish_anything(Bytes::from_static(b"garbage"));
    settle().await;
    world.cacheme.get(&node).await.unwrap();
    world.cacheme.get(&node).await.unwrap();
    source.fail(2);
    world.cacheme.get(&Item::new(2, &source)).await.unwrap_err();

    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || world.cacheme.record_metrics());
    let seen = kept.take();
    let of_item = |name: &str| seen[&format!("{name}{{prefix=test,node=Item}}")];
    let of_tier =
        |name: &str, storage: &str| seen[&format!("{name}{{prefix=test,node=Item,storage={storage}}}")];
    assert_eq!(of_item("cacheme_loads_total"), 2.0);
    assert_eq!(of_item("cacheme_load_failures_total"), 1.0);
    assert_eq!(of_item("cacheme_in_flight"), 0.0);
    assert_eq!(of_tier("cacheme_hits_total", "local"), 1.0);
    // Each that loads looks once without a flight and once with.
    let stats = world.cacheme.stats::<Item>();
    for tier in &stats.tiers {
        assert_eq!(of_tier("cacheme_misses_total", &tier.storage), tier.misses as f64);
        assert_eq!(of_tier("cacheme_fills_total", &tier.storage), 1.0);
    }
    assert_eq!(seen["cacheme_local_entries{prefix=test,storage=local}"], 1.0);
    let of_bus = |what: &str| seen[&format!("cacheme_bus_{what}_total{{prefix=test,storage=remote}}")];
    assert_eq!((of_bus("received"), of_bus("unreadable")), (1.0, 1.0));
    for nothing in ["partly_understood", "other_prefix", "other_version"] {
        assert_eq!(of_bus(nothing), 0.0, "{nothing}");
    }
    // Each is described, and counters are set again, not added up.
    let described = kept.described.lock().unwrap().clone();
    for name in seen.keys() {
        let (name, _) = name.split_once('{').unwrap();
        assert!(!described[name].is_empty(), "{name}");
    }
    metrics::with_local_recorder(&kept, || world.cacheme.record_metrics());
    assert_eq!(kept.take(), seen);
}
