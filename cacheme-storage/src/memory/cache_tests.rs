use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::{OnceLock, Weak};

use proptest::prelude::*;

use super::*;
use crate::memory::Evicted;

type Heard = Arc<Mutex<Vec<(u16, u32, Evicted)>>>;

/// The content that the cache must have: all that was stored, less what the listener was told of.
struct Model {
    entries: BTreeMap<u16, (u32, u64)>,
    now: u64,
    heard: Heard,
    weigh: Option<fn(u32) -> u32>,
}

impl Model {
    fn weight(&self) -> u64 {
        let weigh = |(value, _): &(u32, u64)| self.weigh.map_or(1, |weigh| u64::from(weigh(*value)));
        self.entries.values().map(weigh).sum()
    }

    fn is_alive(&self, key: u16) -> bool {
        self.entries
            .get(&key)
            .is_some_and(|(_, deadline)| self.now < *deadline)
    }

    /// Takes out what left, and checks that it had a reason to. `written` is the key that was stored or removed.
    fn hear(&mut self, written: Option<u16>) -> Result<(), TestCaseError> {
        for (key, value, why) in self.heard.lock().drain(..) {
            let alive = self.is_alive(key);
            let Some((stored, _)) = self.entries.remove(&key) else {
                // Stored in the place of a lighter one, and too heavy to stay there.
                prop_assert_eq!((Some(key), why), (written, Evicted::Size));
                continue;
            };
            prop_assert_eq!(stored, value);
            match why {
                Evicted::Expired => prop_assert!(!alive),
                Evicted::Replaced => prop_assert!(alive && written == Some(key)),
                Evicted::Removed => prop_assert!(written == Some(key) || written.is_none()),
                Evicted::Size => {}
            }
        }
        Ok(())
    }
}

fn light(value: u32) -> u32 {
    value % 7
}

proptest! {
    #[test]
    fn holds_what_was_stored_less_what_it_reported(
        capacity in 0usize..60,
        shards in 1usize..4,
        weighted in any::<bool>(),
        seed in any::<u64>(),
        steps in prop::collection::vec((0u8..24, 0u16..80, any::<u32>(), 0u64..6), 1..400),
    ) {
        let clock = Clock::manual();
        let heard: Heard = Arc::default();
        let tell = heard.clone();
        let mut builder = TinyLfu::builder(capacity)
            .clock(clock.clone())
            .seed(seed)
            .shards(shards)
            .on_evict(move |key, value, why| tell.lock().push((*key, *value, why)));
        if weighted {
            builder = builder.weigh(|_, value| light(*value));
        }
        let cache = builder.build();
        let weigh = weighted.then_some((|value| light(value).max(1)) as fn(u32) -> u32);
        let mut model = Model { entries: BTreeMap::new(), now: 0, heard, weigh };
        for (action, key, value, time) in steps {
            match action {
                0..=7 => {
                    let expected = model.is_alive(key).then(|| model.entries[&key].0);
                    prop_assert_eq!(cache.get(&key), expected);
                    model.hear(None)?;
                }
                8..=18 => {
                    let ttl = (action > 15).then_some(Duration::from_nanos(time));
                    let stored = cache.insert_if(key, value, ttl, || true);
                    // What was there left first.
                    model.hear(Some(key))?;
                    prop_assert!(!model.entries.contains_key(&key));
                    if stored {
                        let deadline = ttl.map_or(NEVER, |_| model.now + time);
                        model.entries.insert(key, (value, deadline));
                    }
                    if !weighted && cache.capacity() >= shards {
                        prop_assert_eq!(stored, ttl != Some(Duration::ZERO));
                    }
                }
                19 | 20 => {
                    let alive = model.is_alive(key);
                    prop_assert_eq!(cache.remove(&key), alive);
                    model.hear(Some(key))?;
                    prop_assert!(!model.entries.contains_key(&key));
                }
                21 => {
                    clock.advance(Duration::from_nanos(time));
                    model.now += time;
                }
                22 if time == 0 => {
                    cache.clear();
                    model.hear(None)?;
                    prop_assert!(model.entries.is_empty());
                }
                22 => {
                    cache.sweep();
                    model.hear(None)?;
                    prop_assert!(model.entries.values().all(|(_, deadline)| model.now < *deadline));
                }
                _ => {
                    cache.resize(usize::from(key));
                    prop_assert_eq!(cache.capacity(), usize::from(key));
                    model.hear(None)?;
                }
            }
            prop_assert_eq!(cache.len(), model.entries.len());
            prop_assert_eq!(cache.weight(), model.weight());
            prop_assert!(cache.weight() <= cache.capacity() as u64);
            prop_assert_eq!(cache.contains(&key), model.is_alive(key));
        }
        let alive: BTreeMap<_, _> = cache.iter().collect();
        let expected = model.entries.iter().filter(|(_, entry)| model.now < entry.1);
        prop_assert_eq!(alive, expected.map(|(key, entry)| (*key, entry.0)).collect());
    }
}

