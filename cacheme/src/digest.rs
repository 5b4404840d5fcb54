//! Digests of keys and templates, for messages on a bus.

use sha2::{Digest as _, Sha256};

/// The first 128 bits of a SHA-256. It stands for a text on a bus that is too long, or that no receiver has to read.
///
/// The digest is cryptographic since fields of keys often come from users: nobody can make a key whose change drops another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 16]);

impl Digest {
    pub(crate) fn of(text: &[u8]) -> Self {
        let whole = Sha256::digest(text);
        let (first, _) = whole.split_first_chunk().expect("a SHA-256 has 32 bytes");
        Self(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_head_of_sha_256() {
        // FIPS 180-2, appendix B.1.
        let expected = 0xba78_16bf_8f01_cfea_4141_40de_5dae_2223_u128;
        assert_eq!(Digest::of(b"abc"), Digest(expected.to_be_bytes()));
    }
}
