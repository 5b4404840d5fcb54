use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use cacheme_storage::Codec;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::key::{KeyPart, KeyWriter};
use crate::node::Node;
use crate::policy::{NodeInfo, Policy};

/// A kind of node named at run time. The same name is the same kind, in the whole process.
pub struct DynamicKind<V> {
    inner: Arc<Inner<V>>,
}

struct Inner<V> {
    id: u64,
    info: NodeInfo,
    codec: Option<Codec<V>>,
    is_absent: Option<fn(&V) -> bool>,
    weigh: Option<fn(&V) -> u32>,
}

/// A node of a [`DynamicKind`].
pub struct DynamicNode<V> {
    kind: DynamicKind<V>,
    key: Arc<str>,
}

static KINDS: LazyLock<Mutex<HashMap<String, Box<dyn Any + Send>>>> = LazyLock::new(Mutex::default);

impl<V: Clone + Send + Sync + 'static> DynamicKind<V> {
    /// The kind with this policy; its name is the policy's.
    ///
    /// # Errors
    ///
    /// [`Error::Policy`] if there is a kind of that name with another policy or value type.
    pub fn new(policy: Policy<V>) -> Result<Self> {
        let Policy {
            mut info,
            codec,
            is_absent,
            weigh,
        } = policy;
        let mut name = KeyWriter::new();
        name.part(&*info.name);
        info.key = format!("{}:{{key}}", name.as_str()).into();
        info.validate()?;
        let mut kinds = KINDS.lock();
        if let Some(known) = kinds.get(&*info.name) {
            let known = known.downcast_ref::<Self>().filter(|known| {
                let serializer =
                    |codec: &Option<Codec<V>>| codec.as_ref().map(|codec| codec.serializer().to_owned());
                known.inner.info == info && serializer(&known.inner.codec) == serializer(&codec)
            });
            let different = || Error::Policy {
                node: info.name.to_string(),
                reason: "is known already with another policy or value type".into(),
            };
            return known.cloned().ok_or_else(different);
        }
        let id = kinds.len() as u64 + 1;
        let name = info.name.to_string();
        let kind = Self {
            inner: Arc::new(Inner {
                id,
                info,
                codec,
                is_absent,
                weigh,
            }),
        };
        kinds.insert(name, Box::new(kind.clone()));
        Ok(kind)
    }

    /// The node of this kind with the key `part`.
    #[must_use]
    pub fn node(&self, part: &(impl KeyPart + ?Sized)) -> DynamicNode<V> {
        let mut key = KeyWriter::new();
        key.part(part);
        DynamicNode {
            kind: self.clone(),
            key: key.as_str().into(),
        }
    }
}

impl<V> DynamicKind<V> {
    pub(crate) fn id(&self) -> u64 {
        self.inner.id
    }
}

impl<V> Clone for DynamicKind<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<V> fmt::Debug for DynamicKind<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynamicKind").field(&self.inner.info).finish()
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
            .field("kind", &self.kind.inner.info.name)
            .field("key", &self.key)
            .finish()
    }
}

impl<V: Clone + Send + Sync + 'static> Node for DynamicNode<V> {
    type Value = V;

    fn policy(&self) -> Policy<V> {
        Policy {
            info: self.kind.inner.info.clone(),
            codec: self.kind.inner.codec.clone(),
            is_absent: self.kind.inner.is_absent,
            weigh: self.kind.inner.weigh,
        }
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.part(&*self.kind.inner.info.name);
        key.literal(":");
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
