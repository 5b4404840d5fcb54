//! LOOKING ([page](super)): a pass of a batch through the tiers.
//!
//! A pass reads each tier once for all flights that are at it. In a remote tier with leases it takes the lease of each key that is absent.

use std::sync::Arc;

use cacheme_storage::{Acquired, SmallBox};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::counter::count;
use crate::kind::pieces::{Call, Operation, Stopped};
use crate::kind::shards::Items;
use crate::kind::tier::{LocalTier, RemoteTier, Tier};
use crate::node::Node;
use crate::read::batch::Batch;
use crate::read::item::Stage;
use crate::read::land::{Found, Landing, Origin};

impl<N: Node> Batch<N> {
    /// Moves every flight on, through all tiers or up to one whose key another process loads.
    pub(crate) async fn pass(&mut self) {
        if self.refresh.is_some() {
            // Boxed, so that a read does not carry its space.
            return Box::pin(self.take_leases()).await;
        }
        let kind = Arc::clone(&self.kind);
        for (at, tier) in kind.tiers.iter().enumerate() {
            let items = self.open_items(|stage| stage.tier() == Some(at));
            if items.is_empty() {
                continue;
            }
            let found = match tier {
                Tier::Local(tier) => self.read_local(&items, tier),
                Tier::Remote(tier) => {
                    let now = self.alive(tier.timeout * 3);
                    self.read_remote(&items, at, tier, now).await
                }
                Tier::Off(_) => Found::new(),
            };
            for item in items {
                if let Some(open) = self.items[item].open_mut()
                    && !open.stage.waits_at(at)
                {
                    open.stage.move_to(at + 1, kind.tiers.len());
                }
            }
            self.found(found, at).await;
        }
    }

    /// Takes the leases of all remote tiers away from the flights that have them, back to front.
    ///
    /// If a nearer lease were taken first, and lost to a flight whose load fails, the old value behind it could be copied there.
    async fn take_leases(&mut self) {
        let kind = Arc::clone(&self.kind);
        let end = kind.tiers.len();
        let items = self.open_items(|stage| stage.tier().is_some());
        items.iter().for_each(|item| self.flight(*item).begin());
        for (at, tier) in kind.remotes().rev() {
            let now = self.alive(tier.timeout * 3);
            if let Some(lease) = tier.lease {
                self.ask(&items, at, tier, (now, lease), true).await;
            }
            count(&tier.base.counters.misses, items.len());
        }
        for item in items {
            if let Some(open) = self.items[item].open_mut() {
                open.stage.move_to(end, end);
            }
        }
    }

    fn read_local(&self, items: &[usize], tier: &LocalTier) -> Found<N::Value> {
        let mut found = Found::new();
        for &item in items {
            let since = Instant::now();
            let entry = tier.storage.entry(self.key(item));
            let held = entry
                .as_ref()
                .and_then(|entry| self.kind.held(self.key(item), &entry.value));
            match (held, &entry) {
                (Some(value), Some(entry)) => {
                    tier.base.counters.hits.add_one();
                    found.push(Landing {
                        item,
                        value: SmallBox::new(value.clone()),
                        life: entry.ttl,
                        since,
                        refused: None,
                        failure: None,
                        spread: self.kind.info.spread(),
                        from: Origin::Local,
                    });
                }
                _ => count(&tier.base.counters.misses, 1),
            }
        }
        found
    }

