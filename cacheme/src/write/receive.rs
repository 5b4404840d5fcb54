//! "A change in another process", from the bus to the kinds that it concerns ([page](super), C3).
//!
//! One message names the keys of several kinds. A lost connection counts as a change of every key of the kinds on that bus. A change drops
//! local copies and fences flights.

use crate::bus::{Bus, Changes, LONGEST_KEY, Listener};
use crate::counter::count;
use crate::digest::Digest;
use crate::kind::table::{KindTable, Receiver};
use crate::kind::{Kind, drop_nearby};
use crate::node::Node;

impl Listener for KindTable {
    fn changed(&self, bus: &Bus, template: Digest, changes: &Changes<'_>) {
        for kind in self.of_template(template) {
            kind.changed(bus, changes);
        }
    }

    fn lost(&self, bus: &Bus) {
        self.iter().for_each(|kind| kind.lost(bus));
    }
}

impl<N: Node> Receiver for Kind<N> {
    /// Drops the keys, which may be of another version of this kind, and fences their flights.
    fn changed(&self, bus: &Bus, changes: &Changes<'_>) {
        if !self.all_remotes().any(|tier| tier.publishes_on(bus)) {
            return;
        }
        if changes.anything {
            self.drop_all();
        }
        let full = |key: &&[u8]| [self.start.as_bytes(), key, self.end.as_bytes()].concat();
        let mut keys: Vec<Vec<u8>> = changes.keys.iter().map(full).collect();
        if !changes.long_keys.is_empty() {
            self.marks.mark_long_keys(&changes.long_keys);
            keys.extend(self.long_flights(&changes.long_keys));
        }
        self.drop_keys(&keys);
        // Last: a reader of the count can rely on it that the keys are dropped.
        count(
            &self.counters.remote_invalidations,
            changes.keys.len() + changes.long_keys.len(),
        );
    }

    fn lost(&self, bus: &Bus) {
        if self.bus.as_ref().is_some_and(|tier| tier.publishes_on(bus)) {
            self.drop_all();
        }
    }
}

impl<N: Node> Kind<N> {
    /// The full keys of flights under way that these digests name.
    fn long_flights(&self, digests: &[Digest]) -> impl Iterator<Item = Vec<u8>> {
        // Digests take time, so they are not computed under the lock of the table.
        let flights = self
            .flights
            .longer_than(LONGEST_KEY + self.start.len() + self.end.len());
        let named = flights
            .into_iter()
            .filter(|flight| digests.contains(&Digest::of(self.key_within(flight.key()))));
        named.map(|flight| flight.key().to_vec())
    }

    /// Drops keys that another process changed from local tiers, and fences their flights.
    pub(crate) fn drop_keys(&self, keys: &[impl AsRef<[u8]>]) {
        for key in keys {
            self.flights.supersede_remotely(key.as_ref(), self.is_guarded());
        }
        drop_nearby(self, keys);
    }

    /// Drops all copies in local tiers, and fences all flights.
    fn drop_all(&self) {
        self.drop_held();
        self.flights.supersede_all_remotely(self.is_guarded());
    }
}
