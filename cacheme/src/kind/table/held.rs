//! The kinds that the handle of a [`DynamicKind`](crate::DynamicKind) keeps, one for each instance that it was used with.

use std::any::Any;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};

use super::{AnyKind, KindTable};

/// Read on every hit, so reading takes no lock.
#[derive(Default)]
pub(crate) struct HeldKinds(ArcSwap<Vec<Held>>);

#[derive(Clone)]
struct Held {
    /// Weak: a handle does not keep an instance. No other instance can have the same address as long as this reference is here.
    table: Weak<KindTable>,
    kind: Arc<dyn AnyKind>,
}

/// A kind that a handle keeps.
pub(crate) struct HeldKind {
    all: Guard<Arc<Vec<Held>>>,
    at: usize,
}

impl Deref for HeldKind {
    type Target = Arc<dyn AnyKind>;

    fn deref(&self) -> &Self::Target {
        &self.all[self.at].kind
    }
}

impl HeldKinds {
    /// The kind of type `K` of an instance.
    pub(crate) fn find<K: AnyKind>(&self, table: &Arc<KindTable>) -> Option<HeldKind> {
        let all = self.0.load();
        let is_it = |held: &Held| {
            let kind: &dyn Any = &*held.kind;
            std::ptr::eq(held.table.as_ptr(), Arc::as_ptr(table)) && kind.is::<K>()
        };
        let at = all.iter().position(is_it)?;
        Some(HeldKind { all, at })
    }

    /// Keeps a kind until the handle, or the instance, is dropped.
    pub(crate) fn hold(&self, table: &Arc<KindTable>, kind: &Arc<dyn AnyKind>) {
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            if !all.iter().any(|held| Arc::ptr_eq(&held.kind, kind)) {
                all.push(Held {
                    table: Arc::downgrade(table),
                    kind: Arc::clone(kind),
                });
            }
            all
        });
    }

    /// Keeps one kind in place of another, or none. The caller keeps both until then.
    pub(super) fn replace(
        &self,
        table: &Arc<KindTable>,
        older: &Arc<dyn AnyKind>,
        newer: Option<&Arc<dyn AnyKind>>,
    ) {
        self.0.rcu(|all| {
            let others = all.iter().filter(|held| !Arc::ptr_eq(&held.kind, older));
            let newer = newer.map(|kind| Held {
                table: Arc::downgrade(table),
                kind: Arc::clone(kind),
            });
            others.cloned().chain(newer).collect::<Vec<_>>()
        });
    }

    /// Keeps the kinds of an instance no longer.
    pub(super) fn let_go(&self, table: &KindTable) {
        self.0.rcu(|all| {
            let others = all
                .iter()
                .filter(|held| !std::ptr::eq(held.table.as_ptr(), table));
            others.cloned().collect::<Vec<_>>()
        });
    }
}
