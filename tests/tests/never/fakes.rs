//! Storages of the tests: they go by tokio's clock, which tests pause and move, and stop at gates.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cacheme_storage::{
    Acquire, Acquired, Bytes, Capabilities, Error, Fence, Filled, Grant, LeaseToken, LocalEntry,
    LocalStorage, RemoteEntry, RemoteStorage, Result, Storage,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// An operation of a remote storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    Get,
    Set,
    Remove,
    Acquire,
    Fill,
    Release,
    Renew,
}

/// A remote storage in this process. Clones are the same storage, as several processes see it.
#[derive(Clone)]
pub(crate) struct Remote {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    leases: bool,
    start: Instant,
    slots: Mutex<HashMap<Vec<u8>, Slot>>,
    gates: Mutex<Vec<Waiting>>,
    broken: Mutex<Vec<Op>>,
    cut: Mutex<Vec<Op>>,
    /// How long requests for leases are on their way.
    lag: Mutex<Duration>,
    /// How long a lease lasts at most that was not renewed.
    longest_grant: Mutex<Duration>,
    calls: Mutex<HashMap<Op, usize>>,
    refuses: AtomicBool,
    tells: AtomicBool,
    given_up: Notify,
}

#[derive(Clone, Debug)]
enum Kept {
    Value(Bytes),
    Lease(LeaseToken),
}

struct Slot {
    kept: Kept,
    until: Option<Instant>,
}

/// Where an operation stops: before or after it did its work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    After,
}

struct Waiting {
    op: Op,
    place: Place,
    arrived: oneshot::Sender<()>,
    open: oneshot::Receiver<()>,
}

/// Stops the next operation of a kind until it is opened; dropped, it is open.
pub(crate) struct Gate {
    arrived: Option<oneshot::Receiver<()>>,
    open: Option<oneshot::Sender<()>>,
}

impl Gate {
    fn new(op: Op, place: Place) -> (Self, Waiting) {
        let (arrived, has_arrived) = oneshot::channel();
        let (open, is_open) = oneshot::channel();
        let gate = Self {
            arrived: Some(has_arrived),
            open: Some(open),
        };
        let waiting = Waiting {
            op,
            place,
            arrived,
            open: is_open,
        };
        (gate, waiting)
    }

    /// Waits until somebody stands before it.
    pub(crate) async fn arrived(&mut self) {
        let arrived = self.arrived.take().expect("asked once");
        arrived.await.expect("the storage keeps its gates");
    }

    pub(crate) fn open(mut self) {
        drop(self.open.take());
    }
}

