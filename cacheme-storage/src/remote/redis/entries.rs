//! Commands on their way to whoever has their keys.

use futures_util::StreamExt;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::cluster::Cluster;
use super::connection::{Link, Request};

/// How many keys one `MGET` or `UNLINK` names: while it runs, nobody else is served.
const KEYS_AT_ONCE: usize = 2_000;
/// How many commands are written as one, and how many such parts are on their way at once. The server answers one part
/// while the next is written, and memory holds few of them.
const COMMANDS_AT_ONCE: usize = 5_000;
const PARTS_AT_ONCE: usize = 4;
/// How many keys a step of `SCAN` looks at.
const SCAN_STEP: usize = 1_000;

/// One server or many.
pub(super) enum Servers {
    One(Link),
    Cluster(Cluster),
}

impl Servers {
    pub(super) async fn connect(&self) -> RedisResult<()> {
        match self {
            Self::One(link) => link.connect().await,
            Self::Cluster(cluster) => cluster.connect().await,
        }
    }

    pub(super) fn disconnect(&self) {
        match self {
            Self::One(link) => link.disconnect(),
            Self::Cluster(cluster) => cluster.disconnect(),
        }
    }

    /// The server, where there is one.
    pub(super) fn one(&self) -> Option<&Link> {
        match self {
            Self::One(link) => Some(link),
            Self::Cluster(_) => None,
        }
    }

    /// The number of the server that has this key, as far as we know.
    pub(super) fn shard_of(&self, key: &[u8]) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Cluster(cluster) => cluster.shard_of(key),
        }
    }

    /// Sends what is for everybody who listens, wherever.
    pub(super) async fn send_to_all(&self, request: &Request) -> RedisResult<Value> {
        match self {
            Self::One(link) => link.send(request).await,
            Self::Cluster(cluster) => cluster.send_by_anybody(request).await,
        }
    }

    /// The server to listen on. What is known of it is as new as the answer.
    pub(super) async fn post(&self) -> RedisResult<Link> {
        match self {
            Self::One(link) => {
                link.look().await?;
                Ok(link.clone())
            }
            Self::Cluster(cluster) => cluster.post().await,
        }
    }

    /// Whether those who listen on this server miss what others say, and would hear it on another.
    pub(super) async fn is_cut_off(&self, post: &Link) -> bool {
        match self {
            // It finds out by itself.
            Self::One(link) => {
                link.look_at_times();
                false
            }
            Self::Cluster(cluster) => cluster.is_cut_off(post).await,
        }
    }

    /// Sends each command to the server of its key; the answers are in the order of the commands, and may be
    /// [`Value::ServerError`]s.
    pub(super) async fn send(&self, commands: Vec<(&[u8], Cmd)>) -> RedisResult<Vec<Value>> {
        // Boxed, here and below, so that a call of one key does not carry the space of the others.
        match commands.len() <= COMMANDS_AT_ONCE {
            true => self.send_part(commands).await,
            false => Box::pin(self.send_parts(commands)).await,
        }
    }

    /// Sends one command to the server of its key.
    pub(super) async fn send_one(&self, key: &[u8], command: Cmd) -> RedisResult<Value> {
        match self {
            Self::One(link) => link.send(&Request::One(command)).await,
            Self::Cluster(cluster) => {
                let command = [(key, command)];
                let mut answers = Box::pin(cluster.send(&command)).await?;
                Ok(answers.pop().unwrap_or(Value::Nil))
            }
        }
    }

    async fn send_parts(&self, mut commands: Vec<(&[u8], Cmd)>) -> RedisResult<Vec<Value>> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut under_way = FuturesOrdered::new();
        loop {
            while under_way.len() < PARTS_AT_ONCE && !commands.is_empty() {
                let rest = commands.split_off(commands.len().min(COMMANDS_AT_ONCE));
                let part = std::mem::replace(&mut commands, rest);
                under_way.push_back(self.send_part(part));
            }
            match under_way.next().await {
                Some(part) => answers.append(&mut part?),
                None => return Ok(answers),
            }
        }
    }

    async fn send_part(&self, mut commands: Vec<(&[u8], Cmd)>) -> RedisResult<Vec<Value>> {
        let link = match self {
            _ if commands.is_empty() => return Ok(Vec::new()),
            Self::Cluster(cluster) => return Box::pin(cluster.send(&commands)).await,
            Self::One(link) => link,
        };
        if commands.len() > 1 {
            let mut pipeline = Pipeline::with_capacity(commands.len());
            for (_, command) in commands {
                pipeline.add_command(command);
            }
            return send_many(link, pipeline).await;
        }
        let (_, command) = commands.swap_remove(0);
        Ok(vec![link.send(&Request::One(command)).await?])
    }

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
            Self::One(link) => clear(link, &pattern).await,
            Self::Cluster(cluster) => {
                let masters = cluster.masters().await?;
                let mut cleared = FuturesUnordered::new();
                for link in &masters {
                    cleared.push(clear(link, &pattern));
                }
                while let Some(outcome) = cleared.next().await {
                    outcome?;
                }
                Ok(())
            }
        }
    }
}

async fn send_many(link: &Link, pipeline: Pipeline) -> RedisResult<Vec<Value>> {
    match link.send(&Request::Many(pipeline)).await? {
        Value::Array(answers) => Ok(answers),
        other => Ok(vec![other]),
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
async fn clear(link: &Link, pattern: &[u8]) -> RedisResult<()> {
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
        let mut answers = send_many(link, step).await?;
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
            for answer in send_many(link, last).await? {
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
