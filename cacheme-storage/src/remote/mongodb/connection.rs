use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::options::ClientOptions;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fault::is_not_primary;
use super::health::{Health, PAUSE};
use super::speech::Speech;
use crate::remote::database::{Entered, Finish, LET_GO, NoTurn, Turns};
use crate::remote::pause::Pause;

/// Reaches the server.
pub(super) struct Connector {
    clients: Clients,
    /// The longest time that the server may be at a command; 0 if nobody said so.
    limit_ms: AtomicU64,
}

enum Clients {
    Own(Box<Own>),
    /// Given to us by the application, and so not ours to close.
    Foreign(Client),
}

pub(super) struct Own {
    options: ClientOptions,
    /// As many as there may be connections: the driver would let callers wait for one without end.
    turns: Arc<CommandTurns>,
    patience: Duration,
    client: Mutex<Option<Living>>,
}

type CommandTurns = Turns<(), Infallible>;

/// A client and the runtime that its tasks live in.
struct Living {
    client: Client,
    health: Arc<Health>,
    /// While it lasts, the client was made a moment ago.
    is_new: Pause,
    is_alive: Arc<AtomicBool>,
    /// Ends the task that watches the runtime.
    _watched: oneshot::Sender<()>,
}

/// The right to send a command.
pub(super) struct Turn {
    pub(super) client: Client,
    /// The longest time that the server may be at the command, if that is known.
    pub(super) limit: Option<Duration>,
    own: Option<OwnTurn>,
}

/// Not for an application's client, which tells its events to the application and bounds its connections itself.
struct OwnTurn {
    health: Arc<Health>,
    turn: crate::remote::database::Turn<(), Infallible>,
}

impl Turn {
    /// Runs a command, for as long as there may be a server that does it.
    ///
    /// # Cancel safety
    ///
    /// The server goes on with a command that its caller gave up, and the driver opens another connection for the next. So a task
    /// of its own waits for the answer, for a while, and the command keeps its turn as long.
    pub(super) async fn run<T, C>(self, command: C) -> Result<T, Error>
    where
        T: Send + 'static,
        C: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let Some(OwnTurn { health, turn }) = self.own else {
            return command.await;
        };
        let let_go = LET_GO + self.limit.unwrap_or_default();
        let work = async move {
            let done = run_while_up(command, &health).await;
            drop(turn);
            done
        };
        Finish::new(work, let_go).await
    }
}

async fn run_while_up<T>(
    command: impl Future<Output = Result<T, Error>>,
    health: &Health,
) -> Result<T, Error> {
    let done = match select(std::pin::pin!(command), std::pin::pin!(health.ends())).await {
        Either::Left((done, _)) => done,
        Either::Right((error, _)) => Err(error),
    };
    let Err(error) = done else {
        return done;
    };
    health.see_error(&error);
    if is_not_primary(&error) {
        health.see_no_primary();
    }
    Err(health.explain(error).await)
}

impl Connector {
    pub(super) fn own(options: ClientOptions, connections: u32, patience: Duration) -> Self {
        Self::new(Clients::Own(Box::new(Own {
            options,
            turns: Arc::new(Turns::new(usize::try_from(connections).unwrap_or(usize::MAX))),
            patience,
            client: Mutex::default(),
        })))
    }

    pub(super) fn foreign(client: Client) -> Self {
        Self::new(Clients::Foreign(client))
    }

    fn new(clients: Clients) -> Self {
        Self {
            clients,
            limit_ms: AtomicU64::new(0),
        }
    }

    /// Says how long callers wait for a command.
    pub(super) fn set_limit(&self, limit: Duration) {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        self.limit_ms.store(millis, Ordering::Relaxed);
        if let Clients::Own(own) = &self.clients {
            own.turns.wait_at_most(limit.min(own.patience));
        }
    }

