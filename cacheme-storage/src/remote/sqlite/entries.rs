use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite as Driver, SqliteConnection};

use crate::contract::remote::RemoteEntry;
use crate::error::Result;
use crate::remote::database::{KeySet, PieceLimits, after_prefix, pieces, repeat, ttl_millis};

use super::{Inner, now_ms};

/// SQLite takes 32 766 variables a statement, three or four of them a row.
const LIMITS: PieceLimits = PieceLimits {
    rows: 4096,
    exact: 32,
    bytes: PieceLimits::BYTES,
};

/// The number of expired rows that are collected at once, so that writers wait for milliseconds only.
const PURGE_ROWS: i64 = 1000;

impl Inner {
    pub(super) async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let keys = KeySet::new(keys.iter().copied(), None);
        if keys.distinct().is_empty() {
            return Ok(Vec::new());
        }
        let found = self.run(|| async {
            let mut taken = self.pool.take().await?;
            let found = self.get_on(taken.connection(), &keys).await;
            taken.end(found)
        });
        Ok(keys.answers(found.await?))
    }

    async fn get_on(
        &self,
        connection: &mut SqliteConnection,
        keys: &KeySet<'_>,
    ) -> sqlx::Result<Vec<Option<Bytes>>> {
        let mut found = vec![None; keys.distinct().len()];
        for piece in key_pieces(keys.distinct()) {
            let sql = format!(
                "SELECT key, value FROM {} WHERE value IS NOT NULL \
                     AND (expires_at_ms IS NULL OR expires_at_ms > ?) AND key IN ({})",
                self.table.quoted,
                repeat("?", piece.len()),
            );
            let query = bind_keys(query(sql).bind(now_ms()), &keys.distinct()[piece]);
            let mut rows = query.fetch(&mut *connection);
            while let Some(row) = rows.try_next().await? {
                if let Some(index) = keys.index(row.try_get(0)?) {
                    found[index] = Some(Bytes::from(row.try_get::<Vec<u8>, _>(1)?));
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.check_size(entries)?;
        let keys = KeySet::new(entries.iter().map(|entry| entry.key), None);
        let statement = |piece: Range<usize>| {
            let sql = format!(
                "INSERT INTO {} (key, value, expires_at_ms, lease) VALUES {} \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value, \
                 expires_at_ms = excluded.expires_at_ms, lease = NULL",
                self.table.quoted,
                repeat("(?, ?, ?, NULL)", piece.len()),
            );
            bind_entries(query(sql), entries, &keys.last()[piece])
        };
        self.write(|| entry_pieces(entries, keys.last()).map(statement))
            .await
    }

    pub(super) async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let keys = KeySet::new(keys.iter().copied(), None);
        let keys = keys.distinct();
        let statement = |piece: Range<usize>| {
            let sql = format!(
                "DELETE FROM {} WHERE key IN ({})",
                self.table.quoted,
                repeat("?", piece.len())
            );
            bind_keys(query(sql), &keys[piece])
        };
        self.write(|| key_pieces(keys).map(statement)).await
    }

    pub(super) async fn clear(&self, prefix: &[u8]) -> Result<()> {
        let table = &self.table.quoted;
        let statement = || match after_prefix(prefix) {
            Some(end) => query(format!("DELETE FROM {table} WHERE key >= ? AND key < ?"))
                .bind(prefix.to_vec())
                .bind(end),
            None => query(format!("DELETE FROM {table} WHERE key >= ?")).bind(prefix.to_vec()),
        };
        self.write(|| std::iter::once_with(statement)).await
    }

    /// Collects a batch of expired rows; says whether there are more.
    pub(super) async fn purge(&self) -> Result<bool> {
        let table = &self.table.quoted;
        let purge = self.run(|| async {
            let _turn = self.write_turn().await;
            let purge = query(format!(
                "DELETE FROM {table} WHERE rowid IN \
                 (SELECT rowid FROM {table} WHERE expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?)"
            ));
            let purge = purge.bind(now_ms()).bind(PURGE_ROWS);
            let mut taken = self.pool.take().await?;
            let deleted = purge.execute(taken.connection()).await;
            taken.end(deleted)
        });
        Ok(i64::try_from(purge.await?.rows_affected()) == Ok(PURGE_ROWS))
    }

    /// Runs statements, several of them in one transaction.
    ///
    /// They are made one by one, once it is their turn: each holds a copy of its values.
    pub(super) async fn write<S>(&self, statements: impl Fn() -> S) -> Result<()>
    where
        S: Iterator<Item = Statement> + Send,
    {
        let write = self.run(|| async {
            let mut statements = statements().peekable();
            let _turn = self.write_turn().await;
            let Some(first) = statements.next() else {
                return Ok(());
            };
            let mut taken = self.pool.take().await?;
            let connection = taken.connection();
            let write = async {
                let mut writing = Writing::begin(connection, statements.peek().is_some()).await?;
                first.execute(writing.connection()).await?;
                for statement in statements {
                    statement.execute(writing.connection()).await?;
                }
                writing.commit().await
            };
            let written = write.await;
            taken.end(written)
        });
        write.await
    }
}

pub(super) type Statement = Query<'static, Driver, SqliteArguments>;

/// A statement whose text is made of constants and the table's quoted name.
pub(super) fn query(sql: String) -> Statement {
    sqlx::query(AssertSqlSafe(sql))
}

/// One statement that writes, which is a transaction by itself, or several in one.
pub(super) enum Writing<'c> {
    One(&'c mut SqliteConnection),
    Several(sqlx::Transaction<'c, Driver>),
}

impl<'c> Writing<'c> {
    pub(super) async fn begin(connection: &'c mut SqliteConnection, several: bool) -> sqlx::Result<Self> {
        Ok(match several {
            false => Self::One(connection),
            // It writes from the beginning, and so never has to be turned from a reader into a writer, which fails at once
            // when another process wrote meanwhile.
            true => Self::Several(connection.begin_with("BEGIN IMMEDIATE").await?),
        })
    }

    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Self::One(connection) => connection,
            Self::Several(transaction) => transaction,
        }
    }

    pub(super) async fn commit(self) -> sqlx::Result<()> {
        match self {
            Self::One(_) => Ok(()),
            Self::Several(transaction) => transaction.commit().await,
        }
    }
}

pub(super) fn bind_keys(statement: Statement, keys: &[Cow<'_, [u8]>]) -> Statement {
    keys.iter()
        .fold(statement, |statement, key| statement.bind(key.to_vec()))
}

/// Binds key, value and end of life of the entries at the given places.
pub(super) fn bind_entries(statement: Statement, entries: &[RemoteEntry<'_>], places: &[usize]) -> Statement {
    let now = now_ms();
    places.iter().fold(statement, |statement, &at| {
        let entry = &entries[at];
        statement
            .bind(entry.key.to_vec())
            .bind(entry.value.to_vec())
            .bind(ttl_millis(entry.ttl).map(|ttl| now + ttl))
    })
}

/// Pieces of a list of keys.
pub(super) fn key_pieces(keys: &[Cow<'_, [u8]>]) -> impl Iterator<Item = Range<usize>> {
    pieces(keys.len(), LIMITS, |index| keys[index].len())
}

/// Pieces of the entries at the given places.
pub(super) fn entry_pieces(
    entries: &[RemoteEntry<'_>],
    places: &[usize],
) -> impl Iterator<Item = Range<usize>> {
    pieces(places.len(), LIMITS, |index| {
        let entry = &entries[places[index]];
        entry.key.len() + entry.value.len()
    })
}
