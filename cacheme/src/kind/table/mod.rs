//! Which kinds of nodes an instance has met.
//!
//! The kind of a type is looked for on every hit, so that takes no lock. It comes and never goes. Where storages are
//! replaced or switched, a [generation](KindTable::generation) of kinds begins: a kind that this concerns is made anew, and the others are placed
//! once more. Kinds of earlier generations are found no longer. The generation of a closed instance has no kinds. The kind of a
//! [`DynamicKind`](crate::DynamicKind) belongs to its handles, where it is looked for ([`dynamic`](crate::dynamic)); the instance
//! knows it as long as it lives.

pub(crate) mod derived;
mod dynamic;
pub(crate) mod held;
mod templates;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use cacheme_storage::CodecError;
use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};

use self::derived::{Derived, derived};
use self::dynamic::DynamicKinds;
pub(crate) use self::dynamic::Registration;
use self::held::HeldKinds;
use self::templates::Templates;
use crate::bus::{Bus, Changes};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::flight::FullKey;
use crate::kind::stats::NodeStats;
use crate::kind::storages::Found;
use crate::kind::tier::RemoteTier;
use crate::node::policy::NodeInfo;
use crate::node::registration::NodeRegistration;

/// Slots of the first segment; each further one has twice as many.
const FIRST_SEGMENT: usize = 64;
const SEGMENTS: usize = 16;
/// How far from its place a kind is put before the next segment is tried.
const PROBES: usize = 8;
/// The step from one generation to the next: in the half of an identity that kinds of types do not use.
const GENERATION: u64 = 1 << 32;
/// The generation of a closed instance, which has no kinds.
const CLOSED: u64 = u64::MAX << 32;

/// The identity of a kind: the node's type, and for [`DynamicNode`](crate::DynamicNode)s which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KindId {
    pub(crate) node: TypeId,
    pub(crate) dynamic: u64,
}

/// How a kind receives changes of other processes. The layer of changes (`write/receive.rs`) implements it.
pub(crate) trait Receiver {
    /// Another process changed entries of the kind, and published it on this bus.
    fn changed(&self, bus: &Bus, changes: &Changes<'_>);
    /// Other processes may have changed any entry without a message on this bus.
    fn lost(&self, bus: &Bus);
}

/// How a kind tries pending removals once more. The layer of changes (`write/retry.rs`) implements it.
pub(crate) trait Retrying {
    /// Tries all of them, and gives the tiers that have some left, with their keys.
    fn try_pending(self: Arc<Self>) -> BoxFuture<'static, Vec<(Arc<RemoteTier>, Vec<FullKey>)>>;
    /// Begins to try those that it has taken over from another kind.
    fn begin_retrying(self: Arc<Self>);
}

/// A [`Kind`](crate::kind::Kind) without its type.
pub(crate) trait AnyKind: Receiver + Retrying + Any + Send + Sync {
    fn info(&self) -> &NodeInfo;
    /// Its remote tiers, from the nearest on.
    fn remote_tiers(&self) -> Vec<Arc<RemoteTier>>;
    fn stats(&self) -> NodeStats;
    /// The kind in place of this one, with the storages as they are now. It has the flights of this one, and what is left to do in its tiers.
    /// What this one stores in local tiers from then on counts as absent.
    ///
    /// # Errors
    ///
    /// Those of the set-up: there is no kind in its place then.
    fn renewed(&self, find: &Find<'_>) -> Result<Arc<dyn AnyKind>>;
    /// Whether its serializer can read its values, as far as their type shows.
    fn check_serializer(&self) -> Result<(), CodecError>;
}

/// Finds the storage of a kind by the names of both.
pub(crate) type Find<'f> = dyn Fn(&NodeInfo, &str) -> Option<Found> + 'f;

/// The kinds that a change of the storages concerned.
pub(crate) struct Renewal {
    pub(crate) retired: Vec<LastKind>,
    /// Those in their places.
    pub(crate) renewed: Vec<Arc<dyn AnyKind>>,
}

type Slot = OnceLock<(KindId, Arc<dyn AnyKind>)>;

/// A kind that new calls find no longer.
pub(crate) struct LastKind {
    pub(crate) kind: Arc<dyn AnyKind>,
    /// How many references the table has.
    kept: usize,
}

impl LastKind {
    /// Whether a call, a load or other work is under way for it: that has a reference of its own.
    pub(crate) fn is_busy(&self) -> bool {
        Arc::strong_count(&self.kind) > self.kept + 1
    }
}

#[derive(Default)]
pub(crate) struct KindTable {
    /// Part of the identity under which kinds of types are looked for, so that a new one forgets them all at once.
    generation: AtomicU64,
    /// The kinds of types.
    segments: [OnceLock<Box<[Slot]>>; SEGMENTS],
    /// Locked while a kind is made and put in its place, so that a kind is made once.
    making: Mutex<Making>,
    /// Kinds by their names in messages. Several have one template in other versions, or with fields of other types.
    by_template: RwLock<HashMap<Digest, Vec<Weak<dyn AnyKind>>>>,
}

#[derive(Default)]
struct Making {
    is_closed: bool,
    /// The generation, also once the instance is closed.
    generation: u64,
    /// It is the process-wide instance, which knows every [derived] node before it is used.
    is_default: bool,
    /// The templates of kinds, and of nodes that the builder named.
    templates: Templates,
    /// The kinds that can go away.
    dynamic: DynamicKinds,
}

impl Making {
    /// Why there can be no kind of this description: the instance is closed, or its key clashes with that of another.
    fn conflict(&self, id: KindId, info: &NodeInfo) -> Option<Error> {
        if self.is_closed {
            return Some(Error::Closed);
        }
        let is_there = |other: KindId| other.dynamic == 0 || self.dynamic.contains(other);
        let derived = self.is_default.then(derived);
        derived
            .and_then(|derived| derived.conflict(id, info))
            .or_else(|| {
                let mut met = self.templates.met_by(id, info);
                met.find(|(other, _)| is_there(*other)).map(|(_, error)| error)
            })
    }
}

impl KindTable {
    #[inline]
    pub(crate) fn get(&self, id: KindId) -> Option<&Arc<dyn AnyKind>> {
        let id = id.of_generation(self.generation.load(Ordering::Acquire));
        for segment in &self.segments {
            let segment = segment.get()?;
            let place = id.place();
            for step in 0..PROBES {
                let (found, kind) = slot(segment, place.wrapping_add(step)).get()?;
                if *found == id {
                    return Some(kind);
                }
            }
        }
        None
    }

