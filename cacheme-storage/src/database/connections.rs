use std::time::Duration;
use std::{fmt, io};

use parking_lot::Mutex;
use sqlx::{ConnectOptions, Connection, Database};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Connections of our own: made when there is none to spare, kept when they come back.
///
/// Why not the driver's pool: it asks every connection that comes back whether it still lives. That doubles the round
/// trips, and with few connections the next statement waits for it. Here a connection comes back only after a
/// statement that worked, and one that died since is noticed by the statement that meets it.
pub(crate) struct Connections<DB: Database> {
    options: <DB::Connection as Connection>::Options,
    most: u32,
    /// A turn for each connection that there may be; in the order of asking.
    turns: Semaphore,
    /// The one that came back last goes first: it has seen the newest statements, and the others may rest.
    idle: Mutex<Vec<DB::Connection>>,
    patience: Duration,
}

/// A connection in use. Dropped without being given back, it is closed.
pub(crate) struct Lent<'c, DB: Database> {
    pub(crate) connection: DB::Connection,
    connections: &'c Connections<DB>,
    turn: SemaphorePermit<'c>,
}

impl<DB: Database> Connections<DB> {
    /// At most so many connections, of which callers wait so long for one.
    pub(crate) fn new(
        options: <DB::Connection as Connection>::Options,
        most: u32,
        patience: Duration,
    ) -> Self {
        Self {
            options,
            most,
            turns: Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
            patience,
        }
    }

    /// How they are made.
    #[cfg(feature = "postgres")]
    pub(crate) fn options(&self) -> &<DB::Connection as Connection>::Options {
        &self.options
    }

    /// How many connections there may be.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// A connection: an idle one, or a new one. Waits for others to give theirs back, and for the server to greet, but
    /// not for ever.
    pub(crate) async fn lend(&self) -> sqlx::Result<Lent<'_, DB>> {
        let turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            // Boxed, since mostly there is one to spare.
            Err(_) => match Box::pin(timeout(self.patience, self.turns.acquire())).await {
                Ok(Ok(turn)) => turn,
                Ok(Err(_)) => return Err(sqlx::Error::PoolClosed),
                Err(_) => return Err(sqlx::Error::PoolTimedOut),
            },
        };
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(idle) => idle,
            // Boxed: to connect takes kilobytes of space, which every statement would carry around.
            None => Box::pin(self.connect()).await?,
        };
        Ok(Lent {
            connection,
            connections: self,
            turn,
        })
    }

    async fn connect(&self) -> sqlx::Result<DB::Connection> {
        match timeout(self.patience, self.options.connect()).await {
            Ok(connected) => connected,
            Err(_) => {
                let silent = "the server does not greet a new connection";
                Err(io::Error::new(io::ErrorKind::TimedOut, silent).into())
            }
        }
    }

    /// Waits for connections in use, says goodbye on all, and lends no more.
    pub(crate) async fn close(&self) {
        if let Ok(all) = self.turns.acquire_many(self.most).await {
            self.turns.close();
            drop(all);
        }
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            // One that is dead already is closed all the same.
            let _ = connection.close().await;
        }
    }
}

impl<DB: Database> Lent<'_, DB> {
    /// For the next one.
    pub(crate) fn give_back(self) {
        self.connections.idle.lock().push(self.connection);
        drop(self.turn);
    }
}

impl<DB: Database> fmt::Debug for Connections<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options would print the password.
        f.debug_struct("Connections")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::str::FromStr;

    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    fn connections(most: u32, patience: Duration) -> Connections<sqlx::Sqlite> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:").expect("a good URL");
        Connections::new(options, most, patience)
    }

    #[tokio::test]
    async fn what_comes_back_is_lent_again_and_what_does_not_is_replaced() {
        let connections = connections(2, Duration::from_millis(10));
        let (one, two) = (
            connections.lend().await.unwrap(),
            connections.lend().await.unwrap(),
        );
        let third = connections.lend().await.err().unwrap();
        assert!(matches!(third, sqlx::Error::PoolTimedOut), "{third}");
        one.give_back();
        assert_eq!(connections.idle.lock().len(), 1);
        let again = connections.lend().await.unwrap();
        assert_eq!(connections.idle.lock().len(), 0, "the idle one is lent");
        drop(two);
        let fresh = connections.lend().await.unwrap();
        assert_eq!(
            connections.idle.lock().len(),
            0,
            "what was dropped does not come back"
        );
        again.give_back();
        fresh.give_back();
        assert_eq!(connections.idle.lock().len(), 2);
    }

    #[tokio::test]
    async fn closing_waits_for_those_in_use_and_lends_no_more() {
        let connections = connections(2, Duration::from_secs(60));
        let lent = connections.lend().await.unwrap();
        let mut closing = Box::pin(connections.close());
        tokio::select! {
            biased;
            () = &mut closing => panic!("closed with a connection in use"),
            () = std::future::ready(()) => {}
        }
        lent.give_back();
        closing.await;
        assert_eq!(connections.idle.lock().len(), 0);
        let refused = connections.lend().await.err().unwrap();
        assert!(matches!(refused, sqlx::Error::PoolClosed), "{refused}");
        connections.close().await;
    }
}
