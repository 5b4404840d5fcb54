use std::sync::Arc;

use super::*;
use crate::storage::Storage;

fn entry(value: u32, weight: u32) -> LocalEntry {
    LocalEntry::new(LocalValue::new(value), None).with_weight(weight)
}

#[cfg(feature = "testing")]
#[test]
fn both_policies_conform() {
    for builder in [LocalCache::tlfu, LocalCache::lru] {
        crate::conformance::local(Arc::new(builder(10_000).build()));
        crate::conformance::local(Arc::new(builder(10_000).weighted().build()));
    }
}

#[test]
fn weight_bounds_what_is_kept() {
    for url in ["local://tlfu?weight=10", "local://lru?weight=10"] {
        let storage = Storage::open(url).unwrap();
        assert_eq!(storage.location(), url);
        let storage = storage.as_local().unwrap();
        assert!(storage.insert(b"light", entry(1, 4), &Fence::new()));
        assert!(!storage.insert(b"heavy", entry(2, 11), &Fence::new()));
        assert!(storage.insert(b"light", entry(3, 10), &Fence::new()));
        assert_eq!(storage.len(), 1);
        assert!(!storage.insert(b"light", entry(4, 11), &Fence::new()));
        assert_eq!(storage.len(), 0, "what was there is gone");
    }
    let error = Storage::open("local://tlfu?size=1&weight=1")
        .unwrap_err()
        .to_string();
    assert!(error.contains("exclude each other"), "{error}");
}

#[test]
fn a_value_is_seen_in_place() {
    for builder in [LocalCache::tlfu, LocalCache::lru] {
        let storage = builder(10).build();
        let value = Arc::new(7u32);
        for key in [&b"short"[..], &[b'k'; 100]] {
            let entry = LocalEntry::new(LocalValue::new(Arc::clone(&value)), None);
            storage.insert(key, entry, &Fence::new());
            let mut seen = None;
            assert!(storage.read(key, &mut |value| {
                seen = value.downcast_ref::<Arc<u32>>().map(|number| **number);
                assert!(
                    storage
                        .get(key)
                        .is_none_or(|value| value.downcast_ref::<Arc<u32>>().is_some()),
                    "may call back"
                );
            }));
            assert_eq!(seen, Some(7));
        }
        assert_eq!(Arc::strong_count(&value), 3, "no clone was kept");
        assert!(!storage.read(b"absent", &mut |_| panic!("there is nothing to see")));
    }
}