    /// The kind under `id`, made by `make` if it is not there yet. `make` must not ask for another kind.
    ///
    /// # Errors
    ///
    /// Those of `make`, and [`Error::SameKey`](crate::Error::SameKey) if it could share entries with another kind.
    pub(crate) fn get_or_make(
        &self,
        id: KindId,
        info: &NodeInfo,
        make: impl FnOnce() -> Result<Arc<dyn AnyKind>>,
    ) -> Result<&Arc<dyn AnyKind>> {
        let mut making = self.making.lock();
        if self.get(id).is_none() {
            if let Some(conflict) = making.conflict(id, info) {
                return Err(conflict);
            }
            let kind = make()?;
            making.templates.add(id, info);
            self.name(info, &kind);
            self.place(id.of_generation(making.generation), kind);
        }
        Ok(self.get(id).expect("it was placed just now"))
    }

    /// Puts a kind in its place. Under the lock.
    fn place(&self, id: KindId, kind: Arc<dyn AnyKind>) {
        let slots = self.segments.iter().enumerate().flat_map(|(number, segment)| {
            let slots = FIRST_SEGMENT << number;
            let segment = segment.get_or_init(|| (0..slots).map(|_| OnceLock::new()).collect());
            (0..PROBES).map(move |step| slot(segment, id.place().wrapping_add(step)))
        });
        let free = slots.into_iter().find(|slot| slot.get().is_none());
        // 16 segments of doubling size, eight places in each: more kinds than a program has types, thousands of times.
        let placed = free.expect("there is room for every kind").set((id, kind));
        debug_assert!(placed.is_ok(), "kinds are placed under the lock");
    }

