//! The last step of a change ([page](super)): it is published on the bus of the nearest tier that has one.

use std::sync::Arc;

use tokio::time::Instant;

use super::retry::{AFTER_FAILURE, not_invalidated, owe};
use crate::counter::count;
use crate::error::Result;
use crate::flight::FullKey;
use crate::kind::pieces::{Call, Operation};
use crate::kind::{Kind, Tier, TierStorage};
use crate::node::Node;

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

    /// Publishes keys whose pending removals have succeeded. Returns how many of them were published, from the first on.
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
            let told = bus.tell(self.template, piece.iter().map(|key| self.key_within(key)));
            match calls.piece(now, piece.len(), told).await {
                Ok(true) => {}
                Ok(false) => count(&tier.counters.troubles, 1),
                Err(error) => return Err((rest, error)),
            }
            (rest, now) = (others, Instant::now());
        }
        Ok(())
    }
}
