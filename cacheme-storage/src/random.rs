use std::hash::{BuildHasher, RandomState};

/// A number nobody outside the process can foresee, so that nobody can choose keys that collide.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(())
}
