use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::options::ClientOptions;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::fault::is_not_primary;
use super::health::{Health, PAUSE};

/// How the server is reached.
pub(super) enum Connector {
    Own(Box<Own>),
    /// Given to us by the application, and so not ours to close.
    Foreign(Client),
}

pub(super) struct Own {
    options: ClientOptions,
    /// As many as there may be connections: the driver would let callers wait for one without end.
    turns: Semaphore,
    connections: u32,
    patience: Duration,
    client: Mutex<Option<Living>>,
}

/// A client and the runtime that its tasks live in.
struct Living {
    client: Client,
    health: Arc<Health>,
    made_at: Instant,
    is_alive: Arc<AtomicBool>,
    /// Ends the task that watches the runtime.
    _watched: oneshot::Sender<()>,
}

/// The right to send a command.
pub(super) struct Turn<'c> {
    pub(super) client: Client,
    /// Not of an application's client, which tells its events to the application.
    health: Option<Arc<Health>>,
    _turn: Option<SemaphorePermit<'c>>,
}

impl Turn<'_> {
    /// Runs a command, for as long as there may be a server that does it.
    pub(super) async fn run<T>(
        &self,
        command: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let command = command.into_future();
        let Some(health) = &self.health else {
            return command.await;
        };
        let done = match select(std::pin::pin!(command), std::pin::pin!(health.ends())).await {
            Either::Left((done, _)) => done,
            Either::Right((error, _)) => Err(error),
        };
        if let Err(error) = &done {
            health.see_error(error);
            if is_not_primary(error) {
                health.see_no_primary();
            }
        }
        done
    }
}

impl Connector {
    pub(super) fn own(options: ClientOptions, connections: u32, patience: Duration) -> Self {
        Self::Own(Box::new(Own {
            options,
            turns: Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS)),
            connections,
            patience,
            client: Mutex::default(),
        }))
    }

    pub(super) fn foreign(client: Client) -> Self {
        Self::Foreign(client)
    }

    /// How many commands run at once.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Own(own) => usize::try_from(own.connections).unwrap_or(usize::MAX),
            Self::Foreign(_) => usize::MAX,
        }
    }

    /// A turn to send a command; waits for others, but not for ever.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Error> {
        match self {
            Self::Foreign(client) => Ok(Turn {
                client: client.clone(),
                health: None,
                _turn: None,
            }),
            Self::Own(own) => {
                let turn = match timeout(own.patience, own.turns.acquire()).await {
                    Ok(Ok(turn)) => turn,
                    Ok(Err(_)) => return Err(ErrorKind::Shutdown.into()),
                    Err(_) => {
                        let busy = "timed out while waiting for one of the connections, which are all in use";
                        return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, busy).into());
                    }
                };
                let (client, health) = own.client()?;
                health.pass(&client)?;
                Ok(Turn {
                    client,
                    health: Some(health),
                    _turn: Some(turn),
                })
            }
        }
    }

    /// Closes the connections, unless the client is the application's.
    pub(super) async fn close(&self) {
        let Self::Own(own) = self else {
            return;
        };
        own.turns.close();
        let living = own.client.lock().take();
        if let Some(living) = living
            && living.is_alive.load(Ordering::Acquire)
        {
            living.client.shutdown().immediate(true).await;
        }
    }
}

impl Own {
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
        let health = Arc::new(Health::new());
        let mut options = self.options.clone();
        let told = Arc::clone(&health);
        options.sdam_event_handler = Some(EventHandler::callback(move |event| told.see(event)));
        let made = Client::with_options(options)?;
        *client = Some(Living {
            client: made.clone(),
            health: Arc::clone(&health),
            made_at: Instant::now(),
            is_alive,
            _watched: watched,
        });
        Ok((made, health))
    }

    /// Whether the server at the only address that there is gave up writing: another may stand behind the address by now, which
    /// new connections lead to. Of a replica set, the driver knows the addresses of all.
    fn has_moved(&self, living: &Living) -> bool {
        self.options.direct_connection == Some(true)
            && living.health.has_no_primary()
            && living.made_at.elapsed() >= PAUSE
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
        f.write_str(match self {
            Self::Own(_) => "Own",
            Self::Foreign(_) => "Foreign",
        })
    }
}
