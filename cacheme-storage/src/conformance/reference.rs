//! The smallest storages that keep the contract, to test the suite itself: it passes them, and finds each of a list of
//! mistakes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::contract::fence::Fence;
use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::local::{LocalEntry, LocalStorage};
use crate::contract::remote::{Capabilities, Heard, RemoteEntry, RemoteStorage};
use crate::error::{Error, Result};
use ::bytes::Bytes;

/// A mistake to make.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// Looks at the lease, and stores a little later.
    FillIsNotAtomic,
    FillIgnoresToken,
    GetShowsLeases,
    ReleaseRemovesAnything,
    NeverExpires,
    KeysIgnoreCase,
    ClearMatchesPatterns,
    OverwriteKeepsTtl,
    FillKeepsLeaseTime,
    NoLeases,
    RenewIgnoresToken,
    RenewDoesNothing,
    KnowsNoDeadline,
    StealsLate,
    TellsTheFirstOnly,
    TellsUpToAZero,
    ListensWhenClosed,
}

#[derive(Clone)]
enum Kept {
    Value(Bytes),
    Lease(LeaseToken),
}

struct Slot {
    kept: Kept,
    until: Option<Instant>,
}

struct Remote {
    slots: Mutex<BTreeMap<Vec<u8>, Slot>>,
    listeners: Mutex<Vec<UnboundedSender<Bytes>>>,
    start: Instant,
    mistake: Mistake,
}

impl Remote {
    fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::default(),
            listeners: Mutex::default(),
            start: Instant::now(),
            mistake,
        })
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        match self.mistake {
            Mistake::KeysIgnoreCase => key.to_ascii_lowercase(),
            _ => key.to_vec(),
        }
    }

    fn until(&self, ttl: Option<Duration>) -> Option<Instant> {
        match self.mistake {
            Mistake::NeverExpires => None,
            _ => ttl.and_then(|ttl| Instant::now().checked_add(ttl)),
        }
    }

    /// What is under the key and has not expired.
    fn live<'a>(&self, slots: &'a BTreeMap<Vec<u8>, Slot>, key: &[u8]) -> Option<&'a Slot> {
        let slot = slots.get(&self.key(key))?;
        slot.until
            .is_none_or(|until| until > Instant::now())
            .then_some(slot)
    }

    fn holds(&self, slots: &BTreeMap<Vec<u8>, Slot>, key: &[u8], token: LeaseToken) -> bool {
        match self.live(slots, key).map(|slot| &slot.kept) {
            Some(Kept::Lease(holder)) => *holder == token || self.mistake == Mistake::FillIgnoresToken,
            _ => false,
        }
    }
}

#[async_trait]
impl RemoteStorage for Remote {
    fn location(&self) -> String {
        "reference://".into()
    }

