//! Pieces of a call: as much as one statement carries each, several of them at once.

use std::ops::Range;

#[cfg(any(feature = "_server", feature = "mongodb"))]
use futures_util::{StreamExt, TryStreamExt, stream};

#[cfg(any(feature = "_server", feature = "mongodb"))]
use crate::error::Result;

/// The most that one statement carries.
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
    /// The usual value of [`bytes`](Self::bytes), where the database asks for no less.
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

/// The number of pieces of one call that are under way at once: enough to gain by it, few enough to leave connections to others.
#[cfg(any(feature = "_server", feature = "mongodb"))]
const AT_ONCE: usize = 4;

/// Runs the pieces of a call side by side, `width` of them at most; their answers come in order.
///
/// Each answers for its rows, or with nothing. After an error, the others are dropped.
#[cfg(any(feature = "_server", feature = "mongodb"))]
pub(crate) async fn side_by_side<T, F>(
    mut pieces: impl Iterator<Item = Range<usize>>,
    width: usize,
    run: impl Fn(Range<usize>) -> F,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<Vec<T>>>,
{
    let Some(first) = pieces.next() else {
        return Ok(Vec::new());
    };
    match pieces.next() {
        None => run(first).await,
        Some(second) => {
            let pieces = [first, second].into_iter().chain(pieces);
            let mut running = stream::iter(pieces.map(run)).buffered(width.clamp(1, AT_ONCE));
            let mut answers = Vec::new();
            while let Some(mut piece) = running.try_next().await? {
                answers.append(&mut piece);
            }
            Ok(answers)
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(any(feature = "_server", feature = "mongodb"))]
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[cfg(any(feature = "_server", feature = "mongodb"))]
    #[tokio::test(start_paused = true)]
    async fn answers_keep_their_order_and_few_run_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = async |piece: Range<usize>| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first take the longest.
            tokio::time::sleep(std::time::Duration::from_millis(100 - piece.start as u64)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(piece.collect())
        };
        let pieces = (0..20).map(|n| n * 2..n * 2 + 2);
        let all = side_by_side(pieces.clone(), 10, run).await.unwrap();
        assert_eq!(all, (0..40).collect::<Vec<_>>());
        assert_eq!(most.swap(0, Ordering::SeqCst), AT_ONCE);
        side_by_side(pieces, 1, run).await.unwrap();
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
