//! Latencies in buckets that are 1/32 wide.

/// Nanoseconds, counted in buckets.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

const FINE: u32 = 5;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; (65 - FINE as usize) << FINE],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        let spare = (63 - (nanos | 1).leading_zeros()).saturating_sub(FINE);
        let bucket = ((spare as u64) << FINE) + (nanos >> spare);
        self.buckets[bucket as usize] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, its) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += its;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The latency that `share` of all stay within, rounded up by at most 1/32; 0 if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                let spare = (bucket as u64 >> FINE).saturating_sub(1);
                let top = ((bucket as u64 - (spare << FINE)) << spare) + ((1 << spare) - 1);
                return top.min(self.max);
            }
        }
        self.max
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_a_bucket_too_high() {
        let mut histogram = Histogram::default();
        let numbers: Vec<u64> = (0..100_000).map(|n| n * n / 7).collect();
        numbers.iter().for_each(|number| histogram.record(*number));
        for share in [0.0001, 0.01, 0.5, 0.9, 0.99, 0.9999, 1.0] {
            let exact = numbers[((numbers.len() as f64 * share).ceil() as usize).max(1) - 1];
            let told = histogram.quantile(share);
            assert!(
                told >= exact && told <= exact + exact / 32 + 1,
                "{share}: {told} for {exact}"
            );
        }
        histogram.record(u64::MAX);
        assert_eq!(histogram.quantile(1.0), u64::MAX);
    }
}
