use std::sync::Arc;

use sqlx::Row;

use crate::error::{Error, Result};
use crate::remote::database::{DriverError, TableName};

use super::Inner;
use super::statement::query;

/// The server's time in milliseconds since the epoch. A double counts them exactly, and `extract` would count in decimals,
/// which takes longer.
const NOW: &str = "(date_part('epoch', clock_timestamp()) * 1000)::bigint";

/// The table and the statements that name it.
#[derive(Debug)]
pub(super) struct Table {
    name: TableName,
    pub(super) clear: Arc<str>,
    pub(super) purge: Arc<str>,
    pub(super) notify: Arc<str>,
    /// The channel on which changes are published. Two tables of one name in two schemas share it, which costs each other's messages.
    pub(super) channel: String,
    one: Statements,
    many: Statements,
}

/// The statements for one row, or for any number of them.
///
/// Why not those for many alone: a plan that is to serve every array expects ten elements. For one element the server finds
/// that planning anew is better, each time, which takes four times as long as the statement itself.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) get: Arc<str>,
    pub(super) set: Arc<str>,
    pub(super) remove: Arc<str>,
    pub(super) acquire: Arc<str>,
    pub(super) steal: Arc<str>,
    pub(super) fill: Arc<str>,
    pub(super) release: Arc<str>,
    pub(super) renew: Arc<str>,
}

/// The lists by which keys, values and times to live come to a statement.
struct Lists {
    keys: &'static str,
    values: &'static str,
    ttls: &'static str,
}

const ONE: Lists = Lists {
    keys: "ARRAY[$1::bytea]",
    values: "ARRAY[$2::bytea]",
    ttls: "ARRAY[$3::bigint]",
};

const MANY: Lists = Lists {
    keys: "$1::bytea[]",
    values: "$2::bytea[]",
    ttls: "$3::bigint[]",
};

/// Columns with their types, in order of their names.
const COLUMNS: [(&str, &str); 4] = [
    ("expires_at_ms", "bigint"),
    ("key", "bytea"),
    ("lease", "bytea"),
    ("value", "bytea"),
];

impl Table {
    pub(super) fn new(name: TableName) -> Self {
        let table = name.quoted('"');
        Self {
            one: Statements::one(&table),
            many: Statements::new(&table, &MANY),
            // Counts what it found, since another process may remove a part of that at the same moment.
            clear: format!(
                "WITH found AS MATERIALIZED (SELECT key FROM {table} \
                     WHERE key >= $1 AND ($2::bytea IS NULL OR key < $2) ORDER BY key LIMIT $3), \
                 gone AS (DELETE FROM {table} WHERE key IN (SELECT key FROM found)) SELECT count(*) FROM found"
            )
            .into(),
            // The clock is read once, in a subquery, so that the index serves. A row that somebody else is writing is
            // not waited for: it comes to life again, or is there next time.
            purge: format!(
                "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE expires_at_ms <= (SELECT {NOW}) \
                 ORDER BY expires_at_ms LIMIT $1 FOR UPDATE SKIP LOCKED)"
            )
            .into(),
            notify: "SELECT pg_notify($1, encode(message, 'hex')) FROM unnest($2::bytea[]) AS messages (message)".into(),
            channel: format!("cacheme.{}", name.name()),
            name,
        }
    }

    /// The statements for so many rows.
    pub(super) fn of(&self, rows: usize) -> &Statements {
        if rows == 1 { &self.one } else { &self.many }
    }

    /// The statements that make the table and its index.
    fn ddl(&self) -> [String; 2] {
        let table = self.name.quoted('"');
        let index = self.name.quoted_index('"');
        [
            format!(
                "CREATE TABLE IF NOT EXISTS {table} \
                 (key bytea PRIMARY KEY, value bytea, expires_at_ms bigint, lease bytea)"
            ),
            format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at_ms)"),
        ]
    }
}

