//! The read path, and the states of a flight (the page of a read).
//!
//! ```text
//! node ─ full key on the stack ── local first tier ──hit──▶ value
//!                                      │ miss
//!                                      ▼
//!                               join the key's flight ──someone leads──▶ wait for its end ─▶ value
//!                                      │ we lead
//!                                      ▼
//!              all tiers in order, taking leases (pass.rs)──hit──▶ fill the tiers before ─▶ value
//!                                      │ miss
//!                                      ▼
//!            load, in the background ─▶ fill remote tiers back to front ─▶ fill local tiers ─▶ end of the flight
//! ```
//!
//! A bulk read of a chain that begins with a remote tier looks into that first: there is nothing before it to be filled, so
//! a value found there needs no flight, unless a local tier behind it may have an older copy.
//!
//! # The states of a flight
//!
//! A flight is the one load of a key in this process ([`flight`](crate::flight)). This table says what its leader is doing, what can happen
//! meanwhile, and what each event does. The page of [`write`](crate::write) has the flights of `set` and `refresh`. `TABLE` is the
//! [`FlightTable`](crate::flight::FlightTable); a flight that has left it is joined by nobody, and still answers its waiters.
//!
//! | state | where | held in |
//! |---|---|---|
//! | LOOKING at tier *n* | `pass.rs` | `Stage::Looking` in `item.rs`; leases of the tiers before are in `Item::leases` |
//! | WAITING at tier *n*, whose lease another process has | `batch.rs` (`advance`) | `Stage::Waiting` |
//! | LOADING | `drive/`, `get_with.rs`, `get_all_with.rs` | `Stage::Ready`, then `Stage::Loading` |
//! | STORING | `land.rs`, `fill.rs` | `storing` in the state of the [`Flight`](crate::flight::Flight) |
//! | DONE with a value or a failure | `flight/mod.rs` | the outcome of the flight |
//! | ABANDONED | `flight/mod.rs` | the flight has ended without an outcome |
//!
//! ## What the leader does
//!
//! | event | from | what happens | next |
//! |---|---|---|---|
//! | tier *n* has no value | LOOKING | the lease is taken, where there are leases; without an answer the flight goes on without it and nothing is stored in that tier | LOOKING at *n* + 1, or LOADING |
//! | another process has the lease of tier *n* | LOOKING, WAITING | the leader asks again when the storage reports a change or a pause is over | WAITING |
//! | waited too long | WAITING | what comes is handed out and stored nowhere | LOOKING at *n* + 1, or LOADING |
//! | value found at tier 0 | LOOKING, WAITING | local tiers behind a remote one lose what they have | DONE |
//! | value found at tier *n* > 0 | LOOKING, WAITING | the same, and the tiers before *n* are to be filled; a value of a local tier fills local tiers only | STORING |
//! | value loaded | LOADING | all tiers are to be filled: remote tiers back to front, then local ones | STORING |
//! | load failed, panicked or took too long | LOADING | nothing is stored, leases are released | DONE |
//! | lease lost | STORING | nearer tiers get nothing; farther ones keep what they took | DONE |
//! | storage in trouble, value too large | STORING | the other tiers get the value | STORING |
//! | all tiers stored or refused the value | STORING | the flight leaves the TABLE, then its waiters get the value; leases that are left are released | DONE |
//!
//! ## What others do meanwhile
//!
//! | event | LOOKING, WAITING, LOADING | STORING | case in `flight/model.rs` |
//! |---|---|---|---|
//! | another `get` | waits for the end; a load that queues in a bulk call begins at once | waits for the end | `r1_…` (three) |
//! | the waiter goes away | nothing | nothing | `l1_a_waiter_that_goes_away_takes_nobody_elses_place` |
//! | `invalidate`, `set` or `refresh` here | leaves the TABLE, is stored nowhere; the change does not wait | leaves the TABLE; tiers not written yet get nothing; the change waits for the end, then removes | `c1_nobody_joins_a_fenced_flight`, `c1_nothing_old_is_stored_after_an_invalidation`, `c1_a_fence_that_is_raised_while_a_flight_ends_sees_the_end` |
//! | a change in another process, or a lost connection to the bus | is stored nowhere; leaves the TABLE if every remote tier has leases, else new callers still join | the same: tiers not written yet get nothing | `c3_nobody_joins_a_load_that_another_process_overtook` |
//! | its storages are replaced or switched off or on ([`lifecycle`](crate::lifecycle)) | as a change in another process; its kind is retired, and what it stores in local tiers counts as absent | the same | none |
//! | an older flight of the key hands out what a remote tier has now | not stored in local tiers | the same | none |
//! | the time limit of a waiter is over | leaves the TABLE, is stored nowhere; the waiter leads a new flight. The leader extends the time limit while it is polled | the same, for tiers not written yet | `l3_one_takes_over_from_a_leader_that_is_stuck` |
//! | the leader is dropped or panics | ABANDONED: waiters try again and one of them leads; leases are given back in the background | the same; what a tier took stays | `l1_a_waiter_takes_over_from_a_cancelled_leader`, `l2_a_leader_that_panics_leaves_nobody_behind` |
//!
//! The model has no tiers and no leases of a chain: the first table is tested by the promises R2, R3, C1 and C2 in `tests/`.
//! The loads of nodes run in the background, so their leaders are dropped with the runtime only, once LOADING has begun. The leader of a
//! `get_with` is its caller.

pub(crate) mod batch;
pub(crate) mod drive;
mod fill;
pub(crate) mod get;
mod get_all_with;
pub(crate) mod get_with;
mod item;
mod land;
mod leases;
mod pass;
mod peek;
mod refresh;
