//! The read path:
//!
//! ```text
//! node ─ full key on the stack ── local first tier ──hit──▶ value
//!                                      │ miss
//!                                      ▼
//!                               join the key's flight ──someone leads──▶ wait for its end ─▶ value
//!                                      │ we lead
//!                                      ▼
//!              all tiers in order, taking leases (batch/) ──hit──▶ fill the tiers before ─▶ value
//!                                      │ miss
//!                                      ▼
//!            load, in the background ─▶ fill remote tiers back to front ─▶ fill local tiers ─▶ end of the flight
//! ```
//!
//! A bulk read of a chain that begins with a remote tier looks into that first: there is nothing before it to be filled, so
//! what is there needs no flight, unless something older may lie in memory behind it.

pub(crate) mod batch;
pub(crate) mod drive;
mod fill;
pub(crate) mod get;
pub(crate) mod get_with;
mod land;
mod leases;
mod pass;
