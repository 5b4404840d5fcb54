//! How far the value of a flight may go, as one value that only rises.

use std::sync::atomic::Ordering;

use cacheme_storage::Fence;

use super::sync::AtomicU8;

/// How far the fence of a flight is raised. Each level forbids more than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Fenced {
    /// The value goes into no local tier.
    NotLocal = 1,
    /// The value goes into no tier.
    Nowhere,
    /// The value goes into no tier, and the flight left the table: another process changed the key, and a newer flight may be running.
    Superseded,
}

/// The fence of a flight. It is down at first, and never comes down again.
pub(crate) struct FlightFence {
    level: AtomicU8,
    /// Raised with every level. Local tiers read it under their lock.
    local: Fence,
}

impl FlightFence {
    pub(super) fn new() -> Self {
        Self {
            level: AtomicU8::new(0),
            local: Fence::new(),
        }
    }

    pub(super) fn raise(&self, to: Fenced) {
        self.local.raise();
        self.level.fetch_max(to as u8, Ordering::SeqCst);
    }

    /// Whether the value may go into no tier.
    pub(crate) fn is_raised(&self) -> bool {
        self.has(Fenced::Nowhere)
    }

    /// Whether another process changed the key, so that a newer flight may be running.
    pub(crate) fn is_superseded(&self) -> bool {
        self.has(Fenced::Superseded)
    }

    /// The fence for local tiers.
    pub(crate) fn local(&self) -> &Fence {
        &self.local
    }

    fn has(&self, level: Fenced) -> bool {
        self.level.load(Ordering::SeqCst) >= level as u8
    }
}
