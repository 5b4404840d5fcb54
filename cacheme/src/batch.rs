//! The slow half of a read: flights that are led together go through the tiers, wait where another process loads,
//! and land what was found or loaded in the tiers before.
//!
//! Each flight of a batch is at one tier of the chain. A [`pass`](Batch::pass) moves all of them on, one bulk operation
//! a tier; a flight whose value is found lands and ends. One whose key is leased to another process stays where it is
//! until that process has filled it. What has passed the last tier is ready to be loaded
//! ([`advance`](Batch::advance)), by whoever drives the batch, and [`land`](Batch::land)s afterwards.
//!
//! Nothing of the batch waits for a flight of another, so two batches with overlapping keys cannot block each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{Acquired, Filled, LeaseToken, LocalEntry, RemoteEntry};
use tokio::time::Instant;

use crate::flight::{FullKey, Lead};
use crate::kind::{Kind, Outcome, RemoteTier, Stored, Tier, TierStorage};
use crate::load::Store;
use crate::node::Node;
use crate::stats::count;

/// First and longest pause between two looks at a key that another process loads.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Batch<N: Node> {
    kind: Arc<Kind<N>>,
    items: Vec<Item<N>>,
    /// Names this batch as the holder of its leases. No two batches share one.
    token: LeaseToken,
    /// Takes leases away from whoever has them and reads nothing: for `refresh`.
    steal: bool,
    pause: Duration,
}

/// A flight that is led here, with its node and full key.
pub(crate) type Led<N> = (Lead<Outcome<<N as Node>::Value>>, N, FullKey);

struct Item<N: Node> {
    /// `None` once the flight has ended.
    lead: Option<Lead<Outcome<N::Value>>>,
    node: N,
    key: FullKey,
    /// The tier it is at; past the last one it is ready to be loaded.
    at: usize,
    /// By tier, whether we hold the lease.
    leased: Vec<bool>,
    /// Since when it has waited for another process.
    waiting: Option<Instant>,
    /// What comes of it is handed out and stored nowhere: another process may be storing something newer.
    hand_out_only: bool,
}

/// What a load brought for one node.
pub(crate) struct Answer<V> {
    pub(crate) result: Outcome<V>,
    pub(crate) store: Store,
}

/// A value on its way into the tiers before the one where it was found.
struct Landing<V> {
    item: usize,
    value: V,
    /// How long it may live, counted from `since`; `None` leaves it to the tiers.
    life: Option<Duration>,
    since: Instant,
    /// Cleared when a tier refuses it: then it goes no nearer.
    accepted: bool,
}

impl<V> Landing<V> {
    /// The ttl for a tier, `None` for ever; `Some(0)` when its life is over.
    fn ttl(&self, tier: &Tier) -> Option<Duration> {
        let left = self.life.map(|life| life.saturating_sub(self.since.elapsed()));
        match (left, tier.ttl) {
            (Some(left), Some(ttl)) => Some(left.min(ttl)),
            (left, ttl) => left.or(ttl),
        }
    }
}

impl<N: Node> Batch<N> {
    pub(crate) fn new(kind: Arc<Kind<N>>, flights: Vec<Led<N>>) -> Self {
        let tiers = kind.tiers.len();
        let item = |(lead, node, key)| Item {
            lead: Some(lead),
            node,
            key,
            at: 0,
            leased: vec![false; tiers],
            waiting: None,
            hand_out_only: false,
        };
        let items = flights.into_iter().map(item).collect();
        Self {
            kind,
            items,
            token: unique_token(),
            steal: false,
            pause: FIRST_PAUSE,
        }
    }

    /// A batch that reads nothing, and whose values take the place of whatever is there.
    pub(crate) fn stealing(kind: Arc<Kind<N>>, flights: Vec<Led<N>>) -> Self {
        let mut batch = Self::new(kind, flights);
        batch.steal = true;
        batch
    }

    /// The node of an item that [`advance`](Self::advance) gave.
    pub(crate) fn node(&self, item: usize) -> &N {
        &self.items[item].node
    }

    /// The full key of an item.
    pub(crate) fn key(&self, item: usize) -> &FullKey {
        &self.items[item].key
    }

    pub(crate) fn kind(&self) -> &Arc<Kind<N>> {
        &self.kind
    }

    /// Whether a flight has not ended yet.
    pub(crate) fn is_open(&self) -> bool {
        self.items.iter().any(|item| item.lead.is_some())
    }

    /// Says that a load begins that this crate does not bound: those who wait are patient for the node's `load_timeout`.
    pub(crate) fn loading(&self) {
        self.extend(self.kind.info.load_timeout);
    }

