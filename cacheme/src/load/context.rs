//! What a loader is handed, and what it says about its value.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::instance::Cacheme;

/// What a loader knows of its caller, and what it can say about storing the value.
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
    /// Whoever calls `load_all` can do so.
    Offered,
    /// And is to do so.
    Accepted,
}

/// What a loader said about storing its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Store {
    /// Bounds the ttl of every tier.
    pub(crate) ttl: Option<Duration>,
    /// The value is handed out and stored nowhere.
    pub(crate) skip: bool,
}

impl Store {
    /// Both: the shorter ttl, and stored only if both let it be.
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

    /// For a `load_all`: the default one brings nothing, and is answered with a load for each node.
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

    /// The instance that loads, for loaders that read other nodes.
    #[must_use]
    pub fn cacheme(&self) -> &Cacheme {
        &self.cacheme
    }

    /// Lets the value live for `ttl` at most, in every tier. Only ever shortens what the tiers say.
    pub fn ttl(&mut self, ttl: Duration) {
        self.store.ttl = Some(self.store.ttl.map_or(ttl, |old| old.min(ttl)));
    }

    /// Hands the value to those who wait for it and stores it nowhere.
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
