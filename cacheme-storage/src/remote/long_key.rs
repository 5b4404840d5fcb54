use std::borrow::Cow;
use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Hexadecimal digits of the digest at the end of a shortened key.
const DIGEST_DIGITS: usize = 32;

/// The smallest limit that leaves room for a digest and a readable head.
const SMALLEST_LIMIT: usize = 64;

/// A key that fits a storage whose keys have at most `limit` bytes.
///
/// Keys under `limit` bytes stay as they are. Longer ones, and those of exactly `limit` bytes, become exactly `limit`
/// bytes: as much of the beginning as fits, `~`, and the first 128 bits of the key's SHA-256 as lower-case hexadecimal
/// digits. So a key that was shortened never equals one that was not, whatever a user puts into a key field. UTF-8
/// stays UTF-8: the head ends between two characters and is padded with `~`.
///
/// The digest is a cryptographic one, since key fields often come from users: with a fast hash they could make two
/// keys that share an entry. It is SHA-256 because the drivers of the SQL storages bring it along anyway and because it
/// needs no C compiler; against the round trip that follows, its time is nothing.
///
/// # Panics
///
/// If `limit` is under 64.
///
/// # Examples
///
/// ```
/// use cacheme_storage::shorten_key;
///
/// assert_eq!(*shorten_key(b"cacheme:user:1:v1", 100), b"cacheme:user:1:v1"[..]);
///
/// let long = shorten_key(&[b'x'; 70_000], 100).into_owned();
/// assert_eq!(long.len(), 100);
/// assert!(long.starts_with(b"xxxxxxxx"));
/// assert_ne!(long, shorten_key(&[b'x'; 70_001], 100).into_owned());
/// ```
#[must_use]
pub fn shorten_key(key: &[u8], limit: usize) -> Cow<'_, [u8]> {
    assert!(
        limit >= SMALLEST_LIMIT,
        "a key limit must be at least {SMALLEST_LIMIT}"
    );
    if key.len() < limit {
        return Cow::Borrowed(key);
    }
    let mut short = shortened_head(key, limit).to_vec();
    short.resize(limit - DIGEST_DIGITS, b'~');
    let digest = Sha256::digest(key);
    let mut digits = String::with_capacity(DIGEST_DIGITS);
    for byte in &digest[..DIGEST_DIGITS / 2] {
        write!(digits, "{byte:02x}").expect("writing to a String cannot fail");
    }
    short.extend_from_slice(digits.as_bytes());
    Cow::Owned(short)
}

/// The part of a key that [`shorten_key`] keeps whatever follows it; the whole key if that is shorter.
///
/// A prefix longer than this cannot be told from others with the same head once keys are shortened.
pub(crate) fn shortened_head(key: &[u8], limit: usize) -> &[u8] {
    let mut end = limit - DIGEST_DIGITS - 1;
    if key.len() <= end {
        return key;
    }
    // UTF-8 continues a character with bytes 10xxxxxx, three of them at most.
    let cut = (end - 3..=end).rev().find(|&at| key[at] & 0xC0 != 0x80);
    if let Some(cut) = cut {
        end = cut;
    }
    &key[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened_and_whole_keys_have_different_lengths() {
        let long = vec![b'k'; 500];
        let short = shorten_key(&long, 100).into_owned();
        assert_eq!(short.len(), 100);
        // Whoever writes the shortened form out as a key of its own gets another entry.
        assert_ne!(shorten_key(&short, 100).into_owned(), short);
        assert_eq!(shorten_key(&short[..99], 100), &short[..99]);
    }

    #[test]
    fn utf8_stays_utf8_and_the_head_stays_readable() {
        for pad in 0..4 {
            let key = format!("{}{}", "a".repeat(pad), "🦀".repeat(100));
            let short = shorten_key(key.as_bytes(), 101).into_owned();
            let text = std::str::from_utf8(&short).unwrap();
            assert_eq!(text.len(), 101);
            assert!(text.starts_with(&"a".repeat(pad)) && text.contains("🦀🦀🦀~"));
            assert!(short.starts_with(shortened_head(key.as_bytes(), 101)));
        }
    }

    #[test]
    fn one_byte_changes_the_digest() {
        let a = vec![0xFF; 4096];
        let mut b = a.clone();
        b[4095] = 0xFE;
        assert_ne!(shorten_key(&a, 1024), shorten_key(&b, 1024));
        assert_eq!(shorten_key(&a, 1024), shorten_key(&a, 1024));
    }
}
