use sqlx::{AssertSqlSafe, Executor, Row};

use crate::database::TableName;
use crate::{Error, Result};

use super::Inner;

/// The table and the statements that name it.
#[derive(Debug)]
pub(super) struct Table {
    name: TableName,
    /// With its quotes, as part of statements.
    pub(super) quoted: String,
}

/// Columns with their declared types, in order of their names.
const COLUMNS: [(&str, &str); 4] = [
    ("expires_at_ms", "INTEGER"),
    ("key", "BLOB"),
    ("lease", "BLOB"),
    ("value", "BLOB"),
];

impl Table {
    pub(super) fn new(name: TableName) -> Self {
        Self {
            quoted: name.quoted('"'),
            name,
        }
    }

    /// What makes the table and its index.
    fn ddl(&self) -> String {
        let (table, index) = (&self.quoted, self.name.quoted_index('"'));
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (key BLOB NOT NULL PRIMARY KEY, value BLOB, expires_at_ms INTEGER, lease BLOB);\n\
             CREATE INDEX IF NOT EXISTS {index} ON {table} (expires_at_ms) WHERE expires_at_ms IS NOT NULL;"
        )
    }
}

impl Inner {
    /// Makes the table if it is absent and may be made, and checks its shape.
    pub(super) async fn prepare_table(&self) -> Result<()> {
        if self.columns().await?.is_empty() {
            let ddl = self.table.ddl();
            if !self.create {
                return Err(self.unusable(format!("does not exist; run: {ddl}")));
            }
            let _turn = self.write_turn().await;
            let mut taken = self.checked(self.pool.take().await)?;
            let made = taken
                .connection()
                .execute(sqlx::raw_sql(AssertSqlSafe(ddl.clone())))
                .await;
            if let Err(error) = taken.end(made) {
                return Err(match self.fault(error) {
                    Error::Refused { source, .. } => {
                        self.unusable(format!("cannot be made: {source}; make it with: {ddl}"))
                    }
                    other => other,
                });
            }
        }
        let columns = self.columns().await?;
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
        Ok(())
    }

    async fn columns(&self) -> Result<Vec<Column>> {
        let mut taken = self.checked(self.pool.take().await)?;
        let rows = sqlx::query("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY name")
            .bind(self.table.name.name())
            .fetch_all(taken.connection())
            .await;
        let rows = self.checked(taken.end(rows))?;
        let columns = rows.iter().map(|row| {
            Ok(Column {
                name: row.try_get(0)?,
                kind: row.try_get(1)?,
                is_key: row.try_get::<i64, _>(2)? == 1,
            })
        });
        self.checked(columns.collect())
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
