//! Typed cache nodes over a chain of local and remote storages, with one load at a time for a key.
//!
//! A *node* is a typed key with the policy of its kind: how its key is written, what it caches, in which *tiers* and for
//! how long, and how the value is loaded when no tier has it. Storages are registered under their names at start-up.
//!
//! The shortest way is a line above a function ([`memoize`](macro@memoize)); there is nothing to set up:
//!
//! ```standalone_crate
//! # struct Db;
//! # impl Db { async fn price(&self, _: &str) -> Result<u64, std::io::Error> { Ok(5) } }
//! #[cacheme::memoize(key = "price:{sku}", ttl = "30s")]
//! async fn price(db: &Db, sku: &str) -> Result<u64, std::io::Error> {
//!     db.price(sku).await
//! }
//! ```
//!
//! [From there to a service](docs::getting_started) it is a few steps. A node says more:
//!
//! ```standalone_crate
//! use cacheme::{LoadContext, Node, Storage, memoize};
//!
//! #[derive(Node, Clone, Debug)]
//! #[node(
//!     key = "user:{user_id}:name",
//!     value = String,
//!     tier(storage = "local", ttl = "30s"),
//!     load = load_name,
//! )]
//! struct UserNameNode {
//!     user_id: u64,
//! }
//!
//! async fn load_name(
//!     node: &UserNameNode,
//!     _cx: &mut LoadContext<UserNameNode>,
//! ) -> Result<String, std::io::Error> {
//!     Ok(format!("user number {}", node.user_id)) // ask the database
//! }
//!
//! /// This function uses the same cache. `db` is no part of the key.
//! #[memoize(node = UserNameNode { user_id })]
//! async fn user_name(db: &str, user_id: u64) -> Result<String, std::fmt::Error> {
//!     Ok(format!("user number {user_id} of {db}"))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! cacheme::register_storage("local", Storage::open("local://tlfu?size=100000")?).await?;
//! cacheme::check()?; // every node of the program: storages, serializers, keys
//!
//! let node = UserNameNode { user_id: 1 };
//! assert_eq!(cacheme::get(&node).await?, "user number 1"); // loads
//! assert_eq!(user_name("the database", 1).await?, "user number 1"); // a hit
//! let names = cacheme::get_all(&[node.clone(), UserNameNode { user_id: 2 }]).await?; // one hit, one load
//! assert_eq!(names[1], "user number 2");
//! cacheme::invalidate(&node).await?;
//! # Ok(()) }
//! ```
//!
//! # Map
//!
//! | to find | look at |
//! |---|---|
//! | what a node can say of itself | [`derive(Node)`](macro@Node), [`Policy`] where it is written by hand, [`DynamicNode`] where it is known at run time |
//! | what can be done with one | the functions of this crate, which are the methods of [`Cacheme`] on [`default_instance`] |
//! | loaders | [`Load`], [`LoadContext`]; [`macro@memoize`] and [`get_with`] for those that come with the call |
//! | storages and their URLs | [`Storage`]; [how to choose, set up and size one](docs::storages) |
//! | writes | [`macro@invalidate`] on functions, [`changes`] in transactions, [`set`], [`refresh`] |
//! | what loaders need of the application | [`CachemeBuilder::state`] |
//! | the end of a service | [`close`] |
//! | errors | [`Error`], [`find_error`] |
//! | promises about values, and how they are kept | [`docs::consistency`] |
//! | counters of hits, loads and trouble | [`stats`] |
//!
//! # Features
//!
//! `local` (in memory) and `msgpack` are on by default. `redis`, `postgres`, `mysql`, `mongodb` and `sqlite` are storages
//! (see [`docs::storages`]), `tls` encrypts connections to those that are compiled in; `bincode` and `json` are other serializers,
//! `compression` goes with any; `uuid`, `chrono` and `time` make types of these crates [parts of keys](KeyPart); `testing` has [what tests of applications need](docs::testing); `sqlx` lets loaders of [`get_with`] fail with its errors; `metrics` passes all counters to the recorder of that crate (`record_metrics`); `full` is all.

