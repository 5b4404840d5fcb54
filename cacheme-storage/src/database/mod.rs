//! What the storages that keep their entries in a database have in common: names of tables, sorted keys, times to
//! live in milliseconds, the gate that closing waits at, and the upkeep in the background.

mod gate;
mod keys;
#[cfg(feature = "_sql")]
mod piece;
mod prefix;
mod ready;
#[cfg(feature = "_sql")]
mod table;
mod ttl;
mod upkeep;

pub(crate) use gate::{Gate, Pass};
pub(crate) use keys::KeySet;
#[cfg(feature = "_sql")]
pub(crate) use piece::pieces;
pub(crate) use prefix::after_prefix;
pub(crate) use ready::Ready;
#[cfg(feature = "_sql")]
pub(crate) use table::TableName;
pub(crate) use ttl::{LEASE_LIMIT_MS, millis, ttl_millis};
pub(crate) use upkeep::{Upkeep, UpkeepTask};