    /// The kind under `id`, which can go away: `holder` keeps it, and this table only knows it. Made by `make` if it is not there, as
    /// with [`get_or_make`](Self::get_or_make).
    ///
    /// # Errors
    ///
    /// As with [`get_or_make`](Self::get_or_make).
    pub(crate) fn get_or_make_dynamic(
        self: &Arc<Self>,
        id: KindId,
        info: &NodeInfo,
        holder: &Arc<HeldKinds>,
        make: impl FnOnce() -> Result<Arc<dyn AnyKind>>,
    ) -> Result<Arc<dyn AnyKind>> {
        let mut making = self.making.lock();
        if making.is_closed {
            return Err(Error::Closed);
        }
        if let Some(kind) = making.dynamic.hold(id, holder) {
            holder.hold(self, &kind);
            return Ok(kind);
        }
        if let Some(conflict) = making.conflict(id, info) {
            return Err(conflict);
        }
        let kind = make()?;
        self.name(info, &kind);
        // One that has just gone away under this id had the same template.
        if making.dynamic.add(id, info, &kind, holder) {
            making.templates.add(id, info);
        }
        // Under the lock: a handle that holds the kind of a closed instance would serve its copies for ever.
        holder.hold(self, &kind);
        Ok(kind)
    }

    /// Closes the instance: no kind is found or made from now on. Returns those that there were, until their work is done.
    pub(crate) fn close(&self) -> Vec<LastKind> {
        let (dynamic, holders) = {
            let mut making = self.making.lock();
            making.is_closed = true;
            self.generation.store(CLOSED, Ordering::Release);
            (making.dynamic.all(), making.dynamic.holders())
        };
        holders.iter().for_each(|holder| holder.let_go(self));
        let mut kinds = dynamic;
        for (_, kind) in self.all_entries() {
            if !kinds.iter().any(|known| Arc::ptr_eq(known, kind)) {
                kinds.push(Arc::clone(kind));
            }
        }
        self.last(kinds)
    }

    /// Kinds that new calls find no longer, with how many references are here to stay.
    fn last(&self, kinds: Vec<Arc<dyn AnyKind>>) -> Vec<LastKind> {
        let places = |kind: &Arc<dyn AnyKind>| {
            self.all_entries()
                .filter(|(_, placed)| Arc::ptr_eq(placed, kind))
                .count()
        };
        let last = kinds.into_iter().map(|kind| LastKind {
            kept: places(&kind),
            kind,
        });
        last.collect()
    }

    /// Carries out a change of the storages, and makes all kinds anew that it concerns.
    ///
    /// # Errors
    ///
    /// Those of `change`, which has changed nothing then, and [`Error::Closed`].
    pub(crate) fn renew<T>(
        self: &Arc<Self>,
        change: impl FnOnce() -> Result<T>,
        concerns: impl Fn(&NodeInfo) -> bool,
        find: &Find<'_>,
    ) -> Result<(T, Renewal)> {
        let (mut retired, mut renewed) = (Vec::new(), Vec::new());
        let changed = {
            let mut making = self.making.lock();
            if making.is_closed {
                return Err(Error::Closed);
            }
            let changed = change()?;
            let (from, to) = (making.generation, making.generation + GENERATION);
            let current: Vec<_> = self.entries_of(from).cloned().collect();
            let mut renew = |kind: Arc<dyn AnyKind>| {
                let newer = kind.renewed(find).ok();
                if let Some(newer) = &newer {
                    self.name(newer.info(), newer);
                    renewed.push(Arc::clone(newer));
                }
                retired.push(kind);
                newer
            };
            for (id, kind) in current {
                let kind = match concerns(kind.info()) {
                    true => renew(kind),
                    false => Some(kind),
                };
                if let Some(kind) = kind {
                    self.place(KindId::of_type(id.node).of_generation(to), kind);
                }
            }
            making.dynamic.renew(self, concerns, renew);
            making.generation = to;
            self.generation.store(to, Ordering::Release);
            changed
        };
        // No kind may be dropped under the lock.
        let retired = self.last(retired);
        Ok((changed, Renewal { retired, renewed }))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.making.lock().is_closed
    }

    /// Lets messages find a kind: before anybody else does, and so before it holds anything.
    fn name(&self, info: &NodeInfo, kind: &Arc<dyn AnyKind>) {
        let mut by_template = self.by_template.write();
        let named_alike = by_template.entry(info.template_digest()).or_default();
        named_alike.retain(|kind| kind.strong_count() > 0);
        named_alike.push(Arc::downgrade(kind));
    }

    /// Forgets kinds of this description that have gone away.
    fn unname(&self, info: &NodeInfo) {
        let mut by_template = self.by_template.write();
        if let Entry::Occupied(mut named) = by_template.entry(info.template_digest()) {
            named.get_mut().retain(|kind| kind.strong_count() > 0);
            if named.get().is_empty() {
                named.remove();
            }
        }
    }

