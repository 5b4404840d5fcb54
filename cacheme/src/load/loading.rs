//! The load in which code runs, for functions that get no context.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::flight::{self, RunningLoad};

/// The load in which the caller runs, to say how its value is to be stored.
///
/// This is what [`LoadContext`](crate::LoadContext) is for a `load`, for the body of a memoized function. Outside of a load, where nothing is
/// stored, what is said has no effect: so a function can be called with and without a cache. Code in a task that the load spawns is outside.
///
/// ```
/// use std::time::Duration;
///
/// #[cacheme::memoize(key = "quote:{symbol}", ttl = "1h")]
/// async fn quote(symbol: &str) -> f64 {
///     let closed = symbol.starts_with("old-");
///     if !closed {
///         cacheme::loading().ttl(Duration::from_secs(1));
///     }
///     12.5
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(quote("tea").await, 12.5);
/// # }
/// ```
#[must_use]
pub fn loading() -> Loading {
    Loading(flight::running())
}

/// The load in which code runs. [`loading`] gives it.
#[derive(Clone)]
pub struct Loading(Option<Arc<RunningLoad>>);

impl Loading {
    /// Lets the value live for `ttl` at most, in every tier. It only shortens the ttl of a tier.
    pub fn ttl(&self, ttl: Duration) {
        self.0.iter().for_each(|load| load.store.shorten(ttl));
    }

    /// Lets the value go to the callers that wait for it, and be stored nowhere.
    pub fn do_not_store(&self) {
        self.0.iter().for_each(|load| load.store.skip());
    }

    /// Whether there is a load.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading")
            .field("store", &self.0.as_ref().map(|load| load.store.get()))
            .finish()
    }
}