#[test]
fn the_smallest_capacities_work() {
    let none = TinyLfu::new(0);
    assert!(!none.insert(1, 1));
    assert_eq!((none.get(&1), none.len()), (None, 0));
    for capacity in [1, 2] {
        let cache = TinyLfu::new(capacity);
        for key in 0..1000 {
            assert!(cache.insert(key, key));
            assert_eq!(cache.get(&key), Some(key));
            assert!(cache.len() <= capacity);
        }
        assert_eq!(cache.len(), capacity);
    }
}

#[test]
fn a_flood_of_one_hit_keys_leaves_the_hot_set() {
    for capacity in [100, 1000, 20_000] {
        let cache = TinyLfu::builder(capacity).seed(1).build();
        let hot = capacity as u64 / 2;
        for _ in 0..8 {
            for key in 0..hot {
                if cache.get(&key).is_none() {
                    cache.insert(key, key);
                }
            }
        }
        // The hot keys are asked for as often as all others together, and each of them a fortieth as often as it takes to fill the cache.
        let mut hits = 0;
        for round in 0..40 * hot {
            cache.insert(1_000_000 + round, 0);
            let key = round * 7919 % hot;
            match cache.get(&key) {
                Some(_) => hits += 1,
                None => drop(cache.insert(key, key)),
            }
        }
        assert!(
            hits * 100 >= 95 * 40 * hot,
            "{hits} of {} at {capacity}",
            40 * hot
        );
    }
}

#[test]
fn a_value_heavier_than_the_window_has_to_be_asked_for_more_often_than_those_it_would_push_out() {
    let cache = TinyLfu::builder(1_000).seed(1).weigh(|_, weight| *weight).build();
    for key in 0..1_000 {
        cache.insert(key, 1);
    }
    let heavy = 1_000_000;
    cache.insert(heavy, 500);
    assert_eq!(cache.get(&heavy), None, "each resident was stored as often");
    for _ in 0..15 {
        cache.insert(heavy, 500);
    }
    assert_eq!(cache.get(&heavy), Some(500), "the sketch has counted it by now");
    cache.insert(heavy + 1, 1_001);
    assert_eq!(cache.get(&(heavy + 1)), None, "it weighs more than all may");
}

#[test]
fn too_heavy_is_refused_and_the_old_value_is_gone() {
    let cache = TinyLfu::builder(10).weigh(|_, weight| *weight).build();
    assert!(cache.insert("a", 4));
    assert!(!cache.insert("a", 11));
    assert_eq!((cache.get("a"), cache.weight(), cache.len()), (None, 0, 0));
    assert!(cache.insert("b", 10));
    assert_eq!(cache.weight(), 10);
}

