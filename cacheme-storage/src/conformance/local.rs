//! The duties of a storage in this process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::{LocalCase, Outcome, PATIENCE};
use crate::contract::fence::Fence;
use crate::contract::local::{LocalEntry, LocalStorage};
use crate::contract::local_value::LocalValue;

pub(super) const CASES: &[(&str, LocalCase)] = &[
    ("a_value_is_kept_until_removed", a_value_is_kept_until_removed),
    ("a_value_comes_back_as_itself", a_value_comes_back_as_itself),
    ("a_value_is_overwritten", a_value_is_overwritten),
    ("keys_are_any_bytes", keys_are_any_bytes),
    ("clear_empties", clear_empties),
    (
        "a_value_lives_as_long_as_its_ttl",
        a_value_lives_as_long_as_its_ttl,
    ),
    ("overwriting_changes_the_ttl", overwriting_changes_the_ttl),
    ("ttls_at_both_ends", ttls_at_both_ends),
    ("a_raised_fence_keeps_values_out", a_raised_fence_keeps_values_out),
    (
        "raise_then_remove_leaves_nothing",
        raise_then_remove_leaves_nothing,
    ),
    (
        "values_may_call_the_storage_when_dropped",
        values_may_call_the_storage_when_dropped,
    ),
    ("threads_see_whole_values", threads_see_whole_values),
];

type Subject = Arc<dyn LocalStorage>;

fn entry(value: impl Clone + Send + Sync + 'static, ttl: Option<Duration>) -> LocalEntry {
    LocalEntry::new(LocalValue::new(value), ttl)
}

fn put(storage: &Subject, key: &[u8], value: u64, ttl: Option<Duration>) -> bool {
    storage.insert(key, entry(value, ttl), &Fence::new())
}

fn number(value: Option<LocalValue>) -> Option<u64> {
    value.and_then(|value| value.downcast_ref::<u64>().copied())
}

/// Waits until nothing is under `key`; says how long that took since `start`.
fn gone(storage: &Subject, key: &[u8], start: Instant) -> Result<Duration, super::Failure> {
    while storage.get(key).is_some() {
        ensure!(
            start.elapsed() < PATIENCE,
            "still there after {:?}",
            start.elapsed()
        );
        thread::sleep(Duration::from_millis(1));
    }
    Ok(start.elapsed())
}

fn a_value_is_kept_until_removed(storage: &Subject) -> Outcome {
    ensure_eq!(number(storage.get(b"a")), None, "before insert");
    ensure!(storage.is_empty(), "an empty storage counts {}", storage.len());
    ensure!(put(storage, b"a", 1, None), "insert says that it did not store");
    ensure_eq!(number(storage.get(b"a")), Some(1), "after insert");
    ensure_eq!(number(storage.get(b"b")), None, "another key");
    ensure!(
        !storage.is_empty() && storage.len() == 1,
        "one entry counts {}",
        storage.len()
    );
    ensure!(storage.remove(b"a"), "remove says that there was nothing");
    ensure_eq!(number(storage.get(b"a")), None, "after remove");
    ensure!(
        !storage.remove(b"a"),
        "a second remove says that there was something"
    );
    Ok(())
}

fn a_value_comes_back_as_itself(storage: &Subject) -> Outcome {
    let value = Arc::new(String::from("one"));
    let is_it = |found: &LocalValue| {
        let found = found.downcast_ref::<Arc<String>>();
        found.is_some_and(|found| Arc::ptr_eq(found, &value))
    };
    let ttl = Duration::from_secs(60);
    storage.insert(
        b"a",
        entry(Arc::clone(&value), Some(ttl)).with_weight(3),
        &Fence::new(),
    );
    let same = storage.get(b"a").as_ref().is_some_and(is_it);
    ensure!(same, "get answers another value than was stored");
    let found = storage.entry(b"a");
    ensure!(found.is_some(), "entry answers nothing where get answers");
    let Some(found) = found else { return Ok(()) };
    ensure!(is_it(&found.value), "entry answers another value than was stored");
    let left = found.ttl.unwrap_or(Duration::MAX);
    ensure!(
        left <= ttl && left + PATIENCE > ttl,
        "{left:?} left of a ttl of {ttl:?}"
    );
    Ok(())
}

