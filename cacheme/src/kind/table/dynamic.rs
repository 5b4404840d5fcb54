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
    /// It could not be made anew when the storages changed: the next call tries again.
    is_retired: bool,
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
        let known = self.kinds.get_mut(&id).filter(|known| !known.is_retired)?;
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
            is_retired: false,
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
        let kinds = self.kinds.values().filter(|known| !known.is_retired);
        kinds.filter_map(|known| known.kind.upgrade()).collect()
    }

    /// Puts those that a change concerns in the places of the older ones, in all handles. `renew` keeps both.
    pub(super) fn renew(
        &mut self,
        table: &Arc<KindTable>,
        concerns: impl Fn(&NodeInfo) -> bool,
        mut renew: impl FnMut(Arc<dyn AnyKind>) -> Option<Arc<dyn AnyKind>>,
    ) {
        let concerned = self.kinds.values_mut();
        for known in concerned.filter(|known| !known.is_retired && concerns(&known.info)) {
            let Some(older) = known.kind.upgrade() else {
                continue;
            };
            let newer = renew(Arc::clone(&older));
            match &newer {
                Some(newer) => known.kind = Arc::downgrade(newer),
                None => known.is_retired = true,
            }
            for holder in known.holders.iter().filter_map(Weak::upgrade) {
                holder.replace(table, &older, newer.as_ref());
            }
        }
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
    /// Dropped with the kind: its name is taken until then.
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

    /// That of the kind that is made in place of this one.
    pub(crate) fn again(&self) -> Self {
        Self {
            table: Weak::clone(&self.table),
            id: self.id,
            definition: Arc::clone(&self.definition),
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
