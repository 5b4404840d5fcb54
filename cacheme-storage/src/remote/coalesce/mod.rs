//! Reads of one key each that come while others are under way are asked for together.
//!
//! A server answers many keys in little more time than one, and so does the way there and back: a task to wake, a system
//! call, a statement. So where many tasks read at once, whoever comes first opens a group, which is sent as one `get` once
//! all tasks that are ready to run have run and could join it. Nobody waits for a call that was sent already, and a task
//! that reads while few others do is not touched: there is nothing to gain, and it would wait for its own group.
//!
//! Each shard of a storage has groups of its own, so that one that cannot be reached holds up no key of another.
//!
//! A group is sent by a task of its own, so a reader that goes away, or is not polled for a while, holds up nobody; when all
//! have gone away, so does the call. A group that fails leaves each of its readers to ask by itself: what is wrong with one key
//! is not told to another.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::{Capabilities, Heard, RemoteEntry, RemoteStorage};
use crate::error::{Error, Result};

#[cfg(test)]
mod tests;

/// With fewer readers than this at once, each asks by itself.
const FEW: usize = 4;
/// The number of keys that a group has at most.
const MOST_KEYS: usize = 64;
/// The number of bytes of values that a group should bring at most, by what values weighed lately: they are all in memory before the
/// first of them is handed out.
const ROOM: usize = 1 << 20;

/// A storage whose concurrent reads are combined.
pub(crate) struct Coalesced {
    storage: Arc<dyn RemoteStorage>,
    groups: Arc<Groups>,
}

struct Groups {
    /// Readers of one key without an answer yet.
    readers: AtomicUsize,
    /// By shard, the group that can be joined.
    open: Mutex<Vec<(usize, Arc<Group>)>>,
    /// The size of recent values, in bytes. Until one was seen, so large that nothing is combined.
    weight: AtomicUsize,
}

#[derive(Default)]
struct Group {
    state: Mutex<State>,
    /// Those who wait for it.
    readers: AtomicUsize,
    /// Notified when there are none any more.
    left: Notify,
}

/// A reader's place in a group, for as long as it waits.
struct Place {
    group: Arc<Group>,
    at: usize,
}

#[derive(Default)]
struct State {
    /// The keys, one behind the other.
    keys: Vec<u8>,
    /// The end of each of them.
    ends: Vec<usize>,
    /// By key, who waits for its value.
    waiting: Vec<Option<Waker>>,
    /// `Some` once the group has ended; by key what is there, and empty if readers are to ask by themselves.
    found: Option<Vec<Option<Bytes>>>,
}

impl Coalesced {
    pub(crate) fn new(storage: impl RemoteStorage) -> Self {
        Self {
            storage: Arc::new(storage),
            groups: Arc::new(Groups {
                readers: AtomicUsize::new(0),
                open: Mutex::default(),
                weight: AtomicUsize::new(ROOM),
            }),
        }
    }

    /// Returns the value that a group found under `key`; `None` where the reader is to ask by itself.
    async fn read(&self, key: &[u8], others: usize) -> Option<Option<Bytes>> {
        let place = self.join(key, others)?;
        std::future::poll_fn(|cx| place.poll(cx.waker())).await
    }

    /// Joins the open group, or opens one.
    fn join(&self, key: &[u8], others: usize) -> Option<Place> {
        let most = (ROOM / self.groups.weight.load(Ordering::Relaxed).max(1)).min(MOST_KEYS);
        if others < FEW || most < 2 {
            return None;
        }
        let shard = self.storage.shard_of(key);
        let mut open = self.groups.open.lock();
        let at = open.iter().position(|(opened, _)| *opened == shard);
        let at = match at {
            Some(at) => at,
            None => {
                let runtime = tokio::runtime::Handle::try_current().ok()?;
                let group = Arc::new(Group::default());
                let sender = Sender {
                    group: Arc::clone(&group),
                    groups: Arc::clone(&self.groups),
                };
                runtime.spawn(sender.send(Arc::clone(&self.storage)));
                open.push((shard, group));
                open.len() - 1
            }
        };
        let place = open[at].1.add(key);
        if place.at + 1 >= most {
            open.swap_remove(at);
        }
        Some(place)
    }
}

impl Groups {
    /// One more reader; how many others there are.
    fn enter(&self) -> (Reader<'_>, usize) {
        let others = self.readers.fetch_add(1, Ordering::Relaxed);
        (Reader(self), others)
    }

    /// Takes note of what a value weighs.
    fn weigh(&self, weight: usize) {
        // Read first: a shared line is written only when things change.
        if self.weight.load(Ordering::Relaxed) != weight {
            self.weight.store(weight, Ordering::Relaxed);
        }
    }
}

