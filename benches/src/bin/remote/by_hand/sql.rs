//! MySQL and SQLite, on pools of sqlx. Their statements differ in their clocks only.

use std::path::Path;

use sqlx::mysql::MySqlPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{MySqlPool, Row, SqlitePool};

use super::{LEASE_MS, TTL_MS, key, keys, token};
use crate::side::{Info, Side};

macro_rules! raw_sql {
    ($name:ident, $pool:ty, $now:literal, $insert:literal) => {
        pub(crate) struct $name($pool);

        impl Side for $name {
            async fn hit(&self, id: u64) -> Info {
                let found = sqlx::query(concat!(
                    "SELECT value FROM raw WHERE id = ? AND value IS NOT NULL AND expires > ",
                    $now
                ));
                let found = found.bind(key(id)).fetch_one(&self.0).await.expect("it is there");
                Info::from_bytes(found.get(0))
            }

            async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
                let mut found = sqlx::query(concat!(
                    "SELECT value FROM raw WHERE id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ",
                    "AND value IS NOT NULL AND expires > ",
                    $now
                ));
                for key in keys(&ids) {
                    found = found.bind(key);
                }
                let found = found.fetch_all(&self.0).await.expect("the server answers");
                found.iter().map(|row| Info::from_bytes(row.get(0))).collect()
            }

            async fn fill(&self, id: u64) -> Info {
                let (key, token) = (key(id), token());
                let found = sqlx::query(concat!(
                    "SELECT value FROM raw WHERE id = ? AND value IS NOT NULL AND expires > ",
                    $now
                ));
                let found = found.bind(&key).fetch_optional(&self.0).await;
                assert!(found.expect("the server answers").is_none(), "{id} is there");
                let leased = sqlx::query(concat!(
                    $insert,
                    " INTO raw (id, lease, expires) VALUES (?, ?, ",
                    $now,
                    " + ?)"
                ));
                let leased = leased.bind(&key).bind(&token).bind(LEASE_MS).execute(&self.0).await;
                assert_eq!(leased.expect("the server answers").rows_affected(), 1);
                let info = Info::of(id);
                let filled = sqlx::query(concat!(
                    "UPDATE raw SET value = ?, expires = ",
                    $now,
                    " + ?, lease = NULL WHERE id = ? AND lease = ?"
                ));
                let filled = filled.bind(info.to_bytes()).bind(TTL_MS).bind(&key).bind(&token);
                let filled = filled.execute(&self.0).await.expect("the server answers");
                assert_eq!(filled.rows_affected(), 1);
                info
            }
        }
    };
}

raw_sql!(
    RawMySql,
    MySqlPool,
    "UNIX_TIMESTAMP(NOW(3)) * 1000",
    "INSERT IGNORE"
);
raw_sql!(
    RawSqlite,
    SqlitePool,
    "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
    "INSERT OR IGNORE"
);

impl RawMySql {
    /// Connects and makes the table.
    pub(crate) async fn connect(url: &str) -> Self {
        let pool = MySqlPoolOptions::new()
            .test_before_acquire(false)
            .connect(url)
            .await;
        let pool = pool.expect("it answers");
        let made = "CREATE TABLE raw (id varbinary(1024) PRIMARY KEY, value longblob, expires bigint, \
                    lease varbinary(16), INDEX raw_expiry (expires))";
        sqlx::query(made).execute(&pool).await.expect("it can be made");
        Self(pool)
    }
}

impl RawSqlite {
    /// Opens the file and makes the table, with the settings that our side has as well.
    pub(crate) async fn open(file: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .test_before_acquire(false);
        let pool = pool.connect_with(options).await.expect("it can be opened");
        for made in [
            "CREATE TABLE raw (id blob NOT NULL PRIMARY KEY, value blob, expires integer, lease blob)",
            "CREATE INDEX raw_expiry ON raw (expires)",
        ] {
            sqlx::query(made).execute(&pool).await.expect("it can be made");
        }
        Self(pool)
    }
}
