//! The last step of a change ([page](super)): it is published on the bus of the nearest tier that has one.

use std::sync::Arc;

use tokio::time::Instant;

use super::retry::{not_invalidated, retry_removal};
use crate::counter::count;
use crate::error::Result;
use crate::flight::FullKey;
use crate::kind::Kind;
use crate::kind::pieces::{Call, Operation};
use crate::kind::tier::RemoteTier;
use crate::node::Node;

impl<N: Node> Kind<N> {
    /// Publishes these keys, once all tiers are done. Keys that could not be published become pending removals of the tier with the bus.
    pub(crate) async fn publish(self: &Arc<Self>, keys: &[FullKey]) -> Result<()> {
        let Some(tier) = &self.bus else { return Ok(()) };
        // Pending removals are published when they succeed.
        if keys.iter().all(|key| tier.pending.contains(key)) {
            return Ok(());
        }
        self.publish_in_pieces(tier, keys).await.map_err(|(rest, error)| {
            retry_removal(self, tier, rest);
            not_invalidated(tier, rest.len(), error)
        })
    }

    /// Publishes keys whose pending removals have succeeded. Returns how many of them were published, from the first on.
    pub(crate) async fn publish_removed(&self, keys: &[FullKey]) -> usize {
        let published = match &self.bus {
            Some(tier) => self.publish_in_pieces(tier, keys).await,
            None => Ok(()),
        };
        // Failures are counted and logged by `bounded`.
        keys.len() - published.map_or_else(|(rest, _)| rest.len(), |()| 0)
    }

    /// Publishes keys in pieces, until one fails. The error has the keys that were not published.
    async fn publish_in_pieces<'k>(
        &self,
        tier: &RemoteTier,
        keys: &'k [FullKey],
    ) -> std::result::Result<(), (&'k [FullKey], cacheme_storage::Error)> {
        let Some(bus) = &tier.bus else { return Ok(()) };
        let calls = Call::new(tier, Operation::Publish);
        let (mut rest, mut now) = (keys, calls.now);
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(calls.size()));
            let published = bus.publish(self.template, piece.iter().map(|key| self.key_within(key)));
            match calls.piece(now, piece.len(), published).await {
                Ok(true) => {}
                Ok(false) => count(&tier.base.counters.troubles, 1),
                Err(error) => return Err((rest, error)),
            }
            (rest, now) = (others, Instant::now());
        }
        Ok(())
    }
}