    fn limit(&self) -> Option<Duration> {
        let millis = self.limit_ms.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// The number of commands that run at once.
    pub(super) fn width(&self) -> usize {
        match &self.clients {
            Clients::Own(own) => own.turns.most(),
            Clients::Foreign(_) => usize::MAX,
        }
    }

    /// A turn to send a command; waits for others, but not for ever.
    pub(super) async fn turn(&self) -> Result<Turn, Error> {
        let limit = self.limit();
        match &self.clients {
            Clients::Foreign(client) => Ok(Turn {
                client: client.clone(),
                limit,
                own: None,
            }),
            Clients::Own(own) => {
                let turn = own.turn().await?;
                let (client, health) = own.client()?;
                if let Err(error) = health.pass(&client) {
                    return Err(health.explain(error).await);
                }
                Ok(Turn {
                    client,
                    limit,
                    own: Some(OwnTurn { health, turn }),
                })
            }
        }
    }

    /// Closes the connections, unless the client is the application's.
    pub(super) async fn close(&self) {
        let Clients::Own(own) = &self.clients else {
            return;
        };
        own.turns.refuse();
        let living = own.client.lock().take();
        if let Some(living) = living
            && living.is_alive.load(Ordering::Acquire)
        {
            living.client.shutdown().immediate(true).await;
        }
    }
}

impl Own {
    async fn turn(&self) -> Result<crate::remote::database::Turn<(), Infallible>, Error> {
        let waiting = match self.turns.enter(true) {
            Entered::Free(turn, ()) | Entered::Spare(turn) => return Ok(turn),
            Entered::Wait(waiting) => waiting,
            Entered::Closed => return Err(ErrorKind::Shutdown.into()),
        };
        match waiting.wait(self.patience).await {
            Ok((turn, _)) => Ok(turn),
            Err(NoTurn::TimedOut) => {
                let busy = "timed out while waiting for one of the connections, which are all in use";
                Err(std::io::Error::new(std::io::ErrorKind::TimedOut, busy).into())
            }
            Err(NoTurn::Closed) => Err(ErrorKind::Shutdown.into()),
            Err(NoTurn::Failed(never)) => match never {},
        }
    }

    /// The client and what is known of its servers. It is made anew when the runtime of the one before is gone: that would wait for
    /// tasks that are gone as well.
    fn client(&self) -> Result<(Client, Arc<Health>), Error> {
        let mut client = self.client.lock();
        if let Some(living) = &*client
            && living.is_alive.load(Ordering::Acquire)
        {
            if !self.has_moved(living) {
                return Ok((living.client.clone(), Arc::clone(&living.health)));
            }
            let before = living.client.clone();
            tokio::spawn(before.shutdown().immediate(true).into_future());
        }
        let is_alive = Arc::new(AtomicBool::new(true));
        let (watched, end) = oneshot::channel::<()>();
        let watch = Watch(Arc::clone(&is_alive));
        tokio::spawn(async move {
            // Ends with the storage, or is dropped with the runtime.
            let _ = end.await;
            drop(watch);
        });
        let health = Arc::new(Health::new(Speech::of(&self.options)));
        tokio::spawn(Health::look_at_silence(Arc::downgrade(&health)));
        let mut options = self.options.clone();
        let watching = Arc::clone(&health);
        options.sdam_event_handler = Some(EventHandler::callback(move |event| watching.see(event)));
        let made = Client::with_options(options)?;
        *client = Some(Living {
            client: made.clone(),
            health: Arc::clone(&health),
            is_new: Pause::begun(PAUSE),
            is_alive,
            _watched: watched,
        });
        Ok((made, health))
    }

    /// Says whether the server at the only address that there is gave up writing: another may stand behind the address by now, which
    /// new connections lead to. Of a replica set, the driver knows the addresses of all.
    fn has_moved(&self, living: &Living) -> bool {
        self.options.direct_connection == Some(true)
            && living.health.has_no_primary()
            && !living.is_new.is_on()
    }
}

/// Takes note that the runtime is over.
struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's options would print the password.
        f.write_str(match &self.clients {
            Clients::Own(_) => "Own",
            Clients::Foreign(_) => "Foreign",
        })
    }
}
