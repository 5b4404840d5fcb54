//! A pool that the application has.

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};
use std::sync::{Arc, OnceLock};

use super::DriverError;
use super::lineage::PAUSE;
use super::server_kind::ServerKind;
use super::statement::Protocol;
use crate::remote::pause::Pause;

/// A pool that the application has. How many connections there are, and how long they live, is its business.
pub(crate) struct Foreign<DB: ServerKind> {
    pool: Pool<DB>,
    /// Once it is known.
    protocol: OnceLock<Protocol>,
    /// Until then.
    safe: Protocol,
    /// While it lasts, a server that takes no writes is a replica by set-up.
    stays: Pause,
}

/// A connection of the application's pool. Dropped without being given back, it is closed.
pub(crate) struct Borrowed<DB: ServerKind> {
    connection: Option<PoolConnection<DB>>,
    foreign: Arc<Foreign<DB>>,
}

impl<DB: ServerKind> Foreign<DB> {
    pub(crate) fn new(pool: Pool<DB>) -> Arc<Self> {
        Arc::new(Self {
            pool,
            protocol: OnceLock::new(),
            safe: DB::safe_protocol(),
            stays: Pause::default(),
        })
    }

    /// Says whether it is known how statements go over its connections.
    #[cfg(feature = "postgres")]
    pub(crate) fn knows_protocol(&self) -> bool {
        self.protocol.get().is_some()
    }

    /// Says how statements are to go over its connections.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        // The first to find out is right.
        let _ = self.protocol.set(protocol);
    }

    /// The options by which its connections are made.
    #[cfg(feature = "postgres")]
    pub(crate) fn options(&self) -> super::server_kind::Options<DB> {
        (*self.pool.connect_options()).clone()
    }

    pub(super) fn most(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// A connection; with `tested`, one that answers.
    pub(super) async fn borrow(self: &Arc<Self>, tested: bool) -> Result<Borrowed<DB>, DriverError> {
        loop {
            let mut borrowed = Borrowed {
                connection: Some(self.pool.acquire().await?),
                foreign: Arc::clone(self),
            };
            // Each that fails is closed, so this ends at the latest with a connection made just now.
            if !tested || borrowed.connection().ping().await.is_ok() {
                return Ok(borrowed);
            }
        }
    }
}

impl<DB: ServerKind> Borrowed<DB> {
    pub(super) fn connection(&mut self) -> &mut DB::Connection {
        self.connection.as_mut().expect("it is there until it goes back")
    }

    pub(super) fn protocol(&self) -> &Protocol {
        self.foreign.protocol.get().unwrap_or(&self.foreign.safe)
    }

    /// The server takes no writes, nor did those of `before` connections of this statement. Says whether to try another.
    ///
    /// We cannot tell which connections of the pool lead to the same server: those that statements meet are closed.
    pub(super) fn demote(&self, before: u32) -> bool {
        let stays = &self.foreign.stays;
        if !stays.is_on() && before > self.foreign.pool.size() {
            stays.begin(PAUSE);
        }
        !stays.is_on()
    }

    pub(super) fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl<DB: ServerKind> Drop for Borrowed<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}