impl Remote {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::with_leases(name, true)
    }

    pub(crate) fn with_leases(name: &'static str, leases: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                name,
                leases,
                start: Instant::now(),
                slots: Mutex::default(),
                gates: Mutex::default(),
                broken: Mutex::default(),
                cut: Mutex::default(),
                lag: Mutex::default(),
                longest_grant: Mutex::new(Duration::MAX),
                calls: Mutex::default(),
                refuses: AtomicBool::new(false),
                tells: AtomicBool::new(false),
                given_up: Notify::new(),
            }),
        }
    }

    pub(crate) fn storage(&self) -> Storage {
        Storage::remote(self.clone())
    }

    pub(crate) fn gate_before(&self, op: Op) -> Gate {
        self.gate(op, Place::Before)
    }

    pub(crate) fn gate_after(&self, op: Op) -> Gate {
        self.gate(op, Place::After)
    }

    fn gate(&self, op: Op, place: Place) -> Gate {
        let (gate, waiting) = Gate::new(op, place);
        self.shared.gates.lock().push(waiting);
        gate
    }

    /// Lets these operations fail from now on, and no others.
    pub(crate) fn break_down(&self, ops: &[Op]) {
        *self.shared.broken.lock() = ops.to_vec();
    }

    /// Carries these operations out from now on, and no others, but loses their answers.
    pub(crate) fn cut_answers(&self, ops: &[Op]) {
        *self.shared.cut.lock() = ops.to_vec();
    }

    /// Carries out requests for leases so much later from now on, also when their caller has gone by then.
    pub(crate) fn lag(&self, lag: Duration) {
        *self.shared.lag.lock() = lag;
    }

    /// Grants leases for so long at most from now on.
    pub(crate) fn grant_shortly(&self, longest: Duration) {
        *self.shared.longest_grant.lock() = longest;
    }

    /// Answers as a server that takes no writes.
    pub(crate) fn refuse_leases(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    /// Tells those who wait when a lease is given up, from now on.
    pub(crate) fn tell(&self) {
        self.shared.tells.store(true, Ordering::SeqCst);
    }

    /// Time since it was made.
    pub(crate) fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Forgets everything, as a server that was emptied.
    pub(crate) fn remove_all(&self) {
        self.shared.slots.lock().clear();
    }

    /// How often an operation was asked for.
    pub(crate) fn calls(&self, op: Op) -> usize {
        self.shared.calls.lock().get(&op).copied().unwrap_or(0)
    }

    /// How many values there are.
    pub(crate) fn values(&self) -> usize {
        let slots = self.shared.slots.lock();
        let is_value = |slot: &&Slot| is_alive(slot) && matches!(slot.kept, Kept::Value(_));
        slots.values().filter(is_value).count()
    }

    /// How many leases are held.
    pub(crate) fn leases(&self) -> usize {
        let slots = self.shared.slots.lock();
        let is_lease = |slot: &&Slot| is_alive(slot) && matches!(slot.kept, Kept::Lease(_));
        slots.values().filter(is_lease).count()
    }

    async fn stop(&self, op: Op, place: Place) -> Result<()> {
        if place == Place::Before {
            *self.shared.calls.lock().entry(op).or_default() += 1;
        }
        let gate = {
            let mut gates = self.shared.gates.lock();
            let found = gates.iter().position(|gate| gate.op == op && gate.place == place);
            found.map(|at| gates.remove(at))
        };
        if let Some(gate) = gate {
            // The test may have stopped looking.
            let _ = gate.arrived.send(());
            let _ = gate.open.await;
        }
        let fails = match place {
            Place::Before => &self.shared.broken,
            Place::After => &self.shared.cut,
        };
        if fails.lock().contains(&op) {
            return Err(Error::Unreachable {
                storage: self.location(),
                source: "broken by the test".into(),
            });
        }
        Ok(())
    }
}

impl Remote {
    /// Finds what is under a key, or takes its lease.
    fn lease(&self, key: &[u8], request: &Acquire) -> Acquired {
        let mut slots = self.shared.slots.lock();
        match kept(&slots, key) {
            Some(Kept::Value(value)) if !request.steals() => return Acquired::Value(value.into()),
            Some(Kept::Lease(holder)) if !request.steals() && holder != request.token => {
                let until = slots[key].until.expect("leases end");
                return Acquired::Busy {
                    left: until - Instant::now(),
                };
            }
            _ if self.shared.refuses.load(Ordering::SeqCst) => return Acquired::Unavailable,
            _ if request.is_late(self.now_ms()) => return Acquired::TooLate,
            _ => {}
        }
        let time = request.time.min(*self.shared.longest_grant.lock());
        put(&mut slots, key, Kept::Lease(request.token), Some(time));
        Acquired::Granted(Grant::new(self.now_ms(), time))
    }
}

fn is_alive(slot: &Slot) -> bool {
    slot.until.is_none_or(|until| until > Instant::now())
}

fn kept(slots: &HashMap<Vec<u8>, Slot>, key: &[u8]) -> Option<Kept> {
    let slot = slots.get(key).filter(|slot| is_alive(slot))?;
    Some(slot.kept.clone())
}

fn holds(slots: &HashMap<Vec<u8>, Slot>, key: &[u8], token: LeaseToken) -> bool {
    matches!(kept(slots, key), Some(Kept::Lease(holder)) if holder == token)
}

fn put(slots: &mut HashMap<Vec<u8>, Slot>, key: &[u8], kept: Kept, ttl: Option<Duration>) {
    let until = ttl.map(|ttl| Instant::now() + ttl);
    slots.insert(key.to_vec(), Slot { kept, until });
}

#[async_trait]
impl RemoteStorage for Remote {
    fn location(&self) -> String {
        format!("fake://{}", self.shared.name)
    }

