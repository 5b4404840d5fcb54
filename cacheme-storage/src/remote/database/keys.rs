//! The keys of one call, in the order in which databases want them.

use std::borrow::Cow;

use crate::remote::long_key::shorten_key;

/// The keys of one call: as the database has them, sorted and each once, with the way back to the order of the call.
///
/// Sorted, so that two calls that lock many rows lock them in the same order. Each once, since one statement must not
/// write a row twice.
pub(crate) struct KeySet<'a> {
    distinct: Vec<Cow<'a, [u8]>>,
    /// For each distinct key, the last place in the call that asked for it.
    last: Vec<usize>,
    /// For each place in the call, its index in `distinct`.
    places: Vec<usize>,
}

impl<'a> KeySet<'a> {
    /// The keys of a call, shortened to `limit` where the database has one.
    pub(crate) fn new(keys: impl IntoIterator<Item = &'a [u8]>, limit: Option<usize>) -> Self {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| limit.map_or(Cow::Borrowed(key), |limit| shorten_key(key, limit)))
            .collect();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by(|&a, &b| keys[a].cmp(&keys[b]));
        let mut places = vec![0; keys.len()];
        let mut last: Vec<usize> = Vec::with_capacity(keys.len());
        for at in order {
            match last.last_mut() {
                Some(previous) if keys[*previous] == keys[at] => *previous = at,
                _ => last.push(at),
            }
            places[at] = last.len() - 1;
        }
        let mut keys: Vec<_> = keys.into_iter().map(Some).collect();
        let distinct = last
            .iter()
            .map(|&at| keys[at].take().expect("each distinct key has a place of its own"))
            .collect();
        Self {
            distinct,
            last,
            places,
        }
    }

    /// The distinct keys in order.
    pub(crate) fn distinct(&self) -> &[Cow<'a, [u8]>] {
        &self.distinct
    }

    /// For each distinct key, the last place in the call that asked for it.
    pub(crate) fn last(&self) -> &[usize] {
        &self.last
    }

    /// The index of a key that the database answered with; `None` for one that was not asked for.
    #[cfg(any(test, feature = "sqlite"))]
    pub(crate) fn index(&self, key: &[u8]) -> Option<usize> {
        self.distinct.binary_search_by(|probe| (**probe).cmp(key)).ok()
    }

    /// Answers for the distinct keys, brought into the order of the call.
    pub(crate) fn answers<T: Clone>(&self, mut distinct: Vec<T>) -> Vec<T> {
        // Without duplicates and in order, which includes the single key, the answer is what it is.
        if self.places.iter().enumerate().all(|(at, &place)| at == place) {
            distinct.truncate(self.places.len());
            return distinct;
        }
        self.places.iter().map(|&place| distinct[place].clone()).collect()
    }
}

/// The first key after all that begin with `prefix`; `None` if there is no such key.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_asked_once_and_answered_each() {
        let asked: [&[u8]; 4] = [b"b", b"a", b"b", b"c"];
        let keys = KeySet::new(asked, None);
        assert_eq!(keys.distinct(), [&b"a"[..], b"b", b"c"]);
        assert_eq!(keys.last(), [1, 2, 3]);
        assert_eq!(keys.index(b"c"), Some(2));
        assert_eq!(keys.index(b"d"), None);
        assert_eq!(keys.answers(vec!["A", "B", "C"]), ["B", "A", "B", "C"]);
        assert!(KeySet::new([], None).answers(Vec::<u8>::new()).is_empty());
    }

    #[test]
    fn long_keys_are_found_under_their_short_form() {
        let long = vec![b'x'; 200];
        let keys = KeySet::new([&long[..], b"y"], Some(100));
        let short = shorten_key(&long, 100).into_owned();
        assert_eq!(keys.index(&short), Some(0));
        assert_eq!(keys.index(&long), None);
    }

    #[test]
    fn carries_over_the_highest_byte() {
        assert_eq!(after_prefix(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(after_prefix(b"a\xFF\xFF").as_deref(), Some(&b"b"[..]));
        assert_eq!(after_prefix(b"\xFF"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
