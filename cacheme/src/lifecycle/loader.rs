//! The functions that `#[node(load = …)]` and `#[node(load_all = …)]` name, as generated code calls them.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use cacheme_storage::BoxError;

use crate::load::Loaded;
use crate::load::context::LoadContext;
use crate::node::Node;

/// A function that loads the nodes `I`, one or several of the kind `N`. `V` is the value that a message shows.
///
/// A function that is none is told of as such, and not by each thing that does not fit when it is called.
#[diagnostic::on_unimplemented(
    message = "this function does not load `{N}`: write it as `async fn(node: {I}, cx: &mut LoadContext<{N}>) -> Result<{V}, E>`",
    label = "not of this shape"
)]
pub trait Loader<'l, N, I, V, C> {
    /// What it loads.
    type Value;
    /// What it fails with.
    type Error;
    /// The load.
    type Load: Future<Output = Result<Self::Value, Self::Error>>;

    /// Begins a load.
    fn begin(self, nodes: I, cx: &'l mut LoadContext<N>) -> Self::Load
    where
        N: Node;
}

/// The context of loaders that take `&mut LoadContext<N>`.
#[derive(Debug)]
pub enum Unique {}

/// The context of loaders that take `&LoadContext<N>`.
#[derive(Debug)]
pub enum Shared {}

#[diagnostic::do_not_recommend]
impl<'l, N, I, V, T, E, L, F> Loader<'l, N, I, V, Unique> for L
where
    N: Node,
    L: FnOnce(I, &'l mut LoadContext<N>) -> F,
    F: Future<Output = Result<T, E>>,
{
    type Value = T;
    type Error = E;
    type Load = F;

    fn begin(self, nodes: I, cx: &'l mut LoadContext<N>) -> F {
        self(nodes, cx)
    }
}

#[diagnostic::do_not_recommend]
impl<'l, N, I, V, T, E, L, F> Loader<'l, N, I, V, Shared> for L
where
    N: Node,
    L: FnOnce(I, &'l LoadContext<N>) -> F,
    F: Future<Output = Result<T, E>>,
{
    type Value = T;
    type Error = E;
    type Load = F;

    fn begin(self, nodes: I, cx: &'l mut LoadContext<N>) -> F {
        self(nodes, cx)
    }
}

/// Calls loaders of the kind `N`.
pub struct LoadersOf<N>(PhantomData<fn(N)>);

impl<N: Node> LoadersOf<N> {
    /// Loads one node.
    pub fn load<'l, L, C>(loader: L, node: &'l N, cx: &'l mut LoadContext<N>) -> L::Load
    where
        L: Loader<'l, N, &'l N, N::Value, C>,
    {
        loader.begin(node, cx)
    }

    /// Loads several nodes.
    pub fn load_all<'l, L, C>(loader: L, nodes: &'l [N], cx: &'l mut LoadContext<N>) -> L::Load
    where
        L: Loader<'l, N, &'l [N], Loaded<N>, C>,
    {
        loader.begin(nodes, cx)
    }
}

impl<N> fmt::Debug for LoadersOf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadersOf").finish()
    }
}

/// The types that loaders may fail with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a loader: it is no `std::error::Error`",
    label = "fails with `{Self}`",
    note = "implement `Display` and `std::error::Error` for it (the crate `thiserror` derives both), or return `cacheme::BoxError`, `anyhow::Error` or a `String`"
)]
pub trait ErrorOfLoader {
    /// The error in a box.
    fn into_box(self) -> BoxError;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> ErrorOfLoader for E {
    fn into_box(self) -> BoxError {
        self.into()
    }
}
