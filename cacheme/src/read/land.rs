//! STORING to DONE ([page](super)): values that were found or loaded fill the tiers before, and their flights end.
//!
//! Remote tiers are filled back to front, then local ones. After a lost lease or a raised fence the nearer tiers get nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{RemoteEntry, SmallBox};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::counter::count;
use crate::flight::FullKey;
use crate::flight::outcome::Failure;
use crate::kind::copies::insert;
use crate::kind::not_stored::NotStored;
use crate::kind::pieces::{Call, PieceResult, Stopped};
use crate::kind::shards::Items;
use crate::kind::shards::Shards;
use crate::kind::tier::{LocalTier, RemoteTier, Tier, TierBase};
use crate::node::Node;
use crate::node::policy::{expires_ms, shortened};
use crate::read::batch::{Answer, Batch};
use crate::read::fill::{fill, set};
use crate::read::leases::Held;
use crate::write::retry::remove_from;

/// A value on its way into the tiers before the one where it was found.
pub(super) struct Landing<V> {
    pub(super) item: usize,
    pub(super) value: SmallBox<V>,
    /// How long it may live, counted from `since`; `None` leaves it to the tiers.
    pub(super) life: Option<Duration>,
    pub(super) since: Instant,
    /// Why it is kept out of all tiers that it has not reached yet, if it is.
    pub(super) refused: Option<NotStored>,
    /// The panic of its own code, if there was one on the way.
    pub(super) failure: Option<Failure>,
    /// The factor for the ttl of every tier: 1, or less with `ttl_jitter`. One for all tiers, so that a nearer tier
    /// still never outlives the one that it was filled from.
    pub(super) spread: f64,
    pub(super) from: Origin,
}

/// The values found in a tier.
pub(super) type Found<V> = Vec<Landing<V>>;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Load,
    Remote,
    /// The value may be older than an invalidation by another process, so it never goes into a remote tier.
    Local,
}

impl<V> Landing<V> {
    /// The ttl for a tier, `None` for ever; `Some(0)` when its life is over.
    pub(super) fn ttl(&self, tier: &TierBase) -> Option<Duration> {
        let ttl = tier.ttl.map(|ttl| shortened(ttl, self.spread));
        let life = self.life.into_iter().chain(ttl).min()?;
        Some(life.saturating_sub(self.since.elapsed()))
    }

    /// Runs code of the user's on the value. A panic there ends this flight and no other.
    fn guarded<R>(&mut self, run: impl FnOnce(&Self) -> R) -> Result<R, NotStored> {
        catch_unwind(AssertUnwindSafe(|| run(self))).map_err(|panic| {
            self.failure = Some(Failure::panicked(&*panic));
            self.refused = Some(NotStored::Panicked);
            NotStored::Panicked
        })
    }
}

impl<N: Node> Batch<N> {
    /// Ends the flights of `answers` (items with their results) and stores their values in every tier.
    pub(crate) async fn land(&mut self, answers: Vec<(usize, Answer<N::Value>)>) {
        let landings = {
            let (landings, failed) = self.take_in(answers);
            self.release(&failed).await;
            landings
        };
        let tiers = self.kind.tiers.len();
        self.store(landings, tiers).await;
    }