    /// Lets those who wait be patient for `time` from now on.
    pub(crate) fn extend(&self, time: Duration) {
        let patience = Instant::now() + time;
        self.items
            .iter()
            .filter_map(|item| item.lead.as_ref())
            .for_each(|lead| lead.extend(patience));
    }

    /// Goes on through the tiers until something must be loaded: gives those items, or `None` when all flights have
    /// ended.
    pub(crate) async fn advance(&mut self) -> Option<Vec<usize>> {
        loop {
            let end = self.kind.tiers.len();
            let ready = self.open_items(|item| item.at == end);
            if !ready.is_empty() {
                return Some(ready);
            }
            if !self.is_open() {
                return None;
            }
            tokio::time::sleep(jittered(self.pause)).await;
            self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
            self.give_up_waiting();
            self.pass().await;
        }
    }

    /// Moves every flight on, through all tiers or up to one whose key another process loads.
    pub(crate) async fn pass(&mut self) {
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.tiers.iter().enumerate() {
            let items = self.open_items(|item| item.at == at);
            if items.is_empty() {
                continue;
            }
            let found = match &tier.storage {
                TierStorage::Local(_) if self.steal => Vec::new(),
                TierStorage::Local(local) => self.read_local(&items, tier, &**local),
                TierStorage::Remote(remote) => self.read_remote(&items, at, tier, remote).await,
            };
            for item in &items {
                let item = &mut self.items[*item];
                if item.waiting.is_none() {
                    item.at = at + 1;
                }
            }
            if !found.is_empty() {
                self.store(found, at).await;
            }
        }
    }

    fn read_local(
        &self,
        items: &[usize],
        tier: &Tier,
        local: &dyn cacheme_storage::LocalStorage,
    ) -> Vec<Landing<N::Value>> {
        let mut found = Vec::new();
        for &item in items {
            let since = Instant::now();
            let entry = local.entry(&self.items[item].key);
            let stored = entry
                .as_ref()
                .and_then(|entry| entry.value.downcast_ref::<Stored<N>>());
            match (stored, &entry) {
                (Some(stored), Some(entry)) => {
                    tier.counters.hits.add_one();
                    found.push(Landing {
                        item,
                        value: stored.value.clone(),
                        life: entry.ttl,
                        since,
                        accepted: true,
                    });
                }
                _ => count(&tier.counters.misses, 1),
            }
        }
        found
    }

    async fn read_remote(
        &mut self,
        items: &[usize],
        at: usize,
        tier: &Tier,
        remote: &RemoteTier,
    ) -> Vec<Landing<N::Value>> {
        let mut found = Vec::new();
        let mut missing = items.to_vec();
        let single = items.len() == 1;
        // For one key, asking for the lease is asking for the value; for many, plain reads are cheaper by far.
        if !self.steal && (remote.lease.is_none() || !single) {
            let keys: Vec<&[u8]> = items.iter().map(|item| &*self.items[*item].key).collect();
            match tier.bounded(remote, remote.storage.get(&keys)).await {
                Ok(values) => {
                    missing.clear();
                    for (&item, bytes) in items.iter().zip(values) {
                        match bytes.and_then(|bytes| self.decode(item, tier, remote, &bytes)) {
                            Some(landing) => found.push(landing),
                            None => missing.push(item),
                        }
                    }
                }
                Err(_) => {
                    count(&tier.counters.misses, items.len());
                    return found;
                }
            }
        }
        if let Some(lease) = remote.lease
            && !missing.is_empty()
        {
            let keys: Vec<&[u8]> = missing.iter().map(|item| &*self.items[*item].key).collect();
            let asked = remote.storage.acquire(&keys, self.token, lease, self.steal);
            match tier.bounded(remote, asked).await {
                Ok(answers) => {
                    let mut undecodable = Vec::new();
                    let items = std::mem::take(&mut missing);
                    for (item, answer) in items.into_iter().zip(answers) {
                        self.items[item].waiting = match answer {
                            Acquired::Granted => {
                                self.items[item].leased[at] = true;
                                missing.push(item);
                                None
                            }
                            Acquired::Value(bytes) => {
                                match self.decode(item, tier, remote, &bytes) {
                                    Some(landing) => found.push(landing),
                                    None => undecodable.push(item),
                                }
                                None
                            }
                            Acquired::Busy { .. } => {
                                self.items[item].waiting.or_else(|| Some(Instant::now()))
                            }
                        };
                    }
                    self.take_over_undecodable(&undecodable, at, tier, remote, lease)
                        .await;
                    missing.append(&mut undecodable);
                }
                Err(_) => missing.iter().for_each(|item| self.items[*item].waiting = None),
            }
        }
        count(&tier.counters.misses, missing.len());
        found
    }

