//! Connections to a database server, ours or those of the application's pool, and statements on them.
//!
//! | file | part |
//! |---|---|
//! | `server_pool` | sends a statement, and sends it again where that may help: **begin here** |
//! | `drive` | one statement under way, also after its caller left |
//! | `statement` | a statement as the driver takes it, prepared or as text |
//! | `trouble` | what an error of the driver says about the connection and about another attempt |
//! | `mod` | connections of our own: lent, kept, closed |
//! | `making`, `lent` | a connection while it is made, and while a caller has it |
//! | `backoff` | pauses after failed attempts to connect |
//! | `lineage` | which server the connections lead to, and which are given up after a failover |
//! | `foreign` | connections of a pool that the application made |
//! | `server_kind` | what differs between PostgreSQL and MySQL |
//!
//! [`turns`](super::turns), one folder up, bounds the number of connections: the driver of MongoDB needs it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::turns::{Entered, NoTurn, Turn, Turns};
use crate::remote::pause::Pause;

mod backoff;
mod drive;
mod foreign;
mod lent;
mod lineage;
mod making;
mod server_kind;
mod server_pool;
mod statement;
#[cfg(test)]
mod tests;
mod trouble;

use backoff::Backoff;
pub(crate) use foreign::Foreign;
use lent::Held;
pub(crate) use lent::Lent;
use lineage::{Admission, Demotion, Lineage};
use making::Making;
pub(crate) use server_kind::{Options, ServerKind};
pub(crate) use server_pool::{ServerConnection, ServerPool};
pub(crate) use statement::Protocol;
#[cfg(feature = "mysql")]
pub(crate) use statement::Statement;
#[cfg(feature = "postgres")]
pub(crate) use statement::{Encode, Encoded};
pub(crate) use trouble::Trouble;

/// An error of a driver, shared by the callers that it concerns.
pub(crate) type DriverError = Arc<sqlx::Error>;

/// Makes and handles connections of a kind.
pub(crate) trait Dial: Send + Sync + 'static {
    /// A connection with what is known of it.
    type Connection: Send + 'static;
    /// Names a session to its server, for as long as the server runs.
    type Session: Clone + Send + 'static;

    /// Makes a connection.
    fn connect(
        &self,
        terms: Terms<Self::Session>,
    ) -> impl Future<Output = sqlx::Result<Made<Self::Connection>>> + Send;

    /// Waits until everything that was asked is answered.
    fn ping(connection: &mut Self::Connection) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Says goodbye.
    fn close(connection: Self::Connection) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// The session at the server, if it can be named.
    fn session(connection: &Self::Connection) -> Option<Self::Session>;
}

/// The requests of the storage to a new connection.
pub(crate) struct Terms<S> {
    /// The time that callers wait for a statement, if that is known: no reason for the server to be at it longer.
    pub(crate) limit: Option<Duration>,
    /// Sessions that do not answer any more and are to be ended.
    pub(crate) lost: Vec<S>,
}

/// A new connection.
pub(crate) struct Made<C> {
    pub(crate) connection: C,
    /// Identifies the server, whichever server may get its address later; `None` where that is not known.
    pub(crate) identity: Option<Box<str>>,
}

/// Connections of our own, at most so many: made when there is none to spare, kept when they come back.
///
/// Why not the driver's pool: it asks every connection that comes back whether it still lives. That doubles the round
/// trips, and with few connections the next statement waits for it. Here a connection comes back only after a
/// statement that was answered, and one that died since is noticed by the statement that meets it, or by a short question if it
/// has rested for long.
///
/// A task of its own makes a connection: a caller that goes away meanwhile leaves it to the next one. A turn belongs to a
/// connection from its making to its end, also while nobody waits for its answer any more: the server counts it as well.
pub(crate) struct Connections<D: Dial> {
    dial: D,
    turns: Arc<Turns<Idle<D::Connection>, DriverError>>,
    patience: Duration,
    /// The time that callers wait for a statement, in milliseconds; 0 if that is not known.
    limit_ms: AtomicU64,
    backoff: Mutex<Backoff<DriverError>>,
    lineage: Mutex<Lineage>,
    /// The generation of the lineage, for tasks that wait for it to change.
    generation: watch::Sender<u64>,
    lost: Mutex<Vec<D::Session>>,
    /// Since a connection was last made to see where the address leads.
    look: Pause,
}

/// The turn of a connection.
type OwnTurn<D> = Turn<Idle<<D as Dial>::Connection>, DriverError>;

/// A connection that waits for a caller.
struct Idle<C> {
    connection: C,
    life: Life,
    since: Instant,
}

