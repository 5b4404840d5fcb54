//! Connections in use.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Connections, Dial, Idle, Life, MOST_LOST, OwnTurn};

/// A connection in use. Dropped, it goes back if nothing was asked on it, and is closed otherwise.
pub(crate) struct Lent<D: Dial> {
    /// `None` once it went back.
    held: Option<Held<D>>,
    pub(super) life: Life,
    /// Something was asked on it that may not have been answered.
    used: bool,
    connections: Arc<Connections<D>>,
}

/// A connection and its turn. Dropped, they end in this order.
pub(super) struct Held<D: Dial> {
    pub(super) connection: D::Connection,
    pub(super) turn: OwnTurn<D>,
}

impl<D: Dial> Lent<D> {
    pub(super) fn new(connections: &Arc<Connections<D>>, held: Held<D>, life: Life) -> Self {
        Self {
            held: Some(held),
            life,
            used: false,
            connections: Arc::clone(connections),
        }
    }

    /// To ask something. Dropped from now on, the connection is closed unless it [is given back](Self::give_back).
    pub(crate) fn connection(&mut self) -> &mut D::Connection {
        self.used = true;
        &mut self
            .held
            .as_mut()
            .expect("it is there until it goes back")
            .connection
    }

    /// The connection with what is known of it.
    pub(crate) fn held(&self) -> &D::Connection {
        &self
            .held
            .as_ref()
            .expect("it is there until it goes back")
            .connection
    }

    /// Everything that was asked is answered.
    pub(super) fn answered(&mut self) {
        self.used = false;
    }

    /// Everything that was asked is answered: the next one may have it.
    pub(crate) fn give_back(mut self) {
        self.answered();
    }

    /// Says whether it was not given up with others of its generation.
    pub(crate) fn is_current(&self) -> bool {
        self.connections.is_current(self.life.generation)
    }

    /// A write was refused as read-only. Says whether to try again on another connection.
    pub(crate) fn demote(&self) -> bool {
        self.connections.demote(self.life.generation)
    }

    /// Takes the connection out, with its turn.
    pub(super) fn take(&mut self) -> Option<Held<D>> {
        let held = self.held.take();
        if held.is_some() {
            self.connections.lineage.lock().leave(self.life.generation);
        }
        held
    }
}

impl<D: Dial> Drop for Lent<D> {
    fn drop(&mut self) {
        if !self.used
            && self.is_current()
            && let Some(Held { connection, turn }) = self.held.take()
        {
            turn.leave(Idle {
                connection,
                life: self.life,
                since: Instant::now(),
            });
        } else if let Some(held) = self.take()
            && self.used
            && let Some(session) = D::session(&held.connection)
        {
            let mut lost = self.connections.lost.lock();
            if lost.len() < MOST_LOST {
                lost.push(session);
            }
        }
    }
}
