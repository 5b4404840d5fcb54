//! The kind of a node, as its instance or the handle of a [`DynamicKind`](crate::DynamicKind) gives it.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use crate::kind::Kind;
use crate::kind::table::AnyKind;
use crate::kind::table::held::HeldKind;
use crate::node::Node;

pub(crate) enum FoundKind<'c, N: Node> {
    /// The instance keeps it.
    Kept(&'c Arc<dyn AnyKind>, &'c Kind<N>),
    /// A handle keeps it.
    Held(HeldKind),
}

impl<'c, N: Node> FoundKind<'c, N> {
    #[inline]
    pub(crate) fn kept(kind: &'c Arc<dyn AnyKind>) -> Self {
        Self::Kept(kind, typed(kind))
    }

    /// The kind as a shared reference, for a call that goes on with it.
    pub(crate) fn into_arc(self) -> Arc<Kind<N>> {
        let kind = match &self {
            Self::Kept(kind, _) => kind,
            Self::Held(kind) => &**kind,
        };
        let kind: Arc<dyn Any + Send + Sync> = Arc::<dyn AnyKind>::clone(kind);
        let Ok(kind) = kind.downcast() else {
            unreachable!("{WRONG_TYPE}")
        };
        kind
    }
}

impl<N: Node> Deref for FoundKind<'_, N> {
    type Target = Kind<N>;

    #[inline]
    fn deref(&self) -> &Kind<N> {
        match self {
            Self::Kept(_, kind) => kind,
            Self::Held(kind) => typed(kind),
        }
    }
}

const WRONG_TYPE: &str = "a kind is kept under the type of its node";

#[inline]
fn typed<N: Node>(kind: &Arc<dyn AnyKind>) -> &Kind<N> {
    let kind: &dyn Any = &**kind;
    kind.downcast_ref().expect(WRONG_TYPE)
}
