//! The counters of nodes and tiers.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::counter::StripedCounter;
use crate::kind::not_stored::{NotStoredCounters, NotStoredCounts};

/// The counts of one kind of node in one instance since it was first used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// The name of the kind.
    pub name: Cow<'static, str>,
    /// By tier, nearest first.
    pub tiers: Vec<TierStats>,
    /// Values asked of a loader.
    pub loads: u64,
    /// Loads that failed, panicked, ran out of time or left the node out.
    pub load_failures: u64,
    /// Reads that waited for the load of another; a bulk call counts for each node that it names.
    pub joined: u64,
    /// Keys reported as changed by other processes, in whatever version of this node.
    pub remote_invalidations: u64,
    /// Loads under way now.
    pub in_flight: usize,
}

/// The counts of one tier of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// The name of the storage.
    pub storage: Cow<'static, str>,
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none, or could not look.
    pub misses: u64,
    /// Values stored.
    pub fills: u64,
    /// Values that were handed out and not stored here, by reason.
    pub not_stored: NotStoredCounts,
    /// Operations that failed or took too long.
    pub troubles: u64,
    /// Values found that could not be decoded, or could not be encoded.
    pub undecodable: u64,
}

impl NodeStats {
    /// Calls answered by some tier, as a share of all calls that read; `None` before the first.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        let hits: u64 = self.tiers.iter().map(|tier| tier.hits).sum();
        let reads = self.tiers.first().map_or(0, |tier| tier.hits + tier.misses);
        ratio(hits, reads)
    }
}

impl TierStats {
    /// Hits as a share of the reads of this tier; `None` before the first.
    #[must_use]
    pub fn hit_rate(&self) -> Option<f64> {
        ratio(self.hits, self.hits + self.misses)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    // Counters stay far below 2^52.
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl fmt::Display for NodeStats {
    /// A small table, a line a tier.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent =
            |rate: Option<f64>| rate.map_or("–".to_owned(), |rate| format!("{:.1} %", 100.0 * rate));
        let (name, loads, failed, joined) = (&self.name, self.loads, self.load_failures, self.joined);
        let remote = self.remote_invalidations;
        writeln!(
            f,
            "{name}: {loads} loads, {failed} failed, {joined} reads joined a load, {remote} remote invalidations"
        )?;
        for tier in &self.tiers {
            write!(
                f,
                "  {:<16} {:>8} hits {:>8} misses {:>8} {:>6} fills {:>4} not stored {:>4} troubles {:>4} undecodable",
                tier.storage,
                tier.hits,
                tier.misses,
                percent(tier.hit_rate()),
                tier.fills,
                tier.not_stored.total(),
                tier.troubles,
                tier.undecodable,
            )?;
            for (number, (reason, count)) in tier.not_stored.iter().enumerate() {
                let before = if number == 0 { "; not stored:" } else { "," };
                write!(f, "{before} {reason} {count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The counters behind [`NodeStats`].
#[derive(Default)]
pub(crate) struct NodeCounters {
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) remote_invalidations: AtomicU64,
}

/// The counters behind [`TierStats`].
#[derive(Default)]
pub(crate) struct TierCounters {
    pub(crate) hits: StripedCounter,
    pub(crate) misses: AtomicU64,
    pub(crate) fills: AtomicU64,
    pub(crate) not_stored: NotStoredCounters,
    pub(crate) troubles: AtomicU64,
    pub(crate) undecodable: AtomicU64,
}

impl TierCounters {
    /// Counters that go on from here, for the tier in place of this one.
    pub(crate) fn continued(&self) -> Self {
        let copy = |counter: &AtomicU64| AtomicU64::new(counter.load(Ordering::Relaxed));
        let hits = StripedCounter::default();
        hits.add(usize::try_from(self.hits.sum()).unwrap_or(usize::MAX));
        Self {
            hits,
            misses: copy(&self.misses),
            fills: copy(&self.fills),
            not_stored: self.not_stored.continued(),
            troubles: copy(&self.troubles),
            undecodable: copy(&self.undecodable),
        }
    }

    pub(crate) fn snapshot(&self, storage: Cow<'static, str>) -> TierStats {
        TierStats {
            storage,
            hits: self.hits.sum(),
            misses: self.misses.load(Ordering::Relaxed),
            fills: self.fills.load(Ordering::Relaxed),
            not_stored: self.not_stored.snapshot(),
            troubles: self.troubles.load(Ordering::Relaxed),
            undecodable: self.undecodable.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_rate_of_nothing_is_nothing() {
        let stats = NodeStats {
            tiers: vec![TierStats::default()],
            ..NodeStats::default()
        };
        assert_eq!((stats.hit_rate(), stats.tiers[0].hit_rate()), (None, None));
        let tier = TierStats {
            hits: 3,
            misses: 1,
            ..TierStats::default()
        };
        assert_eq!(tier.hit_rate(), Some(0.75));
    }

    #[test]
    fn a_striped_counter_loses_nothing() {
        let counter = StripedCounter::default();
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..100).for_each(|_| counter.add_one()));
            }
        });
        assert_eq!(counter.sum(), 4_000);
    }
}
