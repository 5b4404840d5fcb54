//! The clairvoyant optimum (Belady, 1966): what is asked for last of all goes first.

use std::collections::{BinaryHeap, HashMap};

const NEVER: u32 = u32::MAX;

/// How many of the accesses hit an optimal cache of this capacity.
///
/// A key is not stored at all when everything that is there is asked for sooner: no cache can do better, whether it
/// may decline an entry or not.
#[must_use]
pub fn hits(keys: &[u64], capacity: usize) -> u64 {
    hits_with(&next_uses(keys), capacity)
}

/// For each access, when its key is asked for again ([`u32::MAX`]: never).
///
/// # Panics
///
/// For traces of 2^32 - 1 accesses and more.
#[must_use]
pub fn next_uses(keys: &[u64]) -> Vec<u32> {
    assert!(
        keys.len() < NEVER as usize,
        "a trace is shorter than 2^32 - 1 accesses"
    );
    let mut seen: HashMap<u64, u32> = HashMap::new();
    let mut next = vec![NEVER; keys.len()];
    for at in (0..keys.len()).rev() {
        if let Some(later) = seen.insert(keys[at], at as u32) {
            next[at] = later;
        }
    }
    next
}

/// The same as [`hits`] where the next uses are known already.
#[must_use]
pub fn hits_with(next_uses: &[u32], capacity: usize) -> u64 {
    if capacity == 0 {
        return 0;
    }
    // An entry is known by the moment of its next use, which no other entry shares. Entries that are never used again
    // are not worth a place.
    let mut present = vec![false; next_uses.len()];
    let mut farthest: BinaryHeap<u32> = BinaryHeap::new();
    let mut population = 0;
    let mut hits = 0;
    for (now, &next) in next_uses.iter().enumerate() {
        if present[now] {
            hits += 1;
            present[now] = false;
            population -= 1;
        }
        if next == NEVER {
            continue;
        }
        if population == capacity {
            // What was used meanwhile lies in the past and below every live entry, so the top is a live one.
            let Some(&victim) = farthest.peek() else { continue };
            if victim <= next {
                continue;
            }
            farthest.pop();
            present[victim as usize] = false;
            population -= 1;
        }
        farthest.push(next);
        present[next as usize] = true;
        population += 1;
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every choice tried out.
    fn best(keys: &[u64], held: &mut Vec<u64>, capacity: usize) -> u64 {
        let Some((key, rest)) = keys.split_first() else {
            return 0;
        };
        if held.contains(key) {
            return 1 + best(rest, held, capacity);
        }
        let mut most = best(rest, held, capacity);
        if held.len() < capacity {
            held.push(*key);
            most = most.max(best(rest, held, capacity));
            held.pop();
        } else {
            for at in 0..held.len() {
                let victim = std::mem::replace(&mut held[at], *key);
                most = most.max(best(rest, held, capacity));
                held[at] = victim;
            }
        }
        most
    }

    #[test]
    fn no_choice_is_better() {
        let mut state = 7u64;
        for round in 0..200 {
            let draw = |state: &mut u64| {
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                *state >> 33
            };
            let keys: Vec<u64> = (0..10).map(|_| draw(&mut state) % 5).collect();
            let capacity = round % 4;
            assert_eq!(
                hits(&keys, capacity),
                best(&keys, &mut Vec::new(), capacity),
                "{keys:?} at {capacity}"
            );
        }
    }
}