    /// Bytes that do not decode are a miss: what is loaded must be able to take their place.
    async fn take_over_undecodable(
        &mut self,
        items: &[usize],
        at: usize,
        tier: &Tier,
        remote: &RemoteTier,
        lease: Duration,
    ) {
        if items.is_empty() {
            return;
        }
        let keys: Vec<&[u8]> = items.iter().map(|item| &*self.items[*item].key).collect();
        // What goes wrong is counted and told by `bounded`; without the lease nothing is stored in this tier.
        if tier
            .bounded(remote, remote.storage.acquire(&keys, self.token, lease, true))
            .await
            .is_ok()
        {
            items.iter().for_each(|item| self.items[*item].leased[at] = true);
        }
    }

    fn decode(
        &self,
        item: usize,
        tier: &Tier,
        remote: &RemoteTier,
        bytes: &[u8],
    ) -> Option<Landing<N::Value>> {
        let key = &self.items[item].key;
        let since = Instant::now();
        let (value, life) = self.kind.decode(tier, remote, key, bytes)?;
        tier.counters.hits.add_one();
        Some(Landing {
            item,
            value,
            life,
            since,
            accepted: true,
        })
    }

    /// Who has waited for another process for the time of a lease waits no longer, and stores nothing.
    fn give_up_waiting(&mut self) {
        let kind = Arc::clone(&self.kind);
        for item in &mut self.items {
            let Some(since) = item.waiting else { continue };
            let TierStorage::Remote(RemoteTier {
                lease: Some(lease), ..
            }) = &kind.tiers[item.at].storage
            else {
                unreachable!("only leases are waited for")
            };
            if since.elapsed() > *lease + LONGEST_PAUSE * 2 {
                item.waiting = None;
                item.hand_out_only = true;
                item.at += 1;
            }
        }
    }

    /// Ends the flights of `answers` (items and what was loaded for them): stores values in every tier.
    pub(crate) async fn land(&mut self, answers: Vec<(usize, Answer<N::Value>)>) {
        let mut landings = Vec::with_capacity(answers.len());
        let mut failed = Vec::new();
        for (item, answer) in answers {
            count(&self.kind.counters.loads, 1);
            match answer.result {
                Ok(value) => {
                    self.items[item].hand_out_only |= answer.store.skip;
                    let since = Instant::now();
                    landings.push(Landing {
                        item,
                        value,
                        life: answer.store.ttl,
                        since,
                        accepted: true,
                    });
                }
                Err(failure) => {
                    count(&self.kind.counters.load_failures, 1);
                    failed.push(item);
                    self.finish(item, Err(failure));
                }
            }
        }
        self.release(&failed).await;
        let tiers = self.kind.tiers.len();
        self.store(landings, tiers).await;
    }

    /// Stores values in the tiers before `before`, back to front, and ends their flights with them.
    async fn store(&mut self, mut landings: Vec<Landing<N::Value>>, before: usize) {
        for landing in &mut landings {
            let item = &self.items[landing.item];
            let lead = item.lead.as_ref().expect("what lands is in flight");
            landing.accepted = !item.hand_out_only && lead.begin_storing();
        }
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.tiers.iter().enumerate().take(before).rev() {
            match &tier.storage {
                TierStorage::Remote(remote) => self.store_remote(&mut landings, at, tier, remote).await,
                TierStorage::Local(local) => self.store_local(&landings, tier, &**local),
            }
        }
        // What was refused somewhere may still hold leases of tiers before.
        let items: Vec<usize> = landings.iter().map(|landing| landing.item).collect();
        for landing in landings {
            self.finish(landing.item, Ok(landing.value));
        }
        self.release(&items).await;
    }

    fn store_local(
        &self,
        landings: &[Landing<N::Value>],
        tier: &Tier,
        local: &dyn cacheme_storage::LocalStorage,
    ) {
        for landing in landings {
            let item = &self.items[landing.item];
            let lead = item.lead.as_ref().expect("what lands is in flight");
            let ttl = landing.ttl(tier);
            if landing.accepted && ttl != Some(Duration::ZERO) {
                let entry = LocalEntry::new(
                    Arc::new(Stored::<N> {
                        value: landing.value.clone(),
                    }),
                    ttl,
                );
                if local.insert(&item.key, entry, lead.flight().fence()) {
                    count(&tier.counters.fills, 1);
                }
            } else if self.steal && !lead.flight().fence().is_raised() {
                // A refresh that could not store its value must not leave the older one.
                local.remove(&item.key);
            }
        }
    }

