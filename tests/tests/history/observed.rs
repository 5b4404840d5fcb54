//! Storages that are slow at random, write down what they did, and make a mistake when told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cacheme_storage::{
    Acquire, Acquired, Bytes, Capabilities, Error, Fence, Filled, Heard, LeaseToken, LocalEntry,
    LocalStorage, RemoteEntry, RemoteStorage, Result,
};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use crate::random::Random;
use crate::world::{At, Contact, Seen, Stamp, World};

/// A guard that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    FillIgnoresLease,
    RemoveDoesNothing,
    LocalIgnoresFence,
    LocalIgnoresTtl,
    MessagesAreLost,
}

/// How long the way to the server takes at most, or back.
const WAY: Duration = Duration::from_millis(3);
/// How long a call takes at most, on paused time.
pub(crate) const CALL: Duration = WAY.saturating_mul(2);

/// How long a message is on its way to who listens.
pub(crate) const DELIVERY: Duration = Duration::from_millis(3);

/// A bus between processes.
#[derive(Default)]
pub(crate) struct Hub {
    listeners: Mutex<Vec<UnboundedSender<Bytes>>>,
}

impl Hub {
    fn join(&self) -> UnboundedReceiver<Bytes> {
        let (to, messages) = unbounded_channel();
        self.listeners.lock().push(to);
        messages
    }

    fn send(&self, message: &Bytes) {
        self.listeners
            .lock()
            .retain(|to| to.send(message.clone()).is_ok());
    }

    /// Breaks the connection of one who listens.
    pub(crate) fn cut(&self, random: &mut Random) {
        let mut listeners = self.listeners.lock();
        if !listeners.is_empty() {
            let which = random.below(listeners.len() as u64) as usize;
            listeners.swap_remove(which);
        }
    }
}

/// The remote storage as one process reaches it.
pub(crate) struct Observed {
    pub(crate) inner: Arc<dyn RemoteStorage>,
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) fault: Fault,
    /// In place of a bus that the storage may have itself.
    pub(crate) hub: Option<Arc<Hub>>,
}

impl Observed {
    /// The way to the server or back.
    async fn way(&self) {
        let mut random: Random = self.world.random();
        sleep(random.pause(WAY)).await;
    }

    /// Writes down what the server did at once, since the answer may find nobody; and that it was answered when it is.
    async fn note(&self, origins: impl IntoIterator<Item = (Option<usize>, Seen)> + Send, begin: At) {
        let numbers: Vec<usize> = {
            let end = self.world.now();
            let mut log = self.world.log();
            let contacts = origins.into_iter().filter_map(|(origin, what)| {
                Some(Contact {
                    process: self.process,
                    origin: origin?,
                    begin,
                    end,
                    what,
                })
            });
            let first = log.contacts.len();
            log.contacts.extend(contacts);
            (first..log.contacts.len()).collect()
        };
        self.way().await;
        let end = self.world.now();
        let mut log = self.world.log();
        for number in numbers {
            log.contacts[number].end = end;
        }
    }
}

#[async_trait]
impl RemoteStorage for Observed {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn capabilities(&self) -> Capabilities {
        match self.hub {
            Some(_) => self.inner.capabilities().with_bus(),
            None => self.inner.capabilities(),
        }
    }

    async fn connect(&self) -> Result<()> {
        self.inner.connect().await
    }