    /// Ends the flights whose loads failed. Returns the values to be stored, and the items that failed.
    fn take_in(&mut self, answers: Vec<(usize, Answer<N::Value>)>) -> (Found<N::Value>, Items) {
        let mut landings = Vec::with_capacity(answers.len());
        let mut failed = Items::new();
        for (item, answer) in answers {
            self.kind.loaded(self.key(item), answer.result.as_ref().err());
            match answer.result {
                Ok(value) => {
                    // A refresh is asked for by name: its value is stored.
                    let stays = self.refresh.is_some() || self.kind.admits(self.key(item));
                    let refused = if answer.store.skip {
                        Some(NotStored::DoNotStore)
                    } else {
                        (!stays).then_some(NotStored::Doorkeeper)
                    };
                    let open = self.items[item].open_mut().expect("a load ends once");
                    open.refused = open.refused.or(refused);
                    let mut landing = Landing {
                        item,
                        value,
                        life: None,
                        since: Instant::now(),
                        refused: None,
                        failure: None,
                        spread: self.kind.info.spread(),
                        from: Origin::Load,
                    };
                    let life = |landing: &Landing<N::Value>| self.kind.life(&landing.value, answer.store.ttl);
                    let life = self.run(&mut landing, life).ok().flatten();
                    landing.life = life.map(|life| shortened(life, landing.spread));
                    landings.push(landing);
                }
                Err(failure) => {
                    failed.push(item);
                    self.finish(item, Err(failure));
                }
            }
        }
        (landings, failed)
    }

    /// Stores values in the tiers before `before`, and ends their flights with them.
    ///
    /// Many values go in pieces. A piece begins to be stored when its turn comes, so a change of one of its keys waits for that piece alone.
    /// Waiters for a value of an early piece need not wait for the others.
    pub(super) async fn store(&mut self, landings: Found<N::Value>, before: usize) {
        // A value that was refused by one tier may still hold leases of tiers before.
        let items: Items = landings.iter().map(|landing| landing.item).collect();
        let mut stopped: SmallVec<[Stopped; 2]> = SmallVec::from_elem(Stopped::new(), before);
        if landings.len() <= self.piece_size(before) {
            self.store_piece(landings, before, &mut stopped).await;
        } else {
            // Boxed: mostly it is one piece.
            Box::pin(self.store_in_pieces(landings, before, &mut stopped)).await;
        }
        self.release(&items).await;
    }

    async fn store_in_pieces(&mut self, landings: Found<N::Value>, before: usize, stopped: &mut [Stopped]) {
        let mut landings = landings.into_iter();
        loop {
            let piece: Found<N::Value> = landings.by_ref().take(self.piece_size(before)).collect();
            if piece.is_empty() {
                return;
            }
            self.store_piece(piece, before, stopped).await;
            self.between_pieces().await;
        }
    }

    /// How many values go into the tiers before `before` at once.
    fn piece_size(&self, before: usize) -> usize {
        let tiers = self.kind.tiers[..before].iter().filter_map(Tier::remote);
        let sizes = tiers.map(|tier| tier.pieces.of(tier.writes()));
        sizes.min().unwrap_or(usize::MAX)
    }

    /// Stores values at once, but in shards that are stopped, by tier.
    async fn store_piece(&mut self, mut landings: Found<N::Value>, before: usize, stopped: &mut [Stopped]) {
        for landing in &mut landings {
            let open = self.open(landing.item);
            let fenced = || (!open.lead.begin_storing()).then_some(NotStored::Fenced);
            landing.refused = landing.refused.or(open.refused).or_else(fenced);
        }
        let kind = Arc::clone(&self.kind);
        for at in (0..before).rev() {
            if let (Tier::Off(tier), Some(report)) = (&kind.tiers[at], &self.refresh) {
                let keys: Vec<FullKey> = landings
                    .iter()
                    .map(|landing| self.key(landing.item).into())
                    .collect();
                // Boxed: mostly every tier is on.
                if let Err(error) = Box::pin(remove_from(&kind, tier, &keys)).await {
                    report.lock().note(error);
                }
            }
            if let Tier::Remote(tier) = &kind.tiers[at] {
                let now = self.alive(tier.timeout * 3);
                // The leader may have been suspended between tiers: waiters may have fenced and replaced it.
                for landing in &mut landings {
                    if landing.refused.is_none() && self.fence(landing.item).is_raised() {
                        landing.refused = Some(NotStored::Fenced);
                    }
                }
                // Boxed, so that a chain of local tiers does not carry its space.
                let calls = Call::at(now, tier, tier.writes());
                Box::pin(self.store_remote(&mut landings, at, tier, &calls, &mut stopped[at])).await;
            }
        }
        // Last, also those that lie behind a remote one: they take only what that accepted.
        for tier in kind.tiers[..before].iter().rev().filter_map(Tier::local) {
            self.store_local(&mut landings, tier);
        }
        if let Some(report) = self.refresh.clone() {
            // A flight that began after another process changed the value may have read the value that was there before we took the lease.
            let items: Items = landings.iter().map(|landing| landing.item).collect();
            let superseded = items.iter().filter(|item| self.fence(**item).is_superseded());
            let superseded: Vec<&[u8]> = superseded.map(|item| self.key(*item)).collect();
            kind.drop_keys(&superseded);
            // Another process may invalidate the stored value while we publish the change.
            self.close(&landings);
            let keys: Vec<FullKey> = items.iter().map(|item| self.key(*item).into()).collect();
            // Boxed: only a refresh publishes. Keys that could not be published are tried again.
            if let Err(error) = Box::pin(kind.publish(&keys)).await {
                report.lock().note(error);
            }
        }
        self.finish_all(landings);
    }

