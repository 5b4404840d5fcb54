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
#[derive(Clone, Copy, Debug)]
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

/// Derived nodes, as a tuple of up to 16 of them.
pub trait NodeSet {
    /// Their registrations.
    #[doc(hidden)]
    fn registrations() -> Vec<NodeRegistration>;
}

macro_rules! node_sets {
    ($first:ident $($rest:ident)*) => {
        impl<$first: DerivedNode, $($rest: DerivedNode),*> NodeSet for ($first, $($rest,)*) {
            fn registrations() -> Vec<NodeRegistration> {
                vec![NodeRegistration::new::<$first>(), $(NodeRegistration::new::<$rest>()),*]
            }
        }
        node_sets!($($rest)*);
    };
    () => {};
}

node_sets!(A B C D E F G H I J K L M N O P);