    /// A table of an instance whose builder named these nodes.
    pub(crate) fn knowing(nodes: &[NodeRegistration]) -> Self {
        let mut table = Self::default();
        let templates = &mut table.making.get_mut().templates;
        for node in nodes {
            templates.add(KindId::of_type(node.id()), &node.info());
        }
        table
    }

    /// Makes it the table of the process-wide instance.
    pub(crate) fn set_default(&self) {
        self.making.lock().is_default = true;
    }

    pub(crate) fn is_default(&self) -> bool {
        self.making.lock().is_default
    }

    /// The kinds that a message means by this template.
    pub(crate) fn of_template(&self, template: Digest) -> Vec<Arc<dyn AnyKind>> {
        let by_template = self.by_template.read();
        let named = by_template.get(&template).into_iter().flatten();
        named.filter_map(Weak::upgrade).collect()
    }

    /// Every kind, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<dyn AnyKind>> {
        let kept = self.entries().map(|(_, kind)| Arc::clone(kind));
        kept.chain(self.dynamic())
    }

    /// Every kind that is not of these nodes, in no order.
    pub(crate) fn others(&self, than: &Derived) -> impl Iterator<Item = Arc<dyn AnyKind>> {
        let kept = self
            .entries()
            .filter(|(id, _)| !than.contains(KindId::of_type(id.node)));
        kept.map(|(_, kind)| Arc::clone(kind)).chain(self.dynamic())
    }

    /// Every kind that can go away, in no order.
    fn dynamic(&self) -> Vec<Arc<dyn AnyKind>> {
        self.making.lock().dynamic.all()
    }

    /// The kinds of types.
    fn entries(&self) -> impl Iterator<Item = &(KindId, Arc<dyn AnyKind>)> {
        let generation = self.making.lock().generation;
        self.entries_of(generation)
    }

    fn entries_of(&self, generation: u64) -> impl Iterator<Item = &(KindId, Arc<dyn AnyKind>)> {
        self.all_entries()
            .filter(move |(id, _)| id.dynamic & CLOSED == generation)
    }

    /// The kinds of types of all generations.
    fn all_entries(&self) -> impl Iterator<Item = &(KindId, Arc<dyn AnyKind>)> {
        let segments = self.segments.iter().filter_map(OnceLock::get);
        segments.flat_map(|segment| segment.iter()).filter_map(Slot::get)
    }
}

impl Drop for KindTable {
    fn drop(&mut self) {
        // Handles outlive instances, and what belongs to the instance goes with it.
        let holders = self.making.get_mut().dynamic.holders();
        holders.iter().for_each(|holder| holder.let_go(self));
    }
}

impl KindId {
    /// A kind of a type that has only one.
    pub(crate) fn of_type(node: TypeId) -> Self {
        Self { node, dynamic: 0 }
    }

    /// The identity under which the kind of a type is placed in a generation.
    #[inline]
    fn of_generation(self, generation: u64) -> Self {
        Self {
            dynamic: self.dynamic ^ generation,
            ..self
        }
    }

    /// Where the search for it begins.
    #[inline]
    fn place(self) -> usize {
        let mut hasher = IdHasher(self.dynamic);
        self.node.hash(&mut hasher);
        hasher.finish() as usize
    }
}

#[inline]
fn slot(segment: &[Slot], place: usize) -> &Slot {
    // Segments have a power of two of slots.
    &segment[place & (segment.len() - 1)]
}

/// A `TypeId` is a hash already.
struct IdHasher(u64);

impl Hasher for IdHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes
            .iter()
            .for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        self.0 = self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(NodeInfo);

    impl AnyKind for Named {
        fn info(&self) -> &NodeInfo {
            &self.0
        }

        fn remote_tiers(&self) -> Vec<Arc<RemoteTier>> {
            Vec::new()
        }

        fn stats(&self) -> NodeStats {
            NodeStats::default()
        }

        fn renewed(&self, _: &Find<'_>) -> crate::error::Result<Arc<dyn AnyKind>> {
            Ok(Arc::new(Named(self.0.clone())))
        }

        fn check_serializer(&self) -> Result<(), CodecError> {
            Ok(())
        }
    }

    impl Receiver for Named {
        fn changed(&self, _: &Bus, _: &Changes<'_>) {}

        fn lost(&self, _: &Bus) {}
    }