    fn now_ms(&self) -> u64 {
        self.inner.now_ms()
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let begin = self.world.now();
        self.way().await;
        let found = self.inner.get(keys).await?;
        let seen: Vec<_> = found
            .iter()
            .flatten()
            .map(|bytes| (Stamp::find(bytes), Seen::Found))
            .collect();
        self.note(seen, begin).await;
        Ok(found)
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        let begin = self.world.now();
        self.way().await;
        self.inner.set(entries).await?;
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (Stamp::find(&entry.value), Seen::Stored))
            .collect();
        self.note(seen, begin).await;
        Ok(())
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        self.way().await;
        if self.fault != Fault::RemoveDoesNothing {
            self.inner.remove(keys).await?;
        }
        self.way().await;
        Ok(())
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        self.inner.clear(prefix).await
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let begin = self.world.now();
        self.way().await;
        let answers = self.inner.acquire(keys, request).await?;
        let found = |answer: &Acquired| match answer {
            Acquired::Value(value) => (Stamp::find(&value.bytes), Seen::Found),
            _ => (None, Seen::Found),
        };
        let seen: Vec<_> = answers.iter().map(found).collect();
        self.note(seen, begin).await;
        Ok(answers)
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        let begin = self.world.now();
        self.way().await;
        let filled = match self.fault {
            Fault::FillIgnoresLease => {
                self.inner.set(entries).await?;
                vec![Filled::Stored; entries.len()]
            }
            _ => self.inner.fill(entries, token).await?,
        };
        let seen = entries.iter().zip(&filled).map(|(entry, filled)| {
            let what = match filled {
                Filled::Stored => Seen::Stored,
                Filled::Lost => Seen::Refused,
            };
            (Stamp::find(&entry.value), what)
        });
        let seen: Vec<_> = seen.collect();
        self.note(seen, begin).await;
        Ok(filled)
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        self.way().await;
        self.inner.release(keys, token).await
    }

    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        self.way().await;
        self.inner.renew(keys, token, time).await
    }

    async fn changed(&self, keys: &[&[u8]]) {
        self.inner.changed(keys).await;
    }

    async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        let Some(hub) = &self.hub else {
            return self.inner.publish(messages).await;
        };
        self.way().await;
        if self.fault != Fault::MessagesAreLost {
            messages.iter().for_each(|message| hub.send(message));
        }
        self.way().await;
        Ok(())
    }

    async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        let Some(hub) = &self.hub else {
            return self.inner.listen(hear).await;
        };
        self.way().await;
        let mut messages = hub.join();
        hear(Heard::Joined);
        let mut random = self.world.random();
        while let Some(message) = messages.recv().await {
            // Those behind it are not late because it is.
            let behind: Vec<Bytes> = std::iter::from_fn(|| messages.try_recv().ok()).collect();
            sleep(random.pause(DELIVERY)).await;
            hear(Heard::Message(&message));
            behind.iter().for_each(|message| hear(Heard::Message(message)));
        }
        Error::Unreachable {
            storage: self.location(),
            source: "the connection was cut".into(),
        }
    }
}

/// A local storage with a mistake in it.
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn LocalStorage>,
    pub(crate) fault: Fault,
    pub(crate) world: Arc<World>,
    /// Time goes by itself: then it takes a while to insert, for threads to meet.
    pub(crate) real: bool,
}

impl LocalStorage for Faulty {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn entry(&self, key: &[u8]) -> Option<LocalEntry> {
        self.inner.entry(key)
    }

    fn insert(&self, key: &[u8], mut entry: LocalEntry, fence: &Fence) -> bool {
        if self.fault == Fault::LocalIgnoresTtl {
            entry.ttl = None;
        }
        if self.fault == Fault::LocalIgnoresFence {
            // In its own time, as a thread that lost its turn on the way in.
            let pause = self.world.random().pause(Duration::from_millis(3));
            let (inner, key) = (Arc::clone(&self.inner), key.to_vec());
            tokio::spawn(async move {
                sleep(pause).await;
                inner.insert(&key, entry, &Fence::new())
            });
            return true;
        }
        if self.real {
            std::thread::sleep(self.world.random().pause(Duration::from_millis(1)));
        }
        self.inner.insert(key, entry, fence)
    }

    fn remove(&self, key: &[u8]) -> bool {
        self.inner.remove(key)
    }

    fn clear(&self) {
        self.inner.clear();
    }

    fn len(&self) -> usize {
        self.inner.len()
    }
}
