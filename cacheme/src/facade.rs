//! The calls of [`Cacheme`] on the process-wide instance.

use std::future::Future;
use std::time::Duration;

use cacheme_storage::Storage;

use crate::error::Result;
use crate::instance::default_instance;
use crate::load::Load;
use crate::memoize::LoadOutcome;
use crate::node::Node;
use crate::policy::NodeInfo;
use crate::stats::NodeStats;

macro_rules! facade {
    ($($(#[$doc:meta])* $name:ident<$node:ident: $bound:ident>($($arg:ident: $type:ty),*) -> $output:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// Those of the method of the same name.
        pub async fn $name<$node: $bound>($($arg: $type),*) -> $output {
            default_instance().$name($($arg),*).await
        }
    )*};
}

facade! {
    /// [`Cacheme::get`](crate::Cacheme::get) on the process-wide instance.
    get<N: Load>(node: &N) -> Result<N::Value>;
    /// [`Cacheme::get_all`](crate::Cacheme::get_all) on the process-wide instance.
    get_all<N: Load>(nodes: &[N]) -> Result<Vec<N::Value>>;
    /// [`Cacheme::peek`](crate::Cacheme::peek) on the process-wide instance.
    peek<N: Node>(node: &N) -> Result<Option<N::Value>>;
    /// [`Cacheme::set`](crate::Cacheme::set) on the process-wide instance.
    set<N: Node>(node: &N, value: N::Value) -> Result<()>;
    /// [`Cacheme::set_with_ttl`](crate::Cacheme::set_with_ttl) on the process-wide instance.
    set_with_ttl<N: Node>(node: &N, value: N::Value, ttl: Duration) -> Result<()>;
    /// [`Cacheme::invalidate`](crate::Cacheme::invalidate) on the process-wide instance.
    invalidate<N: Node>(node: &N) -> Result<()>;
    /// [`Cacheme::invalidate_all`](crate::Cacheme::invalidate_all) on the process-wide instance.
    invalidate_all<N: Node>(nodes: &[N]) -> Result<()>;
    /// [`Cacheme::refresh`](crate::Cacheme::refresh) on the process-wide instance.
    refresh<N: Load>(node: &N) -> Result<N::Value>;
}

/// [`Cacheme::get_with`](crate::Cacheme::get_with) on the process-wide instance.
pub async fn get_with<N, R, F>(node: &N, load: impl FnOnce() -> F) -> R
where
    N: Node,
    R: LoadOutcome<N::Value>,
    F: Future<Output = R>,
{
    default_instance().get_with(node, load).await
}

/// [`Cacheme::register_storage`](crate::Cacheme::register_storage) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn register_storage(name: impl Into<String>, storage: Storage) -> Result<()> {
    default_instance().register_storage(name, storage).await
}

/// [`Cacheme::stats`](crate::Cacheme::stats) of the process-wide instance.
#[must_use]
pub fn stats<N: Node>() -> NodeStats {
    default_instance().stats::<N>()
}

/// [`Cacheme::nodes`](crate::Cacheme::nodes) of the process-wide instance.
#[must_use]
pub fn nodes() -> Vec<NodeInfo> {
    default_instance().nodes()
}

/// [`Cacheme::check`](crate::Cacheme::check) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub fn check() -> Result<()> {
    default_instance().check()
}
