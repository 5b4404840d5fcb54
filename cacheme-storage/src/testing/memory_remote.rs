use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::gate::Gate;
use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::{BUS_MESSAGE_LIMIT, Capabilities, Heard, RemoteEntry, RemoteStorage};
use crate::error::{Error, Result};

/// What a storage is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the operations of `RemoteStorage`, one by one")]
pub enum Operation {
    Connect,
    Get,
    Set,
    Remove,
    Clear,
    Acquire,
    Fill,
    Release,
    Renew,
    Publish,
    Listen,
    Close,
}

/// What is wrong with a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It answers with an error.
    Refuses,
    /// It never answers.
    Hangs,
    /// It says that there is no such thing here.
    Lacks,
    /// It takes no value of this size.
    IsTooSmall,
}

/// A remote storage in this process that counts what it is asked, and that a test can hold and bring into trouble.
///
/// Its time is tokio's, so that it stands still in tests that pause that. Clones are the same storage: several
/// instances of Cacheme that have one stand for several processes.
#[derive(Clone)]
pub struct InMemoryRemote {
    shared: Arc<Shared>,
}

struct Shared {
    leases: bool,
    bus: bool,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: BTreeMap<Vec<u8>, Slot>,
    calls: Vec<(Operation, usize)>,
    holds: Vec<Hold>,
    trouble: Option<Trouble>,
    trouble_with: Vec<(Operation, Trouble)>,
    /// By operation, how many calls go well before it is in trouble.
    trouble_after: Vec<(Operation, usize, Trouble)>,
    trouble_of_shards: Vec<(usize, Trouble)>,
    shards: usize,
    renews: bool,
    /// How long it takes for each key.
    pace: Duration,
    value_limit: Option<usize>,
    keeps_expired: bool,
    listeners: Vec<UnboundedSender<Bytes>>,
}

struct Slot {
    kept: Kept,
    until: Option<Instant>,
}

enum Kept {
    Value(Bytes),
    Lease(LeaseToken),
}

/// Holds the next call of an operation.
struct Hold {
    operation: Operation,
    after: bool,
    gate: Arc<Gate>,
}

impl InMemoryRemote {
    /// An empty storage with leases.
    pub fn new() -> Self {
        Self::build(true, false)
    }

    /// The same with a bus.
    pub fn with_bus() -> Self {
        Self::build(true, true)
    }

    /// An empty storage that only keeps bytes.
    pub fn without_leases() -> Self {
        Self::build(false, false)
    }

