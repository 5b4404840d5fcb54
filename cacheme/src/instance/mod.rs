use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use cacheme_storage::{Chain, CodecError, Storage};
use parking_lot::{Mutex, RwLock};

use crate::bus::Bus;
use crate::bus::stats::BusStats;
use crate::error::{Error, Result};
use crate::kind::dynamic::DynamicKind;
use crate::kind::found::FoundKind;
use crate::kind::stats::NodeStats;
use crate::kind::storages::Registered;
use crate::kind::table::derived::derived;
use crate::kind::table::{AnyKind, KindTable, Registration};
use crate::kind::{Kind, around_key};
use crate::node::Node;
use crate::node::key::KeyWriter;
use crate::node::policy::{NodeInfo, Policy};
use crate::node::registration::NodeRegistration;

/// Storages by name, and the nodes that use them. Cheap to clone; clones are the same instance.
///
/// Most programs use the process-wide default instance through the free functions of this crate.
#[derive(Clone)]
pub struct Cacheme {
    inner: Arc<Inner>,
}

struct Inner {
    prefix: String,
    storages: RwLock<HashMap<String, Registered>>,
    kinds: Arc<KindTable>,
    /// Set-up mistakes that were logged: each is told once, not for each call.
    told: Mutex<HashSet<String>>,
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

/// Builds a [`Cacheme`].
#[derive(Clone, Debug)]
pub struct CachemeBuilder {
    prefix: String,
}

impl CachemeBuilder {
    /// Sets the first part of every full key, `cacheme` when nothing is said.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The instance.
    ///
    /// # Errors
    ///
    /// [`Error::Prefix`] for a prefix that is empty or has other characters than `A-Z a-z 0-9 _ . - @`.
    pub fn build(self) -> Result<Cacheme> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@".contains(&byte);
        if self.prefix.is_empty() || !self.prefix.bytes().all(plain) {
            let reason = "must be letters, digits and `_ . - @`, at least one".into();
            return Err(Error::Prefix {
                prefix: self.prefix,
                reason,
            });
        }
        let inner = Inner {
            prefix: self.prefix,
            storages: RwLock::default(),
            kinds: Arc::default(),
            told: Mutex::default(),
        };
        Ok(Cacheme {
            inner: Arc::new(inner),
        })
    }
}

impl Cacheme {
    /// A builder of an instance of its own.
    #[must_use]
    pub fn builder() -> CachemeBuilder {
        CachemeBuilder {
            prefix: "cacheme".into(),
        }
    }

    /// Names a storage and connects it. Where it has a bus, other processes are listened to when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::SameKey`] if two derived nodes would share entries, and [`Error::StorageRegistered`] for a name that is taken: then
    /// nothing is registered. [`Error::Unreached`] if the storage cannot be reached: it is registered all the same, reads go on
    /// without it, and it is tried again whenever it is needed. Trouble with its bus alone is logged.
    pub async fn register_storage(&self, name: impl Into<String>, storage: Storage) -> Result<()> {
        let name = name.into();
        if let Some(conflict) = derived().conflicts().next() {
            return Err(conflict.clone());
        }
        let remote = storage.as_remote();
        let bus = remote.filter(|_| storage.has_bus());
        let bus = bus.map(|remote| {
            let (prefix, kinds) = (&self.inner.prefix, &self.inner.kinds);
            Bus::new(&name, Arc::clone(remote), prefix, Arc::downgrade(kinds) as _)
        });
        {
            let mut storages = self.inner.storages.write();
            if storages.contains_key(&name) {
                return Err(Error::StorageRegistered { storage: name });
            }
            let registered = Registered {
                storage: storage.clone(),
                bus: bus.clone(),
                stranded: Arc::default(),
            };
            storages.insert(name.clone(), registered);
        }
        let Some(remote) = remote else { return Ok(()) };
        let bound = storage.timeout() * 10;
        let connected = tokio::time::timeout(bound, remote.connect())
            .await
            .unwrap_or_else(|_| {
                Err(cacheme_storage::Error::Timeout {
                    storage: remote.location(),
                    after: bound,
                })
            });
        connected.map_err(|source| Error::Unreached {
            name,
            source: Arc::new(source),
        })?;
        if let Some(bus) = bus {
            bus.ensure();
            // Trouble with the bus alone is logged, and is no reason to do without the storage.
            bus.settled(bound).await;
        }
        Ok(())
    }

    /// Every kind of node that this program derives, or that this instance has met, by name.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = derived().nodes().to_vec();
        nodes.extend(self.inner.kinds.others().map(|kind| kind.info().clone()));
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    /// Finds mistakes in the set-up of all [`nodes`](Self::nodes) before they are used.
    ///
    /// # Errors
    ///
    /// [`Error::Check`] with every mistake: storages that are not registered, nodes that would share entries, remote
    /// tiers without serializer or with one that cannot read the node's values, policies that cannot work.
    pub fn check(&self) -> Result<()> {
        let nodes = self.nodes();
        // A kind that meets another one is never made.
        let mut found: Vec<Error> = derived().conflicts().cloned().collect();
        for node in &nodes {
            found.extend(node.validate().err());
            for tier in &node.tiers {
                match self.storage(&tier.storage) {
                    None => found.push(node.not_registered(&tier.storage)),
                    Some(known) if known.storage.as_remote().is_some() && !node.serializable => {
                        found.push(node.no_serializer(&tier.storage));
                    }
                    Some(_) => {}
                }
            }
        }
        found.extend(self.unreadable());
        if found.is_empty() {
            Ok(())
        } else {
            Err(Error::Check(found))
        }
    }

