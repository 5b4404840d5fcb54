//! The slow half of a read: flights that are led together go through the tiers, wait where another process loads,
//! and land what was found or loaded in the tiers before.
//!
//! Each flight of a batch is at one tier of the chain. A [`pass`](Batch::pass) moves all of them on, one bulk operation
//! a tier; a flight whose value is found lands and ends. One whose key is leased to another process stays where it is
//! until that process has filled it. What has passed the last tier is ready to be loaded
//! ([`advance`](Batch::advance)), by whoever drives the batch, and [`land`](Batch::land)s afterwards.
//!
//! Nothing of the batch waits for a flight of another, so two batches with overlapping keys cannot block each other.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use cacheme_storage::{Acquired, Fence, Filled, LeaseToken, LocalEntry, RemoteEntry};
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use crate::flight::{FullKey, Lead};
use crate::kind::{Kind, Outcome, RemoteTier, Stored, Tier, TierStorage};
use crate::load::Store;
use crate::memoize::Failure;
use crate::node::Node;
use crate::owed::owe;
use crate::policy::shortened;
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
    /// By tier, what we have of its lease.
    leases: Vec<Held>,
    /// Since when it has waited for another process.
    waiting: Option<Instant>,
    /// What comes of it is handed out and stored nowhere: another process may be storing something newer.
    hand_out_only: bool,
}

/// What a flight has of the lease of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    /// It was asked for, and the answer is out: perhaps granted, perhaps after the load began. Given up in the end, and
    /// nothing is filled by it.
    Asked,
    Yes,
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
    /// What the ttl of every tier is multiplied by: 1, or less with `ttl_jitter`. One for all tiers, so that a nearer tier
    /// still never outlives the one that it was filled from.
    spread: f64,
    from: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Load,
    Remote,
    /// That may be older than an invalidation by another process, so it is no match for what remote tiers hold or do not
    /// hold.
    Local,
}

impl<V> Landing<V> {
    /// The ttl for a tier, `None` for ever; `Some(0)` when its life is over.
    fn ttl(&self, tier: &Tier) -> Option<Duration> {
        let ttl = tier.ttl.map(|ttl| shortened(ttl, self.spread));
        let life = self.life.into_iter().chain(ttl).min()?;
        Some(life.saturating_sub(self.since.elapsed()))
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
            leases: vec![Held::No; tiers],
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

    /// Says that we are alive: whoever drives us is waited for anew. `step` bounds what is done next.
    fn alive(&self, step: Duration) {
        self.extend(self.kind.info.load_timeout.max(step));
    }

    /// Ends what is still open of `items` with a panic: a value's own code went wrong while it was stored.
    pub(crate) fn panicked(&mut self, items: &[usize], panic: &(dyn std::any::Any + Send)) {
        for &item in items {
            if self.items[item].lead.is_some() {
                self.finish(item, Err(Failure::panicked(panic)));
            }
        }
    }

    /// A batch of its own for the flights that wait for other processes, so that they need not wait for our loads too.
    pub(crate) fn split_waiting(&mut self) -> Option<Self> {
        let end = self.kind.tiers.len();
        let waiting = self.open_items(|item| item.at < end);
        if waiting.is_empty() {
            return None;
        }
        let items = waiting.into_iter().map(|item| {
            let item = &mut self.items[item];
            Item {
                lead: item.lead.take(),
                node: item.node.clone(),
                key: Arc::clone(&item.key),
                at: item.at,
                leases: std::mem::replace(&mut item.leases, vec![Held::No; end]),
                waiting: item.waiting,
                hand_out_only: item.hand_out_only,
            }
        });
        let items = items.collect();
        Some(Self {
            kind: Arc::clone(&self.kind),
            items,
            token: self.token,
            steal: self.steal,
            pause: self.pause,
        })
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
        // Kept over several looks, so that what happens meanwhile is not missed.
        let mut change: Option<BoxFuture<'static, ()>> = None;
        loop {
            let end = self.kind.tiers.len();
            let ready = self.open_items(|item| item.at == end);
            if !ready.is_empty() {
                return Some(ready);
            }
            if !self.is_open() {
                return None;
            }
            let changed = change.get_or_insert_with(|| self.change());
            if tokio::time::timeout(jittered(self.pause), changed).await.is_ok() {
                change = None;
            }
            self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
            self.give_up_waiting();
            self.pass().await;
        }
    }

    /// Resolves when a key that is waited for may have been filled, as far as its storage can tell.
    fn change(&self) -> BoxFuture<'static, ()> {
        let changes = FuturesUnordered::new();
        for at in 0..self.kind.tiers.len() {
            let waiting = self.open_items(|item| item.at == at && item.waiting.is_some());
            if waiting.is_empty() {
                continue;
            }
            let kind = Arc::clone(&self.kind);
            let keys: Vec<FullKey> = waiting
                .iter()
                .map(|item| Arc::clone(&self.items[*item].key))
                .collect();
            changes.push(async move {
                if let TierStorage::Remote(remote) = &kind.tiers[at].storage {
                    let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
                    remote.storage.changed(&keys).await;
                }
            });
        }
        Box::pin(async move { changes.into_future().map(drop).await })
    }

