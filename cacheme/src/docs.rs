//! Guides.

/// Consistency: the promises, their limits, their tests.
#[doc = include_str!("../docs/consistency.md")]
pub mod consistency {}
