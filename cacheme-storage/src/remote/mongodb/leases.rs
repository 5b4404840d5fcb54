use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};

use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::RemoteEntry;
use crate::error::Result;
use crate::remote::database::{
    Found, KeySet, LEASE_LIMIT_MS, LeaseTurns, acquire_by_turns, call_id, deadline_millis, millis, ttl_millis,
};

use super::Inner;
use super::entries::{KEY_LIMIT, Keys, Row, binary, date, key_set, text, texts};

impl LeaseTurns for Inner {
    fn now_ms(&self) -> u64 {
        self.now_ms()
    }

    async fn look(&self, keys: &Keys<'_>, token: LeaseToken) -> Result<Vec<Found>> {
        let look = |piece: Range<usize>| self.living_rows(&keys[piece], None);
        let rows = self.in_pieces(keys, look).await?;
        let now = self.now();
        let found = |row: Row| {
            if row.has_value() {
                return row
                    .into_value()
                    .map(|value| Found::Theirs(Acquired::Value(value.into())));
            }
            // What has neither value nor lease is not ours, and free.
            let lease = row.lease()?;
            if lease == token.0.to_be_bytes() {
                return Some(Found::Ours);
            }
            let left = u64::try_from(row.expires_at()? - now).unwrap_or(0);
            Some(Found::Theirs(Acquired::Busy {
                left: Duration::from_millis(left.max(1)),
            }))
        };
        let found = rows
            .into_iter()
            .map(|row| row.and_then(found).unwrap_or(Found::Nothing));
        Ok(found.collect())
    }

    async fn is_late(&self, request: &Acquire) -> Result<bool> {
        if request.deadline_ms.is_none() {
            return Ok(false);
        }
        Box::pin(self.look_at_clock()).await?;
        Ok(request.is_late(self.now_ms()))
    }

    async fn take(&self, keys: &Keys<'_>, request: &Acquire) -> Result<Vec<bool>> {
        match keys {
            [key] => Ok(vec![self.take_one(key, request).await?]),
            _ => {
                self.in_pieces(keys, |piece| self.take_piece(&keys[piece], request))
                    .await
            }
        }
    }
}

