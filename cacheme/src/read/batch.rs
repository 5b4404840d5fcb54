//! The flights that one caller leads: their state, and WAITING ([page](super)).
//!
//! Each flight of a batch is at one tier of the chain. A [`pass`](Batch::pass) moves all of them on with one bulk operation for each
//! tier. A flight whose value is found stores it in the tiers before and ends. A flight whose key is leased to another process stays at
//! its tier until that process has filled it. A flight that has passed the last tier is ready to be loaded ([`advance`](Batch::advance)).
//! The caller that drives the batch loads it and [`land`](Batch::land)s the value.
//!
//! A batch never waits for a flight of another batch, so two batches with overlapping keys cannot block each other.

use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{LeaseToken, SmallBox};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::flight::outcome::Failure;
use crate::flight::outcome::Outcome;
use crate::flight::store::Store;
use crate::flight::{self, Flight, FlightFence, FullKey, Lead, Parent, RunningLoad};
use crate::kind::Kind;
use crate::kind::not_stored::NotStored;
use crate::kind::pieces::MOST;
use crate::kind::shards::Items;
use crate::kind::tier::Tier;
use crate::kind::unreached::Report;
use crate::node::Node;
use crate::random::{jittered, unique_token};
use crate::read::item::{Item, Open, Stage};
use crate::read::land::Found;
use crate::read::leases::Early;

/// First and longest pause between two looks at a key that another process loads.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Batch<N: Node> {
    pub(super) kind: Arc<Kind<N>>,
    pub(super) items: SmallVec<[Item<N>; 1]>,
    /// Whether outcomes are kept for [`take`](Self::take).
    pub(super) keeps: bool,
    /// When its flights began, which are waited for from then on for the node's `load_timeout`; `None` once it has waited
    /// for something.
    pub(super) begun: Option<Instant>,
    /// The load that it was begun in, if there is one.
    pub(super) begun_in: Parent,
    /// Names this batch as the holder of its leases. No two batches share one.
    pub(super) token: LeaseToken,
    /// When it last asked for leases.
    pub(super) asked: Option<Instant>,
    /// Where it asked for leases in pieces, when the first of them runs out.
    pub(super) runs_out: Option<Instant>,
    /// How long calls that go in pieces take to come round to all of its keys. Its leases last for longer by that.
    pub(super) round: Duration,
    /// The patience that its waiters were last given: until then they do not take over.
    pub(super) patience: Option<Instant>,
    /// The tasks that renew leases which were granted for less time than requested.
    pub(super) early: SmallVec<[Arc<Early>; 1]>,
    /// For a `refresh`, which takes leases away from all that have them and reads nothing: where it had to leave an older value.
    pub(super) refresh: Option<Report>,
    /// The first remote tier was looked into already, until it is asked for leases.
    pub(super) looked: bool,
    pub(super) pause: Duration,
}

/// The result of a look without flights for the keys of a batch, in a first tier that is remote and has leases.
#[derive(Debug)]
pub(crate) enum FirstLook {
    /// There was no look.
    None,
    /// The keys are absent, or do not decode, except for these, whose shard could not be reached.
    Absent {
        /// Sorted.
        unreachable: Vec<FullKey>,
    },
    /// The storage could not be reached.
    Unavailable,
}

/// A flight that is led here, with its node.
pub(crate) type Led<N> = (Lead<Outcome<<N as Node>::Value>>, N);

/// A flight after a pass through the tiers: its value, or the flight that is to be waited for.
pub(crate) enum Lookup<V> {
    Found(SmallBox<V>),
    Pending(Arc<Flight<Outcome<V>>>),
}

/// The result of a load for one node.
pub(crate) struct Answer<V> {
    pub(crate) result: Outcome<V>,
    pub(crate) store: Store,
}

impl<N: Node> Batch<N> {
    /// A batch for flights that began at `begun`, which keeps their outcomes.
    pub(crate) fn new(kind: Arc<Kind<N>>, flights: impl IntoIterator<Item = Led<N>>, begun: Instant) -> Self {
        let tiers = kind.tiers.len();
        let item = |(lead, node)| Item::new(lead, node, tiers);
        let items = flights.into_iter().map(item).collect();
        Self {
            kind,
            items,
            keeps: true,
            begun: Some(begun),
            begun_in: flight::current(),
            token: unique_token(),
            asked: None,
            runs_out: None,
            round: Duration::ZERO,
            patience: None,
            early: SmallVec::new(),
            refresh: None,
            looked: false,
            pause: FIRST_PAUSE,
        }
    }

