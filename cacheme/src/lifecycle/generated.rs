//! Names for generated code. Not for use by hand: they change without notice.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

pub use crate::error::Error;
use crate::error::SharedError;
use crate::instance::Cacheme;
pub use crate::kind::dynamic::{DynamicKind, DynamicNode, MemoSite};
use crate::lifecycle::default::default_instance;
use crate::read::get::look_in;

#[cfg(feature = "msgpack")]
pub use cacheme_storage::MsgPack as DefaultSerializer;
pub use inventory;
pub use serde::Serialize;
pub use serde::de::DeserializeOwned;

pub use crate::lifecycle::loader::{ErrorOfLoader, Loader, LoadersOf};
pub use crate::load::context::LoadContext;
pub use crate::load::outcome::Sharing;
pub use crate::load::{Load, Loaded};
pub use crate::node::Node;
pub use crate::node::key::displayed::{ByDisplay, Displayed, EscapedForm, display_form_of};
pub use crate::node::key::{KeyForm, KeyPart, KeyWriter, Text};
pub use crate::node::policy::{NodeInfo, Policy};
pub use crate::node::registration::{DerivedNode, NodeRegistration};
pub use crate::read::get_with::Looked;
pub use crate::write::changes::ChangesOfBody;
pub use cacheme_storage::BoxError;
use cacheme_storage::Chain;

/// The changes of a function that invalidates.
#[must_use]
pub fn changes_of_body(cacheme: Option<&Cacheme>) -> ChangesOfBody {
    ChangesOfBody::new(cacheme.unwrap_or_else(|| default_instance()))
}

/// What a function that invalidates returned.
#[derive(Debug)]
pub struct Returned<'r, R>(pub &'r R);

impl<'r, V, E> Returned<'r, Result<V, E>> {
    /// The value, unless the function failed.
    #[must_use]
    pub fn value(&self) -> Option<&'r V> {
        self.0.as_ref().ok()
    }
}

/// A function that cannot fail.
pub trait ReturnedValue<'r, R> {
    /// What it returned.
    fn value(&self) -> Option<&'r R>;
}

impl<'r, R> ReturnedValue<'r, R> for Returned<'r, R> {
    fn value(&self) -> Option<&'r R> {
        Some(self.0)
    }
}

/// The node that `after` makes of what a function returned.
#[must_use]
pub fn after<V, N: Node>(value: &V, after: impl FnOnce(&V) -> N) -> N {
    after(value)
}

/// The node of a memoized function, which has to be one.
#[inline]
pub fn node<N: Node>(node: N) -> N {
    node
}

/// Looks for the value of a node.
#[inline]
pub fn look<N: Node, R>(cacheme: Option<&Cacheme>, node: &N, sharing: Sharing<N::Value, R>) -> Looked<N, R> {
    let cacheme = cacheme.unwrap_or_else(|| default_instance());
    Looked::new(cacheme, cacheme.look(node), sharing)
}

/// Looks for the value of the node that has the key which `write_key` writes, without making the node.
#[inline]
pub fn look_by<N: DerivedNode, R>(
    cacheme: Option<&Cacheme>,
    write_key: impl FnOnce(&mut KeyWriter),
    sharing: Sharing<N::Value, R>,
) -> Looked<N, R> {
    let cacheme = cacheme.unwrap_or_else(|| default_instance());
    let kind = cacheme.kind_of_type::<N>();
    Looked::new(cacheme, kind.map(|kind| look_in(kind, write_key)), sharing)
}

/// Looks for the value of the node of a memoized method, without making the node.
#[inline]
pub fn look_dynamic<V: Clone + Send + Sync + 'static, R>(
    cacheme: Option<&Cacheme>,
    kind: &DynamicKind<V>,
    write_key: impl FnOnce(&mut KeyWriter),
    sharing: Sharing<V, R>,
) -> Looked<DynamicNode<V>, R> {
    let cacheme = cacheme.unwrap_or_else(|| default_instance());
    let kind = cacheme.kind_of_dynamic::<DynamicNode<V>>(kind);
    Looked::new(cacheme, kind.map(|kind| look_in(kind, write_key)), sharing)
}

/// Removes the value of the node of a memoized function.
///
/// # Errors
///
/// Those of [`Cacheme::invalidate`].
pub async fn invalidate<N: Node>(cacheme: Option<&Cacheme>, node: &N) -> Result<(), Error> {
    cacheme
        .unwrap_or_else(|| default_instance())
        .invalidate(node)
        .await
}

/// Loads the value of the node of a memoized function anew.
///
/// # Errors
///
/// Those of [`Cacheme::refresh_with`].
pub async fn refresh<N, F>(
    cacheme: Option<&Cacheme>,
    node: &N,
    load: impl FnOnce() -> F,
) -> Result<N::Value, Error>
where
    N: Node,
    F: Future<Output = Result<N::Value, BoxError>>,
{
    cacheme
        .unwrap_or_else(|| default_instance())
        .refresh_with(node, load)
        .await
}

