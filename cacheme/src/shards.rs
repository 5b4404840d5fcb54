//! Calls over many keys, as one for each shard of a storage.
//!
//! The servers of a cluster fail one by one. Were the keys of all of them in one call, those of a server that cannot be reached would
//! take the others with them. So the keys of each shard make a call of their own: side by side, each bounded by itself, each
//! with an outcome of its own. Where a storage has one shard, that is the one call that it was.

use cacheme_storage::RemoteStorage;
use futures_util::future::join_all;
use smallvec::{SmallVec, smallvec};

use crate::batch::Items;

/// The places of keys in a call, by shard.
pub(crate) struct Shards(SmallVec<[Items; 1]>);

/// How the calls of all shards ended, each with the places of its keys.
pub(crate) type Ended<'s, T> = SmallVec<[(&'s [usize], T); 1]>;

impl Shards {
    pub(crate) fn of<'k>(
        storage: &dyn RemoteStorage,
        keys: impl ExactSizeIterator<Item = &'k [u8]> + Clone,
    ) -> Self {
        let count = keys.len();
        let mut shards = keys.clone().map(|key| storage.shard_of(key));
        let first = shards.next();
        if count < 2 || shards.all(|shard| Some(shard) == first) {
            return Self(smallvec![(0..count).collect()]);
        }
        let mut by_shard: Vec<(usize, Items)> = Vec::new();
        for (place, key) in keys.enumerate() {
            let shard = storage.shard_of(key);
            match by_shard.iter_mut().find(|(other, _)| *other == shard) {
                Some((_, places)) => places.push(place),
                None => by_shard.push((shard, smallvec![place])),
            }
        }
        Self(by_shard.into_iter().map(|(_, places)| places).collect())
    }

    /// Makes a call for each shard, with the places of its keys.
    pub(crate) async fn each<'s, F: Future>(
        &'s self,
        call: impl Fn(&'s [usize]) -> F,
    ) -> Ended<'s, F::Output> {
        match &self.0[..] {
            [places] => smallvec![(&places[..], call(places).await)],
            // Boxed, so that a call of one shard does not carry its space.
            shards => {
                let calls = shards
                    .iter()
                    .map(|places| async { (&places[..], call(places).await) });
                Box::pin(join_all(calls)).await.into()
            }
        }
    }
}