    /// A batch that reads nothing, and whose values take the place of whatever is there. Outcomes go to the waiters of the
    /// flights; before these end, the report names the storages that had to be left with an older value.
    pub(crate) fn refreshing(
        kind: Arc<Kind<N>>,
        flights: impl IntoIterator<Item = Led<N>>,
        report: Report,
    ) -> Self {
        let mut batch = Self::new(kind, flights, Instant::now());
        batch.refresh = Some(report);
        batch.keeps = false;
        // Older flights are waited for before it does anything.
        batch.begun = None;
        batch
    }

    /// Goes on after a look into the first tier, before the first pass.
    pub(crate) fn begin_after(&mut self, looked: FirstLook) {
        match looked {
            FirstLook::None => {}
            FirstLook::Absent { unreachable } => {
                self.looked = true;
                let is_unreachable =
                    |key: &[u8]| unreachable.binary_search_by(|other| (**other).cmp(key)).is_ok();
                if !unreachable.is_empty() {
                    self.pass_by_first_tier(is_unreachable);
                }
            }
            FirstLook::Unavailable => self.pass_by_first_tier(|_| true),
        }
    }

    fn pass_by_first_tier(&mut self, which: impl Fn(&[u8]) -> bool) {
        let tiers = self.kind.tiers.len();
        let open = self.items.iter_mut().filter_map(Item::open_mut);
        open.filter(|open| which(open.lead.flight().key()))
            .for_each(|open| open.stage.move_to(1, tiers));
    }

    /// The nodes of items that [`advance`](Self::advance) gave, once.
    pub(crate) fn take_nodes(&mut self, items: &[usize]) -> SmallVec<[N; 1]> {
        let take = |item: &usize| self.items[*item].open_mut()?.stage.take_node();
        let nodes = items.iter().map(take);
        nodes.map(|node| node.expect("a flight is loaded once")).collect()
    }

    /// Begins a load for `items`, within the load that the batch was begun in.
    pub(crate) fn begin_load(&self, items: &[usize]) -> Arc<RunningLoad> {
        let flights = items.iter().map(|item| self.lead(*item).flight());
        RunningLoad::begin(self.kind.flights.id(), flights, self.begun_in.clone())
    }

    /// How long a load may take.
    pub(crate) fn load_timeout(&self) -> Duration {
        self.kind.info.load_timeout
    }

    /// The full key of an item.
    pub(crate) fn key(&self, item: usize) -> &[u8] {
        let key = self.items[item].key();
        key.expect("a flight is open, or has leases")
    }

    /// The value that was found for an item, once; else its flight, which has not ended. Before anything is loaded.
    pub(crate) fn take(&mut self, item: usize) -> Lookup<N::Value> {
        match self.items[item].take_found() {
            Some(value) => Lookup::Found(value),
            None => Lookup::Pending(Arc::clone(self.lead(item).flight())),
        }
    }

    pub(crate) fn kind(&self) -> &Arc<Kind<N>> {
        &self.kind
    }

    /// Whether a flight has not ended yet.
    pub(crate) fn is_open(&self) -> bool {
        self.items.iter().any(|item| item.open().is_some())
    }

    /// Extends the patience of waiters before a step that takes `step` at most. Returns the moment at which the step begins.
    pub(super) fn alive(&mut self, step: Duration) -> Instant {
        let patience = self.kind.info.load_timeout;
        match self.begun.take().filter(|_| step <= patience) {
            Some(begun) => begun,
            None => {
                let now = Instant::now();
                // Not for each piece of a large batch: there are as many pieces as thousands of flights.
                let enough = now + step.max(patience * 3 / 4);
                let is_large = self.items.len() > MOST;
                if !is_large || self.patience.is_none_or(|patience| patience < enough) {
                    let patience = now + patience.max(step);
                    self.extend_until(patience);
                    self.patience = Some(patience);
                }
                now
            }
        }
    }

    /// Ends the open flights of `items` with a panic of a value's own code.
    pub(crate) fn panicked(&mut self, items: &[usize], panic: &(dyn std::any::Any + Send)) {
        for &item in items {
            self.finish(item, Err(Failure::panicked(panic)));
        }
    }

    /// A batch of its own for the flights that wait for other processes, so that they need not wait for our loads too.
    pub(crate) fn split_waiting(&mut self) -> Option<Self> {
        self.split(|stage| stage.tier().is_some())
    }

    /// A batch of its own for the flights that are ready to be loaded.
    pub(crate) fn split_ready(&mut self) -> Option<Self> {
        self.split(Stage::is_ready)
    }

    fn split(&mut self, which: impl Fn(&Stage<N>) -> bool) -> Option<Self> {
        let chosen = self.open_items(which);
        (!chosen.is_empty()).then(|| self.split_off(&chosen))
    }

