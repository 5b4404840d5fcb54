use std::borrow::Cow;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use sqlx::mysql::{MySqlQueryResult, MySqlRow};
use sqlx::{MySql as Driver, Row};

use crate::contract::remote::RemoteEntry;
use crate::error::{Error, Result};
use crate::remote::database::{
    KeySet, PieceLimits, Statement, after_prefix, padded, pieces, side_by_side, ttl_millis,
};
use crate::remote::long_key::shortened_head;

use super::Inner;
use super::table::query;

/// An index takes 3072 bytes with pages of the usual size, and 1536 with pages of half of it.
pub(super) const KEY_LIMIT: usize = 1024;

/// The shortest message that any server takes, in bytes; stands until the server was asked.
pub(super) const LEAST_PACKET: usize = 1024;

/// Rows of one statement. MariaDB rewrites lists from 1000 members on into a temporary table.
const ROWS: usize = 512;

/// Up to here every length of a list has a statement of its own; beyond, lists are padded to powers of two, so that a
/// connection's cache of prepared statements serves all calls.
const EXACT: usize = 32;

/// The bytes of a row in a message besides its key and its value.
const ROW_BYTES: usize = 64;

/// The bytes of a message besides its rows, the types of arguments among them.
const PACKET_OVERHEAD: usize = 16 * 1024;

/// The number of expired rows that are collected at once.
const PURGE_ROWS: usize = ROWS;

/// The number of rows of a prefix that are removed at once, so that others wait for milliseconds only.
const CLEAR_ROWS: u64 = 10_000;

/// The distinct keys of a call, or some of them: in order.
pub(super) type Keys<'a> = [Cow<'a, [u8]>];

impl Inner {
    pub(super) async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let keys = key_set(keys);
        let found = self
            .in_pieces(keys.distinct(), |piece| self.get_piece(&keys.distinct()[piece]))
            .await?;
        Ok(keys.answers(found))
    }

    async fn get_piece(&self, keys: &Keys<'_>) -> Result<Vec<Option<Bytes>>> {
        let mut found = vec![None; keys.len()];
        let on_row = |row: &MySqlRow| {
            if let Some(index) = index(keys, row.try_get(0)?) {
                found[index] = Some(Bytes::copy_from_slice(row.try_get(1)?));
            }
            Ok(())
        };
        let sql = self.table.get(length(keys.len()));
        self.run(sql, |statement| bind_keys(statement, keys), on_row)
            .await?;
        Ok(found)
    }

    pub(super) async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.check_size(entries)?;
        let rows = Rows::new(entries);
        let set = async |piece: Range<usize>| {
            let sql = self.table.set(length(piece.len()));
            let bind = |statement| rows.bind_padded(statement, piece.clone());
            self.run(sql, bind, |_| Ok(())).await?;
            Ok(Vec::<()>::new())
        };
        side_by_side(rows.pieces(self.limits(ROWS)), self.pool.width(), set)
            .await
            .map(drop)
    }

    pub(super) async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let keys = key_set(keys);
        self.in_pieces(keys.distinct(), async |piece| {
            let keys = &keys.distinct()[piece];
            let sql = self.table.remove(length(keys.len()));
            self.run(sql, |statement| bind_keys(statement, keys), |_| Ok(()))
                .await?;
            Ok(Vec::<()>::new())
        })
        .await
        .map(drop)
    }

    pub(super) async fn clear(&self, prefix: &[u8]) -> Result<()> {
        let prefix = shortened_head(prefix, KEY_LIMIT);
        let end = after_prefix(prefix);
        loop {
            let bind = |statement: Statement<Driver>| {
                let statement = statement.bind(prefix);
                let statement = match &end {
                    Some(end) => statement.bind(&end[..]),
                    None => statement,
                };
                statement.bind(CLEAR_ROWS)
            };
            let done = self.run(self.table.clear(end.is_some()), bind, |_| Ok(()));
            if done.await?.rows_affected() < CLEAR_ROWS {
                return Ok(());
            }
        }
    }

    /// Collects a batch of expired rows; says whether there are more.
    ///
    /// Looks for them first, which locks nothing, so that all who write lock rows in the order of their keys.
    pub(super) async fn purge(&self) -> Result<bool> {
        let mut expired: Vec<Vec<u8>> = Vec::new();
        let on_row = |row: &MySqlRow| {
            expired.push(row.try_get(0)?);
            Ok(())
        };
        let limit = u64::try_from(PURGE_ROWS).expect("it is small");
        self.run(self.table.expired(), |statement| statement.bind(limit), on_row)
            .await?;
        let keys = KeySet::new(expired.iter().map(|key| &key[..]), None);
        self.in_pieces(keys.distinct(), async |piece| {
            let keys = &keys.distinct()[piece];
            let sql = self.table.purge(length(keys.len()));
            self.run(sql, |statement| bind_keys(statement, keys), |_| Ok(()))
                .await?;
            Ok(Vec::<()>::new())
        })
        .await?;
        Ok(expired.len() == PURGE_ROWS)
    }

    /// Runs a statement. It may be bound, and rows may be seen, several times.
    pub(super) async fn run(
        &self,
        sql: String,
        bind: impl Fn(Statement<Driver>) -> Statement<Driver>,
        on_row: impl FnMut(&MySqlRow) -> sqlx::Result<()>,
    ) -> Result<MySqlQueryResult> {
        let sql = Arc::from(sql);
        let done = self.pool.run(|| bind(query(&sql)), on_row).await;
        self.checked(done)
    }

    /// Runs something on pieces of a list of keys; the answers are in the order of the keys.
    pub(super) async fn in_pieces<T, F>(
        &self,
        keys: &Keys<'_>,
        run: impl Fn(Range<usize>) -> F,
    ) -> Result<Vec<T>>
    where
        F: Future<Output = Result<Vec<T>>>,
    {
        let pieces = pieces(keys.len(), self.limits(ROWS), |index| {
            keys[index].len() + ROW_BYTES
        });
        side_by_side(pieces, self.pool.width(), run).await
    }

    /// The most that one statement of at most this many rows may carry.
    pub(super) fn limits(&self, rows: usize) -> PieceLimits {
        PieceLimits {
            rows,
            exact: rows,
            bytes: PieceLimits::BYTES.min(self.value_limit()),
        }
    }

    /// Refuses a value that the server cannot take, before it is sent anywhere.
    pub(super) fn check_size(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        let limit = self.value_limit();
        match entries.iter().find(|entry| entry.value.len() > limit) {
            None => Ok(()),
            Some(entry) => Err(Error::TooLarge {
                storage: self.location.clone(),
                size: entry.value.len(),
                limit,
            }),
        }
    }

    /// The server takes and sends messages up to `max_allowed_packet`, with the rest of the row in them.
    fn value_limit(&self) -> usize {
        let packet = self.packet.load(Ordering::Relaxed);
        packet.saturating_sub(PACKET_OVERHEAD + 2 * KEY_LIMIT)
    }
}