pub mod docs;

mod background;
mod bus;
mod counter;
mod digest;
mod error;
mod flight;
mod instance;
mod kind;
mod lifecycle;
mod load;
mod log_limiter;
mod node;
mod random;
mod read;
mod sequence;
#[cfg(feature = "testing")]
pub mod testing;
mod write;

#[doc(hidden)]
pub mod __private {
    pub use crate::lifecycle::generated::*;
}

pub use cacheme_macros::{KeyPart, Node, invalidate, memoize};
/// The storages and what a storage of your own needs: the traits, the in-memory engine, serializers and envelopes.
///
/// The feature `testing` adds the suite that every storage has to pass (`storage::conformance`).
///
/// ```
/// use cacheme::storage::{Bytes, Capabilities, RemoteEntry, RemoteStorage, Result, async_trait};
///
/// /// A server that has nothing and forgets everything.
/// struct Nothing;
///
/// #[async_trait]
/// impl RemoteStorage for Nothing {
///     fn location(&self) -> String {
///         "nothing://".into()
///     }
///     fn capabilities(&self) -> Capabilities {
///         Capabilities::default()
///     }
///     fn now_ms(&self) -> u64 {
///         0
///     }
///     async fn connect(&self) -> Result<()> {
///         Ok(())
///     }
///     async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
///         Ok(vec![None; keys.len()])
///     }
///     async fn set(&self, _: &[RemoteEntry<'_>]) -> Result<()> {
///         Ok(())
///     }
///     async fn remove(&self, _: &[&[u8]]) -> Result<()> {
///         Ok(())
///     }
///     async fn clear(&self, _: &[u8]) -> Result<()> {
///         Ok(())
///     }
/// }
/// let storage = cacheme::Storage::remote(Nothing);
/// ```
#[doc(no_inline)]
pub use cacheme_storage as storage;
#[cfg(feature = "bincode")]
pub use cacheme_storage::Bincode;
#[cfg(feature = "compression")]
pub use cacheme_storage::Compressed;
#[cfg(feature = "json")]
pub use cacheme_storage::Json;
#[cfg(feature = "msgpack")]
pub use cacheme_storage::MsgPack;
pub use cacheme_storage::{BoxError, Flags, Serializer, Storage};

pub use crate::bus::stats::BusStats;
pub use crate::error::{Error, Result, SharedError, find_error};
pub use crate::instance::Cacheme;
/// The node of a memoized method: `price_node(sku)` beside `price` returns it.
pub use crate::kind::dynamic::DynamicNode as MemoNode;
pub use crate::kind::dynamic::{DynamicKind, DynamicNode};
pub use crate::kind::not_stored::{NotStored, NotStoredCounts};
pub use crate::kind::stats::{NodeStats, TierStats};
pub use crate::lifecycle::builder::CachemeBuilder;
#[cfg(feature = "metrics")]
pub use crate::lifecycle::default::record_metrics;
pub use crate::lifecycle::default::{
    changes, check, close, default_instance, get, get_all, get_all_with, get_with, invalidate,
    invalidate_all, nodes, peek, refresh, refresh_with, register_storage, register_storage_lazy,
    replace_storage, set, set_all, set_default, set_enabled, set_kind_enabled, set_prefix,
    set_storage_enabled, set_with_ttl, stats, unregister_storage,
};
pub use crate::load::context::LoadContext;
pub use crate::load::loading::{Loading, loading};
pub use crate::load::outcome::{Alone, ByClone, BySource, LoadOutcome, NoError};
pub use crate::load::{Load, Loaded};
pub use crate::node::Node;
pub use crate::node::key::{AnyKeyPart, KeyPart, KeyWriter};
pub use crate::node::policy::{MaybeAbsent, NodeInfo, Policy, Tier};
pub use crate::node::registration::NodeSet;
pub use crate::read::get::Get;
pub use crate::write::changes::Changes;
