//! The context of a load.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::instance::Cacheme;

/// The context of a load: the instance that loads, and how the value is to be stored.
pub struct LoadContext<N> {
    cacheme: Cacheme,
    pub(crate) store: Store,
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

/// How the loader wants its value to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Store {
    /// Bounds the ttl of every tier.
    pub(crate) ttl: Option<Duration>,
    /// The value is handed out and stored nowhere.
    pub(crate) skip: bool,
}

impl Store {
    /// Combines both: the shorter ttl, and no storing if one of them forbids it.
    pub(crate) fn and(self, other: Self) -> Self {
        let ttl = self.ttl.into_iter().chain(other.ttl).min();
        Self {
            ttl,
            skip: self.skip || other.skip,
        }
    }
}

impl<N> LoadContext<N> {
    pub(crate) fn new(cacheme: Cacheme) -> Self {
        Self {
            cacheme,
            store: Store::default(),
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

    /// Lets the value live for `ttl` at most, in every tier. It only shortens the ttl of a tier.
    pub fn ttl(&mut self, ttl: Duration) {
        self.store.ttl = Some(self.store.ttl.map_or(ttl, |old| old.min(ttl)));
    }

    /// Lets the value go to the callers that wait for it, and be stored nowhere.
    pub fn do_not_store(&mut self) {
        self.store.skip = true;
    }

    pub(super) fn fork(&self) -> Self {
        Self {
            cacheme: self.cacheme.clone(),
            store: self.store,
            single_loads: SingleLoads::No,
            node: PhantomData,
        }
    }
}

impl<N> fmt::Debug for LoadContext<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
