//! The state of the servers as the driver's monitors see it, so that a call fails at once while no server can be used.
//!
//! Left to itself, the driver lets every call wait for a server, longer than its caller can. Here a call learns what the last
//! look of a monitor found, and the monitors look each second.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mongodb::Client;
use mongodb::ServerType;
use mongodb::bson::doc;
use mongodb::error::{Error, ErrorKind};
use mongodb::event::sdam::SdamEvent;
use mongodb::options::ServerAddress;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::speech::{Speech, is_silence};
use crate::remote::pause::Pause;

/// The pause between two attempts at what was refused.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The longest time that servers may be silent at the greeting of TLS until they are asked in the clear whether they speak that.
const TLS_PATIENCE: Duration = Duration::from_millis(250);

/// The known state of the servers of a client.
#[derive(Debug)]
pub(super) struct Health {
    servers: Mutex<HashMap<ServerAddress, Seen>>,
    standing: watch::Sender<Standing>,
    /// A login that the server refused.
    login: Mutex<Option<Refused>>,
    speech: Speech,
    /// Since the servers were last asked what they speak.
    asked: Pause,
}

/// The state of one server as a monitor saw it.
#[derive(Clone, Debug)]
enum Seen {
    /// It looks at the moment.
    Nothing,
    Writable,
    /// A secondary, say.
    NoPrimary,
    Failed(Error),
    /// It speaks TLS and we do not, or the other way round. The driver only sees that it is silent, or breaks off.
    OtherSpeech(Error),
}

/// The standing of the servers, by which a call may go to the driver.
#[derive(Clone, Debug)]
enum Standing {
    /// The driver finds out how it is.
    Unknown,
    Up,
    Down(Error),
    /// There are servers, and none that takes writes. Nor is one of them read, which may not know of what was invalidated.
    NoPrimary,
}

#[derive(Debug)]
struct Refused {
    error: Error,
    pause: Pause,
}

impl Health {
    pub(super) fn new(speech: Speech) -> Self {
        Self {
            speech,
            asked: Pause::default(),
            servers: Mutex::default(),
            standing: watch::Sender::new(Standing::Unknown),
            login: Mutex::default(),
        }
    }

    /// Takes note of what the driver tells.
    pub(super) fn see(&self, event: SdamEvent) {
        let mut servers = self.servers.lock();
        match event {
            SdamEvent::TopologyDescriptionChanged(change) => {
                let described = change.new_description.servers();
                let described = described.into_iter().map(|(address, server)| {
                    let seen = match server.server_type() {
                        ServerType::Standalone
                        | ServerType::Mongos
                        | ServerType::RsPrimary
                        | ServerType::LoadBalancer => Seen::Writable,
                        ServerType::Unknown => match servers.get(address) {
                            Some(seen @ (Seen::Failed(_) | Seen::OtherSpeech(_))) => seen.clone(),
                            _ => Seen::Nothing,
                        },
                        _ => Seen::NoPrimary,
                    };
                    (address.clone(), seen)
                });
                *servers = described.collect();
            }
            SdamEvent::ServerHeartbeatFailed(failed) => {
                let seen = match servers.get(&failed.server_address) {
                    // The driver looks again at once: its connection may have been at fault.
                    Some(Seen::Writable) => Seen::Nothing,
                    // Nothing new.
                    Some(seen @ Seen::OtherSpeech(_)) if self.speech.explains(&failed.failure) => {
                        seen.clone()
                    }
                    _ => Seen::Failed(failed.failure),
                };
                servers.insert(failed.server_address, seen);
            }
            _ => return,
        }
        let standing = standing(&servers);
        drop(servers);
        self.standing.send_replace(standing);
    }

    /// Takes note of what a server said: it is not the primary any more.
    pub(super) fn see_no_primary(&self) {
        self.standing.send_replace(Standing::NoPrimary);
    }

