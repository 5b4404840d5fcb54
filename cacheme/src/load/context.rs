//! The context of a load.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::flight::store::StoreCell;
use crate::instance::Cacheme;

/// The context of a load: the instance that loads, and how the value is to be stored.
pub struct LoadContext<N> {
    cacheme: Cacheme,
    pub(crate) store: StoreCell,
    single_loads: SingleLoads,
    node: PhantomData<fn() -> N>,
}

/// Whether each node of a `load_all` gets a load of its own instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SingleLoads {
    No,
    /// The caller of `load_all` can do so.
    Offered,
    /// The default `load_all` asked for it.
    Accepted,
}

impl<N> LoadContext<N> {
    pub(crate) fn new(cacheme: Cacheme) -> Self {
        Self {
            cacheme,
            store: StoreCell::default(),
            single_loads: SingleLoads::No,
            node: PhantomData,
        }
    }

    /// A context for `load_all`. The default one accepts the offer and returns nothing; then each node gets a load of its own.
    pub(crate) fn offering_single_loads(cacheme: Cacheme) -> Self {
        Self {
            single_loads: SingleLoads::Offered,
            ..Self::new(cacheme)
        }
    }

    /// Whether the offer was accepted.
    pub(crate) fn wants_single_loads(&self) -> bool {
        self.single_loads == SingleLoads::Accepted
    }

    pub(super) fn accept_single_loads(&mut self) -> bool {
        if self.single_loads == SingleLoads::Offered {
            self.single_loads = SingleLoads::Accepted;
        }
        self.wants_single_loads()
    }

    /// The instance that loads. Loaders read other nodes with it.
    #[must_use]
    pub fn cacheme(&self) -> &Cacheme {
        &self.cacheme
    }

    /// The value of this type that the instance was built with ([`CachemeBuilder::state`](crate::CachemeBuilder::state)).
    ///
    /// # Panics
    ///
    /// If there is none, which the caller of the load gets as [`Error::LoadPanicked`](crate::Error::LoadPanicked). With `#[node(state = T)]` a load is
    /// refused before it begins, and [`check`](crate::check) says so at start-up.
    #[must_use]
    #[track_caller]
    pub fn state<T: 'static>(&self) -> &T {
        self.try_state().unwrap_or_else(|| {
            let (node, state) = (std::any::type_name::<N>(), std::any::type_name::<T>());
            panic!("the loader of node `{node}` needs a `{state}`; build the instance with `Cacheme::builder().state(…)`")
        })
    }

    /// The value of this type that the instance was built with, if there is one.
    #[must_use]
    pub fn try_state<T: 'static>(&self) -> Option<&T> {
        self.cacheme.inner.state.get()
    }

    /// Lets the value live for `ttl` at most, in every tier. It only shortens the ttl of a tier.
    pub fn ttl(&self, ttl: Duration) {
        self.store.shorten(ttl);
    }

    /// Lets the value go to the callers that wait for it, and be stored nowhere.
    pub fn do_not_store(&self) {
        self.store.skip();
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            cacheme: self.cacheme.clone(),
            store: self.store.get().into(),
            single_loads: SingleLoads::No,
            node: PhantomData,
        }
    }
}

impl<N> fmt::Debug for LoadContext<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("store", &self.store.get())
            .finish_non_exhaustive()
    }
}
