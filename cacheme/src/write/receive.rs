//! "A change in another process", from the bus to the kinds that it concerns ([page](super), C3).
//!
//! One message names the keys of several kinds. A lost connection counts as a change of every key of the kinds on that bus.

use crate::bus::{Bus, Changes, Listener};
use crate::digest::Digest;
use crate::kind::table::KindTable;

impl Listener for KindTable {
    fn changed(&self, bus: &Bus, template: Digest, changes: &Changes<'_>) {
        for kind in self.of_template(template) {
            kind.told(bus, changes);
        }
    }

    fn lost(&self, bus: &Bus) {
        self.iter().for_each(|kind| kind.distrust(bus));
    }
}
