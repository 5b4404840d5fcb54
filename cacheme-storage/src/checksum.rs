//! CRC-32C (Castagnoli, RFC 3720 appendix B.4) of a header and what follows it.
//!
//! Why not simply the crate: it is made for long buffers, and takes three times as long to prepare for that as a small value
//! takes in all. So it is asked for long ones only.
#![allow(unsafe_code, reason = "a processor's instruction that not every x86-64 has")]

/// Up to here, in bytes, one instruction a word is as fast as the crate, which keeps three of them going at once.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 512;

/// The checksum of two parts, one behind the other.
pub(crate) fn crc32c(head: &[u8], rest: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if rest.len() <= SHORT && is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has the instructions, as was just looked up.
        return unsafe { short(head, rest) };
    }
    crc32c::crc32c_append(crc32c::crc32c(head), rest)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn short(head: &[u8], rest: &[u8]) -> u32 {
    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};

    let mut crc = u64::from(u32::MAX);
    for part in [head, rest] {
        let (words, bytes) = part.as_chunks::<8>();
        for word in words {
            crc = _mm_crc32_u64(crc, u64::from_le_bytes(*word));
        }
        for byte in bytes {
            crc = u64::from(_mm_crc32_u8(crc as u32, *byte));
        }
    }
    !(crc as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::crc32c;

    /// A bit at a time, as the standard has it.
    fn by_the_book(bytes: impl Iterator<Item = u8>) -> u32 {
        let step = |crc: u32| (crc >> 1) ^ (0x82F6_3B78 * (crc & 1));
        !bytes.fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc))
        })
    }

    proptest! {
        #[test]
        fn short_and_long_are_as_the_standard_has_them(
            head in proptest::collection::vec(any::<u8>(), 0..50),
            rest in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                proptest::collection::vec(any::<u8>(), 480..1100),
            ],
        ) {
            let expected = by_the_book(head.iter().chain(&rest).copied());
            prop_assert_eq!(crc32c(&head, &rest), expected);
        }
    }

    #[test]
    fn the_check_value_is_right() {
        assert_eq!(crc32c(b"1234", b"56789"), 0xE306_9283);
    }
}