    fn build(leases: bool, bus: bool) -> Self {
        let shared = Shared {
            leases,
            bus,
            start: Instant::now(),
            state: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Holds the next call of `operation` before it is carried out.
    pub fn hold_before(&self, operation: Operation) -> Arc<Gate> {
        self.hold(operation, false)
    }

    /// Holds the next call of `operation` after it was carried out, before its answer is seen.
    pub fn hold_after(&self, operation: Operation) -> Arc<Gate> {
        self.hold(operation, true)
    }

    fn hold(&self, operation: Operation, after: bool) -> Arc<Gate> {
        let gate = Arc::new(Gate::new());
        self.state().holds.push(Hold {
            operation,
            after,
            gate: Arc::clone(&gate),
        });
        gate
    }

    /// Brings every operation into trouble, or out of it.
    pub fn set_trouble(&self, trouble: impl Into<Option<Trouble>>) {
        self.state().trouble = trouble.into();
    }

    /// Brings one operation into trouble, until [`set_trouble`](Self::set_trouble) takes that away from all.
    pub fn set_trouble_with(&self, operation: Operation, trouble: Trouble) {
        self.state().trouble_with.push((operation, trouble));
    }

    /// Brings one operation into trouble once so many calls of it have gone well.
    pub fn set_trouble_after(&self, operation: Operation, calls: usize, trouble: Trouble) {
        self.state().trouble_after.push((operation, calls, trouble));
    }

    /// Brings one shard into trouble, with every call that has a key of it.
    pub fn set_trouble_of_shard(&self, shard: usize, trouble: Trouble) {
        self.state().trouble_of_shards.push((shard, trouble));
    }

    /// Takes all trouble away.
    pub fn recover(&self) {
        let mut state = self.state();
        state.trouble = None;
        state.trouble_with.clear();
        state.trouble_after.clear();
        state.trouble_of_shards.clear();
    }

    /// Spreads keys over so many shards, by the sum of their bytes.
    #[must_use]
    pub fn with_shards(self, shards: usize) -> Self {
        self.state().shards = shards;
        self
    }

    /// Lets leases be renewed.
    #[must_use]
    pub fn with_renewals(self) -> Self {
        self.state().renews = true;
        self
    }

    /// Takes so long for each key of a call.
    pub fn set_pace(&self, pace: Duration) {
        self.state().pace = pace;
    }

    /// Refuses calls with a value of more bytes than this.
    pub fn set_value_limit(&self, bytes: usize) {
        self.state().value_limit = Some(bytes);
    }

    /// Breaks the connections of all who listen.
    pub fn cut_bus(&self) {
        self.state().listeners.clear();
    }

    /// Passes on what somebody else published, however long it is.
    pub fn publish_anything(&self, message: Bytes) {
        // A listener that is gone is forgotten.
        self.state()
            .listeners
            .retain(|to| to.send(message.clone()).is_ok());
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.state().listeners.iter().filter(|to| !to.is_closed()).count()
    }

    /// Answers with values whose time is over, as a server does whose clock is slow.
    pub fn keep_expired(&self) {
        self.state().keeps_expired = true;
    }

    /// The operations since the last call of this, with their number of keys.
    pub fn take_calls(&self) -> Vec<(Operation, usize)> {
        std::mem::take(&mut self.state().calls)
    }

    /// How often it was asked for `operation` since the last [`take_calls`](Self::take_calls).
    pub fn count(&self, operation: Operation) -> usize {
        let state = self.state();
        state
            .calls
            .iter()
            .filter(|(called, _)| *called == operation)
            .count()
    }

    /// What is kept under `key`, looked at from outside.
    pub fn value(&self, key: &str) -> Option<Bytes> {
        match &self.live(&self.state(), key.as_bytes())?.kept {
            Kept::Value(value) => Some(value.clone()),
            Kept::Lease(_) => None,
        }
    }

    /// How long what is under `key` has to live.
    pub fn ttl(&self, key: &str) -> Option<Duration> {
        self.live(&self.state(), key.as_bytes())?
            .until
            .map(|until| until - Instant::now())
    }

    /// Puts bytes under `key` from outside.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) {
        let slot = Slot {
            kept: Kept::Value(value.into()),
            until: None,
        };
        self.state().slots.insert(key.into(), slot);
    }

    /// Whether it keeps nothing, not even a lease.
    pub fn is_empty(&self) -> bool {
        let state = self.state();
        !state.slots.keys().any(|key| self.live(&state, key).is_some())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live<'a>(&self, state: &'a State, key: &[u8]) -> Option<&'a Slot> {
        let slot = state.slots.get(key)?;
        let is_over = slot.until.is_some_and(|until| until <= Instant::now());
        (!is_over || state.keeps_expired).then_some(slot)
    }

    fn holds(&self, state: &State, key: &[u8], token: LeaseToken) -> bool {
        let slot = self.live(state, key);
        matches!(slot.map(|slot| &slot.kept), Some(Kept::Lease(holder)) if *holder == token)
    }

    async fn enter_for(&self, operation: Operation, keys: &[&[u8]]) -> Result<()> {
        let of_shard = {
            let state = self.state();
            let of_shards = state.trouble_of_shards.iter();
            let of_shard = of_shards
                .clone()
                .find(|(shard, _)| keys.iter().any(|key| state.shard_of(key) == *shard));
            of_shard.map(|(_, trouble)| *trouble)
        };
        self.enter_with(operation, keys.len(), of_shard).await
    }

    async fn enter(&self, operation: Operation, keys: usize) -> Result<()> {
        self.enter_with(operation, keys, None).await
    }

