//! Changes of a key: `set`, `invalidate` and `refresh` (the page of a change).
//!
//! | file | holds |
//! |---|---|
//! | `set.rs`, `invalidate.rs` | the steps of these two |
//! | `read/refresh.rs` | the steps of `refresh`, which is a read that skips the tiers |
//! | `retry.rs` | removals, and the task that tries failed ones again |
//! | `publish.rs` | the last step: other processes are informed |
//! | `receive.rs` | a change in another process |
//!
//! Each change fences the flight of the key first. It writes remote tiers back to front: if a nearer one were cleared first, another process
//! could fill it again from the one behind. It publishes the change on the bus last.
//!
//! # The steps of a change
//!
//! | step | `invalidate` | `set` | `refresh` |
//! |---|---|---|---|
//! | 1 | fences the flight, drops the key from local tiers | takes the flight's place, fences it | takes the flight's place, fences it |
//! | 2 | waits until a flight that was storing has ended | waits likewise | waits likewise: QUEUED |
//! | 3 | removes the key from remote tiers | writes remote tiers; removes where that fails | takes all leases away, loads, then fills remote tiers |
//! | 4 | fences again, drops the key from local tiers again, waits for a flight that was storing | writes local tiers | fills local tiers |
//! | 5 | if such a flight may have copied the old value to a tier without leases: steps 3 and 4 again | | |
//! | 6 | | ends its flight | leaves the table of flights |
//! | 7 | publishes the key | publishes the key | publishes the key, then ends its flight |
//!
//! A removal that fails is [pending](crate::kind::pending): the key counts as absent in that tier, and a task tries again. So does a key that
//! could not be published.
//!
//! # The states of a change's flight
//!
//! `set` and `refresh` have flights, so a `get` meanwhile waits for the new value. `invalidate` has none. The states are those of
//! [`read`](crate::read), and two more:
//!
//! - QUEUED: a `refresh` behind an older flight that is storing (`waits_for` in the state of the [`Flight`]). It has begun nothing.
//! - SETTING: a `set`. It counts as storing from its birth, so every later change waits for it.
//!
//! | event | QUEUED refresh | SETTING | a refresh that has begun | case in `flight/model.rs` |
//! |---|---|---|---|---|
//! | another `get` | waits for the end | waits for the end | waits for the end | `c1_a_write_and_a_caller_end_and_leave_nothing` |
//! | another change here | leaves the table; the change waits for the older store | leaves the table; the change waits. The `set` still writes remote tiers, and drops the key from local ones | as a load | `c1_the_later_of_two_writes_stays`, `c1_a_change_waits_for_the_store_that_a_refresh_is_queued_behind` |
//! | the older store has ended, or its time is over | takes leases and loads | writes | | those of the row before |
//! | a change in another process | nothing: what it will load is newer | not stored in local tiers; stays in the table | as a load; where it left the table, it drops local copies again at its end | `c1_nothing_older_is_nearby_after_a_set_during_which_a_message_came`, `…_after_a_refresh_…` |
//! | an older flight hands out what a remote tier has now | not stored in local tiers | not stored in local tiers | not stored in local tiers | none |
//! | a waiter's patience is over | leaves the table, is stored nowhere | leaves the table; still writes remote tiers, not local ones | as a load | `l3_…` for a load alone |
//! | its task is dropped (the runtime ends), or code of the value panics | ABANDONED | ABANDONED | ABANDONED; a value's panic is the outcome of a load in the background | `l1_…`, `l2_…` for a load alone |
//!
//! A refresh stores as a load does, but leaves nothing older behind: a tier that does not take its value loses the old one.

pub(crate) mod changes;
mod invalidate;
pub(crate) mod publish;
mod receive;
pub(crate) mod retry;
mod set;

pub(crate) use self::invalidate::change_again;
use std::sync::Arc;

use tokio::time::Instant;

use crate::background;
use crate::error::{Error, Result};
use crate::flight::Flight;
use crate::flight::outcome::Outcome;
use crate::kind::Kind;
use crate::node::Node;

/// Runs `work` on a task of its own where there is a runtime, so that a dropped caller does not leave it half done.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match background::spawn(work) {
        Ok(task) => match task.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::ShuttingDown),
            },
        },
        // Boxed, so that the future of a change has no room for its work twice.
        Err(work) => Box::pin(work).await,
    }
}

/// Waits until fenced flights that are storing have ended, since their values have to be removed after that. Returns whether one was
/// storing.
pub(crate) async fn settle<N: Node>(
    kind: &Kind<N>,
    flights: impl IntoIterator<Item = Arc<Flight<Outcome<N::Value>>>>,
) -> bool {
    // A `set` may have waited for an older one before it writes.
    let bound = Instant::now() + kind.storing_patience() * 2;
    let mut stored = false;
    for flight in flights {
        if flight.is_storing() {
            stored = true;
            // A leader past this bound is a future that nobody polls. It reads its fence before it writes again.
            let _ = tokio::time::timeout_at(bound, flight.end()).await;
        }
    }
    stored
}
