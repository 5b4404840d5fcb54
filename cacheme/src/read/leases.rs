//! The leases of LOOKING, LOADING and STORING ([page](super)): a batch asks for them, renews them and gives them back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{Acquire, Acquired};
use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use smallvec::SmallVec;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::background;
use crate::flight::FullKey;
use crate::kind::pieces::{Call, Operation, PieceResult, Stopped, weightless};
use crate::kind::releases::{CLOCK_ERROR, give_back};
use crate::kind::shards::Items;
use crate::kind::shards::Shards;
use crate::kind::tier::RemoteTier;
use crate::node::Node;
use crate::read::batch::Batch;
use crate::read::item::Item;

/// The state of a flight's lease in one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    No,
    /// Requested; no answer yet. It may have been granted.
    Asked,
    Yes,
}

/// How long after a grant that is for less than was asked for its lease is renewed. Most loads end before.
const EARLY: Duration = Duration::from_millis(50);

/// The task that renews leases for the first time, whatever their load does to its thread meanwhile. Ends when dropped.
pub(super) struct Early(JoinHandle<()>);

impl Drop for Early {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<N: Node> Batch<N> {
    /// Asks for leases, at the moment and for the time given, and notes those that are granted.
    ///
    /// Returns an answer for each item, or none where its shard is in trouble: without a lease nothing is stored in this tier.
    pub(super) async fn ask(
        &mut self,
        items: &[usize],
        at: usize,
        tier: &RemoteTier,
        (now, lease): (Instant, Duration),
        steal: bool,
    ) -> SmallVec<[Option<Acquired>; 1]> {
        if items.is_empty() {
            return SmallVec::new();
        }
        let calls = Call::at(now, tier, Operation::Acquire);
        if items.len() > calls.size() {
            // Boxed: mostly it is one piece.
            return Box::pin(self.ask_in_pieces(items, at, calls, lease, steal)).await;
        }
        self.ask_piece(items, at, &calls, lease, steal, &mut Stopped::new())
            .await
    }

    /// Asks for many leases, and sees to it that the first ones last until all are there.
    async fn ask_in_pieces(
        &mut self,
        items: &[usize],
        at: usize,
        mut calls: Call<'_>,
        lease: Duration,
        steal: bool,
    ) -> SmallVec<[Option<Acquired>; 1]> {
        let (began, mut stopped) = (calls.now, Stopped::new());
        let mut answers = SmallVec::with_capacity(items.len());
        while answers.len() < items.len() {
            let rest = &items[answers.len()..];
            let piece = &rest[..rest.len().min(calls.size())];
            let time = self.lasting(lease);
            let runs_out = calls.now + time;
            self.runs_out = Some(self.runs_out.map_or(runs_out, |first| first.min(runs_out)));
            let asked = self.ask_piece(piece, at, &calls, time, steal, &mut stopped);
            answers.extend(asked.await);
            let all = began.elapsed().mul_f64(items.len() as f64 / answers.len() as f64);
            self.round = self.round.max(all);
            self.between_pieces().await;
            calls.now = Instant::now();
        }
        answers
    }

    /// How long a lease of this batch is to last.
    fn lasting(&self, lease: Duration) -> Duration {
        lease + self.round * 3
    }

    /// Shows signs of life between the pieces of a large call, and renews leases before they run out.
    pub(super) async fn between_pieces(&mut self) {
        let now = Instant::now();
        let patience = self.load_timeout();
        if self.patience.is_none_or(|until| until < now + patience / 2) {
            self.extend();
            self.patience = Some(now + patience);
        }
        let lease = self.kind.remotes().filter_map(|(_, tier)| tier.lease).min();
        if let (Some(lease), Some(runs_out)) = (lease, self.runs_out)
            && runs_out < now + lease / 2 + self.round
        {
            self.renewals().await;
            self.round = self.round.max(now.elapsed());
            self.runs_out = Some(now + self.lasting(lease));
        }
    }

