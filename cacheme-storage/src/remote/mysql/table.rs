use std::sync::Arc;

use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql as Driver, Row};

use crate::error::{Error, Result};
use crate::remote::database::{DriverError, Statement, TableName, repeat};

use super::Inner;
use super::entries::KEY_LIMIT;

/// The server's time in milliseconds since the epoch. From its UTC clock, since the time zone of a session may have an
/// hour that comes twice a year.
const NOW: &str = "(TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', UTC_TIMESTAMP(3)) DIV 1000)";

/// Says whether a new row with a lease is one that counts.
const IN_TIME: &str = "VALUES(expires_at_ms) > 0";

/// The table, and the text of the statements on it. None of them uses what only one of MySQL and MariaDB has.
#[derive(Debug)]
pub(super) struct Table {
    name: TableName,
    /// With its quotes, as part of statements.
    quoted: String,
}

/// Columns with the beginnings of their types, in order of their names.
const COLUMNS: [(&str, &str); 4] = [
    ("expires_at_ms", "bigint"),
    ("key", "varbinary(1024)"),
    ("lease", "varbinary(16)"),
    ("value", "longblob"),
];

impl Table {
    pub(super) fn new(name: TableName) -> Self {
        Self {
            quoted: name.quoted('`'),
            name,
        }
    }

    /// Key and value of what lives. Keys: the list.
    pub(super) fn get(&self, keys: usize) -> String {
        format!(
            "SELECT `key`, `value` FROM {} WHERE `key` IN ({}) AND `value` IS NOT NULL \
             AND (expires_at_ms IS NULL OR expires_at_ms > {NOW})",
            self.quoted,
            repeat("?", keys),
        )
    }

    /// Key, value or none, whether the lease is the token's, and time left of what lives, leases included. A lease without
    /// an end is over. Arguments: token; the list of keys.
    pub(super) fn look(&self, keys: usize) -> String {
        format!(
            "SELECT `key`, `value`, lease = ?, expires_at_ms - {NOW} FROM {} WHERE `key` IN ({}) \
             AND (expires_at_ms > {NOW} OR (expires_at_ms IS NULL AND `value` IS NOT NULL))",
            self.quoted,
            repeat("?", keys),
        )
    }

    /// Arguments: key, value and time to live of each row.
    pub(super) fn set(&self, rows: usize) -> String {
        format!(
            "INSERT INTO {} (`key`, `value`, expires_at_ms, lease) VALUES {} ON DUPLICATE KEY UPDATE \
             `value` = VALUES(`value`), expires_at_ms = VALUES(expires_at_ms), lease = NULL",
            self.quoted,
            repeat(&format!("(?, ?, {NOW} + ?, NULL)"), rows),
        )
    }

    /// Arguments: the list of keys.
    pub(super) fn remove(&self, keys: usize) -> String {
        format!(
            "DELETE FROM {} WHERE `key` IN ({})",
            self.quoted,
            repeat("?", keys)
        )
    }

    /// Arguments: first key, how many. With an end, its key before the number.
    pub(super) fn clear(&self, with_end: bool) -> String {
        let end = if with_end { "AND `key` < ? " } else { "" };
        format!(
            "DELETE FROM {} WHERE `key` >= ? {end}ORDER BY `key` LIMIT ?",
            self.quoted
        )
    }

    /// Keys of expired rows. Arguments: how many.
    pub(super) fn expired(&self) -> String {
        format!(
            "SELECT `key` FROM {} WHERE expires_at_ms <= {NOW} ORDER BY expires_at_ms LIMIT ?",
            self.quoted
        )
    }

    /// Arguments: the list of keys.
    pub(super) fn purge(&self, keys: usize) -> String {
        format!(
            "DELETE FROM {} WHERE `key` IN ({}) AND expires_at_ms <= {NOW}",
            self.quoted,
            repeat("?", keys)
        )
    }