/// The properties of a connection that never change.
#[derive(Clone, Copy)]
struct Life {
    generation: u64,
    /// The time that it took to make.
    making: Duration,
}

/// The time after which a connection that was not used is asked whether it still lives, before it is used.
const RESTED: Duration = Duration::from_secs(5);
/// The longest time that it may take to say so; longer if it took longer to make.
const ANSWER: Duration = Duration::from_millis(100);
/// The least time after which a connection is made anew to see whether the address still leads to the same server.
const LOOK: Duration = Duration::from_secs(15);
/// The number of sessions to be ended that are remembered.
const MOST_LOST: usize = 1_000;

impl<D: Dial> Connections<D> {
    /// At most so many connections, of which callers wait so long for one.
    pub(crate) fn new(dial: D, most: u32, patience: Duration) -> Arc<Self> {
        let turns = usize::try_from(most).unwrap_or(usize::MAX);
        let turns = Turns::new(turns);
        turns.wait_at_most(patience);
        Arc::new(Self {
            dial,
            turns: Arc::new(turns),
            patience,
            limit_ms: AtomicU64::new(0),
            backoff: Mutex::new(Backoff::Well),
            lineage: Mutex::default(),
            generation: watch::Sender::new(0),
            lost: Mutex::default(),
            look: Pause::begun(LOOK),
        })
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn dial(&self) -> &D {
        &self.dial
    }

    /// The number of connections that there may be.
    pub(crate) fn most(&self) -> usize {
        self.turns.most()
    }

    /// The time that callers wait for a statement.
    pub(crate) fn set_limit(&self, limit: Duration) {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self.limit_ms.store(millis, Ordering::Relaxed);
        self.turns.wait_at_most(limit.min(self.patience));
    }

    /// The time that callers wait for a statement, if that is known.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let millis = self.limit_ms.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// The generation that new connections belong to.
    #[cfg(feature = "postgres")]
    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// A connection: an idle one, or a new one. Waits for others to give theirs back, and for the server to greet, but
    /// not for ever.
    ///
    /// With `tested` it answered just now.
    pub(crate) async fn lend(self: &Arc<Self>, tested: bool) -> Result<Lent<D>, DriverError> {
        let lent = match self.turns.enter(true) {
            Entered::Free(turn, idle) => self.wake(turn, idle, tested).await,
            entered => Some(self.wait(entered, tested).await?),
        };
        let lent = match lent {
            Some(lent) => lent,
            None => self.wait(self.turns.enter(true), tested).await?,
        };
        self.look_at_address();
        Ok(lent)
    }

    /// Waits for a connection. Boxed, since mostly there is one to spare.
    fn wait<'s>(
        self: &'s Arc<Self>,
        mut entered: Entered<Idle<D::Connection>, DriverError>,
        tested: bool,
    ) -> BoxFuture<'s, Result<Lent<D>, DriverError>> {
        Box::pin(async move {
            let until = Instant::now() + self.patience;
            loop {
                if let Entered::Spare(turn) = entered {
                    // First the place in the queue: the attempt may fail at once.
                    entered = self.turns.enter(false);
                    match entered {
                        Entered::Wait(_) => self.start(turn)?,
                        _ => drop(turn),
                    }
                }
                let (turn, idle) = match entered {
                    Entered::Free(turn, idle) => (turn, Some(idle)),
                    Entered::Spare(turn) => (turn, None),
                    Entered::Wait(ticket) => {
                        let left = until.saturating_duration_since(Instant::now());
                        match ticket.wait(left).await {
                            Err(NoTurn::TimedOut) if self.lineage.lock().members() == 0 => {
                                return Err(silent().into());
                            }
                            given => given.map_err(failure)?,
                        }
                    }
                    Entered::Closed => return Err(failure(NoTurn::Closed)),
                };
                entered = match idle {
                    None => Entered::Spare(turn),
                    Some(idle) => match self.wake(turn, idle, tested).await {
                        Some(lent) => return Ok(lent),
                        None => self.turns.enter(true),
                    },
                };
            }
        })
    }

    /// Has a connection made with this turn, unless that failed just now.
    fn start(self: &Arc<Self>, turn: OwnTurn<D>) -> Result<(), DriverError> {
        let attempt = self.backoff.lock().attempt();
        match attempt {
            Ok(()) => drop(tokio::spawn(Making::new(Arc::clone(self)).make(turn))),
            // As many as the server lets us have are better than none.
            Err(_) if self.lineage.lock().members() > 0 => turn.put_aside(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A connection that waited for us, if it may still be used.
    async fn wake(
        self: &Arc<Self>,
        turn: OwnTurn<D>,
        idle: Idle<D::Connection>,
        tested: bool,
    ) -> Option<Lent<D>> {
        let rested_since = idle.since;
        let lent = self.lent(turn, idle);
        if !lent.is_current() {
            return None;
        }
        if tested || rested_since.elapsed() > RESTED {
            return Box::pin(self.test(lent)).await;
        }
        Some(lent)
    }

    /// Asks a connection whether it still lives. If not, those that rested for longer are not asked first.
    async fn test(self: &Arc<Self>, mut lent: Lent<D>) -> Option<Lent<D>> {
        let limit = ANSWER.max(lent.life.making);
        if let Ok(Ok(())) = timeout(limit, D::ping(lent.connection())).await {
            lent.answered();
            return Some(lent);
        }
        for (turn, idle) in self.turns.all_free() {
            // Its session is to be ended.
            self.lent(turn, idle).connection();
        }
        None
    }

    fn lent(self: &Arc<Self>, turn: OwnTurn<D>, idle: Idle<D::Connection>) -> Lent<D> {
        let connection = idle.connection;
        Lent::new(self, Held { connection, turn }, idle.life)
    }

    /// Now and then makes the connection anew that rested for the longest time: only a new one shows that the address
    /// leads to another server, where those that there are still work.
    pub(crate) fn look_at_address(self: &Arc<Self>) {
        if !self.look.begin_if_over(LOOK) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !self.backoff.lock().is_well() {
            return;
        }
        let oldest = self.turns.oldest();
        let oldest = oldest.and_then(|(turn, idle)| self.lent(turn, idle).take());
        if let Some(Held { connection, turn }) = oldest {
            let making = Making::new(Arc::clone(self));
            runtime.spawn(async move {
                // One that is dead already is closed all the same.
                let _ = timeout(ANSWER, D::close(connection)).await;
                making.make(turn).await;
            });
        }
    }

    /// Sends callers away that wait for a connection, unless there are others that may come back.
    fn send_away(&self, error: &DriverError) {
        if self.lineage.lock().members() == 0 {
            self.turns.fail(error);
        }
    }

    /// A write was refused as read-only on a connection of `generation`. Says whether to try again on another.
    fn demote(self: &Arc<Self>, generation: u64) -> bool {
        let demotion = self.lineage.lock().demote(generation);
        if let Demotion::GivenUp(generation) = demotion {
            self.give_up_before(generation);
        }
        demotion != Demotion::Stays
    }

    /// A connection that is none of these leads to a server; gives the generation that it belongs to. None if these stay with
    /// another one.
    #[cfg(feature = "postgres")]
    pub(crate) fn meet(self: &Arc<Self>, identity: Option<&str>) -> Option<u64> {
        let generation = self.admit(identity)?;
        self.lineage.lock().leave(generation);
        Some(generation)
    }

    /// The generation of a new connection to a server, if there is a place for it.
    fn admit(self: &Arc<Self>, identity: Option<&str>) -> Option<u64> {
        let admission = self.lineage.lock().admit(identity);
        match admission {
            Admission::Member(generation) => Some(generation),
            Admission::First(generation) => {
                self.give_up_before(generation);
                Some(generation)
            }
            Admission::Stranger => None,
        }
    }

    /// Closes what is idle of older generations. What is in use is closed when it comes back.
    fn give_up_before(self: &Arc<Self>, generation: u64) {
        self.generation.send_if_modified(|newest| {
            let is_newer = generation > *newest;
            *newest = generation.max(*newest);
            is_newer
        });
        for (turn, idle) in self.turns.all_free() {
            // It goes back if it is of this generation after all.
            drop(self.lent(turn, idle));
        }
    }

    fn is_current(&self, generation: u64) -> bool {
        *self.generation.borrow() == generation
    }

    /// Waits for connections in use, says goodbye on all, and lends no more.
    pub(crate) async fn close(&self) {
        for idle in self.turns.close().await {
            // One that is dead already is closed all the same.
            let _ = D::close(idle.connection).await;
        }
    }
}

fn silent() -> sqlx::Error {
    let silent = "the server does not greet a new connection";
    io::Error::new(io::ErrorKind::TimedOut, silent).into()
}

fn failure(none: NoTurn<DriverError>) -> DriverError {
    match none {
        NoTurn::TimedOut => sqlx::Error::PoolTimedOut.into(),
        NoTurn::Closed => sqlx::Error::PoolClosed.into(),
        NoTurn::Failed(error) => error,
    }
}

impl<D: Dial> fmt::Debug for Connections<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // How they are made would show the password.
        f.debug_struct("Connections")
            .field("most", &self.turns.most())
            .finish_non_exhaustive()
    }
}
