//! `peek`: a read of the tiers without a flight ([page](super)).

use cacheme_storage::SmallBox;

use crate::counter::count;
use crate::error::Result;
use crate::instance::Cacheme;
use crate::kind::Kind;
use crate::kind::tier::{LocalTier, RemoteTier, Tier};
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
            let (value, base) = match tier {
                Tier::Local(tier) => (kind.peek_local(tier, key), &tier.base),
                Tier::Off(_) => continue,
                Tier::Remote(tier) => (kind.peek_remote(tier, key).await, &tier.base),
            };
            match value {
                Some(value) => {
                    base.counters.hits.add_one();
                    let behind = kind.local_behind(at);
                    behind.for_each(|tier| _ = tier.storage.remove(key));
                    return Ok(Some(value.into_inner()));
                }
                None => count(&base.counters.misses, 1),
            }
        }
        Ok(None)
    }
}

impl<N: Node> Kind<N> {
    // Small boxes, so that a debug build has no room for several values in the `poll` of a call.

    fn peek_local(&self, tier: &LocalTier, key: &[u8]) -> Option<SmallBox<N::Value>> {
        let value = tier.storage.get(key)?;
        self.held(key, &value).cloned().map(SmallBox::new)
    }

    async fn peek_remote(&self, tier: &RemoteTier, key: &[u8]) -> Option<SmallBox<N::Value>> {
        if tier.pending.contains(key) {
            return None;
        }
        let bytes = tier.get(key).await.ok()??;
        let (value, _) = self.decode(tier, key, &bytes, tier.storage.now_ms())?;
        Some(value)
    }
}