    async fn read_remote(
        &mut self,
        items: &[usize],
        at: usize,
        tier: &RemoteTier,
        mut now: Instant,
    ) -> Found<N::Value> {
        let mut missing = Items::from_slice(items);
        // For one key, asking for the lease is asking for the value; for many, plain reads are cheaper by far.
        let looks = !std::mem::take(&mut self.looked) && items.len() > 1;
        // A value whose removal is pending is old: it is not read but replaced.
        let is_old = |item: &usize| tier.pending.contains(self.key(*item));
        let mut replaced = Items::new();
        if missing.iter().any(is_old) {
            (replaced, missing) = missing.into_iter().partition(is_old);
        }
        if !missing.is_empty() && (tier.lease.is_none() || looks) {
            // Boxed, so that the reader of one key does not carry its space.
            let rest = Box::pin(self.read_plainly(missing, at, tier, now)).await;
            now = Instant::now();
            let Some((absent, mut undecodable)) = rest else {
                count(&tier.base.counters.misses, items.len());
                return Found::new();
            };
            missing = absent;
            replaced.append(&mut undecodable);
        }
        let mut found = Found::new();
        if let Some(lease) = tier.lease
            && !(missing.is_empty() && replaced.is_empty())
        {
            // Boxed: two blocks below the size from which allocators are slow, instead of one above it, and none for a local hit.
            let answers = Box::pin(self.ask(&missing, at, tier, (now, lease), false)).await;
            let times = Times::now(tier);
            let mut answers = answers.into_iter();
            for item in std::mem::take(&mut missing) {
                let stage = self.items[item].open_mut().map(|open| &mut open.stage);
                let since = stage.and_then(Stage::end_wait);
                match answers.next().flatten() {
                    Some(Acquired::Value(value)) => match self.decode(item, tier, &value.bytes, times) {
                        Some(landing) => found.push(landing),
                        // Bytes that do not decode are a miss: what is loaded must be able to take their place.
                        None => replaced.push(item),
                    },
                    Some(Acquired::Busy { .. }) => {
                        if let Some(open) = self.items[item].open_mut() {
                            open.stage.wait(since.unwrap_or(times.answered));
                        }
                    }
                    // Loaded with the lease, or without where there is none to be had.
                    _ => missing.push(item),
                }
            }
            tier.base.counters.hits.add(found.len());
            if !replaced.is_empty() {
                let now = Instant::now();
                Box::pin(self.ask(&replaced, at, tier, (now, lease), true)).await;
            }
        }
        count(&tier.base.counters.misses, missing.len() + replaced.len());
        found
    }

    /// Reads `items` without asking for leases, and lands the values found.
    ///
    /// Returns the items that are absent and those that do not decode, without those whose shard is in trouble; `None` if all shards are.
    async fn read_plainly(
        &mut self,
        items: Items,
        at: usize,
        tier: &RemoteTier,
        now: Instant,
    ) -> Option<(Items, Items)> {
        let mut calls = Call::at(now, tier, Operation::Get);
        let mut stopped = Stopped::new();
        let (mut absent, mut undecodable, mut troubled) = (Items::new(), Items::new(), 0);
        let mut rest = &items[..];
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(calls.size()));
            rest = others;
            let values = {
                let keys: SmallVec<[&[u8]; 2]> = piece.iter().map(|item| self.key(*item)).collect();
                tier.read_all(&calls, &keys, &mut stopped).await
            };
            let mut found = Found::with_capacity(piece.len());
            let times = Times::now(tier);
            for (&item, bytes) in piece.iter().zip(values) {
                match bytes.map(|bytes| bytes.map(|bytes| self.decode(item, tier, &bytes, times))) {
                    Some(Some(Some(landing))) => found.push(landing),
                    Some(Some(None)) => undecodable.push(item),
                    Some(None) => absent.push(item),
                    None => troubled += 1,
                }
            }
            tier.base.counters.hits.add(found.len());
            // Waiters for these need not wait for the leases of the others.
            self.found(found, at).await;
            if !rest.is_empty() {
                self.between_pieces().await;
                calls.now = Instant::now();
            }
        }
        if troubled == items.len() {
            return None;
        }
        count(&tier.base.counters.misses, troubled);
        Some((absent, undecodable))
    }

    fn decode(
        &self,
        item: usize,
        tier: &RemoteTier,
        bytes: &[u8],
        times: Times,
    ) -> Option<Landing<N::Value>> {
        let key = self.key(item);
        let (value, life) = self.kind.decode(tier, key, bytes, times.server_ms)?;
        Some(Landing {
            item,
            value,
            life,
            since: times.answered,
            refused: None,
            failure: None,
            spread: self.kind.info.spread(),
            from: Origin::Remote,
        })
    }
}

/// When a remote storage answered, by our clock and by the server's.
#[derive(Clone, Copy)]
struct Times {
    answered: Instant,
    server_ms: u64,
}

impl Times {
    fn now(tier: &RemoteTier) -> Self {
        Self {
            answered: Instant::now(),
            server_ms: tier.storage.now_ms(),
        }
    }
}