    async fn store_remote(
        &mut self,
        landings: &mut [Landing<N::Value>],
        at: usize,
        tier: &Tier,
        remote: &RemoteTier,
    ) {
        let mut chosen = Vec::new();
        let mut entries = Vec::new();
        let now_ms = remote.storage.now_ms();
        for (number, landing) in landings
            .iter()
            .enumerate()
            .filter(|(_, landing)| landing.accepted)
        {
            let item = &self.items[landing.item];
            let ttl = landing.ttl(tier);
            // Without a lease where there could be one, the storage was in trouble when the lease was asked for.
            if ttl == Some(Duration::ZERO) || (remote.lease.is_some() && !item.leased[at]) {
                continue;
            }
            let expires_ms = ttl.map(|ttl| now_ms.saturating_add(ttl.as_millis().max(1) as u64));
            if let Some(value) = self
                .kind
                .encode(tier, &item.key, &landing.value, now_ms, expires_ms)
            {
                chosen.push(number);
                entries.push(RemoteEntry {
                    key: &item.key,
                    value,
                    ttl,
                });
            }
        }
        if entries.is_empty() {
            return;
        }
        // What goes wrong is counted and told by `bounded`. The value then goes on to the nearer tiers: with a remote
        // storage in trouble these are what keeps the load off the source.
        if remote.lease.is_some() {
            let filled = tier
                .bounded(remote, remote.storage.fill(&entries, self.token))
                .await;
            for (number, filled) in chosen.into_iter().zip(filled.into_iter().flatten()) {
                self.items[landings[number].item].leased[at] = false;
                match filled {
                    Filled::Stored => count(&tier.counters.fills, 1),
                    Filled::Lost => {
                        count(&tier.counters.lost, 1);
                        landings[number].accepted = false;
                    }
                }
            }
        } else if tier.bounded(remote, remote.storage.set(&entries)).await.is_ok() {
            count(&tier.counters.fills, chosen.len());
        }
    }

    /// Gives up the leases that `items` still hold.
    async fn release(&mut self, items: &[usize]) {
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.tiers.iter().enumerate() {
            let TierStorage::Remote(remote) = &tier.storage else {
                continue;
            };
            let mut held = Vec::new();
            for &item in items {
                let item = &mut self.items[item];
                if std::mem::take(&mut item.leased[at]) {
                    held.push(Arc::clone(&item.key));
                }
            }
            if !held.is_empty() {
                let keys: Vec<&[u8]> = held.iter().map(|key| &**key).collect();
                // A lease that cannot be given up ends by itself; `bounded` counts and tells.
                let _ = tier
                    .bounded(remote, remote.storage.release(&keys, self.token))
                    .await;
            }
        }
    }

    fn finish(&mut self, item: usize, outcome: Outcome<N::Value>) {
        let lead = self.items[item].lead.take().expect("a flight ends once");
        lead.finish(outcome);
    }

    fn open_items(&self, which: impl Fn(&Item<N>) -> bool) -> Vec<usize> {
        let open = self
            .items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.lead.is_some() && which(item));
        open.map(|(number, _)| number).collect()
    }
}

impl<N: Node> Drop for Batch<N> {
    /// Dropped with flights open, these are abandoned (each [`Lead`] sees to that) and their leases given up, so that
    /// whoever takes over need not wait for them.
    fn drop(&mut self) {
        let mut leases: HashMap<usize, Vec<FullKey>> = HashMap::new();
        for item in &self.items {
            for (at, _) in item.leased.iter().enumerate().filter(|(_, leased)| **leased) {
                leases.entry(at).or_default().push(Arc::clone(&item.key));
            }
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        for (at, keys) in leases {
            let (kind, token) = (Arc::clone(&self.kind), self.token);
            runtime.spawn(async move {
                let TierStorage::Remote(remote) = &kind.tiers[at].storage else {
                    return;
                };
                let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
                let _ = kind.tiers[at]
                    .bounded(remote, remote.storage.release(&keys, token))
                    .await;
            });
        }
    }
}

/// A token that no other batch has, in this process or another.
fn unique_token() -> LeaseToken {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PROCESS: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // RandomState is seeded by the operating system; the process id parts forks that share a seed.
    let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    LeaseToken(u128::from(process) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Between half and all of `pause`, so that those who wait for one key do not ask in step.
fn jittered(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};

    let random = RandomState::new().hash_one(0_u8) % 512;
    pause / 2 + pause * (random as u32) / 1024
}