    /// Asks for leases in one call for each shard that is not stopped.
    async fn ask_piece(
        &mut self,
        items: &[usize],
        at: usize,
        calls: &Call<'_>,
        lease: Duration,
        steal: bool,
        stopped: &mut Stopped,
    ) -> SmallVec<[Option<Acquired>; 1]> {
        let tier = calls.tier;
        // Noted before, since we may be dropped before the answer is there.
        self.asked = Some(calls.now);
        items
            .iter()
            .for_each(|item| self.items[*item].leases[at] = Held::Asked);
        let bound = u64::try_from((tier.timeout + CLOCK_ERROR).as_millis()).unwrap_or(u64::MAX);
        let deadline = tier.storage.now_ms().saturating_add(bound);
        let mut request = Acquire::new(self.token, lease).with_deadline(deadline);
        if steal {
            request = request.stealing();
        }
        let shards = Shards::of(&*tier.storage, items.iter().map(|item| self.key(*item)));
        let (this, request) = (&*self, &request);
        let asked = shards.each(calls, weightless, stopped, |places| async move {
            let keys: SmallVec<[&[u8]; 2]> = places.iter().map(|place| this.key(items[*place])).collect();
            tier.storage.acquire(&keys, request).await
        });
        // `bounded` counts and logs errors.
        let asked = asked.await;
        let mut granted = lease;
        let mut answers: SmallVec<[Option<Acquired>; 1]> = items.iter().map(|_| None).collect();
        for (places, asked) in asked {
            if let PieceResult::Spared = asked {
                let spared = places.iter().map(|place| items[*place]);
                spared.for_each(|item| self.items[item].leases[at] = Held::No);
            }
            for (&place, acquired) in places.iter().zip(asked.done().into_iter().flatten()) {
                self.items[items[place]].leases[at] = match &acquired {
                    Acquired::Granted(grant) => {
                        granted = granted.min(grant.time);
                        Held::Yes
                    }
                    _ => Held::No,
                };
                answers[place] = Some(acquired);
            }
        }
        if granted < lease && tier.renews {
            self.renew_early(items, at, lease, granted);
        }
        // Part of it may have been granted before it failed, or may be still.
        self.give_back_asked(items, at);
        answers
    }

    /// Gives back the leases that were requested without an answer.
    fn give_back_asked(&mut self, items: &[usize], at: usize) {
        let is_asked = |item: &&usize| self.items[**item].leases[at] == Held::Asked;
        let asked: Items = items.iter().filter(is_asked).copied().collect();
        for item in &asked {
            self.items[*item].leases[at] = Held::No;
        }
        let keys = asked.iter().map(|item| self.key(*item).into()).collect();
        self.give_back(at, keys, self.asked);
    }

    /// Gives leases back in the background. With `asked`, they were asked for at that moment, and no answer came.
    fn give_back(&self, at: usize, keys: Vec<FullKey>, asked: Option<Instant>) {
        let Some(tier) = self.kind.tiers[at].remote() else {
            return;
        };
        let lease = self.lasting(tier.lease.unwrap_or_default());
        give_back(tier, keys, self.token, asked, lease);
    }

    /// Renews the leases of `items` for `lease`, since they were granted for less.
    ///
    /// A task of its own does so: a load that blocks its thread for longer than the grant keeps its lease.
    fn renew_early(&mut self, items: &[usize], at: usize, lease: Duration, granted: Duration) {
        let held = items
            .iter()
            .filter(|item| self.items[**item].leases[at] == Held::Yes);
        let keys: SmallVec<[FullKey; 1]> = held.map(|item| self.key(*item).into()).collect();
        let (tier, token) = (self.kind.tiers[at].remote().cloned(), self.token);
        let end = Instant::now() + granted;
        // Without a runtime there is no task: the lease ends sooner.
        let renewing = background::spawn(async move {
            let Some(tier) = tier else { return };
            while Instant::now() < end {
                tokio::time::sleep(EARLY.min(granted / 4)).await;
                let keys: SmallVec<[&[u8]; 1]> = keys.iter().map(|key| &**key).collect();
                let renewed = tier.bounded(tier.storage.renew(&keys, token, lease));
                // Boxed: mostly the load has ended before.
                if Box::pin(renewed).await.is_ok() {
                    return;
                }
            }
        });
        if let Ok(renewing) = renewing {
            self.early.push(Arc::new(Early(renewing)));
        }
    }

    /// Runs a load of `items` that this crate does not bound, and renews their leases as long as it takes.
    pub(crate) async fn renewing<F: Future>(&self, items: &[usize], load: Pin<&mut F>) -> F::Output {
        match self.renewal(items) {
            Some(pause) => self.beating(items, pause, load, || {}).await,
            None => load.await,
        }
    }

