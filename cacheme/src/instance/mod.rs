//! An instance: storages by name, kinds by type of node.

pub(crate) mod state;
pub(crate) mod switches;

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use cacheme_storage::{Chain, Storage};
use parking_lot::{Mutex, RwLock};
use tokio::sync::OnceCell;

use self::switches::Switches;
use crate::bus::stats::BusStats;
use crate::error::{Error, Result};
use crate::kind::dynamic::DynamicKind;
use crate::kind::found::FoundKind;
use crate::kind::stats::NodeStats;
use crate::kind::storages::{Found, Registered};
use crate::kind::table::{AnyKind, KindId, KindTable, Registration};
use crate::kind::{Kind, around_key};
use crate::node::Node;
use crate::node::key::KeyWriter;
use crate::node::policy::{DEFAULT_LOCAL, NodeInfo, Policy};
use crate::node::registration::{DerivedNode, NodeRegistration};

use self::state::State;

/// Storages by name, and the nodes that use them.
///
/// Cheap to clone: clones are one instance.
///
/// Most programs use the process-wide default instance through the free functions of this crate.
#[derive(Clone)]
pub struct Cacheme {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) prefix: String,
    /// What the application's loaders use.
    pub(crate) state: State,
    pub(crate) storages: RwLock<HashMap<String, Registered>>,
    /// Locked after the kinds, and never with the storages.
    pub(crate) switches: RwLock<Switches>,
    pub(crate) kinds: Arc<KindTable>,
    /// The nodes that the builder named.
    pub(crate) named: Vec<NodeRegistration>,
    /// Mistakes of the set-up that were logged, so that each is logged once and not for each call.
    logged: Mutex<HashSet<String>>,
    /// How the instance was closed, if it was.
    pub(crate) closed: OnceCell<Result<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let buses = self
            .storages
            .get_mut()
            .values()
            .filter_map(|known| known.bus.as_ref());
        buses.for_each(|bus| bus.end());
    }
}

impl Cacheme {
    pub(crate) fn new(
        prefix: String,
        state: State,
        named: Vec<NodeRegistration>,
        switches: Switches,
    ) -> Self {
        let inner = Inner {
            prefix,
            state,
            storages: RwLock::default(),
            switches: RwLock::new(switches),
            kinds: Arc::new(KindTable::knowing(&named)),
            named,
            logged: Mutex::default(),
            closed: OnceCell::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The counters of nodes of type `N` in this instance, all zero if none was used.
    ///
    /// [`all_stats`](Self::all_stats) has those of a type with several kinds ([`DynamicNode`](crate::DynamicNode)).
    #[must_use]
    pub fn stats<N: Node>(&self) -> NodeStats {
        let is_it = |kind: &Arc<dyn AnyKind>| {
            let kind: &dyn Any = &**kind;
            kind.is::<Kind<N>>()
        };
        self.inner
            .kinds
            .iter()
            .find(is_it)
            .map(|kind| kind.stats())
            .unwrap_or_default()
    }

    /// The counters of every kind of node in this instance, sorted by name.
    #[must_use]
    pub fn all_stats(&self) -> Vec<NodeStats> {
        let mut stats: Vec<_> = self.inner.kinds.iter().map(|kind| kind.stats()).collect();
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }

    /// The counts of messages that this instance received from other processes, for each storage with a bus, sorted by its name.
    ///
    /// ```
    /// let instance = cacheme::Cacheme::builder().build()?;
    /// for bus in instance.bus_stats() {
    ///     println!("{bus}");
    /// }
    /// # Ok::<(), cacheme::Error>(())
    /// ```
    #[must_use]
    pub fn bus_stats(&self) -> Vec<BusStats> {
        let storages = self.inner.storages.read();
        let buses = storages.values().filter_map(|known| known.bus.as_ref());
        let mut stats: Vec<_> = buses.map(|bus| bus.stats()).collect();
        stats.sort_by(|a, b| a.storage.cmp(&b.storage));
        stats
    }

    /// The key of `node` as storages of this instance see it: `prefix:key:version`.
    #[must_use]
    pub fn full_key<N: Node>(&self, node: &N) -> String {
        let (start, end) = around_key(&self.inner.prefix, &node.policy().info.version);
        let mut key = KeyWriter::new();
        key.literal(&start);
        node.write_key(&mut key);
        key.literal(&end);
        key.as_str().to_owned()
    }

    pub(crate) fn storage(&self, name: &str) -> Option<Registered> {
        self.inner.storages.read().get(name).cloned()
    }

    #[inline]
    pub(crate) fn kind_of<N: Node>(&self, node: &N) -> Result<FoundKind<'_, N>> {
        let kinds = &self.inner.kinds;
        if let Some(dynamic) = node.dynamic_kind() {
            return self.kind_of_dynamic(dynamic);
        }
        let kind = match kinds.get(Kind::id(node)) {
            Some(kind) => kind,
            None => self.make_kind::<N>(Kind::id(node), node.policy())?,
        };
        Ok(FoundKind::kept(kind))
    }

    /// The kind of a type, whose policy is known without a node.
    #[inline]
    pub(crate) fn kind_of_type<N: DerivedNode>(&self) -> Result<FoundKind<'_, N>> {
        let id = KindId::of_type(TypeId::of::<N>());
        let kind = match self.inner.kinds.get(id) {
            Some(kind) => kind,
            None => self.make_kind::<N>(id, N::derived_policy())?,
        };
        Ok(FoundKind::kept(kind))
    }

