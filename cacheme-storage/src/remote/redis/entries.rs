//! Values: `GET`, `SET`, `UNLINK`, and `SCAN` for what a prefix has.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Cmd, Pipeline, RedisResult, ServerError, Value};

use super::connection::Connection;
use super::router::{Router, send_many};
use crate::contract::remote::RemoteEntry;

/// The number of keys that one `MGET` or `UNLINK` names: while it runs, nobody else is served.
const KEYS_AT_ONCE: usize = 2_000;
/// The number of keys that a step of `SCAN` looks at.
const SCAN_STEP: usize = 1_000;
/// The longest ttl that is sent, in milliseconds: ten thousand years. Servers refuse what does not fit their own count.
const TTL_LIMIT_MS: u64 = 10_000 * 365 * 24 * 60 * 60 * 1_000;

impl Router {
    /// The strings under the keys.
    pub(super) async fn get(&self, keys: &[&[u8]]) -> RedisResult<Vec<Value>> {
        if keys.len() == 1 || matches!(self, Self::Cluster(_)) {
            return self.send(each(keys, "GET")).await;
        }
        let mut found = Vec::with_capacity(keys.len());
        for answer in self.send(together(keys, "MGET")).await? {
            match answer {
                Value::Array(mut some) => found.append(&mut some),
                other => {
                    other.extract_error()?;
                }
            }
        }
        if found.len() != keys.len() {
            return Err((
                redis::ErrorKind::UnexpectedReturnType,
                "MGET does not answer every key",
            )
                .into());
        }
        Ok(found)
    }

    pub(super) async fn set(&self, entries: &[RemoteEntry<'_>]) -> RedisResult<Vec<Value>> {
        let keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
        let set = |place: usize| {
            let entry: &RemoteEntry<'_> = &entries[place];
            let mut command = Cmd::with_capacity(5, entry.key.len() + entry.value.len() + 32);
            command.arg("SET").arg(entry.key).arg(&entry.value[..]);
            if let Some(ttl) = entry.ttl {
                command.arg("PX").arg(ttl_ms(ttl));
            }
            command
        };
        self.send_each(&keys, set).await
    }

    pub(super) async fn unlink(&self, keys: &[&[u8]]) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(_) => self.send(together(keys, "UNLINK")).await,
            Self::Cluster(_) => self.send(each(keys, "UNLINK")).await,
        }
    }

    /// Removes every key that begins with `prefix`.
    pub(super) async fn clear(&self, prefix: &[u8]) -> RedisResult<()> {
        let pattern = pattern(prefix);
        match self {
            Self::One(connection) => clear(connection, &pattern).await,
            Self::Cluster(cluster) => {
                let masters = cluster.masters().await?;
                let mut cleared = FuturesUnordered::new();
                for connection in &masters {
                    cleared.push(clear(connection, &pattern));
                }
                while let Some(outcome) = cleared.next().await {
                    outcome?;
                }
                Ok(())
            }
        }
    }
}

/// A command for each key.
fn each<'k>(keys: &[&'k [u8]], name: &str) -> Vec<(&'k [u8], Cmd)> {
    let mut commands = Vec::with_capacity(keys.len());
    for &key in keys {
        let mut command = Cmd::with_capacity(2, name.len() + key.len());
        command.arg(name).arg(key);
        commands.push((key, command));
    }
    commands
}

/// Commands for many keys each, which is what one server takes.
fn together<'k>(keys: &[&'k [u8]], name: &str) -> Vec<(&'k [u8], Cmd)> {
    let mut commands = Vec::with_capacity(keys.len().div_ceil(KEYS_AT_ONCE));
    for part in keys.chunks(KEYS_AT_ONCE) {
        let bytes: usize = part.iter().map(|key| key.len()).sum();
        let mut command = Cmd::with_capacity(1 + part.len(), name.len() + bytes);
        command.arg(name).arg(part);
        commands.push((part[0], command));
    }
    commands
}

/// Removes what matches the pattern from one server. What was found in one step goes with the question for the next.
async fn clear(connection: &Connection, pattern: &[u8]) -> RedisResult<()> {
    let mut cursor = b"0".to_vec();
    let mut found: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut step = Pipeline::with_capacity(2);
        // In a cluster one `UNLINK` takes keys of one slot only.
        for key in found.drain(..) {
            step.cmd("UNLINK").arg(key);
        }
        step.cmd("SCAN")
            .arg(&cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(SCAN_STEP);
        let mut answers = send_many(connection, step).await?;
        let scanned = answers.pop().unwrap_or(Value::Nil).extract_error()?;
        for answer in answers {
            answer.extract_error()?;
        }
        (cursor, found) = redis::from_redis_value(scanned)?;
        if cursor == b"0" && found.is_empty() {
            return Ok(());
        }
        if cursor == b"0" {
            let mut last = Pipeline::with_capacity(found.len());
            for key in found.drain(..) {
                last.cmd("UNLINK").arg(key);
            }
            for answer in send_many(connection, last).await? {
                answer.extract_error()?;
            }
            return Ok(());
        }
    }
}

/// A glob for everything that begins with `prefix`.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for &byte in prefix {
        if b"*?[]^-\\".contains(&byte) {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
    pattern.push(b'*');
    pattern
}

/// Whole milliseconds, rounded up and at least one, which is the least that servers take.
pub(super) fn ttl_ms(ttl: Duration) -> u64 {
    let ms = ttl.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).unwrap_or(u64::MAX).clamp(1, TTL_LIMIT_MS)
}

/// The bytes of an answer, or none.
pub(super) fn bytes(answer: Value) -> Result<Option<Bytes>, ServerError> {
    match answer {
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::ServerError(error) => Err(error),
        _ => Ok(None),
    }
}
