use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

/// The bytes of a full key, in place if they are few: most keys are, and comparing them then costs no second cache miss.
///
/// With them goes what the entry weighs, for which there is room here: five words, which with the three of a
/// [`LocalValue`](crate::LocalValue) make a cache line.
pub(crate) enum KeyBytes {
    Short {
        len: u8,
        bytes: [u8; SHORT],
        weight: u32,
    },
    Long {
        bytes: Box<[u8]>,
        weight: u32,
    },
}

/// What fits beside the variant, the length and the weight in five words.
const SHORT: usize = 34;

impl KeyBytes {
    pub(crate) fn new(key: &[u8], weight: u32) -> Self {
        if key.len() > SHORT {
            return Self::Long {
                bytes: key.into(),
                weight,
            };
        }
        let mut bytes = [0; SHORT];
        bytes[..key.len()].copy_from_slice(key);
        Self::Short {
            len: key.len() as u8,
            bytes,
            weight,
        }
    }

    pub(crate) fn weight(&self) -> u32 {
        match self {
            Self::Short { weight, .. } | Self::Long { weight, .. } => *weight,
        }
    }
}

impl Borrow<[u8]> for KeyBytes {
    #[inline]
    fn borrow(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes, .. } => &bytes[..usize::from(*len)],
            Self::Long { bytes, .. } => bytes,
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
            let key = KeyBytes::new(&bytes, len as u32 * 3);
            assert_eq!(Borrow::<[u8]>::borrow(&key), &*bytes);
            assert_eq!(key.weight(), len as u32 * 3);
            assert_eq!(matches!(key, KeyBytes::Short { .. }), len <= SHORT);
        }
        assert_eq!(size_of::<(KeyBytes, crate::LocalValue)>(), 64);
    }
}