fn a_value_is_overwritten(storage: &Subject) -> Outcome {
    for value in 0..3 {
        ensure!(
            put(storage, b"a", value, None),
            "insert says that it did not store"
        );
        ensure_eq!(number(storage.get(b"a")), Some(value), "after insert");
    }
    ensure_eq!(storage.len(), 1, "entries after overwriting");
    Ok(())
}

fn keys_are_any_bytes(storage: &Subject) -> Outcome {
    let mut keys: Vec<Vec<u8>> = ["", "a", "A", "a ", "a\0", "\0", "ä", "a\u{308}", "😀"]
        .map(Into::into)
        .into();
    keys.extend((0x80..=0xff).map(|byte| vec![byte]));
    for length in [
        7, 8, 9, 15, 16, 17, 22, 23, 24, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 65_536,
    ] {
        keys.push(vec![b'k'; length]);
    }
    for (value, key) in (0..).zip(&keys) {
        ensure!(
            put(storage, key, value, None),
            "insert of {value} says that it did not store"
        );
    }
    for (value, key) in (0..).zip(&keys) {
        ensure_eq!(number(storage.get(key)), Some(value), "key {value}");
    }
    Ok(())
}

fn clear_empties(storage: &Subject) -> Outcome {
    for key in 0..100u64 {
        put(storage, &key.to_le_bytes(), key, None);
    }
    storage.clear();
    ensure_eq!(storage.len(), 0, "entries after clear");
    ensure_eq!(number(storage.get(&1u64.to_le_bytes())), None, "get after clear");
    ensure!(
        put(storage, b"a", 1, None),
        "insert after clear says that it did not store"
    );
    ensure_eq!(number(storage.get(b"a")), Some(1), "get after clear and insert");
    Ok(())
}

fn a_value_lives_as_long_as_its_ttl(storage: &Subject) -> Outcome {
    let ttl = Duration::from_millis(80);
    let start = Instant::now();
    put(storage, b"a", 1, Some(ttl));
    let lived = gone(storage, b"a", start)?;
    // A millisecond for storages that count in them.
    ensure!(
        lived + Duration::from_millis(1) >= ttl,
        "a ttl of {ttl:?} was over after {lived:?}"
    );
    ensure!(storage.entry(b"a").is_none(), "entry answers what get does not");
    ensure!(
        put(storage, b"a", 2, None),
        "insert after expiry says that it did not store"
    );
    ensure_eq!(number(storage.get(b"a")), Some(2), "after it was stored again");
    Ok(())
}

fn overwriting_changes_the_ttl(storage: &Subject) -> Outcome {
    let (short, long) = (Some(Duration::from_millis(50)), Some(Duration::from_secs(60)));
    let start = Instant::now();
    for (key, ttl) in [(b"longer ", short), (b"shorter", long), (b"lifted ", short)] {
        put(storage, key, 1, ttl);
    }
    for (key, ttl) in [(b"longer ", long), (b"shorter", short), (b"lifted ", None)] {
        put(storage, key, 2, ttl);
    }
    gone(storage, b"shorter", start)?;
    ensure_eq!(number(storage.get(b"longer ")), Some(2), "with the longer ttl");
    ensure_eq!(number(storage.get(b"lifted ")), Some(2), "without the ttl");
    Ok(())
}

fn ttls_at_both_ends(storage: &Subject) -> Outcome {
    for ttl in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
        put(storage, b"a", 1, None);
        let start = Instant::now();
        put(storage, b"a", 2, Some(ttl));
        ensure!(
            number(storage.get(b"a")) != Some(1),
            "the value that was overwritten is still there"
        );
        gone(storage, b"a", start)?;
    }
    let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    for ttl in [century, century * 100, Duration::MAX] {
        put(storage, b"a", 3, Some(ttl));
        ensure_eq!(number(storage.get(b"a")), Some(3), "with a ttl of {ttl:?}");
    }
    Ok(())
}

