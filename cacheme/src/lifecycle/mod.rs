//! The life of an instance: it is built, gets its storages, is checked and observed.
//!
//! | file | holds |
//! |---|---|
//! | `builder.rs` | `Cacheme::builder` |
//! | `register.rs` | `register_storage`: a storage gets its name and its bus, and is connected; it is replaced and taken away |
//! | `switch.rs` | `set_enabled`: an instance, a kind or a storage is switched off |
//! | `close.rs` | `close`: work under way ends, and what is left is told |
//! | `check.rs` | `check`, and the nodes that it looks at |
//! | `default.rs` | the process-wide instance, and the free functions of the crate |
//! | `metrics.rs` | counters for exporters |
//! | `generated.rs`, `loader.rs` | names that the code of the macros uses |
//!
//! An instance that is not closed ends when its last clone is dropped: the `Drop` in `instance/mod.rs` ends its subscriptions.

pub(crate) mod builder;
mod check;
mod close;
pub(crate) mod default;
pub(crate) mod generated;
mod loader;
#[cfg(feature = "metrics")]
mod metrics;
mod register;
mod switch;