impl Statements {
    /// Those for one row. What a hit and a miss cost does without lists, which saves the server a sixth of its time.
    fn one(table: &str) -> Self {
        Self {
            get: format!(
                "SELECT value FROM {table} WHERE key = $1 AND value IS NOT NULL \
                 AND (expires_at_ms IS NULL OR expires_at_ms > {NOW})"
            )
            .into(),
            acquire: format!(
                "WITH held AS MATERIALIZED (SELECT key, value, expires_at_ms - {NOW} AS left_ms FROM {table} \
                     WHERE key = $1 AND {held}), \
                 taken AS (INSERT INTO {table} AS entry (key, expires_at_ms, lease) \
                     SELECT $1, {NOW} + $3, $2 WHERE NOT EXISTS (SELECT FROM held) AND {NOW} <= $4 \
                     ON CONFLICT (key) DO UPDATE \
                     SET value = NULL, expires_at_ms = excluded.expires_at_ms, lease = excluded.lease \
                     WHERE ({held_entry}) IS NOT TRUE AND {NOW} <= $4 RETURNING key) \
                 SELECT key, false, value, left_ms FROM held UNION ALL SELECT key, true, NULL, NULL FROM taken",
                held = held("", NOW),
                held_entry = held("entry.", NOW),
            )
            .into(),
            fill: format!(
                "UPDATE {table} SET value = $2, expires_at_ms = {NOW} + $3, lease = NULL \
                 WHERE key = $1 AND value IS NULL AND lease = $4 AND expires_at_ms > {NOW} RETURNING key"
            )
            .into(),
            ..Self::new(table, &ONE)
        }
    }

    fn new(table: &str, lists: &Lists) -> Self {
        let Lists { keys, values, ttls } = lists;
        Self {
            get: format!(
                "SELECT value, key FROM {table} WHERE key = ANY({keys}) AND value IS NOT NULL \
                 AND (expires_at_ms IS NULL OR expires_at_ms > {NOW})"
            )
            .into(),
            set: format!(
                "INSERT INTO {table} (key, value, expires_at_ms) \
                 SELECT k, v, {NOW} + t FROM unnest({keys}, {values}, {ttls}) AS fresh (k, v, t) \
                 ON CONFLICT (key) DO UPDATE \
                 SET value = excluded.value, expires_at_ms = excluded.expires_at_ms, lease = NULL"
            )
            .into(),
            remove: format!("DELETE FROM {table} WHERE key = ANY({keys})").into(),
            // Only what the snapshot does not show as held is written to, so that finding a value locks nothing. Who
            // comes between the snapshot and the insertion is noticed by the condition of the update; that key is in
            // neither part of the answer then, as all are once the deadline has passed.
            acquire: format!(
                "WITH clock AS MATERIALIZED (SELECT {NOW} AS now), \
                 held AS MATERIALIZED (SELECT key, value, expires_at_ms - now AS left_ms FROM {table}, clock \
                     WHERE key = ANY({keys}) AND {held}), \
                 taken AS (INSERT INTO {table} AS entry (key, expires_at_ms, lease) \
                     SELECT k, now + $3, $2 FROM unnest({keys}) AS asked (k), clock \
                     WHERE NOT EXISTS (SELECT FROM held WHERE held.key = k) AND now <= $4 \
                     ON CONFLICT (key) DO UPDATE \
                     SET value = NULL, expires_at_ms = excluded.expires_at_ms, lease = excluded.lease \
                     WHERE ({held_entry}) IS NOT TRUE AND {NOW} <= $4 RETURNING key) \
                 SELECT key, false, value, left_ms FROM held UNION ALL SELECT key, true, NULL, NULL FROM taken",
                held = held("", "now"),
                held_entry = held("entry.", "(SELECT now FROM clock)"),
            )
            .into(),
            steal: format!(
                "INSERT INTO {table} (key, expires_at_ms, lease) \
                 SELECT k, {NOW} + $3, $2 FROM unnest({keys}) AS asked (k) WHERE {NOW} <= $4 \
                 ON CONFLICT (key) DO UPDATE \
                 SET value = NULL, expires_at_ms = excluded.expires_at_ms, lease = excluded.lease \
                 WHERE {NOW} <= $4 RETURNING key, true, value, expires_at_ms",
                table = table,
            )
            .into(),
            fill: format!(
                "UPDATE {table} AS entry SET value = v, expires_at_ms = {NOW} + t, lease = NULL \
                 FROM unnest({keys}, {values}, {ttls}) AS fresh (k, v, t) \
                 WHERE key = k AND value IS NULL AND lease = $4 AND expires_at_ms > {NOW} RETURNING key"
            )
            .into(),
            renew: format!(
                "UPDATE {table} SET expires_at_ms = {NOW} + $3 \
                 WHERE key = ANY({keys}) AND value IS NULL AND lease = $2 AND expires_at_ms > {NOW}"
            )
            .into(),
            release: format!("DELETE FROM {table} WHERE key = ANY({keys}) AND value IS NULL AND lease = $2").into(),
        }
    }
}

