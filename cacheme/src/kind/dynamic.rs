//! Kinds of nodes that are named at run time, and when they go away.
//!
//! ```text
//! handle or node ─────▶ Handle ──────▶ Kind, one in each instance ──────▶ Definition: the name is taken
//!                         ▲             ▲          ▲
//!                         └╌╌╌ weak ╌╌╌╌┴╌╌ instance         work in the background
//! ```
//!
//! A load, or a removal that is tried again, has the `Kind` that it works for. A kind that is made anew meanwhile has the same definition, and
//! finds that very `Kind` in the instance: flights can be fenced, and pending removals are known. Once the last reference to the `Kind` is gone, the
//! instance forgets it. Once the last reference to the definition is gone, its name is free. A handle keeps no instance, and an instance that
//! is dropped takes its kinds out of all handles.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};

use crate::error::{Error, Result};
use crate::kind::table::held::HeldKinds;
use crate::node::Node;
use crate::node::key::{KeyPart, KeyWriter};
use crate::node::policy::Policy;

/// How many kinds a call over several works on at once.
pub(crate) const KINDS_AT_ONCE: usize = 16;

/// A kind of node named at run time. The same name is the same kind, in the whole process.
///
/// # When it goes away
///
/// A kind lives as long as a handle or a node of it, and as long as a load, or a removal that is tried again, is under way for it. Then its
/// name is free for another policy, and [`nodes`](crate::Cacheme::nodes) and [`stats`](crate::Cacheme::stats) no longer know it. Values in
/// remote tiers stay. Copies in local tiers count as absent from then on, and give their place to other values: the process would not
/// have heard of changes by other processes. Its counters begin at zero when it is made anew. So keep the handle of a kind that is
/// used again.
///
/// **Limit:** removals that are still to be tried when their runtime ends are forgotten with the last handle.
///
/// ```
/// use cacheme::{Cacheme, DynamicKind, Policy};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cacheme::Error> {
/// let cacheme = Cacheme::builder().build()?;
/// let rates = DynamicKind::new(Policy::<f64>::new("rates", ""))?;
/// assert_eq!(cacheme.get_with(&rates.node("EUR"), || async { 1.09 }).await, 1.09);
/// drop(rates);
/// let other_policy = Policy::<String>::new("rates", "").version("v2");
/// assert!(DynamicKind::new(other_policy).is_ok(), "the name is free");
/// # Ok(()) }
/// ```
pub struct DynamicKind<V> {
    handle: Arc<Handle<V>>,
}

/// The part that all clones of a handle, and its nodes, share.
struct Handle<V> {
    definition: Arc<Definition<V>>,
    kinds: Arc<HeldKinds>,
}

/// The policy that a name stands for, as long as the name is in use.
struct Definition<V> {
    id: u64,
    policy: Policy<V>,
}

/// A node of a [`DynamicKind`], or of a memoized method.
pub struct DynamicNode<V> {
    kind: DynamicKind<V>,
    /// Without prefix and version.
    key: Arc<str>,
}

/// The names that are taken, and by what.
static NAMES: LazyLock<Mutex<HashMap<String, Weak<dyn Any + Send + Sync>>>> = LazyLock::new(Mutex::default);

/// The next [`Definition::id`].
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl<V> Drop for Definition<V> {
    /// Takes the lock of the names: no definition may be dropped under it.
    fn drop(&mut self) {
        let mut names = NAMES.lock();
        let name = &*self.policy.info.name;
        // Another kind may have taken the name since the last handle went away.
        if names.get(name).is_some_and(|taken| taken.strong_count() == 0) {
            names.remove(name);
        }
    }
}

impl<V: Clone + Send + Sync + 'static> DynamicKind<V> {
    /// The kind with this policy; its name is the policy's.
    ///
    /// # Errors
    ///
    /// [`Error::Policy`] if there is a kind of that name with another policy or value type, also one whose last handle is gone while
    /// something is under way for it.
    pub fn new(mut policy: Policy<V>) -> Result<Self> {
        let info = &mut policy.info;
        let mut name = KeyWriter::new();
        name.part(&*info.name);
        info.key = format!("{}:{{key}}", name.as_str()).into();
        info.validate()?;
        let mut names = NAMES.lock();
        let taken = names.get(&*info.name).and_then(Weak::upgrade);
        let definition = if let Some(taken) = taken {
            drop(names);
            same(taken, &policy)?
        } else {
            let name = policy.info.name.to_string();
            let definition = Arc::new(Definition {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                policy,
            });
            let taken: Weak<Definition<V>> = Arc::downgrade(&definition);
            names.insert(name, taken);
            definition
        };
        let handle = Handle {
            definition,
            kinds: Arc::default(),
        };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// The node of this kind with the key `part`.
    #[must_use]
    pub fn node(&self, part: &(impl KeyPart + ?Sized)) -> DynamicNode<V> {
        let name = &*self.handle.definition.policy.info.name;
        self.node_with(|key| {
            key.part(name);
            key.literal(":");
            key.part(part);
        })
    }

    pub(crate) fn policy(&self) -> Policy<V> {
        let policy = &self.handle.definition.policy;
        Policy {
            info: policy.info.clone(),
            values: policy.values.clone(),
        }
    }

    fn node_with(&self, write_key: impl FnOnce(&mut KeyWriter)) -> DynamicNode<V> {
        let mut key = KeyWriter::new();
        write_key(&mut key);
        DynamicNode {
            kind: self.clone(),
            key: key.as_str().into(),
        }
    }

    /// The node of a memoized function, whose template is the whole key.
    #[doc(hidden)]
    #[must_use]
    pub fn memo_node(&self, write_key: impl FnOnce(&mut KeyWriter)) -> DynamicNode<V> {
        self.node_with(write_key)
    }

    /// A kind without a name that others could take, which lives as long as the process.
    fn of_site(policy: Policy<V>) -> Self {
        let definition = Definition {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            policy,
        };
        let handle = Handle {
            definition: Arc::new(definition),
            kinds: Arc::default(),
        };
        Self {
            handle: Arc::new(handle),
        }
    }
}

