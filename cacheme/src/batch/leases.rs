//! The leases of a batch: asked for, renewed, given up.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cacheme_storage::{Acquire, Acquired, LeaseToken};
use futures_util::future::{Either, select};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Batch;
use crate::background;
use crate::flight::FullKey;
use crate::kind::{Kind, RemoteTier, Tier, TierStorage};
use crate::node::Node;

/// What a flight has of the lease of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    No,
    /// It was asked for, and the answer is out: perhaps granted, perhaps after the load began. Given up in the end, and
    /// nothing is filled by it.
    Asked,
    Yes,
}

impl<N: Node> Batch<N> {
    /// Asks for leases, at the moment and for the time given, and takes note of those that we get. No answers when the
    /// storage is in trouble: without a lease nothing is stored in this tier.
    pub(super) async fn ask(
        &mut self,
        items: &[usize],
        at: usize,
        tier: &Tier,
        remote: &RemoteTier,
        (now, lease): (Instant, Duration),
        steal: bool,
    ) -> Option<Vec<Acquired>> {
        if items.is_empty() {
            return None;
        }
        // Noted before, since we may be dropped before the answer is there.
        items
            .iter()
            .for_each(|item| self.items[*item].leases[at] = Held::Asked);
        let mut request = Acquire::new(self.token, lease);
        if steal {
            request = request.stealing();
        }
        let asked = {
            let keys: SmallVec<[&[u8]; 2]> = items.iter().map(|item| self.key(*item)).collect();
            let asked = remote.storage.acquire(&keys, &request);
            tier.bounded_from(now, remote, asked).await
        };
        match asked {
            Ok(answers) => {
                for (item, answer) in items.iter().zip(&answers) {
                    self.items[*item].leases[at] = if answer.is_granted() { Held::Yes } else { Held::No };
                }
                Some(answers)
            }
            // The request may be on its way still.
            Err(cacheme_storage::Error::Timeout { .. }) => None,
            Err(_) => {
                items
                    .iter()
                    .for_each(|item| self.items[*item].leases[at] = Held::No);
                None
            }
        }
    }

    /// Runs a load of `items` that this crate does not bound, and renews their leases as long as it takes.
    pub(crate) async fn renewing<F: Future>(&self, items: &[usize], load: Pin<&mut F>) -> F::Output {
        match self.renewal(items) {
            Some(pause) => self.beating(items, pause, load, || {}).await,
            None => load.await,
        }
    }

    /// The same for a load that is bounded, and so may be waited for as long as somebody drives it.
    pub(crate) async fn driving<F: Future>(&self, items: &[usize], load: Pin<&mut F>) -> F::Output {
        // Half of the time for which others are patient is left whenever the load ends, for what comes of it to be told.
        let pause = self.kind.info.load_timeout / 2;
        let pause = self.renewal(items).map_or(pause, |renewal| renewal.min(pause));
        self.beating(items, pause, load, || self.extend()).await
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
        let leases = (0..self.kind.tiers.len()).filter_map(|at| self.renewed(items, at));
        leases.map(|lease| lease / 3).min()
    }

    /// The time of the leases of one tier, if it renews them and `items` hold any.
    fn renewed(&self, items: &[usize], at: usize) -> Option<Duration> {
        match &self.kind.tiers[at].storage {
            TierStorage::Remote(RemoteTier {
                lease: Some(lease),
                renews: true,
                ..
            }) => {
                let held = |item: &usize| self.items[*item].leases[at] == Held::Yes;
                items.iter().any(held).then_some(*lease)
            }
            _ => None,
        }
    }

    async fn renew(&self, items: &[usize]) {
        let renewals = self.kind.tiers.iter().enumerate().map(|(at, tier)| async move {
            let (Some(lease), TierStorage::Remote(remote)) = (self.renewed(items, at), &tier.storage) else {
                return;
            };
            let held = items
                .iter()
                .filter(|item| self.items[**item].leases[at] == Held::Yes);
            let keys: Vec<&[u8]> = held.map(|item| self.key(*item)).collect();
            // What goes wrong is counted and told by `bounded`; the lease may end, as that of a load that went away does.
            let _ = tier
                .bounded(remote, remote.storage.renew(&keys, self.token, lease))
                .await;
        });
        futures_util::future::join_all(renewals).await;
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
                    Held::Asked => asked.push(item.key().into()),
                    Held::Yes => held.push(FullKey::from(item.key())),
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
}

impl<N: Node> Drop for Batch<N> {
    /// Dropped with flights open, these are abandoned (each [`Lead`] sees to that) and their leases given up, so that
    /// whoever takes over need not wait for them.
    fn drop(&mut self) {
        for at in 0..self.kind.tiers.len() {
            let held = self.items.iter().filter(|item| item.leases[at] != Held::No);
            let held = held.map(|item| item.key().into()).collect();
            release_in_background(&self.kind, at, held, self.token);
        }
    }
}

fn release_in_background<N: Node>(kind: &Arc<Kind<N>>, at: usize, keys: Vec<FullKey>, token: LeaseToken) {
    if keys.is_empty() {
        return;
    }
    let kind = Arc::clone(kind);
    // Without a runtime there is nobody to do it: the leases end by themselves.
    let _ = background::spawn(async move {
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

/// A token that nobody else has, in this process or another.
pub(crate) fn unique_token() -> LeaseToken {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PROCESS: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // RandomState is seeded by the operating system; the process id parts forks that share a seed.
    let process = *PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    LeaseToken(u128::from(process) << 64 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)))
}
