//! Guides: how to begin, what is promised, and how storages are chosen and set up.

/// Getting started: from a memoized function to a service.
#[doc = include_str!("../docs/getting-started.md")]
pub mod getting_started {}

/// Testing: an instance, a clock and a sick storage for each test.
#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

/// Consistency: the promises, their limits, their tests.
#[doc = include_str!("../docs/consistency.md")]
pub mod consistency {}

/// Storages: which there are, their URLs and options.
#[doc = include_str!("../docs/storages.md")]
pub mod storages {}

/// Running a service: storages that are not there, switched off or replaced, and the end.
#[doc = include_str!("../docs/running.md")]
pub mod running {}

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
