//! "Did you mean": the known word that is nearest to what was written.

use std::cmp::min;

/// `, did you mean …?`, or nothing.
pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|word| format!(", did you mean `{word}`?"))
        .unwrap_or_default()
}

/// The known word that takes the fewest edits, if these are few for its length.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|word| (edits(written, word), *word)).min()?;
    (near.0 <= near.1.len().max(written.len()) / 3).then_some(near.1)
}

/// The Damerau-Levenshtein distance (optimal string alignment): letters inserted, removed, replaced or swapped with a neighbour.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    // Row 0 and column 0 are the distances from and to nothing.
    let mut rows: Vec<Vec<usize>> = (0..=from.len()).map(|i| (i..=i + to.len()).collect()).collect();
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = min(replaced, min(rows[i - 1][j], rows[i][j - 1]) + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = min(least, rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_not() {
        let known = ["key", "value", "version", "load", "load_all", "load_timeout"];
        assert_eq!(nearest("vlaue", &known), Some("value"));
        assert_eq!(nearest("kye", &known), Some("key"));
        assert_eq!(nearest("load_al", &known), Some("load_all"));
        assert_eq!(nearest("loader", &known), Some("load"));
        assert_eq!(nearest("colour", &known), None);
    }
}
