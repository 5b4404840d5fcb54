//! What a user would write on the raw driver: a lease is taken before a load, and the fill compares it.
//!
//! Tables have an index of expiry, by which somebody would collect what has expired. Pools do not ask a connection whether
//! it lives before each use, as those of sqlx do unless told: that is a way to the server and back.

mod mongodb;
mod postgres;
mod redis;
mod sql;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::mongodb::RawMongoDb;
pub(crate) use self::postgres::RawPostgres;
pub(crate) use self::redis::RawRedis;
pub(crate) use self::sql::{RawMySql, RawSqlite};

/// How long a lease is, in milliseconds.
const LEASE_MS: i64 = 10_000;
const TTL_MS: i64 = 600_000;

fn key(id: u64) -> Vec<u8> {
    format!("raw:user:{id}:info").into_bytes()
}

fn keys(ids: &[u64]) -> Vec<Vec<u8>> {
    ids.iter().map(|&id| key(id)).collect()
}

/// A lease's token, another one each time.
fn token() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
        .to_be_bytes()
        .to_vec()
}
