//! The bus: a process publishes its changes, and others receive them (C3).
//!
//! A process that invalidates, sets or refreshes publishes kind and keys on the bus of a remote storage of the chain. It does so once all
//! tiers are done: a process that received the message earlier could fetch the old value again. A process that receives it drops the keys
//! from local tiers and fences their flights (`flight/table.rs` says what becomes of writes).
//!
//! A message concerns the prefix, kinds and keys that it names, and nothing else. At most it makes a process drop copies.
//!
//! Messages that are published while the connection is lost are missed. So a process drops all its copies when it loses the connection, and
//! again when it has a new one: a local tier is no older than its connection. In between, local tiers serve values that are loaded anew.

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
    /// Identifies messages of this instance, and messages of its prefix.
    head: Head,
    subscription: watch::Sender<Subscription>,
    /// A task listens, or is about to.
    listening: AtomicBool,
    task: Mutex<ListenTask>,
    log: LogLimiter,
    /// Messages that are not understood.
    message_log: LogLimiter,
    counters: BusCounters,
}

#[derive(Default)]
enum ListenTask {
    #[default]
    Absent,
    Begun(AbortHandle),
    /// The instance is gone. Its background tasks may still use the storage.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscription {
    /// The server has not answered yet.
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
            subscription: watch::Sender::new(Subscription::Starting),
            listening: AtomicBool::new(false),
            task: Mutex::default(),
            log: LogLimiter::default(),
            message_log: LogLimiter::default(),
            counters: BusCounters::default(),
        })
    }

    /// Begins to listen unless a task does. Called on every use of the storage, since a runtime that ends takes the task with it.
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
        if matches!(*task, ListenTask::Ended) || self.listening.swap(true, Ordering::AcqRel) {
            return;
        }
        // Made here and not in the task: a runtime that ends before the first poll drops it as well.
        let guard = ListenGuard(Arc::clone(self));
        let listening = runtime.spawn(async move { guard.0.listen().await });
        *task = ListenTask::Begun(listening.abort_handle());
    }

    /// Stops listening for good.
    pub(crate) fn end(&self) {
        if let ListenTask::Begun(task) = std::mem::replace(&mut *self.task.lock(), ListenTask::Ended) {
            task.abort();
        }
    }

    /// Waits until the subscription is confirmed or fails, for `bound` at most.
    pub(crate) async fn settled(&self, bound: Duration) {
        let mut subscription = self.subscription.subscribe();
        // The sender is in `self`, so it lives as long as this call.
        let settled = subscription.wait_for(|state| *state != Subscription::Starting);
        if tokio::time::timeout(bound, settled).await.is_err() {
            self.trouble(&Error::Timeout {
                storage: self.storage.location(),
                after: bound,
            });
        }
    }

    /// Publishes that these keys of a kind, without prefix and version, have changed.
    ///
    /// Returns `false`, and logs it, if the server has no bus. The copies of other processes then live for their ttl.
    pub(crate) async fn publish<'k>(
        &self,
        kind: Digest,
        keys: impl IntoIterator<Item = &'k [u8]>,
    ) -> Result<bool, Error> {
        match self.storage.publish(&self.head.messages(kind, keys)).await {
            Err(error @ Error::Config { .. }) => {
                self.trouble(&error);
                Ok(false)
            }
            published => published.map(|()| {
                self.works();
                true
            }),
        }
    }

    async fn listen(self: &Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let lost = self.listen_once().await;
            if self.subscription.send_replace(Subscription::Lost) == Subscription::Joined {
                pause = FIRST_PAUSE;
                self.distrust();
            }
            self.trouble(&lost);
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Listens on one connection until that is lost. Returns the reason.
    async fn listen_once(&self) -> Error {
        let mut receive = |event: Heard<'_>| self.receive(event);
        let listening = self.storage.listen(&mut receive);
        match select(listening, pin!(self.recover())).await {
            Either::Left((lost, _)) => lost,
            Either::Right(((), listening)) => listening.await,
        }
    }

    /// Waits until the connection has been there for some seconds, and logs that trouble is over.
    async fn recover(&self) {
        let mut subscription = self.subscription.subscribe();
        // The sender is in `self`, so it lives as long as this call.
        let _ = subscription
            .wait_for(|state| *state == Subscription::Joined)
            .await;
        tokio::time::sleep(QUIET).await;
        self.works();
    }

    fn works(&self) {
        if let Some(over) = self.log.works() {
            tracing::info!(storage = %self.name, trouble = %over, "changes are published, and those of other processes received, again");
        }
    }

    fn receive(&self, event: Heard<'_>) {
        match event {
            Heard::Joined => {
                // Copies from before may have changed without a message to this process.
                self.distrust();
                self.subscription.send_replace(Subscription::Joined);
            }
            Heard::Message(message) => match Message::read(message) {
                Ok(message) if message.head.sender == self.head.sender => {}
                Ok(message) if message.head.prefix != self.head.prefix => {
                    count(&self.counters.other_prefix, 1)
                }
                Ok(message) => self.received(&message),
                Err(why) => self.not_understood(why),
            },
            // A later version may have more events. They do not concern a process that does not know them.
            _ => {}
        }
    }

    /// Passes a change that another process of our prefix published to the listener.
    fn received(&self, message: &Message<'_>) {
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
            count(&self.counters.received, 1);
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
                "another process published a change in a way that this version does not know: local copies that it may concern are dropped",
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

    /// Counts of the messages received so far.
    pub(crate) fn stats(&self) -> BusStats {
        self.counters.snapshot(&self.name)
    }

    /// Lets the listener drop all that other processes may have changed.
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
                "changes are not published, or those of other processes not received: local copies live for their ttl",
            );
        }
    }
}

/// Held by the task that listens. Dropped when the task is done, aborted or gone with its runtime, it lets the next use of the storage
/// begin another.
struct ListenGuard(Arc<Bus>);

impl Drop for ListenGuard {
    fn drop(&mut self) {
        if self.0.subscription.send_replace(Subscription::Lost) == Subscription::Joined {
            self.0.distrust();
        }
        self.0.listening.store(false, Ordering::Release);
    }
}
