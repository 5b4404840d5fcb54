use std::ops::Range;

/// Up to here every number of rows gets a statement of its own; beyond, only powers of two do.
const EXACT: usize = 32;

/// How many bytes of values one statement carries at most, unless a single value is larger: bounds the copy that the
/// driver makes of them.
const BYTES: usize = 16 << 20;

/// Cuts rows, whose sizes in bytes `size` knows, into pieces of at most `most` rows, a statement each.
///
/// The sizes of pieces come from a small set, so that a connection's cache of prepared statements serves all calls.
pub(crate) fn pieces(
    rows: usize,
    most: usize,
    size: impl Fn(usize) -> usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == rows {
            return None;
        }
        let mut bytes = 0;
        let fits = (start..rows)
            .take(most)
            .take_while(|&row| {
                bytes += size(row);
                bytes <= BYTES
            })
            .count()
            .max(1);
        let end = start + if fits <= EXACT { fits } else { 1 << fits.ilog2() };
        Some(std::mem::replace(&mut start, end)..end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(sizes: &[usize], most: usize) -> Vec<usize> {
        let pieces: Vec<_> = pieces(sizes.len(), most, |row| sizes[row]).collect();
        let mut at = 0;
        for piece in &pieces {
            assert_eq!(piece.start, at, "without gaps");
            at = piece.end;
        }
        assert_eq!(at, sizes.len(), "to the end");
        pieces.into_iter().map(|piece| piece.len()).collect()
    }

    #[test]
    fn few_statements_and_few_sizes() {
        assert_eq!(lengths(&[], 1024), [0; 0]);
        assert_eq!(lengths(&[0; 20], 1024), [20]);
        assert_eq!(lengths(&[0; 100], 1024), [64, 32, 4]);
        assert_eq!(lengths(&[0; 2100], 1024), [1024, 1024, 32, 20]);
    }

    #[test]
    fn bytes_are_bounded_but_for_a_single_large_value() {
        assert_eq!(lengths(&[BYTES * 2, 1, BYTES, BYTES, 1], 1024), [1, 1, 1, 1, 1]);
        assert_eq!(lengths(&[BYTES / 4; 9], 1024), [4, 4, 1]);
    }
}
