//! What the storages that keep their entries in a database have in common: names of tables, sorted keys, times to
//! live in milliseconds, and the upkeep in the background.

#[cfg(feature = "_server")]
mod backoff;
#[cfg(feature = "_server")]
mod connections;
mod deadline;
#[cfg(feature = "_server")]
mod drive;
mod finish;
#[cfg(feature = "_server")]
mod foreign;
#[cfg(feature = "_server")]
mod host;
mod keys;
#[cfg(any(feature = "mysql", feature = "mongodb"))]
mod leases;
#[cfg(feature = "_server")]
mod lineage;
mod piece;
mod prefix;
mod ready;
#[cfg(any(feature = "mysql", feature = "mongodb"))]
mod receipt;
mod remote;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
mod repeat;
#[cfg(feature = "_server")]
mod server;
#[cfg(feature = "_server")]
mod server_pool;
#[cfg(any(feature = "_server", feature = "mongodb"))]
mod side_by_side;
#[cfg(feature = "_server")]
mod statement;
#[cfg(feature = "_sql")]
mod table;
#[cfg(feature = "_sql")]
mod table_options;
mod time;
#[cfg(feature = "_server")]
mod trouble;
#[cfg(any(feature = "_server", feature = "mongodb"))]
mod turns;
mod upkeep;

pub(crate) use crate::remote::gate::{Gate, Pass};
#[cfg(feature = "_server")]
pub(crate) use connections::{Dial, DriverError, Made, Terms};
pub(crate) use deadline::{deadline_millis, too_late};
#[cfg(any(feature = "sqlite", feature = "mongodb"))]
pub(crate) use finish::Finish;
#[cfg(feature = "_server")]
pub(crate) use host::host_and_port;
pub(crate) use keys::KeySet;
#[cfg(any(feature = "mysql", feature = "mongodb"))]
pub(crate) use leases::{Found, LeaseTurns, acquire_by_turns};
#[cfg(feature = "mysql")]
pub(crate) use piece::padded;
pub(crate) use piece::{PieceLimits, pieces};
pub(crate) use prefix::after_prefix;
pub(crate) use ready::Ready;
#[cfg(any(feature = "mysql", feature = "mongodb"))]
pub(crate) use receipt::receipt;
pub(crate) use remote::remote_storage;
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use repeat::repeat;
#[cfg(feature = "_server")]
pub(crate) use server::{Server, ServerKind, tls_setters};
#[cfg(feature = "_server")]
pub(crate) use server_pool::{ServerConnection, ServerPool};
#[cfg(any(feature = "_server", feature = "mongodb"))]
pub(crate) use side_by_side::side_by_side;
#[cfg(feature = "_server")]
pub(crate) use statement::Protocol;
#[cfg(feature = "mysql")]
pub(crate) use statement::Statement;
#[cfg(feature = "postgres")]
pub(crate) use statement::{Encode, Encoded};
#[cfg(feature = "_sql")]
pub(crate) use table::TableName;
#[cfg(feature = "_sql")]
pub(crate) use table_options::{TableOptions, table_setters};
pub(crate) use time::{LEASE_LIMIT_MS, millis, ttl_millis};
#[cfg(feature = "_server")]
pub(crate) use trouble::Trouble;
#[cfg(feature = "mongodb")]
pub(crate) use turns::{Entered, NoTurn, Turn, Turns};
pub(crate) use upkeep::{Upkeep, UpkeepTask};

/// How long a server that is past its time limit may be silent until it is taken for lost.
#[cfg(any(feature = "_server", feature = "mongodb"))]
pub(crate) const LET_GO: std::time::Duration = std::time::Duration::from_secs(5);
