//! The nodes that are known before they are used: those that the program derives, or those that a builder names.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::KindId;
use super::templates::Templates;
use crate::error::Error;
use crate::node::policy::NodeInfo;
use crate::node::registration::NodeRegistration;

/// Derived nodes.
pub(crate) struct Derived {
    ids: HashSet<KindId>,
    nodes: Vec<NodeInfo>,
    registrations: Vec<NodeRegistration>,
    templates: Templates,
    /// Two of them that can give one key.
    conflicts: Vec<([KindId; 2], Error)>,
}

/// Every derived node of the program without type parameters. Asked of each node once in a process.
pub(crate) fn derived() -> &'static Derived {
    static DERIVED: LazyLock<Derived> = LazyLock::new(|| Derived::of(inventory::iter::<NodeRegistration>));
    &DERIVED
}

impl Derived {
    pub(crate) fn of<'r>(registrations: impl IntoIterator<Item = &'r NodeRegistration>) -> Self {
        let mut derived = Self {
            ids: HashSet::new(),
            nodes: Vec::new(),
            registrations: Vec::new(),
            templates: Templates::default(),
            conflicts: Vec::new(),
        };
        for node in registrations {
            derived.registrations.push(*node);
            let (id, info) = (KindId::of_type(node.id()), node.info());
            let met = derived.templates.met_by(id, &info);
            derived
                .conflicts
                .extend(met.map(|(other, error)| ([id, other], error)));
            derived.templates.add(id, &info);
            derived.ids.insert(id);
            derived.nodes.push(info);
        }
        derived
    }

    pub(crate) fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    pub(crate) fn registrations(&self) -> &[NodeRegistration] {
        &self.registrations
    }

    pub(crate) fn contains(&self, id: KindId) -> bool {
        self.ids.contains(&id)
    }

    /// Everything that is wrong with their keys.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = &Error> {
        self.conflicts.iter().map(|(_, error)| error)
    }

    /// The error of a kind whose key clashes with theirs.
    pub(crate) fn conflict(&self, id: KindId, info: &NodeInfo) -> Option<Error> {
        if self.contains(id) {
            let mut conflicts = self.conflicts.iter();
            conflicts
                .find(|(ids, _)| ids.contains(&id))
                .map(|(_, error)| error.clone())
        } else {
            self.templates.met_by(id, info).next().map(|(_, error)| error)
        }
    }
}
