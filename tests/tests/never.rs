//! The promises on reading, loading and consistency, one interleaving a test, on storages that stop where the
//! test says and a clock that it moves.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

#[path = "never/fakes.rs"]
mod fakes;
#[path = "never/features.rs"]
mod features;
#[path = "never/fencing.rs"]
mod fencing;
#[path = "never/leases.rs"]
mod leases;
#[path = "never/lost_answers.rs"]
mod lost_answers;
#[path = "never/source.rs"]
mod source;
