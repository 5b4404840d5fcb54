//! The process-wide instance, and the calls of [`Cacheme`] on it.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cacheme_storage::{BoxError, Storage};

use crate::error::{Error, Result};
use crate::instance::Cacheme;
use crate::kind::stats::NodeStats;
use crate::load::outcome::LoadOutcome;
use crate::load::{Load, Loaded};
use crate::node::Node;
use crate::node::policy::NodeInfo;
use crate::read::get::Get;
use crate::write::changes::Changes;

static DEFAULT: OnceLock<Cacheme> = OnceLock::new();

/// The process-wide instance, which the free functions of this crate use.
pub fn default_instance() -> &'static Cacheme {
    DEFAULT.get_or_init(|| {
        let instance = Cacheme::builder().build();
        let instance = instance.expect("the default prefix is a good one");
        instance.inner.kinds.set_default();
        instance
    })
}

/// Gives the process-wide instance a prefix.
///
/// # Errors
///
/// [`Error::DefaultInUse`] if it was used before, [`Error::Prefix`] for a prefix that is empty or has other characters than
/// `A-Z a-z 0-9 _ . - @`.
pub fn set_prefix(prefix: impl Into<String>) -> Result<()> {
    set_default(Cacheme::builder().prefix(prefix).build()?)
}

/// Makes `instance` the process-wide one.
///
/// # Errors
///
/// [`Error::DefaultInUse`] if there is one in use already.
pub fn set_default(instance: Cacheme) -> Result<()> {
    let kinds = Arc::clone(&instance.inner.kinds);
    DEFAULT.set(instance).map_err(|_| Error::DefaultInUse)?;
    kinds.set_default();
    Ok(())
}

/// [`Cacheme::get`](crate::Cacheme::get) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub fn get<N: Load>(node: &N) -> Get<'_, N> {
    default_instance().get(node)
}

/// [`Cacheme::get_all`](crate::Cacheme::get_all) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn get_all<N: Load>(nodes: &[N]) -> Result<Vec<N::Value>> {
    default_instance().get_all(nodes).await
}

/// [`Cacheme::peek`](crate::Cacheme::peek) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn peek<N: Node>(node: &N) -> Result<Option<N::Value>> {
    default_instance().peek(node).await
}

/// [`Cacheme::set`](crate::Cacheme::set) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub fn set<N: Node>(node: &N, value: N::Value) -> impl Future<Output = Result<()>> {
    default_instance().set(node, value)
}

/// [`Cacheme::set_with_ttl`](crate::Cacheme::set_with_ttl) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub fn set_with_ttl<N: Node>(node: &N, value: N::Value, ttl: Duration) -> impl Future<Output = Result<()>> {
    default_instance().set_with_ttl(node, value, ttl)
}

/// [`Cacheme::invalidate`](crate::Cacheme::invalidate) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn invalidate<N: Node>(node: &N) -> Result<()> {
    default_instance().invalidate(node).await
}

/// [`Cacheme::invalidate_all`](crate::Cacheme::invalidate_all) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn invalidate_all<N: Node>(nodes: &[N]) -> Result<()> {
    default_instance().invalidate_all(nodes).await
}

/// [`Cacheme::changes`](crate::Cacheme::changes) on the process-wide instance.
pub fn changes() -> Changes {
    default_instance().changes()
}

/// [`Cacheme::set_all`](crate::Cacheme::set_all) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub fn set_all<N: Node>(values: impl IntoIterator<Item = (N, N::Value)>) -> impl Future<Output = Result<()>> {
    default_instance().set_all(values)
}

/// [`Cacheme::refresh`](crate::Cacheme::refresh) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn refresh<N: Load>(node: &N) -> Result<N::Value> {
    default_instance().refresh(node).await
}

/// [`Cacheme::get_all_with`](crate::Cacheme::get_all_with) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn get_all_with<N, L, E, F>(nodes: &[N], load: impl Fn(Vec<N>) -> F) -> Result<Vec<N::Value>>
where
    N: Node,
    F: Future<Output = std::result::Result<L, E>>,
    L: Into<Loaded<N>>,
    E: Into<BoxError>,
{
    default_instance().get_all_with(nodes, load).await
}

/// [`Cacheme::refresh_with`](crate::Cacheme::refresh_with) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn refresh_with<N, E, F>(node: &N, load: impl FnOnce() -> F) -> Result<N::Value>
where
    N: Node,
    E: Into<BoxError>,
    F: Future<Output = std::result::Result<N::Value, E>>,
{
    default_instance().refresh_with(node, load).await
}

/// [`Cacheme::get_with`](crate::Cacheme::get_with) on the process-wide instance.
pub fn get_with<N, R, F, M>(node: &N, load: impl FnOnce() -> F) -> impl Future<Output = R>
where
    N: Node,
    R: LoadOutcome<N::Value, M>,
    F: Future<Output = R>,
{
    default_instance().get_with(node, load)
}

/// [`Cacheme::register_storage`](crate::Cacheme::register_storage) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn register_storage(name: impl Into<String>, storage: Storage) -> Result<()> {
    default_instance().register_storage(name, storage).await
}

/// [`Cacheme::register_storage_lazy`](crate::Cacheme::register_storage_lazy) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub fn register_storage_lazy(name: impl Into<String>, storage: Storage) -> Result<()> {
    default_instance().register_storage_lazy(name, storage)
}

/// [`Cacheme::replace_storage`](crate::Cacheme::replace_storage) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn replace_storage(name: &str, storage: Storage) -> Result<()> {
    default_instance().replace_storage(name, storage).await
}

/// [`Cacheme::unregister_storage`](crate::Cacheme::unregister_storage) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn unregister_storage(name: &str) -> Result<()> {
    default_instance().unregister_storage(name).await
}

/// [`Cacheme::set_enabled`](crate::Cacheme::set_enabled) on the process-wide instance.
pub fn set_enabled(on: bool) {
    default_instance().set_enabled(on);
}

/// [`Cacheme::set_kind_enabled`](crate::Cacheme::set_kind_enabled) on the process-wide instance.
pub fn set_kind_enabled(name: &str, on: bool) {
    default_instance().set_kind_enabled(name, on);
}

/// [`Cacheme::set_storage_enabled`](crate::Cacheme::set_storage_enabled) on the process-wide instance.
pub fn set_storage_enabled(name: &str, on: bool) {
    default_instance().set_storage_enabled(name, on);
}

/// [`Cacheme::close`](crate::Cacheme::close) on the process-wide instance.
///
/// # Errors
///
/// Those of the method of the same name.
pub async fn close(timeout: Duration) -> Result<()> {
    default_instance().close(timeout).await
}

/// [`Cacheme::record_metrics`](crate::Cacheme::record_metrics) of the process-wide instance.
#[cfg(feature = "metrics")]
pub fn record_metrics() {
    default_instance().record_metrics();
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
