//! Smallest, median and largest of a few runs.

use std::fmt;

/// What a number did over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let [min, .., max] = sorted[..] else {
            let only = *sorted.first().expect("at least one round");
            return Self {
                min: only,
                median: only,
                max: only,
            };
        };
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Self {
            min,
            median: f64::midpoint(below, above),
            max,
        }
    }
}

/// Three columns.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        let Self { min, median, max } = self;
        write!(f, "{min:.digits$}\t{median:.digits$}\t{max:.digits$}")
    }
}
