//! What generated code names. Not for use by hand: it changes without notice.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::error::Kept;
use crate::instance::Cacheme;
use crate::lifecycle::default::default_instance;
use crate::read::get_with::{LoadOutcome, TextOf};

#[cfg(feature = "bincode")]
pub use cacheme_storage::Bincode as DefaultSerializer;
pub use inventory;
pub use serde::Serialize;
pub use serde::de::DeserializeOwned;

pub use crate::load::context::LoadContext;
pub use crate::load::{Load, Loaded};
pub use crate::node::Node;
pub use crate::node::key::{KeyForm, KeyPart, KeyWriter, Text};
pub use crate::node::policy::{NodeInfo, Policy};
pub use crate::node::registration::{DerivedNode, NodeRegistration};
pub use cacheme_storage::BoxError;
use cacheme_storage::Chain;

/// What `#[memoize]` expands to.
pub async fn memoize<N, R, F>(
    cacheme: Option<&Cacheme>,
    node: N,
    load: impl FnOnce() -> F,
    text: TextOf<R>,
) -> R
where
    N: Node,
    R: LoadOutcome<N::Value>,
    F: Future<Output = R>,
{
    cacheme
        .unwrap_or_else(|| default_instance())
        .get_or_load(&node, load, text)
        .await
}

/// What the function of `#[node(load_all = …)]` may return.
#[diagnostic::on_unimplemented(
    message = "`load_all` returns `{Self}`, which does not say which value belongs to which node",
    label = "returns `{Self}`",
    note = "return `Vec<({N}, Value)>`, a map from nodes to values, or `cacheme::Loaded<{N}>`"
)]
pub trait IntoLoaded<N: Node> {
    /// The pairs of node and value.
    fn into_loaded(self) -> Loaded<N>;
}

#[diagnostic::do_not_recommend]
impl<N: Node, T: Into<Loaded<N>>> IntoLoaded<N> for T {
    fn into_loaded(self) -> Loaded<N> {
        self.into()
    }
}

/// What a loader returned as its error, on its way into a box.
#[derive(Debug)]
pub struct LoaderError<E>(pub E);

impl<E: AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static> LoaderError<E> {
    /// An error that is none itself but gives one out, `anyhow::Error` say, as it is. Where it applies this goes before
    /// [`BoxByInto::boxed`].
    #[must_use]
    pub fn boxed(self) -> BoxError {
        Kept::boxed(self.0)
    }
}

/// How all other errors of loaders are boxed.
pub trait BoxByInto {
    /// The type of the error.
    type Error;

    /// The error in a box.
    fn boxed(self) -> BoxError
    where
        Self::Error: Into<BoxError>;
}

impl<E> BoxByInto for LoaderError<E> {
    type Error = E;

    fn boxed(self) -> BoxError
    where
        E: Into<BoxError>,
    {
        self.0.into()
    }
}

/// What the error that a memoized function returned says of itself, as far as its type can: with its causes, else by `Display`, by
/// `Debug`, or not at all.
///
/// `text` is looked up for the type that the function names, and the first of these that applies is found.
#[derive(Debug)]
pub struct ErrorText<'r, R>(pub &'r R);

impl<V, E: StdError + 'static> ErrorText<'_, Result<V, E>> {
    /// The text, with that of its causes.
    #[must_use]
    pub fn text(self) -> Option<String> {
        self.0.as_ref().err().map(|error| Chain(error).to_string())
    }
}

/// The text by `Display`.
pub trait TextByDisplay {
    /// The text.
    fn text(self) -> Option<String>;
}

impl<V, E: fmt::Display> TextByDisplay for ErrorText<'_, Result<V, E>> {
    fn text(self) -> Option<String> {
        self.0.as_ref().err().map(ToString::to_string)
    }
}

/// The text by `Debug`.
pub trait TextByDebug {
    /// The text.
    fn text(&self) -> Option<String>;
}

impl<V, E: fmt::Debug> TextByDebug for ErrorText<'_, Result<V, E>> {
    fn text(&self) -> Option<String> {
        self.0.as_ref().err().map(|error| format!("{error:?}"))
    }
}

impl<R> Deref for ErrorText<'_, R> {
    type Target = NoText;

    fn deref(&self) -> &NoText {
        &NoText
    }
}

/// What is left of an [`ErrorText`] where nothing is known of the error.
#[derive(Debug)]
pub struct NoText;

impl NoText {
    /// None.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        None
    }
}

/// The form of fields of type `P`.
///
/// A type that is no `KeyPart` is told of where it is written, and only there: here it falls back to [`NoForm`].
#[derive(Debug)]
pub struct FormOf<P: ?Sized>(PhantomData<fn(&P)>);

impl<P: KeyPart + ?Sized> FormOf<P> {
    /// The form.
    pub const FORM: KeyForm = P::FORM;

    /// The form.
    #[must_use]
    pub fn form(&self) -> KeyForm {
        P::FORM
    }
}

/// What [`FormOf`] says of types that are no `KeyPart`.
pub trait NoForm {
    /// Never looked at.
    const FORM: KeyForm = KeyForm::ANY;

    /// Never looked at.
    fn form(&self) -> KeyForm {
        KeyForm::ANY
    }
}

impl<P: ?Sized> NoForm for FormOf<P> {}

/// The form of what is at this place in a node.
#[must_use]
pub fn form_of<N, P: ?Sized>(_: fn(&N) -> &P) -> FormOf<P> {
    FormOf(PhantomData)
}