pub(super) fn key_set<'a>(keys: &[&'a [u8]]) -> KeySet<'a> {
    KeySet::new(keys.iter().copied(), Some(KEY_LIMIT))
}

/// The length of the list of a statement for so many rows.
pub(super) fn length(rows: usize) -> usize {
    padded(rows, EXACT)
}

/// The place of a key in a piece.
pub(super) fn index(keys: &Keys<'_>, key: &[u8]) -> Option<usize> {
    keys.binary_search_by(|probe| (**probe).cmp(key)).ok()
}

/// Binds the list of keys, padded with the last one, which says nothing new.
pub(super) fn bind_keys(statement: Statement<Driver>, keys: &Keys<'_>) -> Statement<Driver> {
    let places = (0..length(keys.len())).map(|place| place.min(keys.len() - 1));
    places.fold(statement, |statement, place| statement.bind(&*keys[place]))
}

/// The entries of a call, under distinct keys.
pub(super) struct Rows<'a> {
    entries: &'a [RemoteEntry<'a>],
    pub(super) keys: KeySet<'a>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(entries: &'a [RemoteEntry<'a>]) -> Self {
        Self {
            entries,
            keys: KeySet::new(entries.iter().map(|entry| entry.key), Some(KEY_LIMIT)),
        }
    }

    pub(super) fn pieces(&self, limits: PieceLimits) -> impl Iterator<Item = Range<usize>> {
        pieces(self.keys.last().len(), limits, |row| {
            // A key is in the statement up to three times.
            3 * self.key(row).len() + self.entry(row).value.len() + ROW_BYTES
        })
    }

    pub(super) fn key(&self, row: usize) -> &[u8] {
        &self.keys.distinct()[row]
    }

    pub(super) fn entry(&self, row: usize) -> &RemoteEntry<'a> {
        &self.entries[self.keys.last()[row]]
    }

    /// Binds key, value and time to live of each row of a piece, padded with the smallest of them, which is written
    /// once more.
    fn bind_padded(&self, statement: Statement<Driver>, piece: Range<usize>) -> Statement<Driver> {
        let smallest = piece.clone().min_by_key(|&row| self.entry(row).value.len());
        let padding = length(piece.len()) - piece.len();
        let rows = piece.chain(smallest.into_iter().cycle().take(padding));
        rows.fold(statement, |statement, row| {
            let entry = self.entry(row);
            statement
                .bind(self.key(row))
                .bind(&*entry.value)
                .bind(ttl_millis(entry.ttl))
        })
    }
}
