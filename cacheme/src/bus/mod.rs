//! What one process changes, told to the others (C3).
//!
//! A process that invalidates, sets or refreshes publishes kind and keys on the bus of a remote storage of the chain, once all tiers
//! are done: a process that is told earlier could fetch the old value again. Processes that hear it drop the keys from local tiers
//! and fence the loads under way for them (`flight/table.rs` says what becomes of writes).
//!
//! A message concerns the prefix, kinds and keys that it names, and nothing else. Whatever it says, copies are dropped at most.
//!
//! What was told while the connection was lost is missed. So when it is lost, and again when there is a new one, whatever
//! was held is dropped: a local tier is no older than its connection. In between, local tiers serve what is loaded anew.

mod message;
pub(crate) mod stats;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cacheme_storage::{Chain, Error, Heard, RemoteStorage};
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub(crate) use self::message::{Changes, LONGEST_KEY};
use self::message::{Head, Message, Sender, Unreadable};
use self::stats::{BusCounters, BusStats};
use crate::counter::count;
use crate::digest::Digest;
use crate::log_limiter::{LogLimiter, QUIET};
use crate::random::{jittered, unique_token};

/// How long after a connection was lost the next is tried; twice as long after each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The owner of the local tiers and flights that changes by other processes concern.
pub(crate) trait Listener: Send + Sync {
    /// Other processes changed entries of the kinds that have this template.
    fn changed(&self, bus: &Bus, template: Digest, changes: &Changes<'_>);

    /// Other processes may have changed anything that they would publish on this bus.
    fn lost(&self, bus: &Bus);
}

/// The bus of one storage, as one instance uses it.
pub(crate) struct Bus {
    /// The name of the storage.
    name: String,
    storage: Arc<dyn RemoteStorage>,
    listener: Weak<dyn Listener>,
    /// Tells our own messages from those of others, and those of other prefixes.
    head: Head,
    state: watch::Sender<State>,
    /// A task listens, or is about to.
    listening: AtomicBool,
    task: Mutex<Task>,
    log: LogLimiter,
    /// Messages that are not understood.
    message_log: LogLimiter,
    counters: BusCounters,
}

#[derive(Default)]
enum Task {
    #[default]
    Absent,
    Begun(AbortHandle),
    /// The instance is gone. What it left in the background may still use the storage.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody knows yet.
    Starting,
    Joined,
    Lost,
}

impl Bus {
    pub(crate) fn new(
        name: &str,
        storage: Arc<dyn RemoteStorage>,
        prefix: &str,
        listener: Weak<dyn Listener>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            storage,
            listener,
            head: Head {
                sender: Sender(unique_token().0.to_be_bytes()),
                prefix: Digest::of(prefix.as_bytes()),
            },
            state: watch::Sender::new(State::Starting),
            listening: AtomicBool::new(false),
            task: Mutex::default(),
            log: LogLimiter::default(),
            message_log: LogLimiter::default(),
            counters: BusCounters::default(),
        })
    }

    /// Sees to it that somebody listens. Done on every use of the storage, since a runtime takes the task with it when it ends.
    #[inline]
    pub(crate) fn ensure(self: &Arc<Self>) {
        if !self.listening.load(Ordering::Relaxed) {
            self.begin();
        }
    }

    #[cold]
    fn begin(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut task = self.task.lock();
        if matches!(*task, Task::Ended) || self.listening.swap(true, Ordering::AcqRel) {
            return;
        }
        // Made here and not in the task: a runtime that ends before the first poll drops it as well.
        let turn = Turn(Arc::clone(self));
        let listening = runtime.spawn(async move { turn.0.listen().await });
        *task = Task::Begun(listening.abort_handle());
    }

    /// Listens no more.
    pub(crate) fn end(&self) {
        if let Task::Begun(task) = std::mem::replace(&mut *self.task.lock(), Task::Ended) {
            task.abort();
        }
    }

    /// Waits until the server knows of us, or it turns out that it will not just now, for so long at most.
    pub(crate) async fn settled(&self, bound: Duration) {
        let mut state = self.state.subscribe();
        // The state ends with `self`, which the caller has.
        let settled = state.wait_for(|state| *state != State::Starting);
        if tokio::time::timeout(bound, settled).await.is_err() {
            self.trouble(&Error::Timeout {
                storage: self.storage.location(),
                after: bound,
            });
        }
    }

    /// Tells all other processes that these keys of a kind, without prefix and version, have changed. `false`, and logged, if there
    /// is no bus to be had: then they go by the ttl of their copies, as without one.
    pub(crate) async fn tell<'k>(
        &self,
        kind: Digest,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<bool, Error> {
        match self.storage.publish(&self.head.messages(kind, keys)).await {
            Err(error @ Error::Config { .. }) => {
                self.trouble(&error);
                Ok(false)
            }
            told => told.map(|()| {
                self.works();
                true
            }),
        }
    }

    async fn listen(self: &Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let lost = self.listen_once().await;
            if self.state.send_replace(State::Lost) == State::Joined {
                pause = FIRST_PAUSE;
                self.distrust();
            }
            self.trouble(&lost);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Listens on one connection, until that is lost; gives why.
    async fn listen_once(&self) -> Error {
        let mut hear = |heard: Heard<'_>| self.hear(heard);
        let listening = self.storage.listen(&mut hear);
        match select(listening, pin!(self.recover())).await {
            Either::Left((lost, _)) => lost,
            Either::Right(((), listening)) => listening.await,
        }
    }

    /// Waits until the connection has been there for some seconds, and logs that trouble is over.
    async fn recover(&self) {
        let mut state = self.state.subscribe();
        // The state ends with `self`, which the caller has.
        let _ = state.wait_for(|state| *state == State::Joined).await;
        tokio::time::sleep(QUIET).await;
        self.works();
    }

    fn works(&self) {
        if let Some(over) = self.log.works() {
            tracing::info!(storage = %self.name, trouble = %over, "changes by other processes are heard of, and told, again");
        }
    }

    fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::Joined => {
                // What was held until now may have changed without our being told.
                self.distrust();
                self.state.send_replace(State::Joined);
            }
            Heard::Message(message) => match Message::read(message) {
                Ok(message) if message.head.sender == self.head.sender => {}
                Ok(message) if message.head.prefix != self.head.prefix => {
                    count(&self.counters.other_prefix, 1)
                }
                Ok(message) => self.hear_of(&message),
                Err(why) => self.not_understood(why),
            },
            // Of no concern to whoever does not know of it.
            _ => {}
        }
    }

    /// Drops what another process of our prefix says it has changed.
    fn hear_of(&self, message: &Message<'_>) {
        let Some(listener) = self.listener.upgrade() else {
            return;
        };
        if message.anything {
            self.distrust();
        }
        for (template, changes) in &message.kinds {
            listener.changed(self, *template, changes);
        }
        if message.is_understood() {
            count(&self.counters.heard, 1);
            if let Some(over) = self.message_log.works() {
                tracing::info!(storage = %self.name, trouble = %over, "messages of other processes are understood again");
            }
            return;
        }
        count(&self.counters.partly_understood, 1);
        if let Some(trouble) = self.message_log.trouble() {
            tracing::warn!(
                storage = %self.name,
                %trouble,
                "another process told of a change in a way that this version does not know: local copies that it may concern are dropped",
            );
        }
    }

    /// Counts and logs a message that changes nothing.
    fn not_understood(&self, why: Unreadable) {
        let counter = match why {
            Unreadable::OtherVersion(_) => &self.counters.other_version,
            Unreadable::NotOurs => &self.counters.unreadable,
        };
        count(counter, 1);
        if let Some(trouble) = self.message_log.trouble() {
            tracing::warn!(
                storage = %self.name,
                %trouble,
                reason = %why,
                "a message on the bus is not understood and changes nothing",
            );
        }
    }

    /// What was heard so far.
    pub(crate) fn stats(&self) -> BusStats {
        self.counters.snapshot(&self.name)
    }

    /// Drops whatever was held that others may have changed.
    fn distrust(&self) {
        if let Some(listener) = self.listener.upgrade() {
            listener.lost(self);
        }
    }

    fn trouble(&self, error: &Error) {
        if let Some(trouble) = self.log.trouble() {
            tracing::warn!(
                storage = %self.name,
                %trouble,
                error = %Chain(error),
                "changes by other processes are not heard of, or not told: local copies go by their ttl",
            );
        }
    }
}

/// Ends when dropped, be the task done, aborted or gone with its runtime: the next use of the storage begins another.
struct Turn(Arc<Bus>);

impl Drop for Turn {
    fn drop(&mut self) {
        if self.0.state.send_replace(State::Lost) == State::Joined {
            self.0.distrust();
        }
        self.0.listening.store(false, Ordering::Release);
    }
}
