//! Values that a codec has seen come back, so that it need not look again.
//!
//! Whether a value comes back as it was depends on its type, on its serializer and on which turns its serialization took:
//! which variants, `Some` or `None`, which fields were left out, a number that fits into 64 bits or does not. Each turn
//! has a key. A value all of whose turns were seen to come back is written without being read back; any other is read
//! back and compared first.
//!
//! A turn is: the Rust type of a value, what that type asked of serde, and where the value stands in the type around it.
//! The types further out do not matter, so a recursive type has finitely many turns. `Some` and newtypes leave no trace in
//! some formats, so the type around these counts as well.

use std::any::type_name;
use std::sync::Arc;

use parking_lot::RwLock;

/// Keys that one codec remembers. A type with more turns has the values that take the others read back each time.
const MOST_KEYS: usize = 16 << 10;

/// The turns that came back.
#[derive(Default)]
pub(super) struct Proofs {
    /// Replaced as a whole: no lock is held while user code runs.
    keys: RwLock<Arc<Keys>>,
}

impl Proofs {
    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read())
    }

    pub(super) fn add(&self, seen: &Keys) {
        let mut keys = self.keys.write();
        if keys.len + seen.len <= MOST_KEYS {
            let keys = Arc::make_mut(&mut keys);
            seen.slots.iter().for_each(|&key| keys.insert(key));
        }
    }
}

/// A set of keys, which are hashes. Asked once for each number and string in a value, so it is no more than a table with linear
/// probing, half full at most.
#[derive(Clone, Default)]
pub(super) struct Keys {
    /// A power of two of them, or none. Zero is a free slot.
    slots: Vec<u64>,
    len: usize,
}

impl Keys {
    #[inline]
    pub(super) fn contains(&self, key: u64) -> bool {
        // The place of a key, or of the free slot where it would be.
        self.slots.get(self.find(key)).is_some_and(|&slot| slot == key)
    }

    pub(super) fn insert(&mut self, key: u64) {
        if key == 0 || self.contains(key) {
            return;
        }
        if 2 * (self.len + 1) > self.slots.len() {
            let double = (2 * self.slots.len()).max(64);
            for key in std::mem::replace(&mut self.slots, vec![0; double]) {
                let free = self.find(key);
                self.slots[free] = key;
            }
        }
        let free = self.find(key);
        self.slots[free] = key;
        self.len += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = key as usize & mask;
        while self.slots.get(at).is_some_and(|&slot| slot != key && slot != 0) {
            at = (at + 1) & mask;
        }
        at
    }
}

/// A place in the values of a type, or a turn taken there.
#[derive(Clone, Copy)]
pub(super) struct Place(u64);

impl Place {
    /// The place of a whole value.
    pub(super) const ROOT: Self = Self(0x2545_F491_4F6C_DD1D);

    /// A number for a type.
    ///
    /// The address of its name: equal addresses are equal names. The linker may keep one name twice; the type is then
    /// looked at twice.
    #[inline]
    pub(super) fn of_type<T: ?Sized>() -> Self {
        Self(address(type_name::<T>()))
    }

    /// The field of this name in the type that this stands for.
    #[inline]
    pub(super) fn field(self, name: &'static str) -> Self {
        Self(self.0.rotate_left(32) ^ address(name))
    }

    /// The type that this stands for, at a place.
    #[inline]
    pub(super) fn at(self, place: Self) -> Self {
        // The folded multiplication of wyhash (Wang Yi).
        let wide = u128::from(self.0 ^ 0xA076_1D64_78BD_642F) * u128::from(place.0 ^ 0xE703_7ED1_A0B4_28DB);
        Self(wide as u64 ^ (wide >> 64) as u64)
    }

    /// One of several turns, or one of several parts.
    #[inline]
    pub(super) const fn turn(self, number: u64) -> Self {
        Self(self.0 ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    #[inline]
    pub(super) fn key(self) -> u64 {
        // Zero is no key.
        self.0 | 1
    }
}

#[inline]
fn address(name: &'static str) -> u64 {
    // No address has more than 57 bits.
    name.as_ptr() as u64 ^ (name.len() as u64).rotate_right(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_once_they_were_added_and_not_before() {
        let mut keys = Keys::default();
        assert!(!keys.contains(7));
        for number in 1..=3_000_u64 {
            // Crowded: all within a few slots.
            let key = (number << 40) | (number % 3);
            assert!(!keys.contains(key));
            keys.insert(key);
            keys.insert(key);
            assert!(keys.contains(key));
        }
        assert_eq!(keys.len, 3_000);
        assert!((1..=3_000_u64).all(|number| keys.contains((number << 40) | (number % 3))));
        assert!(!keys.is_empty());
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let (proofs, mut seen) = (Proofs::default(), Keys::default());
        (1..=MOST_KEYS as u64).for_each(|key| seen.insert(key));
        proofs.add(&seen);
        assert!(proofs.keys().contains(1));
        seen.insert(MOST_KEYS as u64 + 1);
        proofs.add(&seen);
        assert!(!proofs.keys().contains(MOST_KEYS as u64 + 1));
    }
}
