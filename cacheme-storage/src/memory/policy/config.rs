//! The eight configurations among which the shadows choose.

/// A mode says which candidates win a place in the main segments, beside the more frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Frequency alone: W-TinyLFU.
    Plain,
    /// A key that comes back from the ghost before the victim's turn replaces it at once and is protected.
    Protect,
    /// Like `Protect`, but the candidate has to prove itself in probation.
    Probe,
    /// Like `Protect`; besides, a candidate whose last two uses lie closer together than the victim's idle time wins.
    Recency,
}

/// A policy as a whole: the share of the window, and the mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Thousandths of the capacity.
    pub(crate) window: u64,
    pub(crate) mode: Mode,
}

/// The configuration that a cache starts with.
pub(crate) const START: usize = 0;

/// Frequency-heavy workloads want a small window, recency-heavy ones a large one (99 % is LRU with a scratch of main);
/// loops want the ghost's test, shifting hot sets do not. Two or three windows for each mode cover that. Eight do as
/// well as twenty-one did: more of them only make the choice noisier.
pub(crate) const CONFIGS: [Config; 8] = [
    Config {
        window: 10,
        mode: Mode::Protect,
    },
    Config {
        window: 100,
        mode: Mode::Protect,
    },
    Config {
        window: 200,
        mode: Mode::Probe,
    },
    Config {
        window: 10,
        mode: Mode::Recency,
    },
    Config {
        window: 350,
        mode: Mode::Recency,
    },
    Config {
        window: 10,
        mode: Mode::Plain,
    },
    Config {
        window: 350,
        mode: Mode::Plain,
    },
    Config {
        window: 990,
        mode: Mode::Plain,
    },
];

impl Config {
    /// The part of `capacity` that the window may have: one entry at the least.
    pub(crate) fn window_of(&self, capacity: u64) -> u64 {
        let part = u128::from(capacity) * u128::from(self.window) / 1000;
        u64::try_from(part).unwrap_or(capacity).max(1).min(capacity)
    }

    /// The part of it that protected entries may have: two thirds of what the window leaves. Segmented LRU takes four fifths, but here a
    /// marked head of the protected goes back to their tail, so they need less room to stay, and who is on probation needs
    /// more to be asked for again.
    pub(crate) fn protected_of(&self, capacity: u64) -> u64 {
        let main = capacity - self.window_of(capacity);
        main - main / 3
    }
}

/// Says whether a key that comes back after `irr` ticks replaces a victim that has been idle for `idle`. `coarse` is 1 where
/// a tick is longer than an access, so that equal ticks do not pass for sooner. The quarter of margin keeps keys with
/// like recencies from replacing one another in turn.
#[inline]
pub(crate) fn comes_back_sooner(irr: u16, coarse: u32, idle: u16) -> bool {
    4 * (u32::from(irr) + coarse) < 3 * u32::from(idle)
}

/// Facts about a candidate for the main segments and about the victim that it would replace.
pub(crate) struct Contest {
    pub(crate) candidate: u32,
    pub(crate) victim: u32,
    /// Ticks from the candidate's last use to the one that brought it; `u16::MAX` if it was not in the ghost.
    pub(crate) irr: u16,
    pub(crate) idle: u16,
    pub(crate) coarse: u32,
}

impl Contest {
    /// Says whether the candidate was used more often than the victim in a like time. What brought a key back after it was gone for longer
    /// than the victim has been idle is a use for which the victim had no time yet, so it does not count. In a loop
    /// through more keys than there is room for, those that come back would otherwise push out, one by one, those whose
    /// turn is next.
    #[inline]
    fn is_more_frequent(&self) -> bool {
        let was_away = self.irr != u16::MAX;
        let for_longer = was_away && u32::from(self.irr) + self.coarse >= u32::from(self.idle);
        self.candidate > self.victim + u32::from(for_longer)
    }
}

/// A candidate of at least this frequency sometimes wins by chance, so that nobody pins the victims by raising their
/// counts (HashDoS on the sketch).
const LUCKY_FROM: u32 = 6;
/// One time in so many.
const LUCKY_ONE_IN: u32 = 128;

impl Mode {
    /// Says whether the candidate wins. `chance` gives random bits.
    #[inline]
    pub(crate) fn admits(self, contest: &Contest, chance: &mut Chance) -> bool {
        let frequent = contest.is_more_frequent();
        if self == Mode::Recency {
            let irr = u32::from(contest.irr);
            let idle = u32::from(contest.idle);
            return irr + contest.coarse < idle || frequent && irr < 4 * idle;
        }
        frequent || contest.candidate >= LUCKY_FROM && chance.one_in(LUCKY_ONE_IN)
    }
}

/// Random bits good enough for a coin: xorshift (Marsaglia, 2003).
pub(crate) struct Chance(u32);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed ^ seed >> 32) as u32 | 1)
    }

    #[inline]
    pub(crate) fn one_in(&mut self, of: u32) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0.is_multiple_of(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_for_longer_than_the_victim_sat_there_has_to_lead_by_two() {
        let wins = |candidate, irr| {
            let contest = Contest {
                candidate,
                victim: 2,
                irr,
                idle: 100,
                coarse: 1,
            };
            Mode::Plain.admits(&contest, &mut Chance::new(1))
        };
        // Sooner than the victim, and not known: one is enough.
        assert!(wins(3, 98) && wins(3, u16::MAX));
        assert!(!wins(2, 98) && !wins(2, u16::MAX));
        assert!(!wins(3, 99) && !wins(3, 500));
        assert!(wins(4, 99) && wins(4, 500));
    }
}