    /// A batch of its own for open flights, in their order.
    pub(crate) fn split_off(&mut self, items: &[usize]) -> Self {
        let items = items.iter().filter_map(|item| self.items[*item].split_off());
        let items = items.collect();
        Self {
            kind: Arc::clone(&self.kind),
            items,
            keeps: false,
            begun: None,
            begun_in: self.begun_in.clone(),
            token: self.token,
            asked: self.asked,
            runs_out: self.runs_out,
            round: self.round,
            patience: None,
            early: self.early.clone(),
            refresh: self.refresh.clone(),
            looked: self.looked,
            pause: self.pause,
        }
    }

    /// Extends the patience of all waiters: it lasts for the node's `load_timeout` from now on.
    pub(crate) fn extend(&self) {
        self.extend_until(Instant::now() + self.kind.info.load_timeout);
    }

    fn extend_until(&self, patience: Instant) {
        self.items
            .iter()
            .filter_map(Item::open)
            .for_each(|open| open.lead.extend(patience));
    }

    /// Goes on through the tiers until something must be loaded: gives those items, or `None` when all flights have
    /// ended.
    pub(crate) async fn advance(&mut self) -> Option<Items> {
        // Kept over several looks, so that what happens meanwhile is not missed.
        let mut change: Option<BoxFuture<'static, ()>> = None;
        loop {
            let ready = self.open_items(Stage::is_ready);
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
            // Boxed, so that a load does not carry its space.
            Box::pin(self.pass()).await;
        }
    }

    /// Resolves when a key that a flight waits for may have been filled, as far as its storage knows.
    fn change(&self) -> BoxFuture<'static, ()> {
        let changes = FuturesUnordered::new();
        for (at, tier) in self.kind.remotes() {
            let waiting = self.open_items(|stage| stage.waits_at(at));
            if waiting.is_empty() {
                continue;
            }
            let tier = Arc::clone(tier);
            let keys: Vec<FullKey> = waiting.iter().map(|item| self.key(*item).into()).collect();
            changes.push(async move {
                let keys: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
                tier.storage.changed(&keys).await;
            });
        }
        Box::pin(async move { changes.into_future().map(drop).await })
    }

    /// Moves on flights that have waited too long for another process. Their values are stored nowhere.
    ///
    /// Too long is the time of a lease, and of a load as well where leases are renewed.
    fn give_up_waiting(&mut self) {
        let kind = Arc::clone(&self.kind);
        for open in self.items.iter_mut().filter_map(Item::open_mut) {
            let Stage::Waiting { tier: at, since, .. } = open.stage else {
                continue;
            };
            let Tier::Remote(tier) = &kind.tiers[at] else {
                continue;
            };
            let lease = tier.lease.unwrap_or_default();
            let load = if tier.renews {
                kind.info.load_timeout
            } else {
                Duration::ZERO
            };
            if since.elapsed() > lease + load + LONGEST_PAUSE * 2 {
                open.refused = Some(NotStored::WaitedTooLong);
                open.stage.move_to(at + 1, kind.tiers.len());
            }
        }
    }

    fn lead(&self, item: usize) -> &Lead<Outcome<N::Value>> {
        &self.open(item).lead
    }

    pub(super) fn open(&self, item: usize) -> &Open<N> {
        self.items[item].open().expect("the flight has not ended")
    }

    pub(crate) fn flight(&self, item: usize) -> &Flight<Outcome<N::Value>> {
        self.lead(item).flight()
    }

    pub(super) fn fence(&self, item: usize) -> &FlightFence {
        self.flight(item).fence()
    }

    pub(super) fn finish(&mut self, item: usize, outcome: Outcome<N::Value>) {
        self.items[item].end(outcome, self.keeps);
    }

    /// Closes the flights of `landings`: no caller can join them any more.
    pub(super) fn close(&mut self, landings: &Found<N::Value>) {
        let mut numbers: Items = landings.iter().map(|landing| landing.item).collect();
        numbers.sort_unstable();
        // Of a piece of a large batch these are few.
        let first = numbers.first().copied().unwrap_or_default();
        let end = numbers.last().map_or(first, |last| last + 1);
        let among = (first..end).zip(&mut self.items[first..end]);
        let ending = among.filter(|(number, _)| numbers.binary_search(number).is_ok());
        let ending = ending.filter_map(|(_, item)| Some(&mut item.open_mut()?.lead));
        self.kind.flights.close(ending);
    }

    /// Ends the flights of `landings` with their values.
    pub(super) fn finish_all(&mut self, landings: Found<N::Value>) {
        if landings.len() > 1 {
            self.close(&landings);
        }
        for landing in landings {
            let outcome = landing.failure.map_or(Ok(landing.value), Err);
            self.finish(landing.item, outcome);
        }
    }

    pub(super) fn open_items(&self, which: impl Fn(&Stage<N>) -> bool) -> Items {
        let mut open = Items::new();
        for (number, item) in self.items.iter().enumerate() {
            if item.open().is_some_and(|open| which(&open.stage)) {
                open.push(number);
            }
        }
        open
    }
}