    #[cold]
    fn make_kind<N: Node>(&self, id: KindId, policy: Policy<N::Value>) -> Result<&Arc<dyn AnyKind>> {
        let info = policy.info.clone();
        let make = || Ok(Arc::new(self.new_kind::<N>(policy)?) as Arc<dyn AnyKind>);
        self.inner.kinds.get_or_make(id, &info, make)
    }

    /// The kind that a handle stands for, whose nodes are of type `N`.
    #[inline]
    pub(crate) fn kind_of_dynamic<N: Node>(
        &self,
        dynamic: &DynamicKind<N::Value>,
    ) -> Result<FoundKind<'_, N>> {
        match dynamic.held().find::<Kind<N>>(&self.inner.kinds) {
            Some(kind) => Ok(FoundKind::Held(kind)),
            None => self.make_dynamic_kind(dynamic),
        }
    }

    #[cold]
    fn make_dynamic_kind<N: Node>(&self, dynamic: &DynamicKind<N::Value>) -> Result<FoundKind<'_, N>> {
        let (kinds, policy) = (&self.inner.kinds, dynamic.policy());
        let id = KindId {
            node: TypeId::of::<N>(),
            dynamic: dynamic.id(),
        };
        let info = policy.info.clone();
        kinds.get_or_make_dynamic(id, &info, dynamic.held(), || {
            let kind = self.new_kind::<N>(policy)?;
            let registration = Registration::new(kinds, id, dynamic.definition());
            Ok(Arc::new(kind.registered(registration)) as Arc<dyn AnyKind>)
        })?;
        let held = dynamic.held().find::<Kind<N>>(kinds);
        // It is there unless the instance was closed meanwhile.
        held.map(FoundKind::Held).ok_or(Error::Closed)
    }

    fn new_kind<N: Node>(&self, policy: Policy<N::Value>) -> Result<Kind<N>> {
        let missing_state = self.missing_state(&policy.info).next();
        let kind = Kind::new(policy, &self.inner.prefix, &|info, name| self.find(info, name))?;
        Ok(kind.without_state(missing_state))
    }

    /// The errors for types of state that a kind needs and this instance does not have.
    pub(crate) fn missing_state(&self, info: &NodeInfo) -> impl Iterator<Item = Error> {
        let missing = info.state.iter().filter(|of| !self.inner.state.contains(of));
        missing.map(|of| Error::StateMissing {
            node: info.name.to_string(),
            state: of.name,
        })
    }

    /// The storage of a kind, and whether it is on for that.
    pub(crate) fn find(&self, info: &NodeInfo, name: &str) -> Option<Found> {
        let is_default = info.default_local && name == DEFAULT_LOCAL;
        let registered = self.storage(name);
        let registered = registered.or_else(|| is_default.then(|| self.default_local()).flatten())?;
        let is_on = self.inner.switches.read().is_on(&info.name, name);
        Some(Found { registered, is_on })
    }

    /// The local storage that is made where nobody has registered one; `None` without the feature `local`.
    fn default_local(&self) -> Option<Registered> {
        let storage = Storage::open("local://tlfu?size=10000").ok()?;
        let made = Registered {
            storage,
            bus: None,
            stranded: Arc::default(),
            is_default: true,
        };
        let mut storages = self.inner.storages.write();
        Some(storages.entry(DEFAULT_LOCAL.into()).or_insert(made).clone())
    }

    /// Logs a mistake of the set-up, unless it was logged before.
    pub(crate) fn log_once(&self, error: &Error) {
        let text = Chain(error).to_string();
        if self.inner.logged.lock().insert(text.clone()) {
            tracing::error!("{text}; going on without a cache");
        }
    }
}

impl fmt::Debug for Cacheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let storages: Vec<String> = self.inner.storages.read().keys().cloned().collect();
        f.debug_struct("Cacheme")
            .field("prefix", &self.inner.prefix)
            .field("storages", &storages)
            .finish()
    }
}
