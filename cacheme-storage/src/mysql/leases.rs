use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use sqlx::mysql::MySqlRow;
use sqlx::{MySql as Driver, Row};

use crate::database::{LEASE_LIMIT_MS, Statement, millis, receipt, side_by_side, ttl_millis};
use crate::{Acquired, Filled, LeaseToken, RemoteEntry, Result};

use super::Inner;
use super::entries::{Keys, Rows, bind_keys, index, key_set, length};

/// Rows of one statement that fills: for each row the server goes through the list.
const FILL_ROWS: usize = 128;

/// What a look found under a key.
#[derive(Clone)]
enum Found {
    Nothing,
    Ours,
    Theirs(Acquired),
}

impl Inner {
    /// Takes the leases of what is free, and looks at who has the others.
    ///
    /// A single key is looked at first, which locks nothing: to ask for its lease is how it is read. Who asks for many
    /// has read them before and knows that they were not there.
    pub(super) async fn acquire(
        &self,
        keys: &[&[u8]],
        token: LeaseToken,
        time: Duration,
        steal: bool,
    ) -> Result<Vec<Acquired>> {
        let keys = key_set(keys);
        let keys_of_call = keys.distinct();
        let mut answers: Vec<Option<Acquired>> = vec![None; keys_of_call.len()];
        if steal {
            self.in_pieces(keys_of_call, |piece| {
                self.take(&keys_of_call[piece], token, time, true)
            })
            .await?;
            answers.fill(Some(Acquired::Granted));
        } else if keys_of_call.len() == 1 {
            // A lease that is ours already is taken anew, for its time.
            self.look_at_open(keys_of_call, token, &mut answers, None).await?;
        }
        // A key is without an answer after a turn only if it went to somebody else and was given up again within.
        while answers.iter().any(Option::is_none) {
            let (open, places) = open(keys_of_call, &answers);
            let taken = self
                .in_pieces(&open, |piece| self.take(&open[piece], token, time, false))
                .await?;
            for (place, taken) in places.into_iter().zip(taken) {
                answers[place] = taken.then_some(Acquired::Granted);
            }
            self.look_at_open(keys_of_call, token, &mut answers, Some(Acquired::Granted))
                .await?;
        }
        Ok(keys.answers(answers.into_iter().flatten().collect()))
    }

    /// Answers for keys without one: with what somebody else has there, and with `ours` for a lease of our own.
    async fn look_at_open(
        &self,
        keys: &Keys<'_>,
        token: LeaseToken,
        answers: &mut [Option<Acquired>],
        ours: Option<Acquired>,
    ) -> Result<()> {
        let (open, places) = open(keys, answers);
        let found = self
            .in_pieces(&open, |piece| self.look(&open[piece], token))
            .await?;
        for (place, found) in places.into_iter().zip(found) {
            answers[place] = match found {
                Found::Nothing => None,
                Found::Ours => ours.clone(),
                Found::Theirs(answer) => Some(answer),
            };
        }
        Ok(())
    }

    async fn look(&self, keys: &Keys<'_>, token: LeaseToken) -> Result<Vec<Found>> {
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

    /// Takes the leases of keys that are free, or of all; says for each whether that is certain.
    async fn take(
        &self,
        keys: &Keys<'_>,
        token: LeaseToken,
        time: Duration,
        steal: bool,
    ) -> Result<Vec<bool>> {
        let rows = length(keys.len());
        let sql = if steal {
            self.table.steal(rows)
        } else {
            self.table.take(rows)
        };
        let time = millis(time).unwrap_or(LEASE_LIMIT_MS);
        let bind = |statement| {
            let places = (0..rows).map(|place| place.min(keys.len() - 1));
            places.fold(statement, |statement: Statement<Driver>, place| {
                let statement = statement.bind(&*keys[place]).bind(time);
                statement.bind(&token.0.to_be_bytes()[..])
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
        let receipt = receipt();
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
            bind_keys(statement.bind(&receipt[..]), keys).bind(&token.0.to_be_bytes()[..])
        };
        let sql = self.table.fill(length(keys.len()));
        let done = self.run(sql, bind, |_| Ok(())).await?;
        if usize::try_from(done.rows_affected()) == Ok(keys.len()) {
            return Ok(vec![Filled::Stored; keys.len()]);
        }
        let mut filled = vec![Filled::Lost; keys.len()];
        let bind = |statement: Statement<Driver>| bind_keys(statement.bind(&receipt[..]), keys);
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

/// The keys that have no answer yet, and their places.
fn open<'a>(keys: &'a Keys<'_>, answers: &[Option<Acquired>]) -> (Vec<Cow<'a, [u8]>>, Vec<usize>) {
    let places = keys.iter().zip(answers).enumerate();
    places
        .filter(|(_, (_, answer))| answer.is_none())
        .map(|(place, (key, _))| (Cow::Borrowed(&**key), place))
        .unzip()
}

/// What is in a row of key, value, whether the lease is ours, and time left.
fn found_in(row: &MySqlRow) -> sqlx::Result<Found> {
    if let Some(value) = row.try_get::<Option<&[u8]>, _>(1)? {
        return Ok(Found::Theirs(Acquired::Value(Bytes::copy_from_slice(value))));
    }
    if row.try_get::<Option<i64>, _>(2)? == Some(1) {
        return Ok(Found::Ours);
    }
    let left: Option<i64> = row.try_get(3)?;
    let left = left.unwrap_or(LEASE_LIMIT_MS);
    Ok(Found::Theirs(Acquired::Busy {
        left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
    }))
}
