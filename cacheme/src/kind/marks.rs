//! Marks: copies in local tiers that count as absent, though no storage was searched for them.
//!
//! A copy is old where its flight [began](crate::sequence) no later than a mark that concerns it: that of its whole kind, or that of
//! its key where another process named that by its digest.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::Mutex;

use crate::bus::LONGEST_KEY;
use crate::digest::Digest;
use crate::sequence;

/// How many long keys have marks of their own. With more of them the whole kind is marked, and the count begins anew.
const MOST_LONG_KEYS: usize = 4_096;

/// The marks of one kind.
pub(crate) struct Marks {
    /// The latest mark. A copy whose flight began later needs no further check.
    newest: AtomicU64,
    /// The mark of the whole kind.
    kind: AtomicU64,
    /// Marks that are later than that of the kind, by key.
    long_keys: Mutex<HashMap<Digest, u64>>,
}

impl Marks {
    /// Marks everything that has begun until now.
    pub(crate) fn new() -> Self {
        let mark = sequence::mark();
        Self {
            newest: AtomicU64::new(mark),
            kind: AtomicU64::new(mark),
            long_keys: Mutex::default(),
        }
    }

    /// Whether a copy counts whose flight `began` then, and whose key is `key`, without prefix and version.
    #[inline]
    pub(crate) fn pass<'k>(&self, began: u64, key: impl FnOnce() -> &'k [u8]) -> bool {
        began > self.newest.load(Ordering::Relaxed) || self.pass_each(began, key())
    }

    #[cold]
    fn pass_each(&self, began: u64, key: &[u8]) -> bool {
        // A thread that has seen the newest mark sees the others as they were then.
        fence(Ordering::Acquire);
        if began <= self.kind.load(Ordering::Relaxed) {
            return false;
        }
        if key.len() <= LONGEST_KEY || self.long_keys.lock().is_empty() {
            return true;
        }
        let digest = Digest::of(key);
        self.long_keys
            .lock()
            .get(&digest)
            .is_none_or(|mark| began > *mark)
    }

    /// Marks the whole kind.
    pub(crate) fn mark_kind(&self) {
        let mut long_keys = self.long_keys.lock();
        let mark = sequence::mark();
        long_keys.clear();
        self.kind.fetch_max(mark, Ordering::SeqCst);
        self.newest.fetch_max(mark, Ordering::SeqCst);
    }

    /// Marks keys of more than [`LONGEST_KEY`] bytes; says whether that marked the whole kind.
    pub(crate) fn mark_long_keys(&self, keys: &[Digest]) -> bool {
        let mut long_keys = self.long_keys.lock();
        let mark = sequence::mark();
        long_keys.extend(keys.iter().map(|key| (*key, mark)));
        let too_many = long_keys.len() > MOST_LONG_KEYS;
        if too_many {
            *long_keys = HashMap::new();
            self.kind.fetch_max(mark, Ordering::SeqCst);
        }
        self.newest.fetch_max(mark, Ordering::SeqCst);
        too_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(fill: u8) -> Vec<u8> {
        vec![fill; LONGEST_KEY + 1]
    }

    #[test]
    fn c3_a_mark_concerns_its_key_or_its_kind_and_what_began_before() {
        let before = sequence::now();
        let marks = Marks::new();
        let (a, b, short) = (long(b'a'), long(b'b'), b"short");
        let pass = |began, key: &[u8]| {
            let key = key.to_vec();
            marks.pass(began, || &key)
        };
        assert!(!pass(before, short));
        let first = sequence::now();
        assert!(pass(first, &a) && pass(first, short));

        assert!(!marks.mark_long_keys(&[Digest::of(&a)]));
        let second = sequence::now();
        assert!(!pass(first, &a), "it was named");
        assert!(pass(first, &b) && pass(first, short), "another one was");
        assert!(pass(second, &a), "it was loaded since");

        marks.mark_kind();
        assert!(marks.long_keys.lock().is_empty());
        for key in [&a[..], &b, short] {
            assert!(!pass(second, key));
            assert!(pass(sequence::now(), key));
        }
    }

    #[test]
    fn c3_more_long_keys_than_are_distinguished_mark_the_whole_kind() {
        let marks = Marks::new();
        let first = sequence::now();
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        let most: Vec<Digest> = (0..MOST_LONG_KEYS).map(digest).collect();
        assert!(!marks.mark_long_keys(&most));
        assert!(!marks.mark_long_keys(&most), "they are no more than before");
        assert!(marks.pass(first, || b"short"));
        assert!(marks.mark_long_keys(&[digest(MOST_LONG_KEYS)]));
        assert!(!marks.pass(first, || b"short"));
        assert!(marks.pass(sequence::now(), || b"short"));
        assert_eq!(marks.long_keys.lock().capacity(), 0, "memory is given back");
    }
}