    fn capabilities(&self) -> Capabilities {
        match self.shared.leases {
            true => Capabilities::none().with_renewals(),
            false => Capabilities::none(),
        }
    }

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.start.elapsed().as_millis()).expect("tests are short")
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.stop(Op::Get, Place::Before).await?;
        let found = {
            let slots = self.shared.slots.lock();
            let value = |key: &&[u8]| match kept(&slots, key) {
                Some(Kept::Value(value)) => Some(value),
                _ => None,
            };
            keys.iter().map(value).collect()
        };
        self.stop(Op::Get, Place::After).await?;
        Ok(found)
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.stop(Op::Set, Place::Before).await?;
        for entry in entries {
            let value = Kept::Value(entry.value.clone());
            put(&mut self.shared.slots.lock(), entry.key, value, entry.ttl);
        }
        self.stop(Op::Set, Place::After).await
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        self.stop(Op::Remove, Place::Before).await?;
        for key in keys {
            self.shared.slots.lock().remove(*key);
        }
        self.stop(Op::Remove, Place::After).await
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        self.shared.slots.lock().retain(|key, _| !key.starts_with(prefix));
        Ok(())
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        self.stop(Op::Acquire, Place::Before).await?;
        let lag = *self.shared.lag.lock();
        let answers = if lag.is_zero() {
            keys.iter().map(|key| self.lease(key, request)).collect()
        } else {
            let (server, request) = (self.clone(), *request);
            let keys: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
            let carried_out = tokio::spawn(async move {
                tokio::time::sleep(lag).await;
                keys.iter().map(|key| server.lease(key, &request)).collect()
            });
            carried_out.await.expect("nothing aborts it")
        };
        self.stop(Op::Acquire, Place::After).await?;
        Ok(answers)
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        self.stop(Op::Fill, Place::Before).await?;
        let answers = entries.iter().map(|entry| {
            let mut slots = self.shared.slots.lock();
            if !holds(&slots, entry.key, token) {
                return Filled::Lost;
            }
            put(&mut slots, entry.key, Kept::Value(entry.value.clone()), entry.ttl);
            Filled::Stored
        });
        let answers = answers.collect();
        self.shared.given_up.notify_waiters();
        self.stop(Op::Fill, Place::After).await?;
        Ok(answers)
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        self.stop(Op::Release, Place::Before).await?;
        for key in keys {
            let mut slots = self.shared.slots.lock();
            if holds(&slots, key, token) {
                slots.remove(*key);
            }
        }
        self.shared.given_up.notify_waiters();
        self.stop(Op::Release, Place::After).await
    }

    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        self.stop(Op::Renew, Place::Before).await?;
        for key in keys {
            let mut slots = self.shared.slots.lock();
            if holds(&slots, key, token) {
                put(&mut slots, key, Kept::Lease(token), Some(time));
            }
        }
        self.stop(Op::Renew, Place::After).await
    }

    async fn changed(&self, _: &[&[u8]]) {
        if !self.shared.tells.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.shared.given_up.notified().await;
    }
}

/// A local storage that goes by tokio's clock.
#[derive(Clone, Default)]
pub(crate) struct Local {
    entries: Arc<Mutex<HashMap<Vec<u8>, Entry>>>,
}

/// With the time when it expires.
type Entry = (LocalEntry, Option<Instant>);

impl Local {
    pub(crate) fn storage(&self) -> Storage {
        Storage::local(self.clone())
    }

    /// How many entries have not expired.
    pub(crate) fn alive(&self) -> usize {
        self.lives().into_iter().filter(|left| !left.is_zero()).count()
    }

    /// How long each entry lives from now on.
    pub(crate) fn lives(&self) -> Vec<Duration> {
        let entries = self.entries.lock();
        let left = entries.values().filter_map(|(_, until)| *until);
        left.map(|until| until - Instant::now()).collect()
    }
}

impl LocalStorage for Local {
    fn location(&self) -> String {
        "fake://local".into()
    }

    fn entry(&self, key: &[u8]) -> Option<LocalEntry> {
        let entries = self.entries.lock();
        let (entry, until) = entries.get(key)?;
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        (left != Some(Duration::ZERO)).then(|| LocalEntry::new(entry.value.clone(), left))
    }

    fn insert(&self, key: &[u8], entry: LocalEntry, fence: &Fence) -> bool {
        let mut entries = self.entries.lock();
        if fence.is_raised() {
            return false;
        }
        let until = entry.ttl.map(|ttl| Instant::now() + ttl);
        entries.insert(key.to_vec(), (entry, until));
        true
    }

    fn remove(&self, key: &[u8]) -> bool {
        self.entries.lock().remove(key).is_some()
    }

    fn clear(&self) {
        self.entries.lock().clear();
    }

    fn len(&self) -> usize {
        self.entries.lock().len()
    }
}
