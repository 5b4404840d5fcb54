use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use sqlx::Row;
use sqlx::postgres::{PgRow, PgValueFormat};

use crate::contract::remote::RemoteEntry;
use crate::error::{Error, Result};
use crate::remote::database::{KeySet, PieceLimits, after_prefix, pieces, side_by_side, ttl_millis};
use crate::remote::long_key::shortened_head;

use super::Inner;
use super::statement::{Statement, query};

/// A third of a page, 2704 bytes, is the most that an index takes; pages can be smaller than they usually are.
pub(super) const KEY_LIMIT: usize = 1024;

/// PostgreSQL takes fields and messages up to 1 GiB less one byte; keys and headers go off that.
const VALUE_LIMIT: usize = 1_000_000_000;

/// The number of rows of a prefix that are removed at once.
const CLEAR_ROWS: i64 = 5_000;

/// The number of expired rows that are collected at once.
const PURGE_ROWS: i64 = 1000;

impl Inner {
    pub(super) async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let keys = key_set(keys);
        let get = async |piece: Range<usize>| {
            let keys = &keys.distinct()[piece];
            let mut found = vec![None; keys.len()];
            let on_row = |row: &PgRow| {
                let place = match keys {
                    [_] => Some(0),
                    _ => place_of(keys, row, 1)?,
                };
                if let Some(place) = place {
                    found[place] = bytes(row, 0)?;
                }
                Ok(())
            };
            let statement = || bind_keys(query(&self.table.of(keys.len()).get), keys);
            let done = self.pool.run(statement, on_row).await;
            self.checked(done)?;
            Ok(found)
        };
        let found = side_by_side(key_pieces(keys.distinct()), self.pool.width(), get).await?;
        Ok(keys.answers(found))
    }

    pub(super) async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.check_size(entries)?;
        let keys = KeySet::new(entries.iter().map(|entry| entry.key), Some(KEY_LIMIT));
        let set = async |piece: Range<usize>| {
            let set = &self.table.of(piece.len()).set;
            let statement = || bind_entries(query(set), entries, &keys, piece.clone());
            let done = self.pool.run(statement, |_| Ok(())).await;
            self.checked(done)?;
            Ok(Vec::<()>::new())
        };
        side_by_side(entry_pieces(entries, &keys), self.pool.width(), set)
            .await
            .map(drop)
    }

    pub(super) async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let keys = key_set(keys);
        let remove = async |piece: Range<usize>| {
            let keys = &keys.distinct()[piece];
            let statement = || bind_keys(query(&self.table.of(keys.len()).remove), keys);
            let done = self.pool.run(statement, |_| Ok(())).await;
            self.checked(done)?;
            Ok(Vec::<()>::new())
        };
        side_by_side(key_pieces(keys.distinct()), self.pool.width(), remove)
            .await
            .map(drop)
    }

    pub(super) async fn clear(&self, prefix: &[u8]) -> Result<()> {
        let prefix = shortened_head(prefix, KEY_LIMIT);
        let end = after_prefix(prefix);
        // In parts: a call that is given up has done something, and nobody waits for long.
        loop {
            let mut found = 0;
            let statement = || {
                let statement = query(&self.table.clear).bind(prefix);
                statement.bind(end.as_deref()).bind(CLEAR_ROWS)
            };
            let on_row = |row: &PgRow| {
                found = row.try_get(0)?;
                Ok(())
            };
            let done = self.pool.run(statement, on_row).await;
            self.checked(done)?;
            if found < CLEAR_ROWS {
                return Ok(());
            }
        }
    }

    /// Collects a batch of expired rows; says whether there are more.
    pub(super) async fn purge(&self) -> Result<bool> {
        let done = self
            .pool
            .run(|| query(&self.table.purge).bind(PURGE_ROWS), |_| Ok(()));
        Ok(i64::try_from(self.checked(done.await)?.rows_affected()) == Ok(PURGE_ROWS))
    }

    /// Refuses a value that the server cannot take, before it is sent anywhere.
    pub(super) fn check_size(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        match entries.iter().find(|entry| entry.value.len() > VALUE_LIMIT) {
            None => Ok(()),
            Some(entry) => Err(Error::TooLarge {
                storage: self.location.clone(),
                size: entry.value.len(),
                limit: VALUE_LIMIT,
            }),
        }
    }
}

pub(super) fn key_set<'a>(keys: &[&'a [u8]]) -> KeySet<'a> {
    KeySet::new(keys.iter().copied(), Some(KEY_LIMIT))
}

/// The bytes in a column: as they are, or in hexadecimal digits where the whole answer is text.
pub(super) fn bytes(row: &PgRow, at: usize) -> sqlx::Result<Option<Bytes>> {
    Ok(match row.try_get_raw(at)?.format() {
        PgValueFormat::Binary => row.try_get::<Option<&[u8]>, _>(at)?.map(Bytes::copy_from_slice),
        PgValueFormat::Text => row.try_get::<Option<Vec<u8>>, _>(at)?.map(Bytes::from),
    })
}

/// The place in a piece of the key in a column.
pub(super) fn place_of(keys: &[Cow<'_, [u8]>], row: &PgRow, at: usize) -> sqlx::Result<Option<usize>> {
    let place = |key: &[u8]| keys.binary_search_by(|probe| (**probe).cmp(key)).ok();
    Ok(match row.try_get_raw(at)?.format() {
        PgValueFormat::Binary => place(row.try_get(at)?),
        PgValueFormat::Text => place(&row.try_get::<Vec<u8>, _>(at)?),
    })
}

/// Binds the keys of a piece: one, or an array.
pub(super) fn bind_keys<'a>(statement: Statement<'a>, keys: &'a [Cow<'_, [u8]>]) -> Statement<'a> {
    match keys {
        [key] => statement.bind(&**key),
        _ => statement.bind(keys.iter().map(|key| &**key).collect::<Vec<&[u8]>>()),
    }
}

/// Pieces of a list of keys.
pub(super) fn key_pieces(keys: &[Cow<'_, [u8]>]) -> impl Iterator<Item = Range<usize>> {
    pieces(keys.len(), PieceLimits::ARRAYS, |index| keys[index].len())
}

/// Pieces of the entries under distinct keys.
pub(super) fn entry_pieces(
    entries: &[RemoteEntry<'_>],
    keys: &KeySet<'_>,
) -> impl Iterator<Item = Range<usize>> {
    pieces(keys.last().len(), PieceLimits::ARRAYS, |index| {
        keys.distinct()[index].len() + entries[keys.last()[index]].value.len()
    })
}

/// Binds keys, values and times to live of a piece: one of each, or an array.
pub(super) fn bind_entries<'a>(
    statement: Statement<'a>,
    entries: &'a [RemoteEntry<'_>],
    keys: &'a KeySet<'_>,
    piece: Range<usize>,
) -> Statement<'a> {
    let places = &keys.last()[piece.clone()];
    let statement = bind_keys(statement, &keys.distinct()[piece]);
    if let &[at] = places {
        let value: &[u8] = &entries[at].value;
        return statement.bind(value).bind(ttl_millis(entries[at].ttl));
    }
    let values: Vec<&[u8]> = places.iter().map(|&at| &*entries[at].value).collect();
    let ttls: Vec<_> = places.iter().map(|&at| ttl_millis(entries[at].ttl)).collect();
    statement.bind(values).bind(ttls)
}