    pub(super) fn has_no_primary(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::NoPrimary)
    }

    /// Says whether there may be a server that does what is asked, and why not. Of refused logins, one is tried in a while, by a task.
    pub(super) fn pass(self: &Arc<Self>, client: &Client) -> Result<(), Error> {
        if let Some(refused) = &*self.login.lock() {
            if refused.pause.begin_if_over(PAUSE) {
                let (health, client) = (Arc::clone(self), client.clone());
                tokio::spawn(async move {
                    let tried = client.database("admin").run_command(doc! { "ping": 1 }).await;
                    match tried {
                        Err(error) if is_login(&error) => health.see_refused_login(&error),
                        // Other trouble is for others to see.
                        _ => *health.login.lock() = None,
                    }
                });
            }
            return Err(refused.error.clone());
        }
        why_not(&self.standing.borrow()).map_or(Ok(()), Err)
    }

    /// Waits until it is certain that no server answers; gives why. One that is silent may go on.
    pub(super) async fn ends(&self) -> Error {
        let mut standing = self.standing.subscribe();
        loop {
            if let Some(error) = why_not(&standing.borrow_and_update())
                && !is_silence(&error)
            {
                return error;
            }
            if standing.changed().await.is_err() {
                // Nobody tells any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes note of an error that concerns the calls after it as well.
    pub(super) fn see_error(&self, error: &Error) {
        if is_login(error) {
            self.see_refused_login(error);
        }
    }

    /// Finds out whether servers that are silent at first speak no TLS: they take its greeting for the head of a long message, and wait
    /// for the rest.
    pub(super) async fn look_at_silence(health: Weak<Self>) {
        sleep(TLS_PATIENCE).await;
        if let Some(health) = health.upgrade()
            && health.speech.is_tls()
            && matches!(*health.standing.borrow(), Standing::Unknown)
        {
            health.look_at_speech().await;
        }
    }

    /// The error, or that the servers speak TLS and we do not.
    pub(super) async fn explain(&self, error: Error) -> Error {
        if self.speech.is_tls() || !self.speech.explains(&error) || !self.asked.begin_if_over(PAUSE) {
            return error;
        }
        self.look_at_speech().await.unwrap_or(error)
    }

    /// Asks the servers what they speak, and takes note of those that speak something else than we do.
    async fn look_at_speech(&self) -> Option<Error> {
        let mut found = None;
        for address in self.speech.addresses() {
            if let Some(error) = self.speech.is_other_at(address).await {
                let seen = Seen::OtherSpeech(error.clone());
                let standing = {
                    let mut servers = self.servers.lock();
                    servers.insert(address.clone(), seen);
                    standing(&servers)
                };
                self.standing.send_replace(standing);
                found = Some(error);
            }
        }
        found
    }

    fn see_refused_login(&self, error: &Error) {
        *self.login.lock() = Some(Refused {
            error: error.clone(),
            pause: Pause::begun(PAUSE),
        });
    }
}

fn standing(servers: &HashMap<ServerAddress, Seen>) -> Standing {
    if servers.values().any(|seen| matches!(seen, Seen::Writable)) {
        return Standing::Up;
    }
    if servers.is_empty() || servers.values().any(|seen| matches!(seen, Seen::Nothing)) {
        return Standing::Unknown;
    }
    let failed = servers.values().find_map(|seen| match seen {
        Seen::Failed(error) | Seen::OtherSpeech(error) => Some(error.clone()),
        _ => None,
    });
    let some_answer = servers.values().any(|seen| matches!(seen, Seen::NoPrimary));
    match failed {
        Some(error) if !some_answer => Standing::Down(error),
        _ => Standing::NoPrimary,
    }
}

fn why_not(standing: &Standing) -> Option<Error> {
    match standing {
        Standing::Unknown | Standing::Up => None,
        Standing::Down(error) => Some(error.clone()),
        Standing::NoPrimary => {
            Some(io::Error::other("no server that answers is the primary, which alone takes writes").into())
        }
    }
}

fn is_login(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Authentication { .. })
}