    /// Runs code of the user's on a value. In the background a panic ends this flight alone; in a call, it is the caller's.
    fn run<R>(
        &self,
        landing: &mut Landing<N::Value>,
        run: impl FnOnce(&Landing<N::Value>) -> R,
    ) -> Result<R, NotStored> {
        if self.keeps {
            Ok(run(landing))
        } else {
            landing.guarded(run)
        }
    }

    fn store_local(&self, landings: &mut [Landing<N::Value>], tier: &LocalTier) {
        for landing in landings {
            let flight = self.flight(landing.item);
            let key = flight.key();
            let ttl = landing.ttl(&tier.base);
            let refused = landing.refused.or_else(|| {
                if ttl == Some(Duration::ZERO) {
                    return Some(NotStored::LifeOver);
                }
                let store = |landing: &Landing<N::Value>| {
                    let entry = self.kind.local_entry(&landing.value, ttl, flight.began());
                    insert(&*tier.storage, key, entry, flight.fence().local())
                };
                self.run(landing, store).and_then(|stored| stored).err()
            });
            let Some(reason) = refused else {
                count(&tier.base.counters.fills, 1);
                continue;
            };
            self.kind.not_stored(&tier.base, key, reason);
            if self.refresh.is_some() || landing.from == Origin::Remote {
                // A refresh that could not store its value must not leave the older one, even if the change that fenced it is
                // not done yet.
                self.drop_older(landing, tier);
            }
        }
    }