#[test]
fn r5_an_expired_entry_is_never_returned() {
    let clock = Clock::manual();
    let cache = TinyLfu::builder(4).clock(clock.clone()).build();
    assert!(cache.insert_with_ttl("short", 1, Duration::from_millis(1)));
    assert!(cache.insert_with_ttl("longest", 2, Duration::MAX));
    clock.advance(Duration::from_micros(999));
    assert_eq!(cache.entry("short"), Some((1, Some(Duration::from_micros(1)))));
    clock.advance(Duration::from_micros(1));
    assert!(!cache.contains("short"));
    assert_eq!(cache.len(), 2);
    assert_eq!(cache.get("short"), None);
    assert_eq!(cache.len(), 1, "whoever meets it collects it");
    assert_eq!(cache.entry("longest"), Some((2, None)));
}

#[test]
fn writes_collect_what_expired() {
    let clock = Clock::manual();
    let cache = TinyLfu::builder(20_000).clock(clock.clone()).build();
    for key in 0..10_000u32 {
        cache.insert_with_ttl(key, key, Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(1));
    for key in 10_000..20_000u32 {
        cache.insert(key, key);
    }
    assert_eq!(cache.len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn where_a_runtime_is_expired_entries_go_within_a_second() {
    let clock = Clock::manual();
    let cache = TinyLfu::builder(100).clock(clock.clone()).build();
    for round in 0..2 {
        for key in 0..50u32 {
            cache.insert_with_ttl(key, Arc::new(round), Duration::from_secs(u64::from(key)));
        }
        for second in 0..50 {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(999)).await;
            assert_eq!(cache.len(), 48usize.saturating_sub(second), "round {round}");
        }
    }
    // Nothing is left to expire: the task ends.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::weak_count(&cache.inner), 0);
    cache.insert_with_ttl(1, Arc::new(3), Duration::from_secs(9));
    assert_eq!(Arc::weak_count(&cache.inner), 1);
    let inner = Arc::downgrade(&cache.inner);
    drop(cache);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(Weak::strong_count(&inner), 0, "the task does not keep the cache");
    assert_eq!(Weak::weak_count(&inner), 0, "and is gone with it");
}

/// A runtime whose time a test moves.
fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn expired_entries_go_when_the_runtime_that_stored_them_has_ended_or_lies_idle() {
    const SECOND: Duration = Duration::from_secs(1);
    for ends in [false, true] {
        for reads in [false, true] {
            let clock = Clock::manual();
            let cache = TinyLfu::builder(1_000).clock(clock.clone()).build();
            let first = runtime();
            first.block_on(async {
                for key in 0..500 {
                    cache.insert_with_ttl(key, key, SECOND);
                }
                tokio::time::sleep(SECOND).await;
            });
            let idle = (!ends).then_some(first);
            clock.advance(3 * SECOND);
            runtime().block_on(async {
                if reads {
                    assert_eq!(cache.get(&1), None);
                } else {
                    cache.insert_with_ttl(1_000, 1, 10 * SECOND);
                }
                tokio::time::sleep(SECOND).await;
                let left = usize::from(!reads);
                assert_eq!(cache.len(), left, "ends: {ends}, reads: {reads}");
                clock.advance(10 * SECOND);
                tokio::time::sleep(SECOND).await;
                assert_eq!(cache.len(), 0);
            });
            // The first task has lost its turn, and goes once it is polled.
            if let Some(idle) = idle {
                idle.block_on(async { tokio::time::sleep(SECOND).await });
            }
            assert_eq!(Arc::weak_count(&cache.inner), 0, "ends: {ends}, reads: {reads}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn others_run_while_many_entries_expire() {
    const ENTRIES: usize = 50_000;
    let clock = Clock::manual();
    let cache = TinyLfu::builder(ENTRIES * 2).clock(clock.clone()).build();
    for key in 0..ENTRIES {
        cache.insert_with_ttl(key, key, Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(1));
    // Lets the task begin its nap, and end it.
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_millis(500)).await;
    let (mut before, mut most) = (ENTRIES, 0);
    while before > 0 {
        tokio::task::yield_now().await;
        let left = cache.len();
        most = most.max(before - left);
        before = left;
    }
    assert!(most <= 2 * SWEPT_AT_ONCE, "{most} entries at a time");
}

/// Calls the cache back whenever it can, and panics when asked to.
struct Caller {
    number: u32,
    panics: bool,
}

static CALLED: OnceLock<TinyLfu<u32, Caller>> = OnceLock::new();
static DROPS: AtomicUsize = AtomicUsize::new(0);

impl Clone for Caller {
    fn clone(&self) -> Self {
        let cache = CALLED.get().expect("set by the test");
        let number = self.number;
        assert!(
            cache
                .read(&number, |value| value.number == number)
                .is_none_or(|same| same)
        );
        cache.insert(
            number,
            Caller {
                number,
                panics: false,
            },
        );
        cache.remove(&(number + 1));
        cache.clear();
        assert!(!self.panics, "asked to panic");
        Self {
            number,
            panics: false,
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        DROPS.fetch_add(1, Ordering::Relaxed);
        if let Some(cache) = CALLED.get() {
            cache.remove(&(self.number + 2));
            assert!(cache.len() <= 8);
        }
    }
}

#[test]
fn user_code_may_call_back_and_panic() {
    let cache = CALLED.get_or_init(|| {
        TinyLfu::builder(8)
            .weigh(|key, value: &Caller| {
                assert!(!value.panics || *key != 13, "asked to panic");
                CALLED.get().map_or(1, |cache| cache.len() as u32 / 100 + 1)
            })
            .on_evict(|key, value: &Caller, _| assert_eq!(*key, value.number))
            .build()
    });
    for number in 0..100 {
        cache.insert(
            number,
            Caller {
                number,
                panics: number % 3 == 0,
            },
        );
        let got = catch_unwind(AssertUnwindSafe(|| cache.get(&number).map(|value| value.number)));
        match got {
            Ok(got) => assert!(got.is_none_or(|got| got == number)),
            Err(_) => assert_eq!(number % 3, 0),
        }
        assert!(cache.len() <= 8);
    }
    let refused = catch_unwind(AssertUnwindSafe(|| {
        cache.insert(
            13,
            Caller {
                number: 13,
                panics: true,
            },
        )
    }));
    assert!(refused.is_err());
    cache.clear();
    assert_eq!(cache.len(), 0);
    assert!(DROPS.load(Ordering::Relaxed) >= 100);
}

/// An `Eq` that calls back, and panics when asked to.
#[derive(Debug)]
struct Key(u32, Weak<Inner<Key, u32, WTinyLfu>>);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        if let Some(inner) = self.1.upgrade() {
            let cache = TinyLfu { inner };
            assert!(cache.len() <= 4);
            assert!(!cache.contains(&Key(99, Weak::new())));
            assert!(!cache.remove(&Key(99, Weak::new())));
        }
        assert!(self.0 != 77 && other.0 != 77, "asked to panic");
        self.0 == other.0
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // 77 meets 7, so that it is compared.
        (self.0 % 10).hash(state);
    }
}

#[test]
fn an_eq_may_call_back_and_panic() {
    let cache: TinyLfu<Key, u32> = TinyLfu::new(4);
    let key = |number| Key(number, Arc::downgrade(&cache.inner));
    for number in [1, 7, 11, 21, 7, 11, 31, 41] {
        cache.insert(key(number), number);
        assert_eq!(cache.get(&key(number)), Some(number));
    }
    cache.insert(key(7), 7);
    assert!(catch_unwind(AssertUnwindSafe(|| cache.insert(key(77), 1))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get(&key(77)))).is_err());
    assert_eq!(cache.get(&key(7)), Some(7));
    assert!(cache.remove(&key(7)));
}

#[test]
fn a_listener_that_panics_harms_nobody() {
    let cache = TinyLfu::builder(4)
        .on_evict(|key, _: &u32, _| assert!(key % 2 == 0, "asked to panic"))
        .build();
    for key in 0..100u32 {
        let stored = catch_unwind(AssertUnwindSafe(|| cache.insert(key, key)));
        assert_eq!(cache.get(&key), Some(key));
        assert!(stored.unwrap_or(true) && cache.len() <= 4);
    }
}