    async fn enter_entries(&self, operation: Operation, entries: &[RemoteEntry<'_>]) -> Result<()> {
        let keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
        self.enter_for(operation, &keys).await?;
        let limit = self.state().value_limit.unwrap_or(usize::MAX);
        match entries.iter().find(|entry| entry.value.len() > limit) {
            None => Ok(()),
            Some(entry) => Err(Error::TooLarge {
                storage: self.location(),
                size: entry.value.len(),
                limit,
            }),
        }
    }

    async fn enter_with(&self, operation: Operation, keys: usize, of_shard: Option<Trouble>) -> Result<()> {
        let (gate, trouble, pace) = {
            let mut state = self.state();
            state.calls.push((operation, keys));
            let of_all = state.trouble.or(of_shard);
            let of_this = state.trouble_with.iter().find(|(with, _)| *with == operation);
            let of_this = of_this.map(|(_, trouble)| *trouble);
            let later = state
                .trouble_after
                .iter_mut()
                .find(|(after, ..)| *after == operation);
            let later = later.and_then(|(_, calls, trouble)| match calls.checked_sub(1) {
                Some(left) => {
                    *calls = left;
                    None
                }
                None => Some(*trouble),
            });
            let trouble = of_all.or(of_this).or(later);
            (state.take_hold(operation, false), trouble, state.pace)
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        if !pace.is_zero() {
            tokio::time::sleep(pace * u32::try_from(keys).expect("tests are small")).await;
        }
        match trouble {
            None => Ok(()),
            Some(Trouble::Hangs) => std::future::pending().await,
            Some(Trouble::Lacks) => Err(Error::Config {
                storage: self.location(),
                reason: "told to by a test".into(),
            }),
            Some(Trouble::IsTooSmall) => Err(Error::TooLarge {
                storage: self.location(),
                size: 2,
                limit: 1,
            }),
            Some(Trouble::Refuses) => Err(Error::Refused {
                storage: self.location(),
                source: "told to by a test".into(),
            }),
        }
    }

    async fn leave(&self, operation: Operation) {
        let gate = self.state().take_hold(operation, true);
        if let Some(gate) = gate {
            gate.pass().await;
        }
    }
}

impl Default for InMemoryRemote {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn shard_of(&self, key: &[u8]) -> usize {
        let sum: usize = key.iter().map(|byte| usize::from(*byte)).sum();
        sum % self.shards.max(1)
    }

    fn take_hold(&mut self, operation: Operation, after: bool) -> Option<Arc<Gate>> {
        let is_it = |hold: &Hold| hold.operation == operation && hold.after == after;
        let at = self.holds.iter().position(is_it)?;
        Some(self.holds.remove(at).gate)
    }

    fn put(&mut self, entry: &RemoteEntry<'_>) {
        let slot = Slot {
            kept: Kept::Value(entry.value.clone()),
            until: until(entry.ttl),
        };
        self.slots.insert(entry.key.to_vec(), slot);
    }
}

/// A ttl that is past what the clock can count is for ever.
fn until(ttl: Option<Duration>) -> Option<Instant> {
    ttl.and_then(|ttl| Instant::now().checked_add(ttl))
}

#[async_trait]
impl RemoteStorage for InMemoryRemote {
    fn location(&self) -> String {
        "memory://remote".into()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        if self.shared.leases {
            capabilities = capabilities.with_leases();
        }
        if self.state().renews {
            capabilities = capabilities.with_renewals();
        }
        if self.shared.bus {
            capabilities = capabilities.with_bus();
        }
        capabilities
    }

    async fn connect(&self) -> Result<()> {
        self.enter(Operation::Connect, 0).await
    }

    fn now_ms(&self) -> u64 {
        const SOME_DAY_MS: u64 = 1_700_000_000_000;
        SOME_DAY_MS + u64::try_from(self.shared.start.elapsed().as_millis()).expect("tests are short")
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        self.state().shard_of(key)
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.enter_for(Operation::Get, keys).await?;
        let values = {
            let state = self.state();
            let value = |key: &&[u8]| match &self.live(&state, key)?.kept {
                Kept::Value(value) => Some(value.clone()),
                Kept::Lease(_) => None,
            };
            keys.iter().map(value).collect()
        };
        self.leave(Operation::Get).await;
        Ok(values)
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.enter_entries(Operation::Set, entries).await?;
        entries.iter().for_each(|entry| self.state().put(entry));
        self.leave(Operation::Set).await;
        Ok(())
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        self.enter_for(Operation::Remove, keys).await?;
        keys.iter().for_each(|key| _ = self.state().slots.remove(*key));
        self.leave(Operation::Remove).await;
        Ok(())
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        self.enter(Operation::Clear, 0).await?;
        self.state().slots.retain(|key, _| !key.starts_with(prefix));
        self.leave(Operation::Clear).await;
        Ok(())
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        if !self.shared.leases {
            return Err(self.without_leases_error());
        }
        self.enter_for(Operation::Acquire, keys).await?;
        let answers = keys
            .iter()
            .map(|key| {
                let mut state = self.state();
                match self.live(&state, key).filter(|_| !request.steals()) {
                    Some(Slot {
                        kept: Kept::Value(value),
                        ..
                    }) => return Acquired::Value(value.clone().into()),
                    Some(Slot {
                        kept: Kept::Lease(holder),
                        until,
                    }) if *holder != request.token => {
                        let left = until.map_or(request.time, |until| until - Instant::now());
                        return Acquired::Busy { left };
                    }
                    _ if request.is_late(self.now_ms()) => return Acquired::TooLate,
                    _ => {}
                }
                let slot = Slot {
                    kept: Kept::Lease(request.token),
                    until: until(Some(request.time)),
                };
                state.slots.insert(key.to_vec(), slot);
                request.granted_at(self.now_ms())
            })
            .collect();
        self.leave(Operation::Acquire).await;
        Ok(answers)
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        if !self.shared.leases {
            return Err(self.without_leases_error());
        }
        self.enter_entries(Operation::Fill, entries).await?;
        let filled = entries
            .iter()
            .map(|entry| {
                let mut state = self.state();
                if !self.holds(&state, entry.key, token) {
                    return Filled::Lost;
                }
                state.put(entry);
                Filled::Stored
            })
            .collect();
        self.leave(Operation::Fill).await;
        Ok(filled)
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        if !self.shared.leases {
            return Err(self.without_leases_error());
        }
        self.enter_for(Operation::Release, keys).await?;
        for key in keys {
            let mut state = self.state();
            if self.holds(&state, key, token) {
                state.slots.remove(*key);
            }
        }
        self.leave(Operation::Release).await;
        Ok(())
    }

    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        if !self.capabilities().renewals {
            return Err(self.without_leases_error());
        }
        self.enter_for(Operation::Renew, keys).await?;
        for key in keys {
            let mut state = self.state();
            if self.holds(&state, key, token)
                && let Some(slot) = state.slots.get_mut(*key)
            {
                slot.until = until(Some(time));
            }
        }
        self.leave(Operation::Renew).await;
        Ok(())
    }

    async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        self.enter(Operation::Publish, messages.len()).await?;
        for message in messages {
            assert!(message.len() <= BUS_MESSAGE_LIMIT, "{} bytes", message.len());
            self.publish_anything(message.clone());
        }
        self.leave(Operation::Publish).await;
        Ok(())
    }

    async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        if let Err(error) = self.enter(Operation::Listen, 0).await {
            return error;
        }
        let (to, mut messages) = unbounded_channel();
        self.state().listeners.push(to);
        hear(Heard::Joined);
        while let Some(message) = messages.recv().await {
            hear(Heard::Message(&message));
        }
        Error::Unreachable {
            storage: self.location(),
            source: "cut by a test".into(),
        }
    }

    async fn close(&self) -> Result<()> {
        self.enter(Operation::Close, 0).await
    }
}

impl InMemoryRemote {
    fn without_leases_error(&self) -> Error {
        Error::Config {
            storage: self.location(),
            reason: "has no leases".into(),
        }
    }
}
