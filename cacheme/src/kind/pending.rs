//! Removals that failed and are still owed to a tier.
//!
//! Until an old value is removed or replaced, this process takes it for absent: a load asks for the lease whatever is
//! there, and its fill replaces the old value. So C1 holds with a storage in trouble too. Other processes may still read
//! the old value; that is why the caller was told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::flight::FullKey;
use crate::kind::{Kind, RemoteTier, Tier, TierStorage};
use crate::node::Node;

/// How long after a failure the next try is made; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// After this, an old value that does not expire is no longer chased.
const LONGEST_DEBT: Duration = Duration::from_secs(86_400);

/// The keys of one tier that may have an old value.
#[derive(Default)]
pub(crate) struct Owed {
    /// How many keys there are: looked at on every read of the tier, and zero as good as always.
    len: AtomicUsize,
    debts: Mutex<Debts>,
}

#[derive(Default)]
struct Debts {
    keys: HashMap<FullKey, Debt>,
    made: u64,
    /// Somebody is at it.
    paying: bool,
}

#[derive(Clone, Copy)]
struct Debt {
    number: u64,
    /// The old value has expired by then.
    until: Instant,
}

impl Owed {
    /// Whether what is under `key` is old.
    #[inline]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.len.load(Ordering::SeqCst) > 0 && self.debts.lock().keys.contains_key(key)
    }

    /// Names the debt for `key`, to be [settled](Self::settle) by a write that begins now.
    pub(crate) fn number(&self, key: &[u8]) -> Option<u64> {
        if self.len.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.debts.lock().keys.get(key).map(|debt| debt.number)
    }

    /// The old value is gone, unless another removal failed since the debt was named.
    pub(crate) fn settle(&self, key: &[u8], number: Option<u64>) {
        let Some(number) = number else { return };
        let mut debts = self.debts.lock();
        if debts.keys.get(key).is_some_and(|debt| debt.number == number) {
            debts.keys.remove(key);
        }
        self.len.store(debts.keys.len(), Ordering::SeqCst);
    }

    fn add(&self, keys: &[FullKey], until: Instant) -> bool {
        let mut debts = self.debts.lock();
        for key in keys {
            debts.made += 1;
            let number = debts.made;
            debts.keys.insert(Arc::clone(key), Debt { number, until });
        }
        self.len.store(debts.keys.len(), Ordering::SeqCst);
        !std::mem::replace(&mut debts.paying, true)
    }

    /// The keys with their debts, without those whose old values have expired. With none left, nobody is at it
    /// any more.
    ///
    /// All of them: they go by shard and in pieces, so those that a dead shard has are in nobody's way.
    fn all(&self) -> Vec<(FullKey, u64)> {
        let mut debts = self.debts.lock();
        let now = Instant::now();
        debts.keys.retain(|_, debt| debt.until > now);
        self.len.store(debts.keys.len(), Ordering::SeqCst);
        debts.paying = !debts.keys.is_empty();
        let all = debts.keys.iter();
        all.map(|(key, debt)| (Arc::clone(key), debt.number)).collect()
    }
}

/// Takes what is under `keys` in a tier for old from now on, and goes on removing it in the background until that works
/// or the values have expired. The first try is after `pause`.
pub(crate) fn owe<N: Node>(kind: &Arc<Kind<N>>, at: usize, keys: &[FullKey], pause: Duration) {
    let tier = &kind.tiers[at];
    let longest = tier.ttl.map_or(LONGEST_DEBT, |ttl| ttl.min(LONGEST_DEBT));
    let begins = tier.owed.add(keys, Instant::now() + longest);
    if !begins {
        return;
    }
    let mut turn = Turn {
        kind: Arc::clone(kind),
        at,
    };
    // Without a runtime there is no background: reads still know what is old.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move { turn.pay(pause).await });
    }
}

/// How long after a removal that failed just now the next is tried.
pub(crate) const AFTER_FAILURE: Duration = FIRST_PAUSE;

/// Ends when dropped, also when the runtime ends: the next debt begins another.
struct Turn<N: Node> {
    kind: Arc<Kind<N>>,
    at: usize,
}

impl<N: Node> Turn<N> {
    async fn pay(&mut self, mut pause: Duration) {
        let tier = &self.kind.tiers[self.at];
        let TierStorage::Remote(remote) = &tier.storage else {
            return;
        };
        loop {
            tokio::time::sleep(pause).await;
            let owed = tier.owed.all();
            if owed.is_empty() {
                return;
            }
            // What goes wrong is counted and told by `bounded`.
            let removed = self.remove(tier, remote, &owed).await;
            removed
                .iter()
                .for_each(|(key, number)| tier.owed.settle(key, Some(*number)));
            pause = match removed.len() == owed.len() {
                true => Duration::ZERO,
                false => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            };
        }
    }

    /// Removes what it can, and tells of it; gives what is done.
    async fn remove<'o>(
        &self,
        tier: &Tier,
        remote: &RemoteTier,
        owed: &'o [(FullKey, u64)],
    ) -> Vec<&'o (FullKey, u64)> {
        let keys: Vec<FullKey> = owed.iter().map(|(key, _)| Arc::clone(key)).collect();
        let failed = tier.remove_all(remote, &keys).await;
        let failed: HashSet<&FullKey> = failed.into_iter().flat_map(|(keys, _)| keys).collect();
        let mut removed: Vec<_> = owed.iter().filter(|(key, _)| !failed.contains(key)).collect();
        let keys: Vec<FullKey> = removed.iter().map(|(key, _)| Arc::clone(key)).collect();
        removed.truncate(self.kind.tell_paid(&keys).await);
        removed
    }
}

impl<N: Node> Drop for Turn<N> {
    fn drop(&mut self) {
        let mut debts = self.kind.tiers[self.at].owed.debts.lock();
        debts.paying = false;
    }
}

/// Removes `keys` from one tier. Where that fails, they are owed to it.
pub(crate) async fn remove_from<N: Node>(kind: &Arc<Kind<N>>, at: usize, keys: &[FullKey]) -> Result<()> {
    let tier = &kind.tiers[at];
    let TierStorage::Remote(remote) = &tier.storage else {
        return Ok(());
    };
    let debts: Vec<_> = keys.iter().map(|key| tier.owed.number(key)).collect();
    let failed = tier.remove_all(remote, keys).await;
    for (keys, _) in &failed {
        let keys: Vec<FullKey> = keys.iter().map(|key| Arc::clone(key)).collect();
        owe(kind, at, &keys, AFTER_FAILURE);
    }
    // A debt that was made just now has another number.
    let removed = keys.iter().zip(debts);
    removed.for_each(|(key, debt)| tier.owed.settle(key, debt));
    let count = failed.iter().map(|(keys, _)| keys.len()).sum();
    match failed.into_iter().next() {
        None => Ok(()),
        Some((_, error)) => Err(not_invalidated(tier, count, error)),
    }
}

pub(crate) fn not_invalidated(tier: &Tier, keys: usize, source: cacheme_storage::Error) -> Error {
    Error::NotInvalidated {
        name: tier.name.to_string(),
        keys,
        source: Arc::new(source),
    }
}
