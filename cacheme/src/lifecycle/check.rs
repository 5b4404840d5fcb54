//! `check`: finds mistakes in the set-up of all nodes before they are used.

use cacheme_storage::{Chain, CodecError};

use crate::error::{Error, Result};
use crate::instance::Cacheme;
use crate::kind::table::derived::{Derived, derived};
use crate::node::policy::{NodeInfo, Tier};

impl Cacheme {
    /// Every kind of node that this program derives or that this instance has used, sorted by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = derived().nodes().to_vec();
        let others = self.inner.kinds.others(derived());
        nodes.extend(others.map(|kind| kind.info().clone()));
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// Finds mistakes in the set-up of nodes before they are used.
    ///
    /// On the process-wide instance it looks at every node of the program; on another one at those that its
    /// [builder](crate::CachemeBuilder::nodes) named, and at the kinds that it has used.
    ///
    /// # Errors
    ///
    /// [`Error::Check`] with every mistake: storages that are not registered, state that is missing, nodes that would share entries, remote
    /// tiers without serializer or with one that cannot read the node's values, policies that cannot work.
    pub fn check(&self) -> Result<()> {
        let named;
        let known = if self.inner.kinds.is_default() {
            derived()
        } else {
            named = Derived::of(&self.inner.named);
            &named
        };
        let others: Vec<_> = self.inner.kinds.others(known).collect();
        // A kind that could share keys with another is never made.
        let mut found: Vec<Error> = known.conflicts().cloned().collect();
        let mut nodes: Vec<&NodeInfo> = known.nodes().iter().collect();
        nodes.extend(others.iter().map(|kind| kind.info()));
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        for node in nodes {
            found.extend(node.validate().err());
            found.extend(self.missing_state(node));
            for tier in &node.tiers {
                match self.storage(&tier.storage) {
                    None if node.makes(tier) => {}
                    None => found.push(node.not_registered(&tier.storage)),
                    Some(known) if known.storage.as_remote().is_some() && !node.serializable => {
                        found.push(node.no_serializer(&tier.storage));
                    }
                    Some(_) => {}
                }
            }
        }
        for node in known.registrations() {
            found.extend(self.unreadable(&node.info(), || node.check_serializer()));
        }
        for kind in &others {
            found.extend(self.unreadable(kind.info(), || kind.check_serializer()));
        }
        if found.is_empty() {
            Ok(())
        } else {
            Err(Error::Check(found))
        }
    }

    /// The error for nodes with a remote tier whose serializer cannot read values of their type.
    fn unreadable(
        &self,
        info: &NodeInfo,
        check: impl FnOnce() -> std::result::Result<(), CodecError>,
    ) -> Option<Error> {
        let is_remote = |tier: &Tier| {
            let known = self.storage(&tier.storage);
            known.is_some_and(|known| known.storage.as_remote().is_some())
        };
        // It takes time to trace a type.
        if !info.tiers.iter().any(is_remote) {
            return None;
        }
        let why = check().err()?;
        Some(Error::Policy {
            node: info.name.to_string(),
            reason: Chain(&why).to_string(),
        })
    }
}