    async fn store_remote(
        &mut self,
        landings: &mut [Landing<N::Value>],
        at: usize,
        tier: &Arc<RemoteTier>,
        calls: &Call<'_>,
        stopped: &mut Stopped,
    ) {
        let mut chosen = Vec::with_capacity(landings.len());
        let mut entries = Vec::with_capacity(landings.len());
        let now_ms = tier.storage.now_ms();
        for (number, landing) in landings.iter_mut().enumerate() {
            let (item, key) = (&self.items[landing.item], self.key(landing.item));
            let ttl = landing.ttl(&tier.base);
            // Without a lease where there could be one, the storage was in trouble when the lease was asked for.
            let barred = tier.lease.is_some() && item.leases[at] != Held::Yes;
            let encoded = match landing.refused {
                Some(reason) => Err(reason),
                None if landing.from == Origin::Local => Err(NotStored::FoundLocally),
                None if barred => Err(NotStored::NoLease),
                None if ttl == Some(Duration::ZERO) => Err(NotStored::LifeOver),
                None => {
                    let expires_ms = expires_ms(now_ms, ttl);
                    let encode = |landing: &Landing<N::Value>| {
                        self.kind.encode(tier, key, &landing.value, now_ms, expires_ms)
                    };
                    self.run(landing, encode).and_then(|encoded| encoded)
                }
            };
            match encoded {
                Ok(value) => {
                    chosen.push((number, tier.pending.number(key)));
                    entries.push(RemoteEntry { key, value, ttl });
                }
                Err(reason) => self.kind.not_stored(&tier.base, key, reason),
            }
        }
        let mut replaced = vec![false; landings.len()];
        let written = {
            let (this, landings, entries, chosen) = (&*self, &*landings, &entries, &chosen);
            let fence = move |place: usize| this.fence(landings[chosen[place].0].item);
            let shards = Shards::of(&*tier.storage, entries.iter().map(|entry| entry.key));
            let written = shards.each(
                calls,
                |place| entries[place].key.len() + entries[place].value.len(),
                stopped,
                |places| async move {
                    match tier.lease {
                        Some(_) => fill(tier, entries, places, this.token).await,
                        // Boxed, so that a fill does not carry its space.
                        None => Box::pin(set(tier, entries, places, fence)).await,
                    }
                },
            );
            // `bounded` counts and logs errors. The value then goes on to the nearer tiers: with a remote storage in trouble, these
            // keep the load off the source.
            let mut results = Vec::with_capacity(entries.len());
            if !entries.is_empty() {
                for (places, written) in written.await {
                    let reason = match written {
                        PieceResult::Done(written) => {
                            results.extend(written);
                            continue;
                        }
                        PieceResult::Failed(error) => NotStored::of_storage(&error),
                        PieceResult::Spared => NotStored::StorageFailed,
                    };
                    results.extend(places.iter().map(|place| (*place, Err(reason))));
                }
            }
            results
        };
        for (place, written) in written {
            let (number, removal) = chosen[place];
            let item = landings[number].item;
            if let Ok(()) | Err(NotStored::LeaseLost) = written {
                self.items[item].leases[at] = Held::No;
                replaced[number] = true;
            }
            let key = self.key(item);
            match written {
                Ok(()) => {
                    count(&tier.base.counters.fills, 1);
                    tier.pending.forget(key, removal);
                }
                Err(reason) => {
                    self.kind.not_stored(&tier.base, key, reason);
                    if reason == NotStored::LeaseLost {
                        landings[number].refused = Some(reason);
                    }
                }
            }
        }
        if let Some(report) = &self.refresh {
            // A refresh leaves nothing older behind: neither where it got no lease nor where its value could not go.
            let old = landings.iter().zip(replaced).filter(|(landing, replaced)| {
                let stolen = self.items[landing.item].leases[at] == Held::Yes;
                !stolen && !replaced
            });
            let old: Vec<FullKey> = old.map(|(landing, _)| self.key(landing.item).into()).collect();
            if !old.is_empty() {
                // Boxed: mostly there is none.
                if let Err(error) = Box::pin(remove_from(&self.kind, tier, &old)).await {
                    report.lock().note(error);
                }
            }
        }
    }

    /// Drops the older copy in a local tier.
    ///
    /// A waiter of a fenced flight may get the newer value of a remote tier. It must not find an older copy here afterwards, and the flight
    /// that took the place of the fenced one must not bring one.
    fn drop_older(&self, landing: &Landing<N::Value>, tier: &LocalTier) {
        let key = self.key(landing.item);
        if landing.from == Origin::Remote && self.fence(landing.item).is_raised() {
            self.kind.flights.keep_from_local(key);
        }
        tier.storage.remove(key);
    }

    /// Lands the values found in a tier.
    pub(super) async fn found(&mut self, found: Found<N::Value>, at: usize) {
        if found.is_empty() {
            return;
        }
        for tier in self.kind.local_behind(at) {
            found.iter().for_each(|landing| self.drop_older(landing, tier));
        }
        if at > 0 {
            // Boxed, so that a hit in the first tier does not carry its space.
            return Box::pin(self.store(found, at)).await;
        }
        // In the first tier, whose lease was not given then: there is nothing to store or to give up.
        self.finish_all(found);
    }
}
