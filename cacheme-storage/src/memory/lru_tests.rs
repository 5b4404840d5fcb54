use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use proptest::prelude::*;

use crate::contract::fence::Fence;
use crate::contract::local::{LocalEntry, LocalStorage};
use crate::contract::local_value::LocalValue;
use crate::memory::clock::NEVER;
use crate::memory::{Clock, Evicted, LocalCache, Lru};
use crate::storage::Storage;

/// An LRU cache as one would write it on paper: newest at the back.
#[derive(Default)]
struct Model {
    capacity: usize,
    entries: VecDeque<(u8, u32, u64)>,
    now: u64,
}

impl Model {
    fn take(&mut self, key: u8) -> Option<(u8, u32, u64)> {
        let at = self.entries.iter().position(|entry| entry.0 == key)?;
        let entry = self.entries.remove(at)?;
        (entry.2 > self.now).then_some(entry)
    }

    fn get(&mut self, key: u8) -> Option<u32> {
        let entry = self.take(key)?;
        self.entries.push_back(entry);
        Some(entry.1)
    }

    fn insert(&mut self, key: u8, value: u32, ttl: Option<u64>) -> bool {
        if self.capacity == 0 || ttl == Some(0) {
            self.take(key);
            return false;
        }
        self.entries.retain(|entry| entry.2 > self.now);
        self.take(key);
        if self.entries.len() == self.capacity {
            self.entries.pop_front();
        }
        let deadline = ttl.map_or(NEVER, |ttl| self.now + ttl);
        self.entries.push_back((key, value, deadline));
        true
    }
}

proptest! {
    #[test]
    fn behaves_like_the_model(
        capacity in 0usize..12,
        steps in prop::collection::vec((0u8..9, 0u8..20, any::<u32>(), 0u64..6), 1..300),
    ) {
        let clock = Clock::manual();
        let cache = Lru::builder(capacity).clock(clock.clone()).build();
        let mut model = Model { capacity, ..Model::default() };
        for (action, key, value, time) in steps {
            match action {
                0..=2 => prop_assert_eq!(cache.get(&key), model.get(key)),
                3 | 4 => prop_assert_eq!(cache.insert(key, value), model.insert(key, value, None)),
                5 => prop_assert_eq!(
                    cache.insert_with_ttl(key, value, Duration::from_nanos(time)),
                    model.insert(key, value, Some(time))
                ),
                6 => prop_assert_eq!(cache.remove(&key), model.take(key).is_some()),
                7 => { clock.advance(Duration::from_nanos(time)); model.now += time; }
                _ if time == 0 => { cache.clear(); model.entries.clear(); }
                _ => { cache.sweep(); model.entries.retain(|entry| entry.2 > model.now); }
            }
            prop_assert_eq!(cache.len(), model.entries.len());
            prop_assert!(cache.len() <= capacity);
        }
        for key in 0..20 {
            prop_assert_eq!(cache.contains(&key), model.entries.iter().any(|e| e.0 == key && e.2 > model.now));
        }
    }
}

#[test]
fn r5_ttl_of_a_millisecond_and_of_a_century() {
    let clock = Clock::manual();
    let cache = Lru::builder(4).clock(clock.clone()).build();
    assert!(cache.insert_with_ttl("short", 1, Duration::from_millis(1)));
    assert!(cache.insert_with_ttl("long", 2, Duration::from_secs(100 * 366 * 24 * 3600)));
    assert!(cache.insert_with_ttl("longest", 3, Duration::MAX));
    clock.advance(Duration::from_micros(999));
    assert_eq!(cache.get("short"), Some(1));
    clock.advance(Duration::from_micros(1));
    assert_eq!(cache.get("short"), None);
    clock.advance(Duration::from_secs(99 * 366 * 24 * 3600));
    assert_eq!((cache.get("long"), cache.get("longest")), (Some(2), Some(3)));
}

#[test]
fn the_listener_learns_why_each_entry_left() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (clock, hears) = (Clock::manual(), heard.clone());
    let cache = Lru::builder(2)
        .clock(clock.clone())
        .on_evict(move |key, value, why| hears.lock().unwrap().push((*key, *value, why)))
        .build();
    cache.insert('a', 1);
    cache.insert('a', 2);
    cache.insert_with_ttl('b', 3, Duration::from_secs(1));
    cache.insert('c', 4);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get(&'b'), None);
    cache.remove(&'c');
    let expected = [
        ('a', 1, Evicted::Replaced),
        ('a', 2, Evicted::Size),
        ('b', 3, Evicted::Expired),
        ('c', 4, Evicted::Removed),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

#[test]
fn user_code_may_call_back_and_panic() {
    static CACHE: OnceLock<Lru<u8, Caller>> = OnceLock::new();
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Caller(bool);
    impl Clone for Caller {
        fn clone(&self) -> Self {
            let cache = CACHE.get().unwrap();
            assert!(!cache.insert(3, Caller(false)), "refused under the lock");
            assert!(!self.0, "asked to panic");
            Caller(false)
        }
    }
    impl Drop for Caller {
        fn drop(&mut self) {
            DROPS.fetch_add(CACHE.get().unwrap().len().min(1), Ordering::Relaxed);
        }
    }
    let cache = CACHE.get_or_init(|| Lru::new(2));
    cache.insert(1, Caller(false));
    cache.insert(2, Caller(true));
    assert!(cache.get(&1).is_some());
    let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.get(&2).is_some()));
    assert!(got.is_err());
    cache.insert(4, Caller(false));
    assert_eq!(cache.len(), 2);
    assert!(DROPS.load(Ordering::Relaxed) > 0, "drops saw the cache unlocked");
}

#[test]
fn c1_a_raised_fence_keeps_a_value_out() {
    let storage = LocalCache::tlfu(4).build();
    let (down, up) = (Fence::new(), Fence::new());
    up.raise();
    assert!(storage.insert(b"k", LocalEntry::new(LocalValue::new(1u8), None), &down));
    assert!(!storage.insert(b"k", LocalEntry::new(LocalValue::new(2u8), None), &up));
    let value = storage.get(b"k").unwrap();
    assert_eq!(value.downcast_ref(), Some(&1u8));
}

#[test]
fn an_entry_knows_the_life_it_has_left() {
    let clock = Clock::manual();
    let storage = LocalCache::lru(4).clock(clock.clone()).build();
    let entry = LocalEntry::new(LocalValue::new(()), Some(Duration::from_secs(3)));
    assert!(storage.insert(b"k", entry, &Fence::new()));
    clock.advance(Duration::from_secs(2));
    assert_eq!(storage.entry(b"k").unwrap().ttl, Some(Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    assert!(storage.entry(b"k").is_none());
    assert!(!storage.remove(b"k"));
}

#[test]
fn urls_open_or_say_what_to_write() {
    for url in ["local://tlfu?size=10", "local://lru?size=0"] {
        assert_eq!(Storage::open(url).unwrap().location(), url);
    }
    for (url, part) in [
        ("local://tlfu", "option `size` is missing"),
        ("local://tlfu?size=-1", "must be a number of entries"),
        ("local://arc?size=1", "names no policy"),
        ("local://lru/x?size=1", "has more than a policy"),
    ] {
        let error = Storage::open(url).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
