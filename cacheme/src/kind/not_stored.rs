use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use cacheme_storage::CodecError;

/// Why a tier did not store a value that was loaded, found in another tier or passed to `set`.
///
/// The value is handed out all the same. [`TierStats::not_stored`](crate::TierStats::not_stored) counts these by reason, and each is
/// logged at the level `debug` with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NotStored {
    /// A change of the key came first: an `invalidate`, `set` or `refresh` here, or one that another process published.
    Fenced,
    /// The lease was taken away before the value arrived, by a change in another process or by its end.
    LeaseLost,
    /// The storage had given no lease: it was in trouble when it was asked, or takes no writes.
    NoLease,
    /// The value was loaded after this process had waited too long for another one, which may store a newer value.
    WaitedTooLong,
    /// The loader said [`do_not_store`](crate::LoadContext::do_not_store).
    DoNotStore,
    /// The key was loaded for the first time, and the node has a doorkeeper.
    Doorkeeper,
    /// The value's life was over before it could be stored.
    LifeOver,
    /// The serializer cannot write the value, or what it writes does not read back as the same value.
    NotSerializable,
    /// The value is nested deeper than [128 levels](crate::docs::storages#serializers).
    TooDeep,
    /// The value is larger than the storage takes, or than its `largest_value`.
    TooLarge,
    /// The storage failed or did not answer in time. Counted as trouble as well.
    StorageFailed,
    /// The storage in memory has no room for the value: it is too heavy, or those that are there are worth more.
    NoRoom,
    /// The value was found in a local tier, which fills local tiers only.
    FoundLocally,
    /// The value's own code panicked: its `Clone`, its `Serialize`, or a function of the policy.
    Panicked,
}

impl NotStored {
    const ALL: [Self; 14] = [
        Self::Fenced,
        Self::LeaseLost,
        Self::NoLease,
        Self::WaitedTooLong,
        Self::DoNotStore,
        Self::Doorkeeper,
        Self::LifeOver,
        Self::NotSerializable,
        Self::TooDeep,
        Self::TooLarge,
        Self::StorageFailed,
        Self::NoRoom,
        Self::FoundLocally,
        Self::Panicked,
    ];

    /// The name of the reason, for labels of metrics: `lease_lost`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::LeaseLost => "lease_lost",
            Self::NoLease => "no_lease",
            Self::WaitedTooLong => "waited_too_long",
            Self::DoNotStore => "do_not_store",
            Self::Doorkeeper => "doorkeeper",
            Self::LifeOver => "life_over",
            Self::NotSerializable => "not_serializable",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::StorageFailed => "storage_failed",
            Self::NoRoom => "no_room",
            Self::FoundLocally => "found_locally",
            Self::Panicked => "panicked",
        }
    }

    /// The reason that an error of the serializer stands for.
    pub(crate) fn of_codec(error: &CodecError) -> Self {
        match error {
            CodecError::TooDeep { .. } => Self::TooDeep,
            CodecError::TooLarge { .. } => Self::TooLarge,
            CodecError::Panicked { .. } => Self::Panicked,
            _ => Self::NotSerializable,
        }
    }

    /// The reason that an error of a remote storage stands for.
    pub(crate) fn of_storage(error: &cacheme_storage::Error) -> Self {
        match error {
            cacheme_storage::Error::TooLarge { .. } => Self::TooLarge,
            _ => Self::StorageFailed,
        }
    }
}

impl fmt::Display for NotStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many values a tier did not store, by [reason](NotStored).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct NotStoredCounts([u64; NotStored::ALL.len()]);

impl NotStoredCounts {
    /// The number of values that were not stored for this reason.
    #[must_use]
    pub const fn get(&self, reason: NotStored) -> u64 {
        self.0[reason as usize]
    }

    /// The number of values that were not stored, for all reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that there were, with how many values each.
    pub fn iter(&self) -> impl Iterator<Item = (NotStored, u64)> {
        let counts = NotStored::ALL.map(|reason| (reason, self.get(reason)));
        counts.into_iter().filter(|(_, count)| *count > 0)
    }
}

impl fmt::Debug for NotStoredCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The counters behind [`NotStoredCounts`].
#[derive(Default)]
pub(crate) struct NotStoredCounters([AtomicU64; NotStored::ALL.len()]);

impl NotStoredCounters {
    pub(crate) fn count(&self, reason: NotStored) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counters that go on from here.
    pub(crate) fn continued(&self) -> Self {
        Self(self.snapshot().0.map(AtomicU64::new))
    }

    pub(crate) fn snapshot(&self) -> NotStoredCounts {
        NotStoredCounts(self.0.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t3_each_reason_has_a_counter_of_its_own() {
        let counters = NotStoredCounters::default();
        for (number, reason) in NotStored::ALL.into_iter().enumerate() {
            (0..=number).for_each(|_| counters.count(reason));
        }
        let counts = counters.snapshot();
        for (number, reason) in NotStored::ALL.into_iter().enumerate() {
            assert_eq!(counts.get(reason), number as u64 + 1, "{reason}");
        }
        assert_eq!(counts.total(), 105);
        assert_eq!(counts.iter().count(), 14);
        assert_eq!(format!("{:?}", NotStoredCounts::default()), "{}");
    }
}
