//! The kinds of an instance that can go away: it knows them, and does not keep them.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};

use super::held::HeldKinds;
use super::{AnyKind, KindId, KindTable};
use crate::node::policy::NodeInfo;

#[derive(Default)]
pub(super) struct DynamicKinds {
    kinds: HashMap<KindId, Known>,
}

struct Known {
    info: NodeInfo,
    kind: Weak<dyn AnyKind>,
    /// The handles that keep it.
    holders: Vec<Weak<HeldKinds>>,
}

impl DynamicKinds {
    /// Whether a kind has not gone away.
    pub(super) fn contains(&self, id: KindId) -> bool {
        self.kinds
            .get(&id)
            .is_some_and(|known| known.kind.strong_count() > 0)
    }

    /// A kind that has not gone away, which is kept by this handle as well from now on.
    pub(super) fn hold(&mut self, id: KindId, holder: &Arc<HeldKinds>) -> Option<Arc<dyn AnyKind>> {
        let known = self.kinds.get_mut(&id)?;
        let kind = known.kind.upgrade()?;
        // Those that are gone are looked for before the list grows, not each time.
        if known.holders.len() == known.holders.capacity() {
            known.holders.retain(|holder| holder.strong_count() > 0);
        }
        known.holders.push(Arc::downgrade(holder));
        Some(kind)
    }

    /// Adds a kind that a handle keeps; says whether its id is new.
    pub(super) fn add(
        &mut self,
        id: KindId,
        info: &NodeInfo,
        kind: &Arc<dyn AnyKind>,
        holder: &Arc<HeldKinds>,
    ) -> bool {
        let known = Known {
            info: info.clone(),
            kind: Arc::downgrade(kind),
            holders: vec![Arc::downgrade(holder)],
        };
        self.kinds.insert(id, known).is_none()
    }

    /// Removes a kind that has gone away, unless there is another under its id; gives its description.
    fn remove(&mut self, id: KindId) -> Option<NodeInfo> {
        match self.kinds.entry(id) {
            Entry::Occupied(known) if known.get().kind.strong_count() == 0 => Some(known.remove().info),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        }
    }

    /// All kinds that have not gone away. A kind may go away with the reference that this gives.
    pub(super) fn all(&self) -> Vec<Arc<dyn AnyKind>> {
        let kinds = self.kinds.values();
        kinds.filter_map(|known| known.kind.upgrade()).collect()
    }

    /// The handles that keep them.
    pub(super) fn holders(&self) -> Vec<Arc<HeldKinds>> {
        let holders = self.kinds.values().flat_map(|known| &known.holders);
        holders.filter_map(Weak::upgrade).collect()
    }
}

/// The place of a kind that can go away, which it has until it is dropped.
pub(crate) struct Registration {
    /// The instance that knows it.
    table: Weak<KindTable>,
    id: KindId,
    #[expect(dead_code, reason = "dropped with the kind: its name is taken until then")]
    definition: Arc<dyn Any + Send + Sync>,
}

impl Registration {
    pub(crate) fn new(table: &Arc<KindTable>, id: KindId, definition: Arc<dyn Any + Send + Sync>) -> Self {
        Self {
            table: Arc::downgrade(table),
            id,
            definition,
        }
    }
}

impl Drop for Registration {
    /// Takes the lock under which kinds are made: no kind may be dropped under it.
    fn drop(&mut self) {
        let Some(table) = self.table.upgrade() else { return };
        let mut making = table.making.lock();
        if let Some(info) = making.dynamic.remove(self.id) {
            making.templates.remove(self.id, &info);
            table.unname(&info);
        }
    }
}
