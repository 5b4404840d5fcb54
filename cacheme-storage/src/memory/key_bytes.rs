use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU8;

/// The bytes of a full key, in place if they are few: most keys are, and comparing them then costs no second cache miss.
///
/// Four words, which with the four of a [`LocalValue`](crate::LocalValue) make a cache line.
pub(crate) enum KeyBytes {
    Short {
        /// One more than the length: 0 says that it is the other variant, so that nothing else need.
        len_and_one: NonZeroU8,
        bytes: [u8; SHORT],
    },
    Long(Box<[u8]>),
}

/// The bytes that fit beside the length in four words.
const SHORT: usize = 31;

impl KeyBytes {
    pub(crate) fn new(key: &[u8]) -> Self {
        if key.len() > SHORT {
            return Self::Long(key.into());
        }
        let mut bytes = [0; SHORT];
        bytes[..key.len()].copy_from_slice(key);
        Self::Short {
            len_and_one: NonZeroU8::MIN.saturating_add(key.len() as u8),
            bytes,
        }
    }
}

impl Borrow<[u8]> for KeyBytes {
    #[inline]
    fn borrow(&self) -> &[u8] {
        match self {
            Self::Short { len_and_one, bytes } => &bytes[..usize::from(len_and_one.get()) - 1],
            Self::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        let (one, other): (&[u8], &[u8]) = (self.borrow(), other.borrow());
        one == other
    }
}

impl Eq for KeyBytes {}

/// As the bytes that it borrows as.
impl Hash for KeyBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes: &[u8] = self.borrow();
        bytes.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_length_come_back() {
        for len in 0..100usize {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let key = KeyBytes::new(&bytes);
            assert_eq!(Borrow::<[u8]>::borrow(&key), &*bytes);
            assert_eq!(matches!(key, KeyBytes::Short { .. }), len <= SHORT);
        }
        assert_eq!(
            size_of::<(KeyBytes, crate::contract::local_value::LocalValue)>(),
            64
        );
    }
}
