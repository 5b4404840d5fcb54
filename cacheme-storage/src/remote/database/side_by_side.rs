use std::future::Future;
use std::ops::Range;

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::error::Result;

/// How many pieces of one call are under way at once: enough to gain by it, few enough to leave connections to others.
const AT_ONCE: usize = 4;

/// Runs the pieces of a call side by side, `width` of them at most; their answers come in order.
///
/// Each answers for its rows, or with nothing. After an error, the others are dropped.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

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
