//! Requests for leases, and the answers to them.

use std::time::Duration;

use bytes::Bytes;

/// Names one holder of a lease. Unique: two loads never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub u128);

/// A request for leases, to [`RemoteStorage::acquire`](crate::RemoteStorage::acquire).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use cacheme_storage::{Acquire, LeaseToken};
///
/// let request = Acquire::new(LeaseToken(7), Duration::from_secs(5)).with_deadline(1_700_000_000_000);
/// assert!(!request.steals());
/// assert!(request.is_late(1_700_000_000_001));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acquire {
    /// Names the holder of the leases that are granted.
    pub token: LeaseToken,
    /// The time that a lease lasts from its grant on, unless it is renewed.
    pub time: Duration,
    /// The mode says whether a value or a lease under the key refuses the request.
    pub mode: AcquireMode,
    /// The server's time, in milliseconds since the Unix epoch, after which nothing is granted: the caller is gone by then.
    /// `None` is never.
    pub deadline_ms: Option<u64>,
}

/// The mode of a request: it says whether a value or a lease under the key refuses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireMode {
    /// A value and the lease of another holder refuse it.
    #[default]
    IfAbsent,
    /// Nothing refuses it: the lease replaces the value or lease under the key.
    StealInPlace,
}

impl Acquire {
    /// Asks for leases of `time` on absent keys, without a deadline.
    #[must_use]
    pub const fn new(token: LeaseToken, time: Duration) -> Self {
        Self {
            token,
            time,
            mode: AcquireMode::IfAbsent,
            deadline_ms: None,
        }
    }

    /// Asks for leases in place of the values and leases under the keys.
    #[must_use]
    pub const fn stealing(mut self) -> Self {
        self.mode = AcquireMode::StealInPlace;
        self
    }

    /// Asks for leases until the server's time is past `deadline_ms`, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn with_deadline(mut self, deadline_ms: u64) -> Self {
        self.deadline_ms = Some(deadline_ms);
        self
    }

    /// Says whether leases replace the values and leases under the keys.
    #[must_use]
    pub const fn steals(&self) -> bool {
        matches!(self.mode, AcquireMode::StealInPlace)
    }

    /// The answer for a lease that was granted for its whole time, at `at_ms` by the server's clock.
    #[must_use]
    pub const fn granted_at(&self, at_ms: u64) -> Acquired {
        Acquired::Granted(Grant::new(at_ms, self.time))
    }

    /// Says whether the deadline has passed when the server's clock shows `now_ms`.
    #[must_use]
    pub fn is_late(&self, now_ms: u64) -> bool {
        self.deadline_ms.is_some_and(|deadline| now_ms > deadline)
    }
}

/// The answer of [`RemoteStorage::acquire`](crate::RemoteStorage::acquire) for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acquired {
    /// The lease is ours.
    Granted(Grant),
    /// A value was there.
    Value(FoundValue),
    /// Another holder has the lease, for this long at most. Never zero.
    Busy {
        /// Time until the lease ends by itself.
        left: Duration,
    },
    /// There is no lease to be had here, and none to wait for: the server takes no writes.
    Unavailable,
    /// The deadline had passed, and nothing was granted.
    TooLate,
}

impl Acquired {
    /// Says whether the lease is ours.
    #[must_use]
    pub const fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }
}

/// A lease that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The server's time of the grant, in milliseconds since the Unix epoch, as well as the storage knows it.
    pub at_ms: u64,
    /// The time that the lease lasts unless it is renewed. Where this is less than was asked for, the holder renews it at once.
    pub time: Duration,
}

impl Grant {
    /// A lease that was granted at `at_ms` by the server's clock, for `time`.
    #[must_use]
    pub const fn new(at_ms: u64, time: Duration) -> Self {
        Self { at_ms, time }
    }
}

/// A value that was found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundValue {
    /// The bytes as they were stored, envelope included.
    pub bytes: Bytes,
}

impl From<Bytes> for FoundValue {
    fn from(bytes: Bytes) -> Self {
        Self { bytes }
    }
}

/// The outcome of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The lease was still ours; the value is stored and the lease is gone.
    Stored,
    /// The lease had been taken away (invalidated, overwritten, expired); nothing was stored.
    Lost,
}
