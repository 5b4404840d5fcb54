use sqlx::{AssertSqlSafe, Executor, Row, SqliteConnection};

use crate::error::Error;
use crate::remote::database::TableName;

use super::fault::{Trouble, is_busy};
use super::file::DatabaseFile;
use super::{Inner, now_ms};

/// The table and the statements that name it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    /// With its quotes, as part of statements.
    pub(super) quoted: String,
}

/// The entries that may be used of a table that is there already.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trusted {
    All,
    /// Those of a table that was made after this time, in milliseconds since the epoch: whoever asks knows of no change from
    /// before that could be missing there.
    MadeAfter(i64),
    Nothing,
}

/// The outcome of preparing a database.
pub(super) struct Prepared {
    /// `true` if it holds nothing but our table.
    pub(super) is_ours_alone: bool,
    /// `true` if entries were removed that could not be trusted.
    pub(super) was_emptied: bool,
}

/// Columns with their declared types, in order of their names.
const COLUMNS: [(&str, &str); 4] = [
    ("expires_at_ms", "INTEGER"),
    ("key", "BLOB"),
    ("lease", "BLOB"),
    ("value", "BLOB"),
];

/// The beginning of the comment that says when a table was made, in milliseconds since the epoch.
const MADE_AT: &str = "/* made at ";

impl Table {
    pub(super) fn new(name: TableName) -> Self {
        Self {
            quoted: name.quoted('"'),
            name,
        }
    }

    /// The statements that make the table and its index.
    fn ddl(&self) -> String {
        self.ddl_with("")
    }

    /// The statement that makes the table, with the time in its definition.
    fn ddl_at(&self, made_at_ms: i64) -> String {
        self.ddl_with(&format!(" {MADE_AT}{made_at_ms} */"))
    }

    fn ddl_with(&self, comment: &str) -> String {
        let (table, index) = (&self.quoted, self.name.quoted_index('"'));
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (key BLOB NOT NULL PRIMARY KEY, value BLOB, expires_at_ms INTEGER, \
             lease BLOB{comment});\n\
             CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at_ms) WHERE expires_at_ms IS NOT NULL;"
        )
    }
}

impl Inner {
    /// Makes the table if it is absent and may be made, checks its shape, and empties it if it is not trusted.
    pub(super) async fn prepare_table(
        &self,
        connection: &mut SqliteConnection,
        trusted: Trusted,
    ) -> Result<Prepared, Trouble> {
        if columns(connection, self.table.name.name()).await?.is_empty() {
            let ddl = self.table.ddl();
            if !self.create {
                return Err(self.unusable(format!("does not exist; run: {ddl}")));
            }
            let make = AssertSqlSafe(self.table.ddl_at(now_ms()));
            let made = connection.execute(sqlx::raw_sql(make)).await;
            match made.map_err(Trouble::from) {
                Err(Trouble::Driver(error) | Trouble::ReadOnly(error)) if !is_busy(&error) => {
                    return Err(self.unusable(format!("cannot be made: {error}; make it with: {ddl}")));
                }
                made => made?,
            };
        }
        let columns = columns(connection, self.table.name.name()).await?;
        let fits = columns.len() == COLUMNS.len()
            && columns.iter().zip(COLUMNS).all(|(column, (name, kind))| {
                column.name == name
                    && column.kind.eq_ignore_ascii_case(kind)
                    && column.is_key == (name == "key")
            });
        if !fits {
            let found: Vec<_> = columns
                .iter()
                .map(|column| format!("{} {}", column.name, column.kind))
                .collect();
            return Err(self.unusable(format!(
                "has another shape ({}); choose another with the option `table`, or drop it and run: {}",
                found.join(", "),
                self.table.ddl()
            )));
        }
        let was_emptied = match trusted {
            Trusted::All => false,
            Trusted::Nothing => true,
            Trusted::MadeAfter(time) => {
                let made_at = made_at(connection, self.table.name.name()).await?;
                made_at.is_none_or(|made_at| made_at <= time)
            }
        };
        if was_emptied {
            let sql = format!("DELETE FROM {}", self.table.quoted);
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        }
        let is_ours_alone = self.others(connection).await?.is_empty();
        if self.pool.file().is_some_and(DatabaseFile::may_be_made)
            && let Err(error) = self.mark(connection, is_ours_alone).await
        {
            // It is there to help when the file is damaged one day, and nobody may write to it perhaps.
            tracing::debug!(storage = self.location, %error, "the file is not marked");
        }
        Ok(Prepared {
            is_ours_alone,
            was_emptied,
        })
    }

    fn unusable(&self, reason: String) -> Trouble {
        Trouble::Known(Error::Config {
            storage: self.location.clone(),
            reason: format!("table `{}` {reason}", self.table.name),
        })
    }
}

/// The columns of a table; none if there is no table of this name.
async fn columns(connection: &mut SqliteConnection, table: &str) -> sqlx::Result<Vec<Column>> {
    let rows = sqlx::query("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY name")
        .bind(table)
        .fetch_all(connection)
        .await?;
    let columns = rows.iter().map(|row| {
        Ok(Column {
            name: row.try_get(0)?,
            kind: row.try_get(1)?,
            is_key: row.try_get::<i64, _>(2)? == 1,
        })
    });
    columns.collect()
}

/// The time at which the table was made, if it says so.
async fn made_at(connection: &mut SqliteConnection, table: &str) -> sqlx::Result<Option<i64>> {
    let sql = sqlx::query_scalar("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1")
        .bind(table)
        .fetch_optional(connection)
        .await?;
    let made_at = |sql: String| {
        let (_, time) = sql.rsplit_once(MADE_AT)?;
        time.split_once(' ')?.0.parse().ok()
    };
    Ok(sql.and_then(made_at))
}

struct Column {
    name: String,
    kind: String,
    is_key: bool,
}
