//! Nodes that register themselves before the program begins.

use std::any::TypeId;

use cacheme_storage::CodecError;

use crate::node::Node;
use crate::node::policy::{NodeInfo, Policy};

/// A node whose policy is known without a value of it. The derive implements it.
pub trait DerivedNode: Node {
    /// The policy.
    fn derived_policy() -> Policy<Self::Value>;
}

/// The entry of a derived node in the list of all.
#[derive(Debug)]
pub struct NodeRegistration {
    id: fn() -> TypeId,
    info: fn() -> NodeInfo,
    check_serializer: fn() -> Result<(), CodecError>,
}

impl NodeRegistration {
    /// The registration of `N`.
    #[must_use]
    pub const fn new<N: DerivedNode>() -> Self {
        Self {
            id: TypeId::of::<N>,
            info: || N::derived_policy().info,
            check_serializer: || N::derived_policy().values.check_serializer(),
        }
    }

    pub(crate) fn id(&self) -> TypeId {
        (self.id)()
    }

    pub(crate) fn info(&self) -> NodeInfo {
        (self.info)()
    }

    pub(crate) fn check_serializer(&self) -> Result<(), CodecError> {
        (self.check_serializer)()
    }
}

inventory::collect!(NodeRegistration);