    /// Takes the lease of each key that is free or under it already. Tells by the id of the last row, which is what
    /// `LAST_INSERT_ID(…)` was given last and comes with the answer, whether there was a key that it did not take.
    /// Arguments: key, deadline, time of the lease and token of each row.
    ///
    /// Assignments are made from left to right: the first one decides, and the others look at what it did. A row whose
    /// lease is the token never has a value before. Past the deadline, what is new ended long ago, and changes nothing.
    pub(super) fn take(&self, rows: usize) -> String {
        format!(
            "INSERT INTO {} (`key`, expires_at_ms, lease) VALUES {} ON DUPLICATE KEY UPDATE \
             lease = IF({IN_TIME} AND (expires_at_ms <= {NOW} OR (expires_at_ms IS NULL AND `value` IS NULL)), \
                 VALUES(lease), lease), \
             `value` = IF(lease = VALUES(lease), NULL, `value`), \
             expires_at_ms = IF({IN_TIME} AND lease = VALUES(lease), VALUES(expires_at_ms), \
                 IF(LAST_INSERT_ID(LENGTH(VALUES(lease))), expires_at_ms, expires_at_ms))",
            self.quoted,
            repeat(&lease_row(), rows),
        )
    }

    /// Takes the lease of each key, whatever is there. Tells by the id of the last row whether it was too late. Arguments: key,
    /// deadline, time of the lease and token of each row.
    pub(super) fn steal(&self, rows: usize) -> String {
        format!(
            "INSERT INTO {} (`key`, expires_at_ms, lease) VALUES {} ON DUPLICATE KEY UPDATE \
             lease = IF({IN_TIME}, VALUES(lease), lease), `value` = IF({IN_TIME}, NULL, `value`), \
             expires_at_ms = IF({IN_TIME}, VALUES(expires_at_ms), expires_at_ms)",
            self.quoted,
            repeat(&lease_row(), rows),
        )
    }

    /// Turns leases into values. What stays in the column of the lease is the id of the call: it says afterwards which values
    /// are from this call. Arguments: key and value of each row; key and time to live of each row; id of the call; the list of
    /// keys; token.
    ///
    /// The alternatives end in the column itself, so that the server takes the arguments for what the column is.
    pub(super) fn fill(&self, rows: usize) -> String {
        format!(
            "UPDATE {} SET `value` = CASE `key` {} ELSE `value` END, \
             expires_at_ms = CASE `key` {} ELSE expires_at_ms END, lease = ? \
             WHERE `key` IN ({}) AND `value` IS NULL AND lease = ? AND expires_at_ms > {NOW}",
            self.quoted,
            "WHEN ? THEN ? ".repeat(rows),
            format!("WHEN ? THEN {NOW} + ? ").repeat(rows),
            repeat("?", rows),
        )
    }

    /// Keys whose value has the id of the call. Arguments: that id; the list of keys.
    pub(super) fn filled(&self, keys: usize) -> String {
        format!(
            "SELECT `key` FROM {} WHERE lease = ? AND `key` IN ({}) AND `value` IS NOT NULL",
            self.quoted,
            repeat("?", keys),
        )
    }

    /// Arguments: token; the list of keys.
    pub(super) fn release(&self, keys: usize) -> String {
        format!(
            "DELETE FROM {} WHERE lease = ? AND `key` IN ({}) AND `value` IS NULL",
            self.quoted,
            repeat("?", keys),
        )
    }

    /// Arguments: time; token; the list of keys.
    pub(super) fn renew(&self, keys: usize) -> String {
        format!(
            "UPDATE {} SET expires_at_ms = {NOW} + ? WHERE lease = ? AND `key` IN ({}) AND `value` IS NULL \
             AND expires_at_ms > {NOW}",
            self.quoted,
            repeat("?", keys),
        )
    }

    /// The statements that make the table and its index.
    fn ddl(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (`key` varbinary({KEY_LIMIT}) NOT NULL PRIMARY KEY, `value` longblob, \
             expires_at_ms bigint, lease varbinary(16), INDEX {} (expires_at_ms)) \
             ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
            self.quoted,
            self.name.quoted_index('`'),
        )
    }
}