    fn capabilities(&self) -> Capabilities {
        match self.mistake {
            Mistake::NoLeases => Capabilities::none(),
            _ => Capabilities::none().with_renewals().with_bus(),
        }
    }

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let slots = self.slots.lock();
        let value = |key: &&[u8]| match &self.live(&slots, key)?.kept {
            Kept::Value(value) => Some(value.clone()),
            Kept::Lease(_) if self.mistake == Mistake::GetShowsLeases => Some(Bytes::new()),
            Kept::Lease(_) => None,
        };
        Ok(keys.iter().map(value).collect())
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        let mut slots = self.slots.lock();
        for entry in entries {
            let mut until = self.until(entry.ttl);
            if self.mistake == Mistake::OverwriteKeepsTtl {
                until = slots.get(&self.key(entry.key)).map_or(until, |slot| slot.until);
            }
            let kept = Kept::Value(entry.value.clone());
            slots.insert(self.key(entry.key), Slot { kept, until });
        }
        Ok(())
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let mut slots = self.slots.lock();
        for key in keys {
            slots.remove(&self.key(key));
        }
        Ok(())
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        let literal = match self.mistake {
            Mistake::ClearMatchesPatterns => prefix.strip_suffix(b"*").unwrap_or(prefix),
            _ => prefix,
        };
        self.slots.lock().retain(|key, _| !key.starts_with(literal));
        Ok(())
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        if self.mistake == Mistake::NoLeases {
            return Err(self.without_leases());
        }
        let mut slots = self.slots.lock();
        let now_ms = self.now_ms();
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            let is_late = request.is_late(now_ms)
                && self.mistake != Mistake::KnowsNoDeadline
                && !(self.mistake == Mistake::StealsLate && request.steals());
            let found = self.live(&slots, key).filter(|_| !request.steals());
            answers.push(match found.map(|slot| (&slot.kept, slot.until)) {
                Some((Kept::Value(value), _)) => Acquired::Value(value.clone().into()),
                Some((Kept::Lease(holder), until)) if *holder != request.token => Acquired::Busy {
                    left: until.map_or(request.time, |until| {
                        until.saturating_duration_since(Instant::now())
                    }),
                },
                _ if is_late => Acquired::TooLate,
                _ => {
                    let slot = Slot {
                        kept: Kept::Lease(request.token),
                        until: self.until(Some(request.time)),
                    };
                    slots.insert(self.key(key), slot);
                    request.granted_at(now_ms)
                }
            });
        }
        Ok(answers)
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        if self.mistake == Mistake::NoLeases {
            return Err(self.without_leases());
        }
        let mut filled = Vec::with_capacity(entries.len());
        for entry in entries {
            let looked = (self.mistake == Mistake::FillIsNotAtomic)
                .then(|| self.holds(&self.slots.lock(), entry.key, token));
            if looked.is_some() {
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            let mut slots = self.slots.lock();
            let ours = looked.unwrap_or_else(|| self.holds(&slots, entry.key, token));
            if ours {
                let mut until = self.until(entry.ttl);
                if self.mistake == Mistake::FillKeepsLeaseTime {
                    until = slots.get(entry.key).and_then(|slot| slot.until);
                }
                let kept = Kept::Value(entry.value.clone());
                slots.insert(self.key(entry.key), Slot { kept, until });
            }
            filled.push(if ours { Filled::Stored } else { Filled::Lost });
        }
        Ok(filled)
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        if self.mistake == Mistake::NoLeases {
            return Err(self.without_leases());
        }
        let mut slots = self.slots.lock();
        for key in keys {
            if self.mistake == Mistake::ReleaseRemovesAnything || self.holds(&slots, key, token) {
                slots.remove(&self.key(key));
            }
        }
        Ok(())
    }

    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        if self.mistake == Mistake::NoLeases {
            return Err(self.without_leases());
        }
        let until = self.until(Some(time));
        let mut slots = self.slots.lock();
        for key in keys {
            let ours = self.mistake == Mistake::RenewIgnoresToken || self.holds(&slots, key, token);
            if ours
                && self.mistake != Mistake::RenewDoesNothing
                && let Some(slot) = slots.get_mut(&self.key(key))
            {
                slot.until = until;
            }
        }
        Ok(())
    }

    async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        if self.mistake == Mistake::NoLeases {
            return Err(self.without_bus());
        }
        let mut listeners = self.listeners.lock();
        listeners.retain(|to| !to.is_closed());
        let count = match self.mistake {
            Mistake::TellsTheFirstOnly => 1,
            _ => usize::MAX,
        };
        for message in messages {
            let end = match self.mistake {
                Mistake::TellsUpToAZero => message.iter().position(|byte| *byte == 0),
                _ => None,
            };
            let message = message.slice(..end.unwrap_or(message.len()));
            for to in listeners.iter().take(count) {
                // Who went away just now hears nothing.
                let _ = to.send(message.clone());
            }
        }
        Ok(())
    }

    async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        if self.mistake == Mistake::NoLeases {
            return self.without_bus();
        }
        let (to, mut messages) = unbounded_channel();
        self.listeners.lock().push(to);
        hear(Heard::Joined);
        while let Some(message) = messages.recv().await {
            hear(Heard::Message(&message));
        }
        Error::Unreachable {
            storage: self.location(),
            source: "closed".into(),
        }
    }

    async fn close(&self) -> Result<()> {
        if self.mistake != Mistake::ListensWhenClosed {
            self.listeners.lock().clear();
        }
        Ok(())
    }
}

type LocalSlots = BTreeMap<Vec<u8>, (LocalEntry, Option<Instant>)>;

#[derive(Default)]
struct Local {
    slots: Mutex<LocalSlots>,
    ignores_fences: bool,
}

impl LocalStorage for Local {
    fn location(&self) -> String {
        "reference://local".into()
    }

