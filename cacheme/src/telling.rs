//! What a kind of node tells other processes, and what it does when it is told.

use std::sync::Arc;

use tokio::time::Instant;

use crate::bus::Bus;
use crate::error::Result;
use crate::flight::FullKey;
use crate::kind::{Kind, Tier, TierStorage};
use crate::node::Node;
use crate::owed::{AFTER_FAILURE, owe};
use crate::pieces::{Call, Operation};
use crate::stats::count;
use crate::write::{drop_nearby, not_invalidated};

impl<N: Node> Kind<N> {
    /// Tells other processes that what is under these keys has changed, once all tiers are done. What they could not be
    /// told is owed to the tier whose bus it is.
    pub(crate) async fn tell(self: &Arc<Self>, keys: &[FullKey]) -> Result<()> {
        let Some(at) = self.bus else { return Ok(()) };
        let tier = &self.tiers[at];
        // What is owed is told when it is paid.
        if keys.iter().all(|key| tier.owed.contains(key)) {
            return Ok(());
        }
        self.publish(tier, keys).await.map_err(|(untold, error)| {
            owe(self, at, untold, AFTER_FAILURE);
            not_invalidated(tier, untold.len(), error)
        })
    }

    /// The same when what was owed to a tier has been paid. Gives how many of the keys were told, the first ones.
    pub(crate) async fn tell_paid(&self, keys: &[FullKey]) -> usize {
        let told = match self.bus {
            Some(at) => self.publish(&self.tiers[at], keys).await,
            None => Ok(()),
        };
        // What goes wrong is counted and told by `bounded`.
        keys.len() - told.map_or_else(|(untold, _)| untold.len(), |()| 0)
    }

    /// Publishes keys in pieces, until one fails; gives those that others were not told of.
    async fn publish<'k>(
        &self,
        tier: &Tier,
        keys: &'k [FullKey],
    ) -> std::result::Result<(), (&'k [FullKey], cacheme_storage::Error)> {
        let TierStorage::Remote(remote) = &tier.storage else {
            return Ok(());
        };
        let Some(bus) = &remote.bus else { return Ok(()) };
        let calls = Call::new(tier, remote, Operation::Publish);
        let (mut rest, mut now) = (keys, calls.now);
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(calls.size()));
            match calls.piece(now, piece.len(), bus.tell(piece)).await {
                Ok(true) => {}
                Ok(false) => count(&tier.counters.troubles, 1),
                Err(error) => return Err((rest, error)),
            }
            (rest, now) = (others, Instant::now());
        }
        Ok(())
    }

    /// Another process changed what is under these full keys, some of which may be ours.
    pub(crate) fn hear_of(&self, keys: &[&[u8]]) {
        let is_ours =
            |key: &&&[u8]| key.starts_with(self.start.as_bytes()) && key.ends_with(self.end.as_bytes());
        let ours: Vec<&[u8]> = keys.iter().filter(is_ours).copied().collect();
        self.part(&ours);
        // Last: who sees the count can rely on what was done.
        count(&self.counters.told, ours.len());
    }

    /// What is under these keys nearby is out of date, and so are flights that began before, for all who come now.
    pub(crate) fn part(&self, keys: &[impl AsRef<[u8]>]) {
        for key in keys {
            self.flights.part(key.as_ref(), self.is_guarded());
        }
        drop_nearby(self, keys);
    }

    /// Drops all that is held nearby, if it is this bus that changes would have been told on.
    pub(crate) fn drop_all(&self, bus: &Bus) {
        let Some(tier) = self.bus.map(|at| &self.tiers[at]) else {
            return;
        };
        if !tier
            .bus()
            .is_some_and(|ours| std::ptr::eq(&raw const **ours, bus))
        {
            return;
        }
        self.drop_held();
        self.flights.part_all(self.is_guarded());
    }
}