    /// Moves every flight on, through all tiers or up to one whose key another process loads.
    pub(crate) async fn pass(&mut self) {
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.tiers.iter().enumerate() {
            let items = self.open_items(|item| item.at == at);
            if items.is_empty() {
                continue;
            }
            if let TierStorage::Remote(remote) = &tier.storage {
                self.alive(remote.timeout * 3);
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
            self.found(found, at).await;
        }
    }

    /// Lands what was found in a tier.
    async fn found(&mut self, found: Vec<Landing<N::Value>>, at: usize) {
        if !found.is_empty() {
            self.drop_behind(&found, at);
            self.store(found, at).await;
        }
    }

    /// What local tiers behind a remote one hold is older than what was found there, and must not be found after it.
    fn drop_behind(&self, found: &[Landing<N::Value>], at: usize) {
        if let TierStorage::Local(_) = self.kind.tiers[at].storage {
            return;
        }
        for tier in &self.kind.tiers[at + 1..] {
            if let TierStorage::Local(local) = &tier.storage {
                found
                    .iter()
                    .for_each(|landing| _ = local.remove(&self.items[landing.item].key));
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
                        spread: self.kind.info.spread(),
                        from: Origin::Local,
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
        // What we could not remove from here is old: not to be read, but to be replaced.
        let steal = |item: &usize| self.steal || tier.owed.contains(&self.items[*item].key);
        let mut replaced: Vec<usize> = missing.extract_if(.., |item| steal(item)).collect();
        // For one key, asking for the lease is asking for the value; for many, plain reads are cheaper by far.
        if !missing.is_empty() && (remote.lease.is_none() || !single) {
            let items = std::mem::take(&mut missing);
            let keys: Vec<&[u8]> = items.iter().map(|item| &*self.items[*item].key).collect();
            match tier.bounded(remote, remote.storage.get(&keys)).await {
                Ok(values) => {
                    for (&item, bytes) in items.iter().zip(values) {
                        let Some(bytes) = bytes else {
                            missing.push(item);
                            continue;
                        };
                        match self.decode(item, tier, remote, &bytes) {
                            Some(landing) => found.push(landing),
                            None => replaced.push(item),
                        }
                    }
                    // Those who wait for these need not wait for the leases of the others.
                    self.found(std::mem::take(&mut found), at).await;
                }
                Err(_) => {
                    count(&tier.counters.misses, items.len() + replaced.len());
                    return found;
                }
            }
        }
        if let Some(lease) = remote.lease {
            let answers = self.ask(&missing, at, tier, remote, lease, false).await;
            let asked = std::mem::take(&mut missing);
            for (item, answer) in asked.into_iter().zip(answers) {
                let since = self.items[item].waiting.take();
                match answer {
                    Some(Acquired::Value(bytes)) => match self.decode(item, tier, remote, &bytes) {
                        Some(landing) => found.push(landing),
                        // Bytes that do not decode are a miss: what is loaded must be able to take their place.
                        None => replaced.push(item),
                    },
                    Some(Acquired::Busy { left }) if !left.is_zero() => {
                        self.items[item].waiting = since.or_else(|| Some(Instant::now()));
                    }
                    Some(Acquired::Granted | Acquired::Busy { .. }) | None => missing.push(item),
                }
            }
            self.ask(&replaced, at, tier, remote, lease, true).await;
        }
        missing.append(&mut replaced);
        count(&tier.counters.misses, missing.len());
        found
    }

    /// Asks for leases and takes note of those that we get. No answers when the storage is in trouble: without a lease
    /// nothing is stored in this tier.
    async fn ask(
        &mut self,
        items: &[usize],
        at: usize,
        tier: &Tier,
        remote: &RemoteTier,
        lease: Duration,
        steal: bool,
    ) -> Vec<Option<Acquired>> {
        if items.is_empty() {
            return Vec::new();
        }
        // Noted before, since we may be dropped before the answer is there.
        items
            .iter()
            .for_each(|item| self.items[*item].leases[at] = Held::Asked);
        let keys: Vec<&[u8]> = items.iter().map(|item| &*self.items[*item].key).collect();
        let asked = remote.storage.acquire(&keys, self.token, lease, steal);
        match tier.bounded(remote, asked).await {
            Ok(answers) => {
                for (item, answer) in items.iter().zip(&answers) {
                    self.items[*item].leases[at] = match answer {
                        Acquired::Granted => Held::Yes,
                        Acquired::Value(_) | Acquired::Busy { .. } => Held::No,
                    };
                }
                answers.into_iter().map(Some).collect()
            }
            // The request may be on its way still.
            Err(cacheme_storage::Error::Timeout { .. }) => vec![None; items.len()],
            Err(_) => {
                items
                    .iter()
                    .for_each(|item| self.items[*item].leases[at] = Held::No);
                vec![None; items.len()]
            }
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
            spread: self.kind.info.spread(),
            from: Origin::Remote,
        })
    }

    /// Who has waited for another process for the time of a lease, or of a load where leases are renewed, waits no longer, and
    /// stores nothing.
    fn give_up_waiting(&mut self) {
        let kind = Arc::clone(&self.kind);
        for item in &mut self.items {
            let Some(since) = item.waiting else { continue };
            let TierStorage::Remote(RemoteTier {
                lease: Some(lease),
                renews,
                ..
            }) = &kind.tiers[item.at].storage
            else {
                unreachable!("only leases are waited for")
            };
            let load = if *renews {
                kind.info.load_timeout
            } else {
                Duration::ZERO
            };
            if since.elapsed() > *lease + load + LONGEST_PAUSE * 2 {
                item.waiting = None;
                item.hand_out_only = true;
                item.at += 1;
            }
        }
    }

    /// Runs the load of `items`, and renews their leases as long as it takes.
    pub(crate) fn renewing<F: Future>(
        &self,
        items: &[usize],
        load: F,
    ) -> impl Future<Output = F::Output> + use<N, F> {
        let (kind, token) = (Arc::clone(&self.kind), self.token);
        let held = |(at, tier): (usize, &Tier)| match &tier.storage {
            TierStorage::Remote(RemoteTier {
                lease: Some(lease),
                renews: true,
                ..
            }) => {
                let items = items.iter().map(|item| &self.items[*item]);
                let keys = items.filter(|item| item.leases[at] == Held::Yes);
                let keys: Vec<FullKey> = keys.map(|item| Arc::clone(&item.key)).collect();
                (!keys.is_empty()).then_some((at, *lease, keys))
            }
            _ => None,
        };
        let held: Vec<_> = kind.tiers.iter().enumerate().filter_map(held).collect();
        async move {
            let mut load = pin!(load);
            // Most loads end before the first renewal.
            let Some(pause) = held.iter().map(|(_, lease, _)| *lease / 3).min() else {
                return load.await;
            };
            loop {
                if let Ok(loaded) = tokio::time::timeout(pause, &mut load).await {
                    return loaded;
                }
                let renewals = held.iter().map(|(at, lease, keys)| {
                    let tier = &kind.tiers[*at];
                    async move {
                        if let TierStorage::Remote(remote) = &tier.storage {
                            let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
                            // What goes wrong is counted and told by `bounded`; the lease may end, as that of a load that
                            // went away does.
                            let _ = tier
                                .bounded(remote, remote.storage.renew(&keys, token, *lease))
                                .await;
                        }
                    }
                });
                let renewals = pin!(futures_util::future::join_all(renewals));
                if let Either::Left((loaded, _)) = select(&mut load, renewals).await {
                    return loaded;
                }
            }
        }
    }

    /// Ends the flights of `answers` (items and what was loaded for them): stores values in every tier.
    pub(crate) async fn land(&mut self, answers: Vec<(usize, Answer<N::Value>)>) {
        let mut landings = Vec::with_capacity(answers.len());
        let mut failed = Vec::new();
        for (item, answer) in answers {
            self.kind
                .loaded(&self.items[item].key, answer.result.as_ref().err());
            match answer.result {
                Ok(value) => {
                    // A refresh is asked for by name: its value is stored.
                    let stays = self.steal || self.kind.admits(self.key(item));
                    self.items[item].hand_out_only |= answer.store.skip || !stays;
                    let since = Instant::now();
                    let spread = self.kind.info.spread();
                    let life = self.kind.life(&value, answer.store.ttl);
                    landings.push(Landing {
                        item,
                        value,
                        life: life.map(|life| shortened(life, spread)),
                        since,
                        accepted: true,
                        spread,
                        from: Origin::Load,
                    });
                }
                Err(failure) => {
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
                TierStorage::Remote(remote) => {
                    self.alive(remote.timeout * 3);
                    // A leader that was left lying between two tiers may have been fenced, and given up on, meanwhile.
                    for landing in &mut landings {
                        landing.accepted &= !self.fence(landing.item).is_raised();
                    }
                    self.store_remote(&mut landings, at, tier, remote).await;
                }
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
            let fence = self.fence(landing.item);
            let ttl = landing.ttl(tier);
            let mut stored = false;
            if landing.accepted && ttl != Some(Duration::ZERO) {
                let value = landing.value.clone();
                let entry = LocalEntry::new(Arc::new(Stored::<N> { value }), ttl);
                stored = local.insert(&item.key, entry, fence);
            }
            if stored {
                count(&tier.counters.fills, 1);
            } else if self.steal || landing.from == Origin::Remote {
                // A refresh that could not store its value must not leave the older one, even if somebody fenced it who is
                // not done yet. And who waited for a fenced flight and got what is in a remote tier by now must not find
                // something older here afterwards.
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
        for (number, landing) in landings.iter().enumerate() {
            let item = &self.items[landing.item];
            let ttl = landing.ttl(tier);
            // Without a lease where there could be one, the storage was in trouble when the lease was asked for.
            let barred = remote.lease.is_some() && item.leases[at] != Held::Yes;
            if !landing.accepted || landing.from == Origin::Local || barred || ttl == Some(Duration::ZERO) {
                continue;
            }
            let expires_ms = ttl.map(|ttl| now_ms.saturating_add(ttl.as_millis().max(1) as u64));
            if let Some(value) = self
                .kind
                .encode(tier, &item.key, &landing.value, now_ms, expires_ms)
            {
                chosen.push((number, tier.owed.number(&item.key)));
                entries.push(RemoteEntry {
                    key: &item.key,
                    value,
                    ttl,
                });
            }
        }
        let mut replaced = vec![false; landings.len()];
        // What goes wrong is counted and told by `bounded`. The value then goes on to the nearer tiers: with a remote
        // storage in trouble these are what keeps the load off the source.
        if entries.is_empty() {
        } else if remote.lease.is_some() {
            let filled = remote.storage.fill(&entries, self.token);
            let filled = tier.bounded(remote, filled).await;
            for ((number, debt), filled) in chosen.into_iter().zip(filled.into_iter().flatten()) {
                let item = &mut self.items[landings[number].item];
                item.leases[at] = Held::No;
                replaced[number] = true;
                match filled {
                    Filled::Stored => {
                        count(&tier.counters.fills, 1);
                        tier.owed.settle(&item.key, debt);
                    }
                    Filled::Lost => {
                        count(&tier.counters.lost, 1);
                        landings[number].accepted = false;
                    }
                }
            }
        } else {
            let set = tier.bounded(remote, remote.storage.set(&entries));
            let fences = chosen
                .iter()
                .map(|(number, _)| self.fence(landings[*number].item));
            if while_waited_for(set, fences.collect(), remote.timeout).await {
                count(&tier.counters.fills, chosen.len());
                for (number, debt) in chosen {
                    replaced[number] = true;
                    tier.owed.settle(&self.items[landings[number].item].key, debt);
                }
            }
        }
        if self.steal {
            // A refresh leaves nothing older behind: neither where it got no lease nor where its value could not go.
            let old = landings.iter().zip(replaced).filter(|(landing, replaced)| {
                let stolen = self.items[landing.item].leases[at] == Held::Yes;
                !stolen && !replaced
            });
            let old: Vec<FullKey> = old
                .map(|(landing, _)| Arc::clone(&self.items[landing.item].key))
                .collect();
            if !old.is_empty() {
                owe(&self.kind, at, &old, Duration::ZERO);
            }
        }
    }

    fn fence(&self, item: usize) -> &Fence {
        let lead = self.items[item].lead.as_ref();
        lead.expect("what lands is in flight").flight().fence()
    }

    /// Gives up the leases that `items` still hold.
    async fn release(&mut self, items: &[usize]) {
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.tiers.iter().enumerate() {
            let TierStorage::Remote(remote) = &tier.storage else {
                continue;
            };
            let mut held = Vec::new();
            let mut asked = Vec::new();
            for &item in items {
                let item = &mut self.items[item];
                match std::mem::replace(&mut item.leases[at], Held::No) {
                    Held::No => {}
                    Held::Asked => asked.push(Arc::clone(&item.key)),
                    Held::Yes => held.push(Arc::clone(&item.key)),
                }
            }
            // Nobody should wait for a storage that is slow already.
            release_in_background(&kind, at, asked, self.token);
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
        for at in 0..self.kind.tiers.len() {
            let held = self.items.iter().filter(|item| item.leases[at] != Held::No);
            let held = held.map(|item| Arc::clone(&item.key)).collect();
            release_in_background(&self.kind, at, held, self.token);
        }
    }
}

fn release_in_background<N: Node>(kind: &Arc<Kind<N>>, at: usize, keys: Vec<FullKey>, token: LeaseToken) {
    if keys.is_empty() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    let kind = Arc::clone(kind);
    runtime.spawn(async move {
        let TierStorage::Remote(remote) = &kind.tiers[at].storage else {
            return;
        };
        let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        // A lease that cannot be given up ends by itself; `bounded` counts and tells.
        let _ = kind.tiers[at]
            .bounded(remote, remote.storage.release(&keys, token))
            .await;
    });
}

/// Whether a write that no lease guards succeeds while somebody may still be waiting for it to end.
///
/// Who fences a flight that is writing waits for the write, for as long as it may take. A write that is polled again only
/// later (its future lay in a `select!`) must not reach the storage after that.
async fn while_waited_for<T, E>(
    write: impl Future<Output = Result<T, E>>,
    fences: Vec<&Fence>,
    bound: Duration,
) -> bool {
    let end = Instant::now() + bound;
    let mut write = std::pin::pin!(write);
    std::future::poll_fn(|cx| {
        if Instant::now() > end && fences.iter().any(|fence| fence.is_raised()) {
            return Poll::Ready(false);
        }
        write.as_mut().poll(cx).map(|result| result.is_ok())
    })
    .await
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
