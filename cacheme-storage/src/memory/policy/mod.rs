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
//! | [`decide`] | [`WTinyLfu`]: the picture above, for one shard |
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
pub(crate) use decide::WTinyLfu;
pub(crate) use segments::MAX_SLOTS;

/// Decides which entries of a shard stay, by slots, hashes and weights.
pub trait Policy: Send + Sync + 'static {
    /// The name of a cache with this policy.
    const NAME: &'static str;
    /// `true` if it plays the configuration that a [`Chooser`] finds to be best.
    const ADAPTS: bool;

    /// A policy that keeps at most `capacity`, of entries or of weight.
    fn new(capacity: u64, weighted: bool, seed: u64) -> Self;

    /// The bound, of entries or of weight.
    fn capacity(&self) -> u64;

    /// The number of entries.
    fn len(&self) -> usize;

    /// The weight of all entries.
    fn weight(&self) -> u64;

    /// The number of slots, occupied, dead and free.
    fn slots(&self) -> usize;

    /// The hash of the entry in a slot.
    fn hash(&self, slot: u32) -> u32;

    /// Asks for what is known of a key that is not there.
    #[inline]
    fn prefetch(&self, _hash: u32) {}

    /// The entry in this slot is used. Others may be used at the same time. `mark` sets its mark.
    fn hit(&self, slot: u32, mark: impl FnOnce());

    /// A key that is not there arrives. Makes room and says which slot is its own; `None` if it may not stay.
    ///
    /// The caller has made sure that it weighs no more than the capacity.
    fn arrive(
        &mut self,
        hash: u32,
        weight: u32,
        choice: usize,
        residents: &mut impl Residents,
    ) -> Option<u32>;

    /// Says whether the entry in this slot weighs that much.
    fn weighs(&self, slot: u32, weight: u32) -> bool;

    /// The entry in this slot weighs something else now. Makes room, for which it may have to go itself.
    fn reweigh(&mut self, slot: u32, weight: u32, residents: &mut impl Residents);

    /// The entry in this slot was removed.
    fn remove(&mut self, slot: u32);

    /// Changes the capacity and evicts what is too much.
    fn resize(&mut self, capacity: u64, residents: &mut impl Residents);
}

/// The operations that a policy needs from the owner of the entries.
pub trait Residents {
    /// Takes the mark off the entry in this slot; says whether it was there.
    fn take_mark(&mut self, slot: u32, hash: u32) -> bool;

    /// The entry in this slot leaves.
    fn evict(&mut self, slot: u32, hash: u32);

    /// The entry in this slot is next in line to leave: asks for what its eviction will touch.
    fn prefetch(&self, _slot: u32, _hash: u32) {}
}