fn a_raised_fence_keeps_values_out(storage: &Subject) -> Outcome {
    let fence = Fence::new();
    ensure!(
        storage.insert(b"a", entry(1u64, None), &fence),
        "a fence that is down keeps values out"
    );
    fence.raise();
    ensure!(
        !storage.insert(b"a", entry(2u64, None), &fence),
        "insert past a raised fence says that it stored"
    );
    ensure!(
        !storage.insert(b"b", entry(2u64, None), &fence),
        "insert past a raised fence says that it stored"
    );
    ensure_eq!(
        number(storage.get(b"a")),
        Some(1),
        "what was there before the fence"
    );
    ensure_eq!(number(storage.get(b"b")), None, "what the fence kept out");
    Ok(())
}

/// However the threads interleave: the fence goes up, the key is removed, the value cannot appear after that.
fn raise_then_remove_leaves_nothing(storage: &Subject) -> Outcome {
    for round in 0..300u64 {
        let fence = Arc::new(Fence::new());
        let start = Arc::new(Barrier::new(2));
        let filler = {
            let (storage, fence, start) = (Arc::clone(storage), Arc::clone(&fence), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for _ in 0..20 {
                    storage.insert(b"a", entry(round, None), &fence);
                }
            })
        };
        start.wait();
        fence.raise();
        storage.remove(b"a");
        let after = number(storage.get(b"a"));
        let joined = filler.join();
        ensure!(joined.is_ok(), "a thread that inserts panicked");
        ensure_eq!(after, None, "get after raise and remove");
        ensure_eq!(number(storage.get(b"a")), None, "get after the last insert");
    }
    Ok(())
}

/// Calls the storage back when it is dropped, as a value may that is a cache itself.
struct CallsBack {
    storage: Weak<dyn LocalStorage>,
    drops: Arc<AtomicUsize>,
}

impl Drop for CallsBack {
    fn drop(&mut self) {
        if let Some(storage) = self.storage.upgrade() {
            storage.get(b"a");
            storage.insert(b"b", entry(1u64, None), &Fence::new());
            storage.remove(b"b");
        }
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

fn values_may_call_the_storage_when_dropped(storage: &Subject) -> Outcome {
    let drops = Arc::new(AtomicUsize::new(0));
    // Shared: the drop of a clone would get, and drop, another clone without end.
    let value = || {
        Arc::new(CallsBack {
            storage: Arc::downgrade(storage),
            drops: Arc::clone(&drops),
        })
    };
    let fence = Fence::new();
    storage.insert(b"a", entry(value(), None), &fence);
    storage.insert(b"a", entry(value(), None), &fence);
    storage.remove(b"a");
    storage.insert(b"a", entry(value(), None), &fence);
    storage.clear();
    fence.raise();
    storage.insert(b"a", entry(value(), None), &fence);
    // The refused one at the least; a storage may keep the others a little for readers under way.
    ensure!(
        drops.load(Ordering::SeqCst) >= 1,
        "a value that was refused is still held"
    );
    Ok(())
}

fn threads_see_whole_values(storage: &Subject) -> Outcome {
    let threads: Vec<_> = (0..4u64)
        .map(|seed| {
            let storage = Arc::clone(storage);
            thread::spawn(move || {
                let mut wrong = 0;
                for round in 0..5_000u64 {
                    let key = (round * 31 + seed * 17) % 200;
                    match (round + seed) % 5 {
                        0 | 1 => drop(put(
                            &storage,
                            &key.to_le_bytes(),
                            key,
                            Some(Duration::from_millis(round % 7)),
                        )),
                        2 => drop(storage.remove(&key.to_le_bytes())),
                        _ => {
                            let found = number(storage.get(&key.to_le_bytes()));
                            wrong += usize::from(found.is_some_and(|found| found != key));
                        }
                    }
                }
                wrong
            })
        })
        .collect();
    for thread in threads {
        let wrong = thread
            .join()
            .map_err(|panic| super::Failure::from_panic(&*panic))?;
        ensure_eq!(wrong, 0, "values found under another key");
    }
    Ok(())
}
