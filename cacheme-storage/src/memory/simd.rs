//! Instructions that the language has no word for: asking for a cache line early, and comparing sixteen
//! bytes at once. Elsewhere than on x86-64, nothing and the same in two steps.
#![allow(unsafe_code, reason = "intrinsics of SSE2, which every x86-64 has")]

/// Asks for the cache line of `place`. A miss in the cache touches a dozen lines that lie far apart; asked for early,
/// they come at the same time instead of one after the other.
#[inline(always)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program sees and never faults, and the reference is valid besides.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// A bit for each byte that is this one, the lowest for the lowest byte of the first word.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn equal_bytes(words: [u64; 2], byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: SSE2 is there, and these only compute.
    unsafe {
        let words = _mm_set_epi64x(words[1] as i64, words[0] as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(words, _mm_set1_epi8(byte as i8))) as u32
    }
}

/// A bit for each byte that is this one, the lowest for the lowest byte of the first word.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn equal_bytes(words: [u64; 2], byte: u8) -> u32 {
    equal_in_word(words[0], byte) | equal_in_word(words[1], byte) << 8
}

/// A bit for each of eight numbers that is this one, the lowest for the first.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn equal_halves(halves: &[u16; 8], half: u16) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        _mm_setzero_si128,
    };
    // SAFETY: SSE2 is there, the load is of sixteen bytes that are borrowed and needs no alignment, the rest only computes.
    unsafe {
        let halves = _mm_loadu_si128(halves.as_ptr().cast());
        let equal = _mm_cmpeq_epi16(halves, _mm_set1_epi16(half as i16));
        _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) as u32
    }
}

/// A bit for each of eight numbers that is this one, the lowest for the first.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn equal_halves(halves: &[u16; 8], half: u16) -> u32 {
    equal_one_by_one(halves, half)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_one_by_one(halves: &[u16; 8], half: u16) -> u32 {
    let equal = (0..8).filter(|at| halves[*at] == half);
    equal.fold(0, |bits, at| bits | 1 << at)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_in_word(word: u64, byte: u8) -> u32 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let differ = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    // The top bit of every byte that is zero, and of no other: nothing carries from byte to byte.
    let zeros = !(((differ & LOW) + LOW) | differ | LOW);
    // Gathers the eight top bits in the highest byte, in order.
    ((zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_are_found_exactly(bytes in any::<[u8; 16]>(), wanted in any::<u8>()) {
            let word = |at: usize| (0..8).fold(0, |word, byte| word | u64::from(bytes[at + byte]) << (byte * 8));
            let words = [word(0), word(8)];
            for wanted in bytes.into_iter().chain([wanted, 0, 1, 0x80, 0xff]) {
                let expected: u32 = (0..16).filter(|at| bytes[*at] == wanted).map(|at| 1 << at).sum();
                prop_assert_eq!(equal_bytes(words, wanted), expected);
                let by_word = equal_in_word(words[0], wanted) | equal_in_word(words[1], wanted) << 8;
                prop_assert_eq!(by_word, expected);
            }
        }

        #[test]
        fn halves_are_found_exactly(mut halves in any::<[u16; 8]>(), wanted in any::<u16>(), twice in 0usize..8) {
            halves[twice] = halves[7 - twice];
            for wanted in halves.into_iter().chain([wanted, 0, 1, 0x8000, 0xffff]) {
                prop_assert_eq!(equal_halves(&halves, wanted), equal_one_by_one(&halves, wanted));
            }
        }
    }
}
