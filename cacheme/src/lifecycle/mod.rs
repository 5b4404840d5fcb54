//! Setting up an instance and ending it, and the functions over the default one.

pub(crate) mod functions;
pub(crate) mod generated;
#[cfg(feature = "metrics")]
mod metrics;
