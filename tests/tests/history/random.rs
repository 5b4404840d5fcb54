use std::time::Duration;

/// SplitMix64: small, and the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One that no other run has.
    pub(crate) fn from_the_system() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(0_u8))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Up to `most`, and nothing at all one time in three, so that things happen at one moment too.
    pub(crate) fn pause(&mut self, most: Duration) -> Duration {
        if self.percent(33) {
            return Duration::ZERO;
        }
        Duration::from_micros(self.below(most.as_micros() as u64 + 1))
    }

    /// Another one, whose numbers have nothing to do with ours.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