/// Says whether a row is a value that lives, or a lease of another token than the second argument. A lease without an end is
/// over.
fn held(entry: &str, now: &str) -> String {
    format!(
        "({entry}expires_at_ms > {now} OR ({entry}expires_at_ms IS NULL AND {entry}value IS NOT NULL)) \
         AND ({entry}value IS NOT NULL OR {entry}lease <> $2)"
    )
}

impl Inner {
    /// Makes the table if it is absent and may be made, and checks its shape.
    pub(super) async fn prepare_table(&self) -> Result<()> {
        let mut columns = self.columns().await?;
        if columns.is_empty() {
            let ddl = self.table.ddl();
            if !self.create {
                return Err(self.unusable(format!("does not exist; run: {};", ddl.join("; "))));
            }
            let made = self.make_table(&ddl).await;
            columns = self.columns().await?;
            // Two that make it at the same moment can collide; then the other one made it.
            if let (Err(error), true) = (made, columns.is_empty()) {
                return Err(match self.fault(error) {
                    Error::Refused { source, .. } => self.unusable(format!(
                        "cannot be made: {source}; make it with: {};",
                        ddl.join("; ")
                    )),
                    other => other,
                });
            }
        }
        let fits = columns.len() == COLUMNS.len()
            && columns.iter().zip(COLUMNS).all(|(column, (name, kind))| {
                column.name == name && column.kind == kind && column.is_key == (name == "key")
            });
        if !fits {
            let found: Vec<_> = columns
                .iter()
                .map(|column| format!("{} {}", column.name, column.kind))
                .collect();
            return Err(self.unusable(format!(
                "has another shape ({}); choose another with the option `table`, or drop it and run: {};",
                found.join(", "),
                self.table.ddl().join("; ")
            )));
        }
        Ok(())
    }

    async fn make_table(&self, ddl: &[String]) -> Result<(), DriverError> {
        for statement in ddl {
            let statement = Arc::from(statement.as_str());
            self.pool
                .run(|| query(&statement).persistent(false), |_| Ok(()))
                .await?;
        }
        Ok(())
    }

    /// The columns of the table, and which of them is a unique key by itself; none if there is no table.
    async fn columns(&self) -> Result<Vec<Column>> {
        let mut columns = Vec::new();
        let sql = Arc::from(
            "SELECT attname::text, format_type(atttypid, atttypmod), \
             EXISTS (SELECT FROM pg_index WHERE indrelid = attrelid AND indisunique AND indisvalid \
                 AND indpred IS NULL AND indkey::text = attnum::text) \
             FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
             ORDER BY attname::text COLLATE \"C\"",
        );
        let statement = || {
            let name = self.table.name.quoted('"');
            query(&sql).bind(name).persistent(false)
        };
        let on_row = |row: &sqlx::postgres::PgRow| {
            columns.push(Column {
                name: row.try_get(0)?,
                kind: row.try_get(1)?,
                is_key: row.try_get(2)?,
            });
            Ok(())
        };
        let done = self.pool.run(statement, on_row).await;
        self.checked(done)?;
        Ok(columns)
    }

    /// The time by the server's clock, in milliseconds since the epoch.
    pub(super) async fn server_now(&self) -> Result<i64, DriverError> {
        let mut now = 0;
        let sql: Arc<str> = format!("SELECT {NOW}").into();
        let on_row = |row: &sqlx::postgres::PgRow| {
            now = row.try_get(0)?;
            Ok(())
        };
        self.pool.run(|| query(&sql), on_row).await?;
        Ok(now)
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Config {
            storage: self.location.clone(),
            reason: format!("table `{}` {reason}", self.table.name),
        }
    }
}

struct Column {
    name: String,
    kind: String,
    is_key: bool,
}
