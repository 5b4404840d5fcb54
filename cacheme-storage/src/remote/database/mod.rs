//! Parts that storages over a database share.
//!
//! | file | part | PostgreSQL | MySQL | SQLite | MongoDB |
//! |---|---|---|---|---|---|
//! | `remote` | `RemoteStorage`, written once for all | yes | yes | yes | yes |
//! | `keys` | the keys of a call: sorted, each once; the end of a prefix | yes | yes | yes | yes |
//! | `time` | times to live and deadlines in milliseconds | yes | yes | yes | yes |
//! | `upkeep` | preparing the table once; collecting expired entries in the background | yes | yes | yes | yes |
//! | `pieces` | a call cut into statements, several at once | yes | yes | cut only | yes |
//! | `leases` | leases where no statement both reads and writes | | yes | | yes |
//! | `turns` | a bound on how many calls or connections there are at once | yes | yes | | yes |
//! | `finish` | work that goes on after its caller left | yes | yes | yes | yes |
//! | `table` | the name of the table, settings of all builders over SQL | yes | yes | yes | |
//! | `server` | the server that a builder leads to, by URL or by a pool | yes | yes | | |
//! | [`connections/`](connections) | connections to a server, and statements on them | yes | yes | | |
//!
//! A storage without SQL (MongoDB) needs the first eight and no more. They are compiled by the feature `_database`, `table`
//! by `_sql`, `server` and `connections` by `_server`.

#[cfg(feature = "_server")]
mod connections;
mod finish;
mod keys;
#[cfg(any(feature = "mysql", feature = "mongodb"))]
mod leases;
mod pieces;
mod remote;
#[cfg(feature = "_server")]
mod server;
#[cfg(feature = "_sql")]
mod table;
mod time;
#[cfg(any(feature = "_server", feature = "mongodb"))]
mod turns;
mod upkeep;

pub(crate) use crate::remote::gate::{Gate, Pass};
#[cfg(feature = "mysql")]
pub(crate) use connections::Statement;
#[cfg(feature = "_server")]
pub(crate) use connections::{
    Dial, DriverError, Made, Protocol, ServerConnection, ServerKind, ServerPool, Terms, Trouble,
};
#[cfg(feature = "postgres")]
pub(crate) use connections::{Encode, Encoded};
#[cfg(any(feature = "sqlite", feature = "mongodb"))]
pub(crate) use finish::Finish;
pub(crate) use keys::{KeySet, after_prefix};
#[cfg(any(feature = "mysql", feature = "mongodb"))]
pub(crate) use leases::{Found, LeaseTurns, acquire_by_turns, call_id};
#[cfg(feature = "mysql")]
pub(crate) use pieces::padded;
#[cfg(any(feature = "_server", feature = "mongodb"))]
pub(crate) use pieces::side_by_side;
pub(crate) use pieces::{PieceLimits, pieces};
pub(crate) use remote::remote_storage;
#[cfg(feature = "_server")]
pub(crate) use server::{Server, host_and_port, tls_setters};
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(crate) use table::repeat;
#[cfg(feature = "_sql")]
pub(crate) use table::{TableName, TableOptions, table_setters};
pub(crate) use time::{LEASE_LIMIT_MS, deadline_millis, millis, too_late, ttl_millis};
#[cfg(feature = "mongodb")]
pub(crate) use turns::{Entered, NoTurn, Turn, Turns};
pub(crate) use upkeep::{Ready, Upkeep, UpkeepTask};

/// The time that a server may be silent past a time limit until it is taken for lost.
#[cfg(any(feature = "_server", feature = "mongodb"))]
pub(crate) const LET_GO: std::time::Duration = std::time::Duration::from_secs(5);
