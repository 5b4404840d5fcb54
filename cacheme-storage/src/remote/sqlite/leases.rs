use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::{Row, SqliteConnection};

use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::RemoteEntry;
use crate::error::Result;
use crate::remote::database::{KeySet, LEASE_LIMIT_MS, deadline_millis, millis, repeat, too_late};

use super::entries::{Writing, bind_entries, bind_keys, entry_pieces, key_pieces, query};
use super::{Inner, now_ms};

/// The time in milliseconds since the epoch when a statement has its lock, for which it may have waited.
const NOW: &str = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)";

impl Inner {
    /// Looks first, since a lookup waits for no writer, and takes the leases of what was not there.
    pub(super) async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let keys = KeySet::new(keys.iter().copied(), None);
        let mut answers = vec![None; keys.distinct().len()];
        // A key is without an answer after both steps only if another process took it in between and the lookup
        // comes again; that it also lost it again, time after time, is not worth a bound.
        loop {
            if !request.steals() {
                answers = self.look(&keys, request.token, &answers).await?;
            }
            if answers.iter().all(Option::is_some) {
                break;
            }
            if request.is_late(self.now_ms()) {
                too_late(&mut answers);
                break;
            }
            answers = self.take(&keys, request, &answers).await?;
        }
        let answers = answers.into_iter().flatten().collect();
        Ok(keys.answers(answers))
    }

    /// Answers besides those that are there, for keys that have a value or somebody else's lease.
    async fn look(
        &self,
        keys: &KeySet<'_>,
        token: LeaseToken,
        answers: &[Option<Acquired>],
    ) -> Result<Vec<Option<Acquired>>> {
        let look = self.run(|| async {
            let mut answers = answers.to_vec();
            let mut taken = self.pool.take().await?;
            let found = self.look_on(taken.connection(), keys, token, &mut answers).await;
            taken.end(found)?;
            Ok(answers)
        });
        look.await
    }

    async fn look_on(
        &self,
        connection: &mut SqliteConnection,
        keys: &KeySet<'_>,
        token: LeaseToken,
        answers: &mut [Option<Acquired>],
    ) -> sqlx::Result<()> {
        let open = open(keys, answers);
        for piece in key_pieces(&open) {
            let sql = format!(
                "SELECT key, value, expires_at_ms FROM {} \
                 WHERE (expires_at_ms > ? OR (expires_at_ms IS NULL AND value IS NOT NULL)) \
                 AND (value IS NOT NULL OR lease <> ?) AND key IN ({})",
                self.table.quoted,
                repeat("?", piece.len()),
            );
            let now = now_ms();
            let query = bind_keys(query(sql).bind(now).bind(token_bytes(token)), &open[piece]);
            let mut rows = query.fetch(&mut *connection);
            while let Some(row) = rows.try_next().await? {
                let Some(index) = keys.index(row.try_get(0)?) else {
                    continue;
                };
                answers[index] = Some(match row.try_get::<Option<Vec<u8>>, _>(1)? {
                    Some(value) => Acquired::Value(Bytes::from(value).into()),
                    None => {
                        let until: i64 = row.try_get(2)?;
                        let left = u64::try_from(until - now).unwrap_or(0);
                        Acquired::Busy {
                            left: Duration::from_millis(left.max(1)),
                        }
                    }
                });
            }
        }
        Ok(())
    }

    /// Takes the leases of keys without an answer, unless somebody was faster.
    async fn take(
        &self,
        keys: &KeySet<'_>,
        request: &Acquire,
        answers: &[Option<Acquired>],
    ) -> Result<Vec<Option<Acquired>>> {
        let take = self.run(|| async {
            let mut answers = answers.to_vec();
            let _turn = self.write_turn().await;
            let mut taken = self.pool.take().await?;
            let took = self
                .take_on(taken.connection(), keys, request, &mut answers)
                .await;
            taken.end(took)?;
            Ok(answers)
        });
        take.await
    }

    async fn take_on(
        &self,
        connection: &mut SqliteConnection,
        keys: &KeySet<'_>,
        request: &Acquire,
        answers: &mut [Option<Acquired>],
    ) -> sqlx::Result<()> {
        let open = open(keys, answers);
        let table = &self.table.quoted;
        let free = if request.steals() {
            String::new()
        } else {
            format!(
                " WHERE {table}.expires_at_ms <= {NOW} OR ({table}.value IS NULL \
                 AND ({table}.expires_at_ms IS NULL OR {table}.lease IS NULL OR {table}.lease = excluded.lease))"
            )
        };
        let pieces: Vec<_> = key_pieces(&open).collect();
        let mut writing = Writing::begin(connection, pieces.len() > 1).await?;
        for piece in pieces {
            let sql = format!(
                "WITH asked (k) AS (VALUES {}) INSERT INTO {table} (key, value, expires_at_ms, lease) \
                 SELECT k, NULL, {NOW} + ?, ? FROM asked WHERE {NOW} <= ? \
                 ON CONFLICT (key) DO UPDATE SET value = NULL, \
                 expires_at_ms = excluded.expires_at_ms, lease = excluded.lease{free} RETURNING key",
                repeat("(?)", piece.len()),
            );
            let granted = request.granted_at(self.now_ms());
            let time = millis(request.time).unwrap_or(LEASE_LIMIT_MS);
            let query = bind_keys(query(sql), &open[piece]).bind(time);
            let query = query
                .bind(token_bytes(request.token))
                .bind(deadline_millis(request));
            let mut rows = query.fetch(writing.connection());
            while let Some(row) = rows.try_next().await? {
                if let Some(index) = keys.index(row.try_get(0)?) {
                    answers[index] = Some(granted.clone());
                }
            }
        }
        writing.commit().await
    }

    pub(super) async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        self.check_size(entries)?;
        let keys = KeySet::new(entries.iter().map(|entry| entry.key), None);
        if keys.last().is_empty() {
            return Ok(Vec::new());
        }
        let fill = self.run(|| async {
            let mut filled = vec![Filled::Lost; keys.last().len()];
            let _turn = self.write_turn().await;
            let mut taken = self.pool.take().await?;
            let fill = self.fill_on(taken.connection(), entries, &keys, token, &mut filled);
            let done = fill.await;
            taken.end(done)?;
            Ok(filled)
        });
        Ok(keys.answers(fill.await?))
    }

    async fn fill_on(
        &self,
        connection: &mut SqliteConnection,
        entries: &[RemoteEntry<'_>],
        keys: &KeySet<'_>,
        token: LeaseToken,
        filled: &mut [Filled],
    ) -> sqlx::Result<()> {
        let pieces: Vec<_> = entry_pieces(entries, keys.last()).collect();
        let mut writing = Writing::begin(connection, pieces.len() > 1).await?;
        for piece in pieces {
            let sql = format!(
                "WITH fresh (k, v, e) AS (VALUES {}) UPDATE {table} \
                     SET value = fresh.v, expires_at_ms = fresh.e, lease = NULL FROM fresh \
                     WHERE {table}.key = fresh.k AND {table}.value IS NULL AND {table}.lease = ? \
                     AND {table}.expires_at_ms > ? RETURNING key",
                repeat("(?, ?, ?)", piece.len()),
                table = self.table.quoted,
            );
            let query = bind_entries(query(sql), entries, &keys.last()[piece]);
            let query = query.bind(token_bytes(token)).bind(now_ms());
            let mut rows = query.fetch(writing.connection());
            while let Some(row) = rows.try_next().await? {
                if let Some(index) = keys.index(row.try_get(0)?) {
                    filled[index] = Filled::Stored;
                }
            }
        }
        writing.commit().await
    }

    pub(super) async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let keys = KeySet::new(keys.iter().copied(), None);
        let keys = keys.distinct();
        let statement = |piece: Range<usize>| {
            let sql = format!(
                "DELETE FROM {} WHERE value IS NULL AND lease = ? AND key IN ({})",
                self.table.quoted,
                repeat("?", piece.len()),
            );
            bind_keys(query(sql).bind(token_bytes(token)), &keys[piece])
        };
        self.write(|| key_pieces(keys).map(statement)).await
    }
}

impl Inner {
    pub(super) async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        let keys = KeySet::new(keys.iter().copied(), None);
        let keys = keys.distinct();
        let time = millis(time).unwrap_or(LEASE_LIMIT_MS);
        let statement = |piece: Range<usize>| {
            let now = now_ms();
            let sql = format!(
                "UPDATE {} SET expires_at_ms = ? \
                 WHERE value IS NULL AND lease = ? AND expires_at_ms > ? AND key IN ({})",
                self.table.quoted,
                repeat("?", piece.len()),
            );
            let query = query(sql).bind(now + time).bind(token_bytes(token)).bind(now);
            bind_keys(query, &keys[piece])
        };
        self.write(|| key_pieces(keys).map(statement)).await
    }
}

/// The keys that have no answer yet.
fn open<'a>(keys: &'a KeySet<'_>, answers: &[Option<Acquired>]) -> Vec<Cow<'a, [u8]>> {
    let pairs = keys.distinct().iter().zip(answers);
    pairs
        .filter(|(_, answer)| answer.is_none())
        .map(|(key, _)| Cow::Borrowed(&**key))
        .collect()
}

fn token_bytes(token: LeaseToken) -> Vec<u8> {
    token.0.to_be_bytes().to_vec()
}