    fn entry(&self, key: &[u8]) -> Option<LocalEntry> {
        let slots = self.slots.lock();
        let (entry, until) = slots.get(key)?;
        let mut entry = entry.clone();
        if let Some(until) = until {
            entry.ttl = Some(
                until
                    .checked_duration_since(Instant::now())
                    .filter(|left| !left.is_zero())?,
            );
        }
        Some(entry)
    }

    fn insert(&self, key: &[u8], entry: LocalEntry, fence: &Fence) -> bool {
        let until = entry.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let mut slots = self.slots.lock();
        if fence.is_raised() && !self.ignores_fences {
            return false;
        }
        let old = slots.insert(key.to_vec(), (entry, until));
        drop(slots);
        drop(old);
        true
    }

    fn remove(&self, key: &[u8]) -> bool {
        let removed = self.slots.lock().remove(key);
        removed.is_some()
    }

    fn clear(&self) {
        let all = std::mem::take(&mut *self.slots.lock());
        drop(all);
    }

    fn len(&self) -> usize {
        self.slots.lock().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correct_storage_passes() {
    super::remote(Remote::new(Mistake::None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correct_storage_without_leases_passes() {
    super::remote(Remote::new(Mistake::NoLeases)).await;
}

#[test]
fn a_correct_local_storage_passes() {
    super::local(Arc::new(Local::default()));
}

#[test]
#[should_panic(expected = "- a_raised_fence_keeps_values_out: insert past a raised fence")]
fn a_local_storage_without_fences_fails() {
    super::local(Arc::new(Local {
        ignores_fences: true,
        ..Local::default()
    }));
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "\n- get_sees_a_lease_as_absent: get of one: got")]
async fn a_storage_with_a_mistake_fails() {
    super::remote(Remote::new(Mistake::GetShowsLeases)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "still listens 10s after the storage was closed")]
async fn a_storage_that_listens_on_when_closed_fails() {
    super::remote_but(Remote::new(Mistake::ListensWhenClosed), |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_found_by_its_case() {
    let expected = [
        (Mistake::FillIsNotAtomic, "a_fill_never_survives_a_remove"),
        (Mistake::FillIsNotAtomic, "a_fill_never_overwrites_a_set"),
        (Mistake::FillIgnoresToken, "fill_after_a_theft_is_lost"),
        (
            Mistake::FillIgnoresToken,
            "a_fill_of_many_reports_what_was_lost_in_every_way",
        ),
        (Mistake::GetShowsLeases, "get_sees_a_lease_as_absent"),
        (Mistake::ReleaseRemovesAnything, "release_harms_nobody_else"),
        (Mistake::RenewIgnoresToken, "renewing_harms_nobody_else"),
        (Mistake::RenewDoesNothing, "a_renewed_lease_outlives_its_time"),
        (Mistake::KnowsNoDeadline, "past_the_deadline_nothing_is_granted"),
        (
            Mistake::KnowsNoDeadline,
            "past_the_deadline_a_large_call_gets_nothing",
        ),
        (Mistake::StealsLate, "past_the_deadline_nothing_is_stolen"),
        (
            Mistake::ReleaseRemovesAnything,
            "a_release_gives_back_what_was_asked_for_twice",
        ),
        (Mistake::NeverExpires, "the_shortest_ttl_expires"),
        (Mistake::NeverExpires, "a_lease_ends_by_itself"),
        (Mistake::KeysIgnoreCase, "keys_that_look_alike_differ"),
        (
            Mistake::ClearMatchesPatterns,
            "signs_in_the_prefix_mean_themselves",
        ),
        (Mistake::OverwriteKeepsTtl, "overwriting_changes_the_ttl"),
        (Mistake::FillKeepsLeaseTime, "fill_keeps_its_own_ttl"),
        (
            Mistake::TellsTheFirstOnly,
            "every_listener_receives_every_message_in_order",
        ),
        (
            Mistake::TellsUpToAZero,
            "a_message_may_be_any_bytes_up_to_the_limit",
        ),
    ];
    let mut runs = tokio::task::JoinSet::new();
    for (mistake, name) in expected {
        let storage: Arc<dyn RemoteStorage> = Remote::new(mistake);
        let cases = super::remote_cases(&*storage);
        let (_, case) = cases.into_iter().find(|(case, _)| *case == name).expect(name);
        runs.spawn(async move { (name, super::run(&storage, name, case).await) });
    }
    while let Some(run) = runs.join_next().await {
        let (name, outcome) = run.expect("the suite catches panics");
        assert!(outcome.is_err(), "{name} does not find its mistake");
    }
}
