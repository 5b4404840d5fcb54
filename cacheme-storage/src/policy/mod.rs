//! Decisions of the in-memory engine.

mod chooser;
mod config;
mod decide;
mod ghost;
mod segments;
mod shadow;
mod sketch;

pub(crate) use chooser::Chooser;
pub(crate) use config::START;
pub(crate) use decide::{Policy, Residents};