/// The definition that has taken a name, if its policy is the same.
fn same<V: Send + Sync + 'static>(
    taken: Arc<dyn Any + Send + Sync>,
    policy: &Policy<V>,
) -> Result<Arc<Definition<V>>> {
    let is_same = |known: &Policy<V>| {
        known.info == policy.info && known.values.serializer() == policy.values.serializer()
    };
    let taken = taken.downcast::<Definition<V>>().ok();
    let same = taken.filter(|taken| is_same(&taken.policy));
    same.ok_or_else(|| Error::Policy {
        node: policy.info.name.to_string(),
        reason: "is known already with another policy or value type".into(),
    })
}

impl<V> DynamicKind<V> {
    pub(crate) fn id(&self) -> u64 {
        self.handle.definition.id
    }

    /// The kinds that this handle keeps.
    pub(crate) fn held(&self) -> &Arc<HeldKinds> {
        &self.handle.kinds
    }
}

impl<V: Send + Sync + 'static> DynamicKind<V> {
    /// The definition, which keeps the name taken.
    pub(crate) fn definition(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::<Definition<V>>::clone(&self.handle.definition)
    }
}

impl<V> Clone for DynamicKind<V> {
    fn clone(&self) -> Self {
        Self {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<V> fmt::Debug for DynamicKind<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynamicKind")
            .field(&self.handle.definition.policy.info)
            .finish()
    }
}

impl<V> Clone for DynamicNode<V> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            key: Arc::clone(&self.key),
        }
    }
}

impl<V> fmt::Debug for DynamicNode<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicNode")
            .field("kind", &self.kind.handle.definition.policy.info.name)
            .field("key", &self.key)
            .finish()
    }
}

impl<V: Clone + Send + Sync + 'static> Node for DynamicNode<V> {
    type Value = V;

    fn policy(&self) -> Policy<V> {
        self.kind.policy()
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal(&self.key);
    }

    fn dynamic_kind(&self) -> Option<&DynamicKind<V>> {
        Some(&self.kind)
    }
}

/// The positions of `nodes` by their kind: kinds and nodes in the order in which they come.
pub(crate) fn by_kind<N: Node>(nodes: &[N]) -> Vec<Vec<usize>> {
    if is_one_kind(nodes) {
        return if nodes.is_empty() {
            Vec::new()
        } else {
            vec![(0..nodes.len()).collect()]
        };
    }
    let mut places = HashMap::new();
    let mut kinds: Vec<Vec<usize>> = Vec::new();
    for (position, node) in nodes.iter().enumerate() {
        let place = *places.entry(number(node)).or_insert(kinds.len());
        if place == kinds.len() {
            kinds.push(Vec::new());
        }
        kinds[place].push(position);
    }
    kinds
}

/// Whether all of `nodes` are of one kind. Known when compiling for nodes that have no [`DynamicKind`].
#[inline]
pub(crate) fn is_one_kind<N: Node>(nodes: &[N]) -> bool {
    nodes.windows(2).all(|pair| number(&pair[0]) == number(&pair[1]))
}

#[inline]
fn number<N: Node>(node: &N) -> Option<u64> {
    node.dynamic_kind().map(DynamicKind::id)
}

/// The place of a memoized method or generic function, which has a kind for each set of types that it is used with.
#[derive(Debug, Default)]
pub struct MemoSite {
    /// Most have one.
    first: OnceLock<SiteKind>,
    others: RwLock<Vec<SiteKind>>,
}

#[derive(Clone, Copy)]
struct SiteKind {
    types: &'static str,
    /// A `DynamicKind`.
    kind: &'static (dyn Any + Send + Sync),
}

impl SiteKind {
    #[inline]
    fn get<V: 'static>(self, types: &str) -> Option<&'static DynamicKind<V>> {
        if std::ptr::eq(self.types, types) || self.types == types {
            self.kind.downcast_ref()
        } else {
            None
        }
    }
}

impl fmt::Debug for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.types)
    }
}

impl MemoSite {
    /// A place without kinds.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            first: OnceLock::new(),
            others: RwLock::new(Vec::new()),
        }
    }

    /// The kind for these types.
    #[inline]
    pub fn kind<V: Clone + Send + Sync + 'static>(
        &self,
        types: &'static str,
        policy: impl FnOnce(&str) -> Policy<V>,
    ) -> &'static DynamicKind<V> {
        let first = self.first.get().and_then(|first| first.get(types));
        first.unwrap_or_else(|| self.other(types, policy))
    }

    #[cold]
    fn other<V: Clone + Send + Sync + 'static>(
        &self,
        types: &'static str,
        policy: impl FnOnce(&str) -> Policy<V>,
    ) -> &'static DynamicKind<V> {
        let find = |others: &[SiteKind]| others.iter().find_map(|other| other.get(types));
        if let Some(kind) = find(&self.others.read()) {
            return kind;
        }
        // Code of the user's, which may use a memoized function itself.
        let policy = policy(types);
        let mut others = self.others.write();
        if let Some(kind) = find(&others) {
            return kind;
        }
        // As many as the program has types: they are never freed.
        let kind: &'static DynamicKind<V> = Box::leak(Box::new(DynamicKind::of_site(policy)));
        let site_kind = SiteKind { types, kind };
        others.push(site_kind);
        let _ = self.first.set(site_kind);
        kind
    }
}