/// Counted for as long as it is there.
struct Reader<'g>(&'g Groups);

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Group {
    /// Adds a key; gives its place.
    fn add(self: &Arc<Self>, key: &[u8]) -> Place {
        self.readers.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.keys.extend_from_slice(key);
        let end = state.keys.len();
        state.ends.push(end);
        state.waiting.push(None);
        Place {
            group: Arc::clone(self),
            at: state.ends.len() - 1,
        }
    }

    /// Resolves when nobody waits any more for a group that nobody can join.
    async fn deserted(&self) {
        while self.readers.load(Ordering::Acquire) > 0 {
            self.left.notified().await;
        }
    }
}

impl Place {
    fn poll(&self, waker: &Waker) -> Poll<Option<Option<Bytes>>> {
        let mut state = self.group.state.lock();
        match &mut state.found {
            Some(found) => Poll::Ready(found.get_mut(self.at).map(Option::take)),
            None => {
                match &mut state.waiting[self.at] {
                    Some(waiting) => waiting.clone_from(waker),
                    none => *none = Some(waker.clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.group.readers.fetch_sub(1, Ordering::Release) == 1 {
            self.group.left.notify_one();
        }
    }
}

/// The duty to send a group and to hand out its answer. Dropped before, it leaves them to ask by themselves.
struct Sender {
    group: Arc<Group>,
    groups: Arc<Groups>,
}

impl Sender {
    async fn send(self, storage: Arc<dyn RemoteStorage>) {
        // Whoever is ready to run now runs before us.
        tokio::task::yield_now().await;
        self.close();
        let (keys, ends) = {
            let mut state = self.group.state.lock();
            (std::mem::take(&mut state.keys), std::mem::take(&mut state.ends))
        };
        if ends.len() < 2 {
            return;
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let keys: Vec<&[u8]> = starts.zip(&ends).map(|(start, &end)| &keys[start..end]).collect();
        let (mut answer, mut deserted) = (storage.get(&keys), pin!(self.group.deserted()));
        let answer = std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => deserted.as_mut().poll(cx).map(|()| None),
        });
        if let Some(Ok(found)) = answer.await
            && found.len() == keys.len()
        {
            if let Some(weight) = found.iter().flatten().map(Bytes::len).max() {
                self.groups.weigh(weight);
            }
            self.hand_out(found);
        }
    }

    /// Lets nobody join any more.
    fn close(&self) {
        let mut open = self.groups.open.lock();
        open.retain(|(_, group)| !Arc::ptr_eq(group, &self.group));
    }

    fn hand_out(&self, found: Vec<Option<Bytes>>) {
        let waiting = {
            let mut state = self.group.state.lock();
            state.found = Some(found);
            std::mem::take(&mut state.waiting)
        };
        // Wakers run code of whoever waits: not under the lock.
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.close();
        if self.group.state.lock().found.is_none() {
            self.hand_out(Vec::new());
        }
    }
}

#[async_trait]
impl RemoteStorage for Coalesced {
    fn location(&self) -> String {
        self.storage.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.storage.capabilities()
    }

    fn set_timeout(&self, timeout: Duration) {
        self.storage.set_timeout(timeout);
    }

    async fn connect(&self) -> Result<()> {
        self.storage.connect().await
    }

    fn now_ms(&self) -> u64 {
        self.storage.now_ms()
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        self.storage.shard_of(key)
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let [key] = keys else {
            return self.storage.get(keys).await;
        };
        let (_reader, others) = self.groups.enter();
        if let Some(found) = self.read(key, others).await {
            return Ok(vec![found]);
        }
        let found = self.storage.get(keys).await?;
        if let [Some(value)] = &found[..] {
            self.groups.weigh(value.len());
        }
        Ok(found)
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.storage.set(entries).await
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        self.storage.remove(keys).await
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        self.storage.clear(prefix).await
    }

    /// For one key this is a read as well: of many such, only those that find nothing ask for their leases.
    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let [key] = keys else {
            return self.storage.acquire(keys, request).await;
        };
        if request.steals() {
            return self.storage.acquire(keys, request).await;
        }
        let (_reader, others) = self.groups.enter();
        if let Some(Some(value)) = self.read(key, others).await {
            return Ok(vec![Acquired::Value(value.into())]);
        }
        let acquired = self.storage.acquire(keys, request).await?;
        if let [Acquired::Value(value)] = &acquired[..] {
            self.groups.weigh(value.bytes.len());
        }
        Ok(acquired)
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        self.storage.fill(entries, token).await
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        self.storage.release(keys, token).await
    }

    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        self.storage.renew(keys, token, time).await
    }

    async fn changed(&self, keys: &[&[u8]]) {
        self.storage.changed(keys).await;
    }

    async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        self.storage.publish(messages).await
    }

    async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        self.storage.listen(hear).await
    }

    async fn close(&self) -> Result<()> {
        self.storage.close().await
    }

    fn without_leases(&self) -> Error {
        self.storage.without_leases()
    }

    fn without_bus(&self) -> Error {
        self.storage.without_bus()
    }
}
