//! Calls over many keys, by the shards of a storage, and for each shard in pieces.
//!
//! The servers of a cluster fail one by one. If the keys of all servers went in one call, one server that cannot be reached would fail
//! the keys of the others too. So the keys of each shard make calls of their own: side by side, each bounded by itself, each
//! with an outcome of its own. A shard gets its pieces (`pieces.rs`) one after the other, until one fails. Keys of one shard
//! that fit into one piece are one call.

use std::pin::pin;

use cacheme_storage::{Bytes, RemoteStorage};
use futures_util::future::join_all;
use smallvec::{SmallVec, smallvec};
use tokio::time::Instant;

use crate::flight::FullKey;
use crate::kind::pieces::{Call, Operation, PieceResult, Stopped, weightless};
use crate::kind::tier::RemoteTier;

/// Numbers of items. Most batches are of one, and allocate none.
pub(crate) type Items = SmallVec<[usize; 2]>;

/// The places of keys in a call, by shard.
pub(crate) struct Shards(SmallVec<[Shard; 1]>);

struct Shard {
    number: usize,
    places: Items,
}

/// How the calls of all shards ended, each with the places of its keys.
pub(crate) type Ended<'s, T> = SmallVec<[(&'s [usize], PieceResult<T>); 1]>;

impl Shards {
    pub(crate) fn of<'k>(
        storage: &dyn RemoteStorage,
        keys: impl ExactSizeIterator<Item = &'k [u8]> + Clone,
    ) -> Self {
        let count = keys.len();
        let mut shards = keys.clone().map(|key| storage.shard_of(key));
        let first = shards.next();
        if count < 2 || shards.all(|shard| Some(shard) == first) {
            return Self(smallvec![Shard {
                number: first.unwrap_or_default(),
                places: (0..count).collect(),
            }]);
        }
        let mut by_shard: SmallVec<[Shard; 1]> = SmallVec::new();
        for (place, key) in keys.enumerate() {
            let number = storage.shard_of(key);
            match by_shard.iter_mut().find(|shard| shard.number == number) {
                Some(shard) => shard.places.push(place),
                None => by_shard.push(Shard {
                    number,
                    places: smallvec![place],
                }),
            }
        }
        Self(by_shard)
    }

    /// Makes the calls of each shard, with the places of its keys, whose bytes `weigh` knows. Shards that are `stopped` get none, and
    /// those where one fails are stopped from then on.
    pub(crate) async fn each<'s, T, F>(
        &'s self,
        calls: &Call<'_>,
        weigh: impl Fn(usize) -> usize,
        stopped: &mut Stopped,
        call: impl Fn(&'s [usize]) -> F,
    ) -> Ended<'s, T>
    where
        F: Future<Output = cacheme_storage::Result<T>>,
    {
        if let [Shard { number, places }] = &self.0[..]
            && stopped.is_empty()
            && calls.fitting(places, &weigh) == places.len()
        {
            let call = pin!(call(places));
            let done = calls.piece(calls.now, places.len(), call).await;
            let (outcome, fails) = outcome(done);
            stopped.extend(fails.then_some(*number));
            return smallvec![(&places[..], outcome)];
        }
        // Boxed, so that a call of one shard does not carry its space.
        let shards = self.0.iter().map(|shard| {
            let is_stopped = stopped.contains(&shard.number);
            let (weigh, call) = (&weigh, &call);
            async move {
                match is_stopped {
                    true => (smallvec![(&shard.places[..], PieceResult::Spared)], true),
                    false => shard.in_pieces(calls, weigh, call).await,
                }
            }
        });
        let shards = Box::pin(join_all(shards)).await;
        let mut ended = Ended::new();
        for (shard, (pieces, fails)) in self.0.iter().zip(shards) {
            if fails && !stopped.contains(&shard.number) {
                stopped.push(shard.number);
            }
            ended.extend(pieces);
        }
        ended
    }
}

impl Shard {
    /// Makes the calls for all places until one fails; says whether one did.
    async fn in_pieces<'s, T, F>(
        &'s self,
        calls: &Call<'_>,
        weigh: impl Fn(usize) -> usize,
        call: impl Fn(&'s [usize]) -> F,
    ) -> (Ended<'s, T>, bool)
    where
        F: Future<Output = cacheme_storage::Result<T>>,
    {
        let (mut ended, mut rest, mut now) = (Ended::new(), &self.places[..], calls.now);
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(calls.fitting(rest, &weigh));
            rest = others;
            let call = pin!(call(piece));
            let done = calls.piece(now, piece.len(), call).await;
            let (outcome, fails) = outcome(done);
            ended.push((piece, outcome));
            if fails {
                if !rest.is_empty() {
                    ended.push((rest, PieceResult::Spared));
                }
                return (ended, true);
            }
            now = Instant::now();
        }
        (ended, false)
    }
}

/// The result of a call, and whether its shard fails.
fn outcome<T>(done: cacheme_storage::Result<T>) -> (PieceResult<T>, bool) {
    match done {
        Ok(done) => (PieceResult::Done(done), false),
        // The value's fault.
        Err(error @ cacheme_storage::Error::TooLarge { .. }) => (PieceResult::Failed(error), false),
        Err(error) => (PieceResult::Failed(error), true),
    }
}

impl RemoteTier {
    /// Reads keys of a remote tier. Gives the value of each if there is one, and `None` for a key whose shard could not be reached.
    pub(crate) async fn read_all(
        &self,
        calls: &Call<'_>,
        keys: &[&[u8]],
        stopped: &mut Stopped,
    ) -> Vec<Option<Option<Bytes>>> {
        let storage = &*self.storage;
        let shards = Shards::of(storage, keys.iter().copied());
        let read = shards.each(calls, weightless, stopped, |places| async move {
            let keys: SmallVec<[&[u8]; 2]> = places.iter().map(|place| keys[*place]).collect();
            storage.get(&keys).await
        });
        let mut found = vec![None; keys.len()];
        for (places, read) in read.await {
            for (place, value) in places.iter().zip(read.done().into_iter().flatten()) {
                found[*place] = Some(value);
            }
        }
        found
    }

    /// Removes keys of a remote tier; gives those of each shard that could not be reached, and why.
    pub(crate) async fn remove_all<'k>(
        &self,
        keys: &'k [FullKey],
    ) -> Vec<(Vec<&'k FullKey>, cacheme_storage::Error)> {
        let calls = Call::new(self, Operation::Remove);
        let shards = Shards::of(&*self.storage, keys.iter().map(|key| &**key));
        let mut stopped = Stopped::new();
        let removed = shards.each(&calls, weightless, &mut stopped, |places| async move {
            let keys: SmallVec<[&[u8]; 2]> = places.iter().map(|place| &*keys[*place]).collect();
            self.storage.remove(&keys).await
        });
        let mut failed: Vec<(Vec<&FullKey>, _)> = Vec::new();
        for (places, removed) in removed.await {
            let keys = places.iter().map(|place| &keys[*place]);
            match (removed, failed.last_mut()) {
                (PieceResult::Failed(error), _) => failed.push((keys.collect(), error)),
                // They follow the piece of their shard that failed.
                (PieceResult::Spared, Some((others, _))) => others.extend(keys),
                (PieceResult::Spared, None) | (PieceResult::Done(()), _) => {}
            }
        }
        failed
    }
}