/// A row with a lease; past the deadline one that ended long ago, and the id of the last row says so.
fn lease_row() -> String {
    format!("(?, IF({NOW} > ?, 0 * LAST_INSERT_ID(1), {NOW} + ?), ?)")
}

/// A statement whose text is made of constants and the table's quoted name.
pub(super) fn query(sql: &Arc<str>) -> Statement<Driver> {
    sqlx::query(AssertSqlSafe(Arc::clone(sql)))
}

/// The properties of the server, by its own word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    /// Milliseconds since the epoch.
    pub(super) now: i64,
    /// The longest message it takes or sends, in bytes.
    pub(super) packet: u64,
    pub(super) commits_by_itself: bool,
}

impl Inner {
    /// Makes the table if it is absent and may be made, and checks its shape.
    pub(super) async fn prepare_table(&self) -> Result<()> {
        let ddl = self.table.ddl();
        let mut columns = self.columns().await?;
        if columns.is_empty() {
            if !self.create {
                return Err(self.unusable(format!("does not exist; run: {ddl};")));
            }
            let statement = Arc::from(ddl.as_str());
            let made = self.pool.run(|| query(&statement).persistent(false), |_| Ok(()));
            if let Err(error) = made.await {
                return Err(match self.fault(error) {
                    Error::Refused { source, .. } => {
                        self.unusable(format!("cannot be made: {source}; make it with: {ddl};"))
                    }
                    other => other,
                });
            }
            columns = self.columns().await?;
        }
        let fits = columns.len() == COLUMNS.len()
            && columns.iter().zip(COLUMNS).all(|(column, (name, kind))| {
                column.name == name && column.kind.starts_with(kind) && column.is_key == (name == "key")
            });
        if !fits {
            let found: Vec<_> = columns
                .iter()
                .map(|column| format!("{} {}", column.name, column.kind))
                .collect();
            return Err(self.unusable(format!(
                "has another shape ({}); choose another with the option `table`, or drop it and run: {ddl};",
                found.join(", "),
            )));
        }
        Ok(())
    }

    /// The columns of the table in order of their names, and which of them is the primary key by itself; none if there
    /// is no table.
    async fn columns(&self) -> Result<Vec<Column>> {
        let mut columns = Vec::new();
        let sql = Arc::from(format!("SHOW COLUMNS FROM {}", self.table.quoted));
        let on_row = |row: &MySqlRow| {
            // Text or bytes, as server and version like.
            let text = |at: usize| {
                let bytes: Vec<u8> = row.try_get_unchecked(at)?;
                Ok::<_, sqlx::Error>(String::from_utf8_lossy(&bytes).to_ascii_lowercase())
            };
            columns.push(Column {
                name: text(0)?,
                kind: text(1)?,
                is_key: text(3)? == "pri",
            });
            Ok(())
        };
        let done = self.pool.run(|| query(&sql).persistent(false), on_row).await;
        match done {
            Err(error) if self.is_absent(&error) => {}
            done => self.checked(done).map(drop)?,
        }
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(columns)
    }

    pub(super) async fn settings(&self) -> Result<Settings, DriverError> {
        let mut settings = Settings::default();
        let sql = Arc::from(format!(
            "SELECT {NOW}, CAST(@@max_allowed_packet AS SIGNED), CAST(@@autocommit AS SIGNED)"
        ));
        let on_row = |row: &MySqlRow| {
            let packet: i64 = row.try_get(1)?;
            settings = Settings {
                now: row.try_get(0)?,
                packet: u64::try_from(packet).unwrap_or(0),
                commits_by_itself: row.try_get::<i64, _>(2)? != 0,
            };
            Ok(())
        };
        self.pool.run(|| query(&sql), on_row).await?;
        Ok(settings)
    }

    pub(super) fn unusable(&self, reason: String) -> Error {
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
