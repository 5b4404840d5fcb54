//! Nodes: typed keys with the policy of their kind.

pub(crate) mod key;
pub(crate) mod policy;
pub(crate) mod registration;

use crate::kind::dynamic::DynamicKind;
use crate::node::key::KeyWriter;
use crate::node::policy::Policy;

/// A typed cache key with the policy of its kind.
///
/// Derive it; [`Policy`] shows how one is written by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a cache node",
    label = "not a `Node`",
    note = "write `#[derive(cacheme::Node)]` and `#[node(value = …, tier(storage = \"…\", ttl = \"…\"))]` above it"
)]
pub trait Node: Clone + Send + Sync + 'static {
    /// The type of the value that the node caches.
    type Value: Clone + Send + Sync + 'static;

    /// The policy, which is one for all nodes of the kind. Each [`Cacheme`](crate::Cacheme) asks for it once.
    fn policy(&self) -> Policy<Self::Value>;

    /// Writes the key, without prefix and version. Different nodes of the kind must write different keys.
    fn write_key(&self, key: &mut KeyWriter);

    /// The key, without prefix and version.
    fn key(&self) -> String {
        let mut key = KeyWriter::new();
        self.write_key(&mut key);
        key.as_str().to_owned()
    }

    /// The key as storages of the process-wide default instance see it: `prefix:key:version`.
    ///
    /// [`Cacheme::full_key`](crate::Cacheme::full_key) gives that of another instance.
    fn full_key(&self) -> String {
        crate::lifecycle::default::default_instance().full_key(self)
    }

    #[doc(hidden)]
    fn dynamic_kind(&self) -> Option<&DynamicKind<Self::Value>> {
        None
    }
}
