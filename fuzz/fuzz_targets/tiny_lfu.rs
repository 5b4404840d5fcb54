//! Any sequence of calls on a `TinyLfu`, against a map: what was stored, less what the listener was told of.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbitrary::Arbitrary;
use cacheme_storage::{Clock, Evicted, TinyLfu};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u16,
    shards: u8,
    weighted: bool,
    seed: u64,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Get(u8),
    Insert(u8, u32),
    InsertFor(u8, u32, u16),
    Remove(u8),
    Advance(u16),
    Sweep,
    Clear,
    Resize(u16),
}

fn weight(value: u32) -> u32 {
    value % 9
}

fuzz_target!(|input: Input| {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let clock = Clock::manual();
    let builder = TinyLfu::<u8, u32>::builder(usize::from(input.capacity % 400))
        .clock(clock.clone())
        .seed(input.seed)
        .shards(usize::from(input.shards % 5) + 1)
        .on_evict(move |key, value, why| hears.lock().expect("no panic under it").push((*key, *value, why)));
    let weighted = input.weighted;
    let cache = if weighted {
        builder.weigh(|_, value| weight(*value))
    } else {
        builder
    }
    .build();
    // Value and deadline.
    let mut model: BTreeMap<u8, (u32, Option<u64>)> = BTreeMap::new();
    let mut now = 0u64;
    for step in input.steps {
        let mut stored = None;
        let alive = |model: &BTreeMap<u8, (u32, Option<u64>)>, key| {
            let entry: Option<&(u32, Option<u64>)> = model.get(&key);
            entry
                .filter(|(_, deadline)| deadline.is_none_or(|deadline| now < deadline))
                .map(|entry| entry.0)
        };
        match step {
            Step::Get(key) => assert_eq!(cache.get(&key), alive(&model, key)),
            Step::Insert(key, value) => stored = Some((key, value, None, cache.insert(key, value))),
            Step::InsertFor(key, value, ttl) => {
                let is_stored = cache.insert_with_ttl(key, value, Duration::from_nanos(ttl.into()));
                stored = Some((key, value, Some(now + u64::from(ttl)), is_stored));
            }
            Step::Remove(key) => assert_eq!(cache.remove(&key), alive(&model, key).is_some()),
            Step::Advance(by) => {
                clock.advance(Duration::from_nanos(by.into()));
                now += u64::from(by);
            }
            Step::Sweep => cache.sweep(),
            Step::Clear => cache.clear(),
            Step::Resize(capacity) => cache.resize(usize::from(capacity % 400)),
        }
        for (key, value, why) in heard.lock().expect("no panic under it").drain(..) {
            match model.remove(&key) {
                Some((was, deadline)) => {
                    assert_eq!(value, was);
                    assert!(why != Evicted::Expired || deadline.is_some_and(|deadline| deadline <= now));
                }
                // Stored in the place of a lighter one, and too heavy to stay there.
                None => assert!(weighted && stored.is_some_and(|new| (new.0, new.1) == (key, value))),
            }
        }
        if let Some((key, value, deadline, true)) = stored {
            model.insert(key, (value, deadline));
        }
        assert_eq!(cache.len(), model.len());
        let weigh = |value: &u32| {
            if weighted {
                u64::from(weight(*value).max(1))
            } else {
                1
            }
        };
        assert_eq!(
            cache.weight(),
            model.values().map(|(value, _)| weigh(value)).sum::<u64>()
        );
        assert!(cache.weight() <= cache.capacity() as u64);
    }
    let there: BTreeMap<_, _> = cache.iter().collect();
    model.retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now < deadline));
    assert_eq!(
        there,
        model.into_iter().map(|(key, (value, _))| (key, value)).collect()
    );
});
