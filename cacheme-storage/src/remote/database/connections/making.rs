//! Connections being made.

use std::sync::Arc;
use std::{io, mem};

use tokio::time::{Instant, timeout};

use super::lent::{Held, Lent};
use super::{ANSWER, Connections, Dial, DriverError, Life, OwnTurn, Terms, silent};

/// A connection being made. Dropped before the end, by a runtime that ends, it lets others try.
pub(super) struct Making<D: Dial> {
    connections: Arc<Connections<D>>,
    ended: bool,
}

impl<D: Dial> Making<D> {
    pub(super) fn new(connections: Arc<Connections<D>>) -> Self {
        Self {
            connections,
            ended: false,
        }
    }

    pub(super) async fn make(mut self, turn: OwnTurn<D>) {
        let made = self.connect().await;
        self.ended = true;
        let connections = &self.connections;
        match made {
            Ok((connection, life)) => {
                connections.backoff.lock().succeeded();
                // Dropped, it goes to the next caller.
                drop(Lent::new(connections, Held { connection, turn }, life));
            }
            Err(error) => {
                let error = DriverError::from(error);
                let chance = crate::random::random();
                connections.backoff.lock().failed(Arc::clone(&error), chance);
                connections.send_away(&error);
            }
        }
    }

    async fn connect(&self) -> sqlx::Result<(D::Connection, Life)> {
        let connections = &self.connections;
        loop {
            let start = Instant::now();
            let terms = Terms {
                limit: connections.limit(),
                lost: mem::take(&mut *connections.lost.lock()),
            };
            let lost = terms.lost.clone();
            let made = match timeout(connections.patience, connections.dial.connect(terms)).await {
                Ok(Ok(made)) => made,
                failed => {
                    connections.lost.lock().extend(lost);
                    return Err(match failed {
                        Ok(Err(error)) => error,
                        _ => silent(),
                    });
                }
            };
            let Some(generation) = connections.admit(made.identity.as_deref()) else {
                // Nothing hangs on it.
                let _ = timeout(ANSWER, D::close(made.connection)).await;
                continue;
            };
            let making = start.elapsed();
            return Ok((made.connection, Life { generation, making }));
        }
    }
}

impl<D: Dial> Drop for Making<D> {
    fn drop(&mut self) {
        if !self.ended {
            self.connections.backoff.lock().given_up();
            let gone = "the runtime that connects to the server is gone";
            let gone = sqlx::Error::from(io::Error::other(gone));
            self.connections.send_away(&gone.into());
        }
    }
}
