//! Decisions of the in-memory engine: who stays, who leaves. Of slots and hashes, without values and without locks.
//!
//! ```text
//!                         arrives                                   hits only set a mark (memory/store.rs)
//!                            │ counted in the sketch
//!        in the ghost, and back before the victim's turn? ──yes──────────────┐
//!                            │ no                                            │
//!                            ▼                                               ▼
//!    ┌─ window ──────────────────────┐   wins    ┌─ probation ─┐ marked  ┌─ protected ─┐
//!    │ head: the candidate           │ ────────▶ │ head: the   │ ──────▶ │ two thirds  │
//!    │ marked goes to the tail       │           │ victim      │ ◀────── │ of main     │
//!    └───────────────────────────────┘           └─────────────┘ overflow└─────────────┘
//!                            │ loses                     │ loses
//!                            └────────────▶ ghost ◀──────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`sketch`] | how often keys came lately |
//! | [`ghost`] | keys that left lately, and when they were used last |
//! | [`segments`] | the three queues, linked through the slots |
//! | [`config`] | the eight configurations (window share and mode), and who wins |
//! | [`decide`] | [`Policy`]: the picture above, for one shard |
//! | [`shadow`] | a small cache of hashes that plays one configuration on a sample of the keys, with the policy itself |
//! | [`chooser`] | [`Chooser`]: eight shadows, and which configuration is best now; one for all shards |
//!
//! Time is counted in arrivals, 128 ticks a turnover, so no clock is read. An entry costs the policy 12 bytes here, 10 in
//! the sketch, and 5.6 in the ghost. Each part has beside it a version as one would write it on paper, and is
//! compared with it step by step.
//!
//! Constants are argued for where they stand and hold for all workloads; `benches/README.md` says what was tried.

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
