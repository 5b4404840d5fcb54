use std::ops::Range;

/// How much one statement carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceLimits {
    /// Rows, at most.
    pub(crate) rows: usize,
    /// Up to here every number of rows gets a statement of its own; beyond, only powers of two do, so that a
    /// connection's cache of prepared statements serves all calls.
    pub(crate) exact: usize,
    /// Bytes of keys and values, at most, unless a single row has more: bounds the copy that the driver makes of them.
    pub(crate) bytes: usize,
}

impl PieceLimits {
    /// What [`bytes`](Self::bytes) is where the database asks for no less.
    #[cfg(any(test, feature = "_sql"))]
    pub(crate) const BYTES: usize = 16 << 20;

    /// For databases that take lists as arrays: one statement for all lengths.
    #[cfg(feature = "postgres")]
    pub(crate) const ARRAYS: Self = Self {
        rows: 65_536,
        exact: 65_536,
        bytes: Self::BYTES,
    };
}

/// Cuts rows, whose sizes in bytes `size` knows, into pieces, a statement each.
pub(crate) fn pieces(
    rows: usize,
    limits: PieceLimits,
    size: impl Fn(usize) -> usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == rows {
            return None;
        }
        let mut bytes = 0;
        let fits = (start..rows)
            .take(limits.rows)
            .take_while(|&row| {
                bytes += size(row);
                bytes <= limits.bytes
            })
            .count()
            .max(1);
        let end = start
            + if fits <= limits.exact {
                fits
            } else {
                1 << fits.ilog2()
            };
        Some(std::mem::replace(&mut start, end)..end)
    })
}

/// The length of a statement's list for so many rows: each up to `exact`, and powers of two beyond.
///
/// For databases where a list may say a thing twice: padded, one statement carries what [`pieces`] would cut to fit.
#[cfg(feature = "mysql")]
pub(crate) fn padded(rows: usize, exact: usize) -> usize {
    if rows <= exact {
        rows
    } else {
        rows.next_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = PieceLimits::BYTES;

    fn lengths(sizes: &[usize]) -> Vec<usize> {
        let limits = PieceLimits {
            rows: 1024,
            exact: 32,
            bytes: PieceLimits::BYTES,
        };
        let pieces: Vec<_> = pieces(sizes.len(), limits, |row| sizes[row]).collect();
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
        assert_eq!(lengths(&[]), [0; 0]);
        assert_eq!(lengths(&[0; 20]), [20]);
        assert_eq!(lengths(&[0; 100]), [64, 32, 4]);
        assert_eq!(lengths(&[0; 2100]), [1024, 1024, 32, 20]);
    }

    #[test]
    fn bytes_are_bounded_but_for_a_single_large_value() {
        assert_eq!(lengths(&[BYTES * 2, 1, BYTES, BYTES, 1]), [1, 1, 1, 1, 1]);
        assert_eq!(lengths(&[BYTES / 4; 9]), [4, 4, 1]);
    }
}
