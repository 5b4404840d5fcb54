//! `peek`: a read of the tiers without a flight ([page](super)).

use crate::counter::count;
use crate::error::Result;
use crate::instance::Cacheme;
use crate::kind::TierStorage;
use crate::node::Node;

impl Cacheme {
    /// The value of `node` if some tier has it.
    ///
    /// This loads nothing, waits for no load, and fills no tier. A local tier behind a remote one loses copies that are older than the
    /// value found there.
    ///
    /// # Errors
    ///
    /// A set-up that cannot work, as for [`get`](Self::get). Trouble of a remote storage is a miss.
    pub async fn peek<N: Node>(&self, node: &N) -> Result<Option<N::Value>> {
        let kind = self.kind_of(node)?;
        let key = kind.full_key(node);
        let key = key.as_bytes();
        for (at, tier) in kind.tiers.iter().enumerate() {
            let value = match &tier.storage {
                TierStorage::Local(local) => {
                    let value = local.get(key);
                    value.as_ref().and_then(|value| kind.held(key, value)).cloned()
                }
                TierStorage::Remote(_) if tier.owed.contains(key) => None,
                TierStorage::Remote(remote) => {
                    let bytes = tier.bounded(remote, remote.storage.get(&[key])).await;
                    let bytes = bytes.ok().and_then(|values| values.into_iter().next().flatten());
                    bytes
                        .and_then(|bytes| kind.decode(tier, key, &bytes, remote.storage.now_ms()))
                        .map(|(value, _)| value.into_inner())
                }
            };
            match value {
                Some(value) => {
                    tier.counters.hits.add_one();
                    kind.local_behind(at).for_each(|local| _ = local.remove(key));
                    return Ok(Some(value));
                }
                None => count(&tier.counters.misses, 1),
            }
        }
        Ok(None)
    }
}
