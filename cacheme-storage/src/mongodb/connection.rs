use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::Client;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::ClientOptions;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

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
    is_alive: Arc<AtomicBool>,
    /// Ends the task that watches the runtime.
    _watched: oneshot::Sender<()>,
}

/// The right to send a command.
pub(super) struct Turn<'c> {
    pub(super) client: Client,
    _turn: Option<SemaphorePermit<'c>>,
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
                Ok(Turn {
                    client: own.client()?,
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
    /// The client, made anew when the runtime of the one before is gone: it would wait for tasks that are gone as well.
    fn client(&self) -> Result<Client, Error> {
        let mut client = self.client.lock();
        if let Some(living) = &*client
            && living.is_alive.load(Ordering::Acquire)
        {
            return Ok(living.client.clone());
        }
        let is_alive = Arc::new(AtomicBool::new(true));
        let (watched, end) = oneshot::channel::<()>();
        let watch = Watch(Arc::clone(&is_alive));
        tokio::spawn(async move {
            // Ends with the storage, or is dropped with the runtime.
            let _ = end.await;
            drop(watch);
        });
        let made = Client::with_options(self.options.clone())?;
        *client = Some(Living {
            client: made.clone(),
            is_alive,
            _watched: watched,
        });
        Ok(made)
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
