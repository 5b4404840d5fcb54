//! Typed cache nodes over a chain of local and remote storages, with singleflight loading.

mod batch;
mod dynamic;
mod error;
mod facade;
mod flight;
mod get;
mod instance;
mod key;
mod kind;
mod kinds;
mod load;
mod memoize;
mod node;
mod policy;
mod private;
mod stats;
mod write;

#[doc(hidden)]
pub mod __private {
    pub use crate::private::*;
}

pub use cacheme_macros::{KeyPart, Node, memoize};
#[cfg(feature = "bincode")]
pub use cacheme_storage::Bincode;
#[cfg(feature = "compression")]
pub use cacheme_storage::Compressed;
#[cfg(feature = "json")]
pub use cacheme_storage::Json;
#[cfg(feature = "msgpack")]
pub use cacheme_storage::MsgPack;
pub use cacheme_storage::{BoxError, Serializer, Storage};

pub use crate::dynamic::{DynamicKind, DynamicNode};
pub use crate::error::{Error, Result};
pub use crate::facade::{
    check, get, get_all, get_with, invalidate, invalidate_all, nodes, peek, refresh, register_storage, set,
    stats,
};
pub use crate::instance::{Cacheme, CachemeBuilder, default_instance, set_default, set_prefix};
pub use crate::key::{KeyPart, KeyWriter};
pub use crate::load::{Load, LoadContext, Loaded};
pub use crate::memoize::LoadOutcome;
pub use crate::node::Node;
pub use crate::policy::{NodeInfo, Policy, Tier};
pub use crate::stats::{NodeStats, TierStats};