impl Inner {
    pub(super) async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        acquire_by_turns(self, key_set(keys), request).await
    }

    /// Takes the lease of a key, and says whether it did: one command that writes can answer with one document.
    async fn take_one(&self, key: &[u8], request: &Acquire) -> Result<bool> {
        let take = || {
            doc! {
                "findAndModify": &self.collection,
                "query": { "_id": text(key) },
                "update": [self.taken(request)],
                "upsert": true,
                "new": true,
                "fields": { "lease": 1 },
            }
        };
        let answer = self.write(take).await?;
        let taken = answer.get_document("value");
        let lease = taken.ok().and_then(|row| row.get_binary_generic("lease").ok());
        Ok(lease.is_some_and(|lease| *lease == request.token.0.to_be_bytes()))
    }

    async fn take_piece(&self, keys: &Keys<'_>, request: &Acquire) -> Result<Vec<bool>> {
        let updates = || -> Vec<_> {
            let taken = self.taken(request);
            // Found by the key alone; the condition is in what becomes of it.
            let change = |key: &Cow<'_, [u8]>| {
                doc! { "q": { "_id": text(key) }, "u": [taken.clone()], "upsert": true }
            };
            keys.iter().map(change).collect()
        };
        let answer = self.update(updates).await?;
        let inserted = answer.get_array("upserted").map_or(0, Vec::len);
        // What is new may be the trace of a request that came too late.
        let is_certain = inserted + modified(&answer) == keys.len() && !request.is_late(self.now_ms());
        Ok(vec![is_certain; keys.len()])
    }

    /// The change of a document whose lease is asked for: a lease, if it is free or the request steals. Past the deadline, by
    /// the server's clock at that moment, it stays; what is new then is nothing, and expired.
    fn taken(&self, request: &Acquire) -> Document {
        let (now, token) = (self.now(), binary(&request.token.0.to_be_bytes()));
        let time = millis(request.time).unwrap_or(LEASE_LIMIT_MS);
        let mut taken: Bson =
            doc! { "_id": "$_id", "lease": token.clone(), "expires_at": date(now + time) }.into();
        if request.deadline_ms.is_some() {
            let late = doc! { "$gt": [{ "$toLong": "$$NOW" }, deadline_millis(request)] };
            let nothing = doc! { "$mergeObjects": [{ "expires_at": date(now) }, "$$ROOT"] };
            let untouched = doc! { "$cond": [is_value(), "$$ROOT", nothing] };
            taken = doc! { "$cond": [late, untouched, taken] }.into();
        }
        if !request.steals() {
            taken = doc! { "$cond": [held(now, &token), "$$ROOT", taken] }.into();
        }
        doc! { "$replaceWith": taken }
    }

    pub(super) async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        self.check_size(entries)?;
        let keys = KeySet::new(entries.iter().map(|entry| entry.key), Some(KEY_LIMIT));
        let fill = |piece: Range<usize>| {
            let rows: Vec<_> = keys.last()[piece.clone()]
                .iter()
                .map(|&at| &entries[at])
                .collect();
            self.fill_piece(&keys.distinct()[piece], rows, token)
        };
        let filled = self.entries_in_pieces(entries, &keys, fill).await?;
        Ok(keys.answers(filled))
    }

    /// Fills, and leaves the id of the call where the lease was: it says afterwards which values are from this call.
    async fn fill_piece(
        &self,
        keys: &Keys<'_>,
        entries: Vec<&RemoteEntry<'_>>,
        token: LeaseToken,
    ) -> Result<Vec<Filled>> {
        let call_id = call_id();
        let token = binary(&token.0.to_be_bytes());
        let updates = || -> Vec<_> {
            let now = self.now();
            let change = |(key, entry): (&Cow<'_, [u8]>, &&RemoteEntry<'_>)| {
                let mut value =
                    doc! { "_id": "$_id", "value": binary(&entry.value), "lease": binary(&call_id) };
                if let Some(ttl) = ttl_millis(entry.ttl) {
                    value.insert("expires_at", date(now + ttl));
                }
                let ours = doc! { "$and": [
                    { "$eq": ["$lease", token.clone()] },
                    { "$ne": [{ "$type": "$value" }, "binData"] },
                    { "$gt": ["$expires_at", date(now)] },
                ] };
                let filled = doc! { "$cond": [ours, value, "$$ROOT"] };
                doc! { "q": { "_id": text(key) }, "u": [{ "$replaceWith": filled }] }
            };
            keys.iter().zip(&entries).map(change).collect()
        };
        let answer = self.update(updates).await?;
        if modified(&answer) == keys.len() {
            return Ok(vec![Filled::Stored; keys.len()]);
        }
        // Without the values, and by the id of the call alone: what has expired at once was stored all the same.
        let rows = self.living_rows(keys, Some(doc! { "lease": 1 })).await?;
        let has_call_id = |row: Option<Row>| row.is_some_and(|row| row.lease() == Some(&call_id));
        let filled = |is_ours| if is_ours { Filled::Stored } else { Filled::Lost };
        Ok(rows.into_iter().map(has_call_id).map(filled).collect())
    }

    pub(super) async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let keys = key_set(keys);
        let token = binary(&token.0.to_be_bytes());
        let release = async |piece: Range<usize>| {
            let keys = &keys.distinct()[piece];
            let ours = || {
                vec![doc! {
                    "lease": token.clone(),
                    "value": { "$exists": false },
                    "_id": { "$in": texts(keys) },
                }]
            };
            self.delete(ours).await?;
            Ok(Vec::<()>::new())
        };
        self.in_pieces(keys.distinct(), release).await.map(drop)
    }
}

impl Inner {
    pub(super) async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        let keys = key_set(keys);
        let token = binary(&token.0.to_be_bytes());
        let time = millis(time).unwrap_or(LEASE_LIMIT_MS);
        let renew = async |piece: Range<usize>| {
            let keys = &keys.distinct()[piece];
            let renewal = || {
                let now = self.now();
                let ours = doc! {
                    "lease": token.clone(),
                    "value": { "$exists": false },
                    "expires_at": { "$gt": date(now) },
                    "_id": { "$in": texts(keys) },
                };
                vec![doc! { "q": ours, "u": { "$set": { "expires_at": date(now + time) } }, "multi": true }]
            };
            self.update(renewal).await?;
            Ok(Vec::<()>::new())
        };
        self.in_pieces(keys.distinct(), renew).await.map(drop)
    }
}

fn is_value() -> Document {
    doc! { "$eq": [{ "$type": "$value" }, "binData"] }
}

/// Says whether a document is a value that lives, or a lease that somebody else has: by the same rules as [`Row`] sees them.
fn held(now: i64, token: &Bson) -> Document {
    let ends = doc! { "$eq": [{ "$type": "$expires_at" }, "date"] };
    let lives = doc! { "$gt": ["$expires_at", date(now)] };
    doc! { "$cond": [
        is_value(),
        { "$or": [lives.clone(), { "$not": [ends.clone()] }] },
        { "$and": [
            ends, lives, { "$eq": [{ "$type": "$lease" }, "binData"] }, { "$ne": ["$lease", token.clone()] },
        ] },
    ] }
}

/// The number of documents that an update changed.
fn modified(answer: &Document) -> usize {
    let modified = answer.get_i32("nModified").map_or(0, i64::from);
    usize::try_from(modified).unwrap_or(0)
}
