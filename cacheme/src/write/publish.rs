//! The last step of a change, and "a change in another process" ([page](super)).
//!
//! A change is published on the bus of the nearest tier that has one. A change that another process published drops local copies and fences
//! flights.

use std::sync::Arc;

use tokio::time::Instant;

use crate::bus::{Changes, LONGEST_KEY};
use crate::counter::count;
use crate::digest::Digest;
use crate::error::Result;
use crate::flight::FullKey;
use crate::kind::drop_nearby;
use crate::kind::pending::not_invalidated;
use crate::kind::pending::{AFTER_FAILURE, owe};
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

    /// Drops what another process changed of this kind, or of another version of it, and fences what is in flight.
    pub(crate) fn hear_of(&self, changes: &Changes<'_>) {
        if changes.anything {
            self.drop_all();
        }
        let full = |key: &&[u8]| [self.start.as_bytes(), key, self.end.as_bytes()].concat();
        let mut keys: Vec<Vec<u8>> = changes.keys.iter().map(full).collect();
        if !changes.long_keys.is_empty() {
            self.marks.mark_long_keys(&changes.long_keys);
            keys.extend(self.long_flights(&changes.long_keys));
        }
        self.part(&keys);
        // Last: who sees the count can rely on what was done.
        count(
            &self.counters.remote_invalidations,
            changes.keys.len() + changes.long_keys.len(),
        );
    }

    /// The full keys of flights under way that these digests name.
    fn long_flights(&self, digests: &[Digest]) -> impl Iterator<Item = Vec<u8>> {
        // Digests take their time: not under the lock of the table.
        let flights = self
            .flights
            .longer_than(LONGEST_KEY + self.start.len() + self.end.len());
        let named = flights
            .into_iter()
            .filter(|flight| digests.contains(&Digest::of(self.key_within(flight.key()))));
        named.map(|flight| flight.key().to_vec())
    }

    /// What is under these keys nearby is out of date, and so are flights that began before, for all who come now.
    pub(crate) fn part(&self, keys: &[impl AsRef<[u8]>]) {
        for key in keys {
            self.flights.part(key.as_ref(), self.is_guarded());
        }
        drop_nearby(self, keys);
    }

    /// Drops all that is held nearby, and fences what is in flight.
    pub(crate) fn drop_all(&self) {
        self.drop_held();
        self.flights.part_all(self.is_guarded());
    }
}