/// The outcome of a memoized function that is an error, with its text, on its way into a box.
#[derive(Debug)]
pub struct Failed<R>(pub (R, Option<String>));

impl<V, E: AsRef<dyn StdError + Send + Sync> + Send + Sync + 'static> Failed<Result<V, E>> {
    /// Boxes an error that is one by reference.
    #[must_use]
    pub fn boxed(self) -> BoxError {
        match self.0.0 {
            Ok(_) => unreachable!("the outcome is an error"),
            Err(error) => SharedError::boxed(error),
        }
    }
}

/// Boxes an error that can be one.
pub trait FailedByInto {
    /// The error in a box.
    fn boxed(self) -> BoxError;
}

impl<V, E: Into<BoxError>> FailedByInto for Failed<Result<V, E>> {
    fn boxed(self) -> BoxError {
        match self.0.0 {
            Ok(_) => unreachable!("the outcome is an error"),
            Err(error) => error.into(),
        }
    }
}

/// Boxes the text of an error.
pub trait FailedByText {
    /// The text in a box.
    fn boxed(&self) -> BoxError;
}

impl<R> FailedByText for Failed<R> {
    fn boxed(&self) -> BoxError {
        let text = self.0.1.clone();
        text.unwrap_or_else(|| "the memoized function returned an error".into())
            .into()
    }
}

/// The outcome `R` of a function that is memoized under a node of the value `V`. Its `sharing` says what waiters get of an error.
///
/// The compiler looks `sharing` up for the types that the function names, and finds the first of these that they have: clones, sources, none.
pub struct Outcome<V, R>(PhantomData<fn(V) -> R>);

/// The outcome of a function that is memoized under `node`.
#[must_use]
pub fn outcome_of<N: Node, R>(_: &N) -> Outcome<N::Value, R> {
    Outcome(PhantomData)
}

/// The outcome of a function that is memoized under a node of a type.
#[must_use]
pub fn outcome<N: Node, R>() -> Outcome<N::Value, R> {
    Outcome(PhantomData)
}

impl<V, R> fmt::Debug for Outcome<V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome").finish()
    }
}

impl<V> Outcome<V, V> {
    /// There is no error.
    #[must_use]
    pub fn sharing(self) -> Sharing<V, V> {
        Sharing::infallible()
    }
}

impl<V: 'static, E: Clone + Send + Sync + 'static> Outcome<V, Result<V, E>> {
    /// Waiters get clones.
    #[must_use]
    pub fn sharing(self) -> Sharing<V, Result<V, E>> {
        Sharing::by_clone()
    }
}

/// Waiters get an error that is made of the first.
pub trait SharedBySource<V, R> {
    /// How.
    fn sharing(self) -> Sharing<V, R>;
}

impl<V, E> SharedBySource<V, Result<V, E>> for Outcome<V, Result<V, E>>
where
    E: AsRef<dyn StdError + Send + Sync> + From<SharedError> + Send + Sync + 'static,
{
    fn sharing(self) -> Sharing<V, Result<V, E>> {
        Sharing::by_source()
    }
}

/// Waiters get nothing.
pub trait NotShared<V, R> {
    /// How.
    fn sharing(&self) -> Sharing<V, R>;
}

impl<V, E> NotShared<V, Result<V, E>> for Outcome<V, Result<V, E>> {
    fn sharing(&self) -> Sharing<V, Result<V, E>> {
        Sharing::alone()
    }
}

impl<V, R> Deref for Outcome<V, R> {
    type Target = OtherOutcome<V, R>;

    fn deref(&self) -> &OtherOutcome<V, R> {
        &OtherOutcome(PhantomData)
    }
}

/// The outcome of a function that returns something else than its node caches.
#[derive(Debug)]
pub struct OtherOutcome<V, R>(PhantomData<fn(V) -> R>);

impl<V, R> OtherOutcome<V, R> {
    /// Never called: the compiler says what is wrong.
    #[must_use]
    pub fn sharing(&self) -> Sharing<V, R>
    where
        R: Returns<V>,
    {
        unreachable!("no type is a `Returns`")
    }
}

/// The types that a function which is memoized under a node of the value `V` may return.
#[diagnostic::on_unimplemented(
    message = "this returns `{Self}`, but its node caches `{V}`",
    label = "expected `{V}` or `Result<{V}, E>`"
)]
pub trait Returns<V> {}

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
        SharedError::boxed(self.0)
    }
}

/// Boxes all other errors of loaders.
pub trait BoxByInto {
    /// The type of the error.
    type Error;

    /// The error in a box.
    fn boxed(self) -> BoxError
    where
        Self::Error: ErrorOfLoader;
}

impl<E> BoxByInto for LoaderError<E> {
    type Error = E;

    fn boxed(self) -> BoxError
    where
        E: ErrorOfLoader,
    {
        self.0.into_box()
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
