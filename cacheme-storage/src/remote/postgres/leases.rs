use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::RemoteEntry;
use crate::error::{Error, Result};
use crate::remote::database::{KeySet, LEASE_LIMIT_MS, deadline_millis, millis, side_by_side, too_late};

use super::Inner;
use super::entries::{
    KEY_LIMIT, bind_entries, bind_keys, bytes, entry_pieces, key_pieces, key_set, place_of,
};
use super::statement::query;

impl Inner {
    pub(super) async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        // One statement that finds a value or else takes the lease takes a fourth longer to find it than one that only looks.
        // Where values are mostly there, looking first is worth the statement more that it costs those that are not.
        let is_read = keys.len() == 1 && !request.steals();
        if is_read
            && self.hit_rate.is_high()
            && let [Some(value)] = &mut self.get(keys).await?[..]
        {
            self.hit_rate.note(true);
            return Ok(vec![Acquired::Value(std::mem::take(value).into())]);
        }
        let acquired = self.acquire_in_one(keys, request).await?;
        if is_read {
            self.hit_rate.note(matches!(acquired[..], [Acquired::Value(_)]));
        }
        Ok(acquired)
    }

    async fn acquire_in_one(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        match self.acquire_all(keys, request).await {
            // Boxed, so that who is not refused does not carry the space.
            Err(refusal @ Error::Refused { .. }) if !request.steals() => {
                Box::pin(self.values_instead(keys, refusal)).await
            }
            answer => answer,
        }
    }

    /// A server that takes no writes (a standby, a disk that is full, a user who may only read) still has values.
    async fn values_instead(&self, keys: &[&[u8]], refusal: Error) -> Result<Vec<Acquired>> {
        match self.get(keys).await {
            Ok(found) if found.iter().any(Option::is_some) => Ok(found
                .into_iter()
                // There is no lease to be had, and none to wait for.
                .map(|found| found.map_or(Acquired::Unavailable, |value| Acquired::Value(value.into())))
                .collect()),
            _ => Err(refusal),
        }
    }

    async fn acquire_all(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let keys = key_set(keys);
        let granted = request.granted_at(self.now_ms());
        let token = request.token.0.to_be_bytes();
        let time = millis(request.time).unwrap_or(LEASE_LIMIT_MS);
        let deadline = deadline_millis(request);
        let mut answers: Vec<Option<Acquired>> = vec![None; keys.distinct().len()];
        let mut again = false;
        loop {
            // A second turn is for keys that somebody else wrote while the statement ran, unless it is too late.
            let open: Vec<Cow<'_, [u8]>> = keys
                .distinct()
                .iter()
                .zip(&answers)
                .filter(|(_, answer)| answer.is_none())
                .map(|(key, _)| Cow::Borrowed(&**key))
                .collect();
            if open.is_empty() {
                break;
            }
            if std::mem::replace(&mut again, true) && self.is_late(request).await? {
                too_late(&mut answers);
                break;
            }
            let acquire = async |piece: Range<usize>| {
                let keys = &open[piece];
                let mut found = vec![None; keys.len()];
                let statements = self.table.of(keys.len());
                let sql = if request.steals() {
                    &statements.steal
                } else {
                    &statements.acquire
                };
                let statement = || bind_keys(query(sql), keys).bind(token).bind(time).bind(deadline);
                let on_row = |row: &PgRow| {
                    if let Some(index) = place_of(keys, row, 0)? {
                        found[index] = Some(match row.try_get(1)? {
                            true => granted.clone(),
                            false => held(row)?,
                        });
                    }
                    Ok(())
                };
                let done = self.pool.run(statement, on_row).await;
                self.checked(done)?;
                Ok(found)
            };
            let found = side_by_side(key_pieces(&open), self.pool.width(), acquire).await?;
            let unanswered = answers.iter_mut().filter(|answer| answer.is_none());
            unanswered.zip(found).for_each(|(answer, found)| *answer = found);
        }
        Ok(keys.answers(answers.into_iter().flatten().collect()))
    }

    /// Says whether the deadline has passed, by a new look at the server's clock.
    async fn is_late(&self, request: &Acquire) -> Result<bool> {
        if request.deadline_ms.is_none() {
            return Ok(false);
        }
        Box::pin(self.look_at_clock()).await?;
        Ok(request.is_late(self.now_ms()))
    }

    pub(super) async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        self.check_size(entries)?;
        let keys = KeySet::new(entries.iter().map(|entry| entry.key), Some(KEY_LIMIT));
        let fill = async |piece: Range<usize>| {
            let mut filled = vec![Filled::Lost; piece.len()];
            let fill = &self.table.of(piece.len()).fill;
            let statement =
                || bind_entries(query(fill), entries, &keys, piece.clone()).bind(token.0.to_be_bytes());
            let on_row = |row: &PgRow| {
                if let Some(index) = place_of(&keys.distinct()[piece.clone()], row, 0)? {
                    filled[index] = Filled::Stored;
                }
                Ok(())
            };
            let done = self.pool.run(statement, on_row).await;
            self.checked(done)?;
            Ok(filled)
        };
        let filled = side_by_side(entry_pieces(entries, &keys), self.pool.width(), fill).await?;
        Ok(keys.answers(filled))
    }

    pub(super) async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let keys = key_set(keys);
        let release = async |piece: Range<usize>| {
            let keys = &keys.distinct()[piece];
            let release = &self.table.of(keys.len()).release;
            let statement = || bind_keys(query(release), keys).bind(token.0.to_be_bytes());
            let done = self.pool.run(statement, |_| Ok(())).await;
            self.checked(done)?;
            Ok(Vec::<()>::new())
        };
        side_by_side(key_pieces(keys.distinct()), self.pool.width(), release)
            .await
            .map(drop)
    }
}

impl Inner {
    pub(super) async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        let keys = key_set(keys);
        let time = millis(time).unwrap_or(LEASE_LIMIT_MS);
        for piece in key_pieces(keys.distinct()) {
            let piece = &keys.distinct()[piece];
            let renew = &self.table.of(piece.len()).renew;
            let statement = || {
                bind_keys(query(renew), piece)
                    .bind(token.0.to_be_bytes())
                    .bind(time)
            };
            let done = self.pool.run(statement, |_| Ok(())).await;
            self.checked(done)?;
        }
        Ok(())
    }
}

/// Reads what somebody else has from a row of key, whether the lease was taken, value, and time left.
fn held(row: &PgRow) -> sqlx::Result<Acquired> {
    Ok(match bytes(row, 2)? {
        Some(value) => Acquired::Value(value.into()),
        None => {
            let left: i64 = row.try_get(3)?;
            Acquired::Busy {
                // It was held when the server looked, and may end just then.
                left: Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1)),
            }
        }
    })
}
