//! One flight of a batch, with its stage ([page](super)).

use cacheme_storage::SmallBox;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::flight::outcome::Outcome;
use crate::flight::{FullKey, Lead};
use crate::kind::not_stored::NotStored;
use crate::node::Node;
use crate::read::leases::Held;

pub(super) struct Item<N: Node> {
    pub(super) state: ItemState<N>,
    /// The state of the flight's lease, by tier.
    pub(super) leases: SmallVec<[Held; 8]>,
}

pub(super) enum ItemState<N: Node> {
    Open(Open<N>),
    Ended {
        /// The full key, where there are leases to be given back.
        key: Option<FullKey>,
        /// Kept for the caller, who takes it once.
        outcome: Option<Outcome<N::Value>>,
    },
    /// It is in another batch.
    SplitOff,
}

/// A flight that is led here.
pub(super) struct Open<N: Node> {
    pub(super) lead: Lead<Outcome<N::Value>>,
    pub(super) stage: Stage<N>,
    /// Why its value is handed out and stored nowhere, if so.
    pub(super) refused: Option<NotStored>,
}

/// How far an open flight has come.
pub(super) enum Stage<N> {
    /// LOOKING: it is at this tier.
    Looking { tier: usize, node: N },
    /// WAITING: another process has the lease of this tier.
    Waiting { tier: usize, since: Instant, node: N },
    /// No tier has a value.
    Ready(N),
    /// LOADING, or STORING the loaded value.
    Loading,
}

impl<N: Node> Item<N> {
    pub(super) fn new(lead: Lead<Outcome<N::Value>>, node: N, tiers: usize) -> Self {
        let mut stage = Stage::Looking { tier: 0, node };
        stage.move_to(0, tiers);
        Self {
            state: ItemState::Open(Open {
                lead,
                stage,
                refused: None,
            }),
            leases: SmallVec::from_elem(Held::No, tiers),
        }
    }

    /// The flight, unless it has ended or is in another batch.
    pub(super) fn open(&self) -> Option<&Open<N>> {
        match &self.state {
            ItemState::Open(open) => Some(open),
            ItemState::Ended { .. } | ItemState::SplitOff => None,
        }
    }

    pub(super) fn open_mut(&mut self) -> Option<&mut Open<N>> {
        match &mut self.state {
            ItemState::Open(open) => Some(open),
            ItemState::Ended { .. } | ItemState::SplitOff => None,
        }
    }

    /// The full key, as long as the flight is open or has leases.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match &self.state {
            ItemState::Open(open) => Some(open.lead.flight().key()),
            ItemState::Ended { key, .. } => key.as_deref(),
            ItemState::SplitOff => None,
        }
    }

    /// Ends the flight, if it is open. With `keeps`, the outcome is kept.
    pub(super) fn end(&mut self, outcome: Outcome<N::Value>, keeps: bool) {
        let has_leases = self.leases.iter().any(|held| *held != Held::No);
        let key = self.key().filter(|_| has_leases).map(FullKey::from);
        if let Some(Open { lead, .. }) = self.take() {
            let outcome = if keeps {
                Some(lead.finish_and_keep(outcome))
            } else {
                lead.finish(outcome);
                None
            };
            self.state = ItemState::Ended { key, outcome };
        }
    }

    /// The item for another batch, if the flight is open.
    pub(super) fn split_off(&mut self) -> Option<Self> {
        let open = self.take()?;
        let none = SmallVec::from_elem(Held::No, self.leases.len());
        Some(Self {
            state: ItemState::Open(open),
            leases: std::mem::replace(&mut self.leases, none),
        })
    }

    /// The value that was found, once.
    pub(super) fn take_found(&mut self) -> Option<SmallBox<N::Value>> {
        match &mut self.state {
            ItemState::Ended { outcome, .. } => outcome.take()?.ok(),
            ItemState::Open(_) | ItemState::SplitOff => None,
        }
    }

    fn take(&mut self) -> Option<Open<N>> {
        self.open()?;
        match std::mem::replace(&mut self.state, ItemState::SplitOff) {
            ItemState::Open(open) => Some(open),
            ItemState::Ended { .. } | ItemState::SplitOff => None,
        }
    }
}

impl<N> Stage<N> {
    /// The tier that it is at.
    pub(super) fn tier(&self) -> Option<usize> {
        match self {
            Self::Looking { tier, .. } | Self::Waiting { tier, .. } => Some(*tier),
            Self::Ready(_) | Self::Loading => None,
        }
    }

    /// Whether it waits for another process at this tier.
    pub(super) fn waits_at(&self, at: usize) -> bool {
        matches!(self, Self::Waiting { tier, .. } if *tier == at)
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    /// Goes on at another tier, or past the last one, of so many.
    pub(super) fn move_to(&mut self, tier: usize, tiers: usize) {
        match self.take_node() {
            Some(node) if tier < tiers => *self = Self::Looking { tier, node },
            Some(node) => *self = Self::Ready(node),
            None => {}
        }
    }

    /// Waits for another process at the tier where it is, from `since` on.
    pub(super) fn wait(&mut self, since: Instant) {
        if let Some(tier) = self.tier()
            && let Some(node) = self.take_node()
        {
            *self = Self::Waiting { tier, since, node };
        }
    }

    /// Ends the wait for another process, at the same tier. Returns when it began.
    pub(super) fn end_wait(&mut self) -> Option<Instant> {
        let Self::Waiting { tier, since, .. } = *self else {
            return None;
        };
        let node = self.take_node()?;
        *self = Self::Looking { tier, node };
        Some(since)
    }

    /// Begins to load. Returns the node, once.
    pub(super) fn take_node(&mut self) -> Option<N> {
        match std::mem::replace(self, Self::Loading) {
            Self::Looking { node, .. } | Self::Waiting { node, .. } | Self::Ready(node) => Some(node),
            Self::Loading => None,
        }
    }
}
