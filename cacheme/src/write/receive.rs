//! What is done when other processes changed something (C3).

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
