use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use sqlx::mysql::MySqlRow;
use sqlx::{MySql as Driver, Row};

use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::RemoteEntry;
use crate::error::Result;
use crate::remote::database::{
    Found, LEASE_LIMIT_MS, LeaseTurns, Statement, acquire_by_turns, call_id, deadline_millis, millis,
    side_by_side, ttl_millis,
};

use super::Inner;
use super::entries::{Keys, Rows, bind_keys, index, key_set, length};

/// Rows of one statement that fills: for each row the server goes through the list.
const FILL_ROWS: usize = 128;

impl LeaseTurns for Inner {
    fn now_ms(&self) -> u64 {
        self.now_ms()
    }

    async fn look(&self, keys: &Keys<'_>, token: LeaseToken) -> Result<Vec<Found>> {
        self.in_pieces(keys, |piece| self.look_at_piece(&keys[piece], token))
            .await
    }

    async fn is_late(&self, request: &Acquire) -> Result<bool> {
        if request.deadline_ms.is_none() {
            return Ok(false);
        }
        Box::pin(self.look_at_server()).await?;
        Ok(request.is_late(self.now_ms()))
    }

    async fn take(&self, keys: &Keys<'_>, request: &Acquire) -> Result<Vec<bool>> {
        self.in_pieces(keys, |piece| self.take_piece(&keys[piece], request))
            .await
    }
}

impl Inner {
    pub(super) async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        acquire_by_turns(self, key_set(keys), request).await
    }

    async fn look_at_piece(&self, keys: &Keys<'_>, token: LeaseToken) -> Result<Vec<Found>> {
        let mut found = vec![Found::Nothing; keys.len()];
        let bind = |statement: Statement<Driver>| bind_keys(statement.bind(&token.0.to_be_bytes()[..]), keys);
        let on_row = |row: &MySqlRow| {
            if let Some(index) = index(keys, row.try_get(0)?) {
                found[index] = found_in(row)?;
            }
            Ok(())
        };
        self.run(self.table.look(length(keys.len())), bind, on_row)
            .await?;
        Ok(found)
    }

    async fn take_piece(&self, keys: &Keys<'_>, request: &Acquire) -> Result<Vec<bool>> {
        let rows = length(keys.len());
        let sql = if request.steals() {
            self.table.steal(rows)
        } else {
            self.table.take(rows)
        };
        let time = millis(request.time).unwrap_or(LEASE_LIMIT_MS);
        let deadline = deadline_millis(request);
        let bind = |statement| {
            let places = (0..rows).map(|place| place.min(keys.len() - 1));
            places.fold(statement, |statement: Statement<Driver>, place| {
                let statement = statement.bind(&*keys[place]).bind(deadline).bind(time);
                statement.bind(&request.token.0.to_be_bytes()[..])
            })
        };
        let done = self.run(sql, bind, |_| Ok(())).await?;
        Ok(vec![done.last_insert_id() == 0; keys.len()])
    }

    pub(super) async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        self.check_size(entries)?;
        let rows = Rows::new(entries);
        let fill = |piece| self.fill_piece(&rows, piece, token);
        let filled = side_by_side(rows.pieces(self.limits(FILL_ROWS)), self.pool.width(), fill).await?;
        Ok(rows.keys.answers(filled))
    }

    async fn fill_piece(
        &self,
        rows: &Rows<'_>,
        piece: Range<usize>,
        token: LeaseToken,
    ) -> Result<Vec<Filled>> {
        let call_id = call_id();
        let keys = &rows.keys.distinct()[piece.clone()];
        // The first of two alternatives with the same key counts, so padding needs no value.
        let padding = length(keys.len()) - keys.len();
        let last = rows.key(piece.end - 1);
        let bind = |mut statement: Statement<Driver>| {
            for row in piece.clone() {
                statement = statement.bind(rows.key(row)).bind(&*rows.entry(row).value);
            }
            for _ in 0..padding {
                statement = statement.bind(last).bind(&b""[..]);
            }
            for row in piece.clone() {
                statement = statement.bind(rows.key(row));
                statement = statement.bind(ttl_millis(rows.entry(row).ttl));
            }
            for _ in 0..padding {
                statement = statement.bind(last).bind(None::<i64>);
            }
            bind_keys(statement.bind(&call_id[..]), keys).bind(&token.0.to_be_bytes()[..])
        };
        let sql = self.table.fill(length(keys.len()));
        let done = self.run(sql, bind, |_| Ok(())).await?;
        if usize::try_from(done.rows_affected()) == Ok(keys.len()) {
            return Ok(vec![Filled::Stored; keys.len()]);
        }
        let mut filled = vec![Filled::Lost; keys.len()];
        let bind = |statement: Statement<Driver>| bind_keys(statement.bind(&call_id[..]), keys);
        let on_row = |row: &MySqlRow| {
            if let Some(index) = index(keys, row.try_get(0)?) {
                filled[index] = Filled::Stored;
            }
            Ok(())
        };
        self.run(self.table.filled(length(keys.len())), bind, on_row)
            .await?;
        Ok(filled)
    }

    pub(super) async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let keys = key_set(keys);
        self.in_pieces(keys.distinct(), async |piece| {
            let keys = &keys.distinct()[piece];
            let bind =
                |statement: Statement<Driver>| bind_keys(statement.bind(&token.0.to_be_bytes()[..]), keys);
            let sql = self.table.release(length(keys.len()));
            self.run(sql, bind, |_| Ok(())).await?;
            Ok(Vec::<()>::new())
        })
        .await
        .map(drop)
    }
}

impl Inner {
    pub(super) async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        let keys = key_set(keys);
        let time = millis(time).unwrap_or(LEASE_LIMIT_MS);
        self.in_pieces(keys.distinct(), async |piece| {
            let keys = &keys.distinct()[piece];
            let bind = |statement: Statement<Driver>| {
                bind_keys(statement.bind(time).bind(&token.0.to_be_bytes()[..]), keys)
            };
            let sql = self.table.renew(length(keys.len()));
            self.run(sql, bind, |_| Ok(())).await?;
            Ok(Vec::<()>::new())
        })
        .await
        .map(drop)
    }
}

/// Reads a row of key, value, whether the lease is ours, and time left.
fn found_in(row: &MySqlRow) -> sqlx::Result<Found> {
    if let Some(value) = row.try_get::<Option<&[u8]>, _>(1)? {
        return Ok(Found::Theirs(Acquired::Value(
            Bytes::copy_from_slice(value).into(),
        )));
    }
    if row.try_get::<Option<i64>, _>(2)? == Some(1) {
        return Ok(Found::Ours);
    }
    let left: i64 = row.try_get(3)?;
    Ok(Found::Theirs(Acquired::Busy {
        // It was held when the server looked, and may end just then.
        left: Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1)),
    }))
}
