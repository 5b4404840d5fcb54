//! PostgreSQL, on a pool of sqlx.

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use super::{LEASE_MS, TTL_MS, key, keys, token};
use crate::side::{Info, Side};

pub(crate) struct RawPostgres(PgPool);

impl RawPostgres {
    /// Connects and makes the table.
    pub(crate) async fn connect(url: &str) -> Self {
        let pool = PgPoolOptions::new().test_before_acquire(false).connect(url).await;
        let pool = pool.expect("it answers");
        for made in [
            "CREATE TABLE raw (key bytea PRIMARY KEY, value bytea, expires timestamptz, lease bytea)",
            "CREATE INDEX raw_expiry ON raw (expires)",
        ] {
            sqlx::query(made).execute(&pool).await.expect("it can be made");
        }
        Self(pool)
    }
}

impl Side for RawPostgres {
    async fn hit(&self, id: u64) -> Info {
        let found =
            sqlx::query("SELECT value FROM raw WHERE key = $1 AND value IS NOT NULL AND expires > now()")
                .bind(key(id))
                .fetch_one(&self.0)
                .await;
        Info::from_bytes(found.expect("it is there").get(0))
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let found = sqlx::query(
            "SELECT value FROM raw WHERE key = ANY($1) AND value IS NOT NULL AND expires > now()",
        )
        .bind(keys(&ids))
        .fetch_all(&self.0)
        .await;
        let found = found.expect("the server answers");
        found.iter().map(|row| Info::from_bytes(row.get(0))).collect()
    }

    async fn fill(&self, id: u64) -> Info {
        let (key, token) = (key(id), token());
        let leased = sqlx::query(
            "INSERT INTO raw (key, lease, expires) VALUES ($1, $2, now() + $3 * interval '1 ms') \
             ON CONFLICT (key) DO NOTHING",
        );
        let leased = leased
            .bind(&key)
            .bind(&token)
            .bind(LEASE_MS as f64)
            .execute(&self.0)
            .await;
        assert_eq!(
            leased.expect("the server answers").rows_affected(),
            1,
            "{id} is there"
        );
        let info = Info::of(id);
        let filled = sqlx::query(
            "UPDATE raw SET value = $1, expires = now() + $2 * interval '1 ms', lease = NULL \
             WHERE key = $3 AND lease = $4",
        );
        let filled = filled
            .bind(info.to_bytes())
            .bind(TTL_MS as f64)
            .bind(&key)
            .bind(&token);
        let filled = filled.execute(&self.0).await.expect("the server answers");
        assert_eq!(filled.rows_affected(), 1);
        info
    }
}
