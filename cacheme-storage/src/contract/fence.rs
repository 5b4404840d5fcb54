use std::sync::atomic::Ordering;

#[cfg(cacheme_loom)]
use loom::sync::atomic::AtomicBool;
#[cfg(not(cacheme_loom))]
use std::sync::atomic::AtomicBool;

/// Decides whether a value that is on its way into a storage may still land there.
///
/// A load carries a fence from its beginning. A caller that invalidates, sets or refreshes the key raises it; from then on
/// the value goes to the callers that wait for it and nowhere else. A [`LocalStorage`](crate::LocalStorage) looks at the
/// fence under the same lock that orders its `insert` with its `remove`, so raising the fence and then removing the
/// key leaves no moment in which the old value can appear.
#[derive(Debug, Default)]
pub struct Fence(AtomicBool);

impl Fence {
    /// A fence that is down: values pass.
    #[must_use]
    #[cfg(not(cacheme_loom))]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// A fence that is down, watched by a model and so not made at compile time.
    #[must_use]
    #[cfg(cacheme_loom)]
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Raises the fence. It never comes down again.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Says whether the fence was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
