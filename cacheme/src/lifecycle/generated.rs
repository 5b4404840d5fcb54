//! Names for generated code. Not for use by hand: they change without notice.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::error::Kept;
use crate::instance::Cacheme;
use crate::lifecycle::default::default_instance;
use crate::read::get_with::{LoadOutcome, TextOf};

#[cfg(feature = "msgpack")]
pub use cacheme_storage::MsgPack as DefaultSerializer;
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

/// The call that `#[memoize]` expands to.
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

/// The types that the function of `#[node(load_all = …)]` may return.
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

/// The error of a loader, on its way into a box.
#[derive(Debug)]
pub struct LoaderError<E>(pub E);

impl<E: AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static> LoaderError<E> {
    /// Boxes a value that is no error itself but has one, such as `anyhow::Error`. It is preferred to [`BoxByInto::boxed`] where both
    /// apply.
    #[must_use]
    pub fn boxed(self) -> BoxError {
        Kept::boxed(self.0)
    }
}

/// Boxes all other errors of loaders.
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

/// The text of the error that a memoized function returned: with its causes, else by `Display`, by `Debug`, or none.
///
/// The compiler looks `text` up for the type that the function names, and finds the first of these that the type has.
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

/// The case of an [`ErrorText`] whose type has no text.
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
/// The compiler reports a type that is no `KeyPart` where the type is written, and only there: here it falls back to [`NoForm`].
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

/// The form of types that are no `KeyPart`.
pub trait NoForm {
    /// Never looked at.
    const FORM: KeyForm = KeyForm::ANY;

    /// Never looked at.
    fn form(&self) -> KeyForm {
        KeyForm::ANY
    }
}

impl<P: ?Sized> NoForm for FormOf<P> {}

/// The form of the type of a node's field.
#[must_use]
pub fn form_of<N, P: ?Sized>(_: fn(&N) -> &P) -> FormOf<P> {
    FormOf(PhantomData)
}