    /// Runs a load of `items` that is bounded, renews their leases and extends the patience of waiters as long as it is driven.
    pub(crate) fn driving<'l, F: Future>(
        &'l self,
        items: &'l [usize],
        load: Pin<&'l mut F>,
    ) -> impl Future<Output = F::Output> + use<'l, N, F> {
        self.beating(items, self.pulse_of(items), load, || self.extend())
    }

    /// How often a batch that is driven shows signs of life, and renews its leases.
    pub(crate) fn pulse(&self) -> Duration {
        self.pulse_of(&self.open_items(|_| true))
    }

    fn pulse_of(&self, items: &[usize]) -> Duration {
        // Half of the waiters' patience is left whenever a load ends, so that its value can be stored meanwhile.
        let pause = self.load_timeout() / 2;
        self.renewal(items).map_or(pause, |renewal| renewal.min(pause))
    }

    /// Renews the leases of all open flights.
    pub(crate) fn renewals(&self) -> impl Future<Output = ()> + use<N> {
        self.renew(&self.open_items(|_| true))
    }

    /// Runs the load of `items`; calls `beat` and renews their leases after each `pause`.
    async fn beating<F: Future>(
        &self,
        items: &[usize],
        pause: Duration,
        mut load: Pin<&mut F>,
        beat: impl Fn(),
    ) -> F::Output {
        loop {
            // Most loads end before the first renewal.
            if let Ok(loaded) = tokio::time::timeout(pause, load.as_mut()).await {
                return loaded;
            }
            beat();
            let renewals = Box::pin(self.renew(items));
            if let Either::Left((loaded, _)) = select(load.as_mut(), renewals).await {
                return loaded;
            }
        }
    }

    /// How often leases of `items` are to be renewed, if they hold any that can be.
    fn renewal(&self, items: &[usize]) -> Option<Duration> {
        let leases = self
            .kind
            .remotes()
            .filter_map(|(at, tier)| self.renewed(items, at, tier));
        leases.map(|lease| lease / 3 + self.round).min()
    }

    /// The time of the leases of one tier, if it renews them and `items` hold any.
    fn renewed(&self, items: &[usize], at: usize, tier: &RemoteTier) -> Option<Duration> {
        let held = |item: &usize| self.items[*item].leases[at] == Held::Yes;
        tier.lease.filter(|_| tier.renews && items.iter().any(held))
    }

    fn renew(&self, items: &[usize]) -> impl Future<Output = ()> + use<N> {
        let renewals = self.kind.remotes().filter_map(|(at, tier)| {
            let lease = self.renewed(items, at, tier)?;
            let held = items
                .iter()
                .filter(|item| self.items[**item].leases[at] == Held::Yes);
            let keys: Vec<FullKey> = held.map(|item| self.key(*item).into()).collect();
            let (tier, token, time) = (Arc::clone(tier), self.token, self.lasting(lease));
            Some(async move {
                let (tier, keys) = (&tier, &keys);
                let shards = Shards::of(&*tier.storage, keys.iter().map(|key| &**key));
                // `bounded` counts and logs errors; the lease may end, as that of a load that went away does.
                let calls = Call::new(tier, Operation::Renew);
                let mut stopped = Stopped::new();
                let renewals = shards.each(&calls, weightless, &mut stopped, |places| async move {
                    let keys: Vec<&[u8]> = places.iter().map(|place| &*keys[*place]).collect();
                    tier.storage.renew(&keys, token, time).await
                });
                renewals.await;
            })
        });
        futures_util::future::join_all(renewals.collect::<Vec<_>>()).map(drop)
    }

    /// Gives up the leases that `items` still hold.
    pub(super) async fn release(&mut self, items: &[usize]) {
        let is_free = |item: &usize| self.items[*item].leases.iter().all(|held| *held == Held::No);
        if !items.iter().all(is_free) {
            // Boxed: mostly there is none.
            Box::pin(self.release_held(items)).await;
        }
    }

    async fn release_held(&mut self, items: &[usize]) {
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.remotes() {
            let is_held = |item: &&usize| self.items[**item].leases[at] != Held::No;
            let held: Items = items.iter().filter(is_held).copied().collect();
            if held.is_empty() {
                continue;
            }
            let unreached = {
                let shards = Shards::of(&*tier.storage, held.iter().map(|item| self.key(*item)));
                let (this, held) = (&*self, &held);
                let calls = Call::new(tier, Operation::Release);
                let mut stopped = Stopped::new();
                let released = shards.each(&calls, weightless, &mut stopped, |places| async move {
                    let keys: Vec<&[u8]> = places.iter().map(|place| this.key(held[*place])).collect();
                    tier.storage.release(&keys, this.token).await
                });
                let released = released.await.into_iter();
                let failed = released.filter(|(_, released)| !matches!(released, PieceResult::Done(())));
                let keys =
                    failed.flat_map(|(places, _)| places.iter().map(|place| self.key(held[*place]).into()));
                keys.collect::<Vec<FullKey>>()
            };
            if !unreached.is_empty() {
                self.give_back(at, unreached, None);
            }
            // Not before: we may be dropped meanwhile.
            held.iter()
                .for_each(|item| self.items[*item].leases[at] = Held::No);
        }
    }
}

impl<N: Node> Drop for Batch<N> {
    /// Dropped with flights open, these are abandoned (each [`Lead`](crate::flight::Lead) sees to that) and their leases
    /// given back, so that a waiter that takes over need not wait for them.
    fn drop(&mut self) {
        for at in 0..self.kind.tiers.len() {
            for (state, asked) in [(Held::Yes, None), (Held::Asked, self.asked)] {
                let held = self.items.iter().filter(|item| item.leases[at] == state);
                let held = held.filter_map(Item::key).map(FullKey::from).collect();
                self.give_back(at, held, asked);
            }
        }
    }
}