    /// Nodes with a remote tier whose serializer cannot read values of their type.
    fn unreadable(&self) -> Vec<Error> {
        let is_remote = |tier: &crate::node::policy::Tier| {
            let known = self.storage(&tier.storage);
            known.is_some_and(|known| known.storage.as_remote().is_some())
        };
        let mut found: Vec<Error> = Vec::new();
        let mut look = |info: &NodeInfo, check: &dyn Fn() -> std::result::Result<(), CodecError>| {
            // Tracing a type takes its time.
            if !info.tiers.iter().any(is_remote) {
                return;
            }
            if let Err(why) = check() {
                found.push(Error::Policy {
                    node: info.name.to_string(),
                    reason: Chain(&why).to_string(),
                });
            }
        };
        for node in inventory::iter::<NodeRegistration> {
            look(&node.info(), &|| node.check_serializer());
        }
        for kind in self.inner.kinds.others() {
            look(kind.info(), &|| kind.check_serializer());
        }
        found
    }

    /// What nodes of type `N` have done in this instance, or nothing if none was used. For a type with several kinds
    /// ([`DynamicNode`](crate::DynamicNode)), see [`all_stats`](Self::all_stats).
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

    /// What every kind of node has done in this instance, by name.
    #[must_use]
    pub fn all_stats(&self) -> Vec<NodeStats> {
        let mut stats: Vec<_> = self.inner.kinds.iter().map(|kind| kind.stats()).collect();
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }

    /// What this instance has heard from other processes, by the name of the storage whose bus it was heard on.
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

    #[cfg(feature = "metrics")]
    pub(crate) fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    /// How many entries there are in each storage in memory, by name.
    #[cfg(feature = "metrics")]
    pub(crate) fn local_entries(&self) -> Vec<(String, usize)> {
        let storages = self.inner.storages.read();
        let local = storages
            .iter()
            .filter_map(|(name, known)| Some((name, known.storage.as_local()?)));
        local.map(|(name, local)| (name.clone(), local.len())).collect()
    }

    fn storage(&self, name: &str) -> Option<Registered> {
        self.inner.storages.read().get(name).cloned()
    }

    #[inline]
    pub(crate) fn kind_of<N: Node>(&self, node: &N) -> Result<FoundKind<'_, N>> {
        let kinds = &self.inner.kinds;
        if let Some(dynamic) = node.dynamic_kind() {
            return match dynamic.held().find::<Kind<N>>(kinds) {
                Some(kind) => Ok(FoundKind::Held(kind)),
                None => self.make_dynamic_kind(node, dynamic),
            };
        }
        let kind = match kinds.get(Kind::id(node)) {
            Some(kind) => kind,
            None => self.make_kind(node)?,
        };
        Ok(FoundKind::kept(kind))
    }

    #[cold]
    fn make_kind<N: Node>(&self, node: &N) -> Result<&Arc<dyn AnyKind>> {
        let policy = node.policy();
        let info = policy.info.clone();
        let make = || Ok(Arc::new(self.new_kind::<N>(policy)?) as Arc<dyn AnyKind>);
        self.inner.kinds.get_or_make(Kind::id(node), &info, make)
    }

    #[cold]
    fn make_dynamic_kind<N: Node>(
        &self,
        node: &N,
        dynamic: &DynamicKind<N::Value>,
    ) -> Result<FoundKind<'_, N>> {
        let (kinds, id, policy) = (&self.inner.kinds, Kind::id(node), node.policy());
        let info = policy.info.clone();
        let kind = kinds.get_or_make_dynamic(id, &info, dynamic.held(), || {
            let kind = self.new_kind::<N>(policy)?;
            let registration = Registration::new(kinds, id, dynamic.definition());
            Ok(Arc::new(kind.registered(registration)) as Arc<dyn AnyKind>)
        })?;
        dynamic.held().hold(kinds, &kind);
        let held = dynamic.held().find::<Kind<N>>(kinds);
        Ok(FoundKind::Held(
            held.expect("the handle keeps it as long as the instance lives"),
        ))
    }

    fn new_kind<N: Node>(&self, policy: Policy<N::Value>) -> Result<Kind<N>> {
        Kind::new(policy, &self.inner.prefix, |name| self.storage(name))
    }

    pub(crate) fn tell_once(&self, error: &Error) {
        let text = Chain(error).to_string();
        if self.inner.told.lock().insert(text.clone()) {
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

static DEFAULT: OnceLock<Cacheme> = OnceLock::new();

/// The process-wide instance behind the free functions of this crate.
pub fn default_instance() -> &'static Cacheme {
    DEFAULT.get_or_init(|| {
        Cacheme::builder()
            .build()
            .expect("the default prefix is a good one")
    })
}

/// Gives the process-wide instance a prefix.
///
/// # Errors
///
/// [`Error::DefaultInUse`] after anything else was done with it, [`Error::Prefix`] for a prefix that cannot be.
pub fn set_prefix(prefix: impl Into<String>) -> Result<()> {
    set_default(Cacheme::builder().prefix(prefix).build()?)
}

/// Makes `instance` the process-wide one.
///
/// # Errors
///
/// [`Error::DefaultInUse`] if there is one in use already.
pub fn set_default(instance: Cacheme) -> Result<()> {
    DEFAULT.set(instance).map_err(|_| Error::DefaultInUse)
}