    impl Retrying for Named {
        fn try_pending(self: Arc<Self>) -> BoxFuture<'static, Vec<(Arc<RemoteTier>, Vec<FullKey>)>> {
            Box::pin(async { Vec::new() })
        }

        fn begin_retrying(self: Arc<Self>) {}
    }

    #[test]
    fn kinds_are_made_once_and_found_however_many_there_are() {
        let table = KindTable::default();
        let id = |dynamic| KindId {
            node: TypeId::of::<u8>(),
            dynamic,
        };
        for number in 0..2_000 {
            assert!(table.get(id(number)).is_none());
            let policy = crate::node::policy::Policy::<u8>::new(number.to_string(), number.to_string());
            let info = policy.info.clone();
            let make = || Ok(Arc::new(Named(policy.info)) as Arc<dyn AnyKind>);
            let made = table.get_or_make(id(number), &info, make).unwrap();
            assert_eq!(made.info().name, number.to_string());
            let again = || unreachable!("made twice");
            let found = table.get_or_make(id(number), &info, again).unwrap();
            assert_eq!(found.info().name, number.to_string());
        }
        assert_eq!(table.iter().count(), 2_000);
        let named = crate::node::policy::Policy::<u8>::new("7", "7")
            .info
            .template_digest();
        let named: Vec<_> = table
            .of_template(named)
            .iter()
            .map(|kind| kind.info().name.clone())
            .collect();
        assert_eq!(named, ["7"]);
        assert_eq!(table.of_template(Digest::of(b"unknown")).len(), 0);
        assert!(
            table
                .get(KindId {
                    node: TypeId::of::<u16>(),
                    dynamic: 0
                })
                .is_none()
        );
    }

    #[test]
    fn kinds_that_a_change_concerns_are_made_anew_and_the_others_stay() {
        let table = Arc::new(KindTable::default());
        let add = |node: TypeId, name: &'static str| {
            let info = crate::node::policy::Policy::<u8>::new(name, name).info;
            let make = || Ok(Arc::new(Named(info.clone())) as Arc<dyn AnyKind>);
            Arc::clone(table.get_or_make(KindId::of_type(node), &info, make).unwrap())
        };
        let (a, b) = (TypeId::of::<u8>(), TypeId::of::<u16>());
        let (one, other) = (add(a, "a"), add(b, "b"));
        let get = |node| table.get(KindId::of_type(node)).unwrap();
        for round in 0..3 {
            let before = Arc::clone(get(a));
            let ((), renewal) = table
                .renew(|| Ok(()), |info| info.name == "a", &|_, _| None)
                .unwrap();
            assert_eq!(renewal.retired.len(), 1, "{round}");
            assert!(Arc::ptr_eq(get(a), &renewal.renewed[0]) && !Arc::ptr_eq(get(a), &before));
            assert!(Arc::ptr_eq(get(b), &other));
            assert_eq!(table.iter().count(), 2);
            // It is in a place of the table and here.
            drop(renewal.renewed);
            assert!(renewal.retired[0].is_busy());
            drop(before);
            assert_eq!(
                renewal.retired[0].is_busy(),
                round == 0,
                "`one` is the first of them"
            );
        }
        drop(one);
        let refused = table.renew(|| Err::<(), _>(Error::Closed), |_| true, &|_, _| None);
        assert!(
            refused.is_err() && Arc::ptr_eq(get(b), &other),
            "nothing has changed"
        );
        assert_eq!(table.close().len(), 5, "those of all generations");
        assert!(table.get(KindId::of_type(b)).is_none());
        assert_eq!(table.iter().count(), 2, "what was counted can be read");
    }

    #[test]
    fn c3_a_template_names_the_kinds_that_have_not_gone_away() {
        let table = KindTable::default();
        let kind = |version: &'static str| {
            let info = crate::node::policy::Policy::<u8>::new(version, "{key}")
                .version(version)
                .info;
            let kind = Arc::new(Named(info.clone())) as Arc<dyn AnyKind>;
            table.name(&info, &kind);
            kind
        };
        let (one, other) = (kind("v1"), kind("v2"));
        let (info, template) = (one.info().clone(), one.info().template_digest());
        assert_eq!(table.of_template(template).len(), 2);
        drop(one);
        let named = table.of_template(template);
        assert!(named.len() == 1 && Arc::ptr_eq(&named[0], &other));
        drop((named, other));
        table.unname(&info);
        assert!(table.by_template.read().is_empty());
    }
}
