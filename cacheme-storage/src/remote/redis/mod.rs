//! Redis: one server, a cluster, or a group that sentinels watch. Also Valkey and other servers that speak its protocol.

mod builder;
mod bus;
mod cluster;
mod connection;
mod connector;
mod entries;
mod fault;
mod fill_watch;
mod leases;
mod live;
mod nodes;
mod router;

mod scripts;
mod sentinel;
mod server_info;
mod slot_map;
mod slots;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, RedisError, ServerError, Value};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::builder::RedisBuilder;
use self::bus::Channel;
use self::entries::{bytes, ttl_ms};
use self::fault::{is_foreign, translate};
use self::fill_watch::FillWatch;
use self::router::Router;
use self::scripts::{Lease, Script, claim};
use self::server_info::ServerInfo;
use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::contract::remote::{Capabilities, Heard, RemoteEntry, RemoteStorage};
use crate::error::{Error, Result};
use crate::remote::gate::{Gate, Pass};
use ::bytes::Bytes;

/// The number of KiB of values that may be on their way to the servers at once, so that many large ones do not pile up in memory
/// when the network is slower than their callers.
const KIB_UNDER_WAY: u32 = 64 * 1024;
/// Calls with less than this are not counted.
const SMALL: usize = 64 * 1024;

/// A storage on Redis.
///
/// Values are plain strings under the full key, expired by the server (`PX`). A lease lies where its value would, so that
/// `DEL` by anybody takes it away. Callers share one connection to each server; it is made when first needed, and
/// anew when it breaks. Runs on tokio.
///
/// | operation | commands, in one round trip to each server |
/// |---|---|
/// | get | `GET`, `MGET` |
/// | set | `SET` with `PX`, pipelined |
/// | remove | `UNLINK` |
/// | acquire | `SET` with `NX`, `PX` and `GET`; before Redis 7, for more than 1 000 keys, and in place of what is there, a script |
/// | fill, renew, release | one script each, pipelined; fill and release publish on the channel `cacheme.filled:` + key (not in a cluster) |
/// | waiting for a fill | `SUBSCRIBE` to that channel, on a connection that is there only while somebody waits |
/// | bus | `PUBLISH` and `SUBSCRIBE` on the channel `cacheme.changed:` + number of the database, on a connection of its own |
/// | clear | `SCAN` and `UNLINK` until the end, on each server |
///
/// A server that takes no writes (`maxmemory` reached, a replica, a disk that is full, a user who may only read) still
/// answers [`acquire`](RemoteStorage::acquire) with the values that it has.
///
/// Values have up to 512 MB, or what the server's `proto-max-bulk-len` says.
///
/// # Examples
///
/// ```
/// use cacheme_storage::{Redis, Storage};
///
/// let storage = Storage::open("redis://localhost:6379/2?timeout=200ms")?;
/// assert_eq!(storage.location(), "redis://localhost:6379/2");
///
/// let redis = Redis::builder().server("localhost", 6379).database(2).build()?;
/// let storage = Storage::remote(redis);
/// # Ok::<(), cacheme_storage::Error>(())
/// ```
pub struct Redis {
    location: String,
    router: Router,
    server_info: Arc<ServerInfo>,
    /// The server does not know `SET` with `NX` and `GET`.
    acquires_by_script: AtomicBool,
    room: Semaphore,
    gate: Gate,
    fill_watch: FillWatch,
    /// The channel on which changes are published, if we can listen.
    channel: Option<Channel>,
}

impl Redis {
    /// A storage on the server at `localhost:6379`, to begin with.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::new()
    }

    fn new(location: String, router: Router, server_info: Arc<ServerInfo>, channel: Option<Channel>) -> Self {
        Self {
            location,
            router,
            server_info,
            acquires_by_script: AtomicBool::new(false),
            room: Semaphore::new(KIB_UNDER_WAY as usize),
            gate: Gate::new(),
            fill_watch: FillWatch::default(),
            channel,
        }
    }

    /// Begins an operation, unless the storage was closed.
    async fn enter(&self) -> Result<Pass<'_>> {
        self.gate.enter(&self.location).await
    }

    fn translate(&self, error: impl Into<RedisError>) -> Error {
        translate(&self.location, error.into())
    }

    /// Waits until large values of other calls have left, and refuses one that is too large for any server.
    async fn room_for(&self, entries: &[RemoteEntry<'_>]) -> Result<Option<SemaphorePermit<'_>>> {
        let (mut sum, limit) = (0, self.server_info.value_limit());
        for entry in entries {
            let size = entry.value.len();
            if size > limit {
                return Err(Error::TooLarge {
                    storage: self.location.clone(),
                    size,
                    limit,
                });
            }
            sum += size;
        }
        if sum <= SMALL {
            return Ok(None);
        }
        let kib = u32::try_from(sum / 1024).map_or(KIB_UNDER_WAY, |kib| kib.min(KIB_UNDER_WAY));
        let permit = self.room.acquire_many(kib).await;
        Ok(Some(permit.expect("the semaphore is never closed")))
    }

    /// Runs a script on each key, in one round trip; a second one for the keys whose server forgot the script.
    async fn run(
        &self,
        script: &Script,
        keys: &[&[u8]],
        arguments: impl Fn(usize, &mut Cmd),
    ) -> Result<Vec<Value>> {
        let command = |place: usize, by_text: bool| {
            let mut command = script.on(keys[place], by_text);
            arguments(place, &mut command);
            command
        };
        let mut answers = self.send_each(keys, |place| command(place, false)).await?;
        let forgotten =
            |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT");
        let again: Vec<usize> = (0..answers.len())
            .filter(|&place| forgotten(&answers[place]))
            .collect();
        if !again.is_empty() {
            let theirs: Vec<_> = again.iter().map(|&place| keys[place]).collect();
            // Boxed: mostly there is none.
            let second = Box::pin(self.send_each(&theirs, |place| command(again[place], true))).await?;
            for (place, answer) in again.into_iter().zip(second) {
                answers[place] = answer;
            }
        }
        Ok(answers)
    }

    /// Sends a command for each key, by its place, in one round trip.
    async fn send_each(&self, keys: &[&[u8]], command: impl Fn(usize) -> Cmd) -> Result<Vec<Value>> {
        let answers = self.router.send_each(keys, command).await;
        answers.map_err(|error| self.translate(error))
    }
}

#[async_trait]
impl RemoteStorage for Redis {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn capabilities(&self) -> Capabilities {
        let basic = Capabilities::none().with_renewals();
        match self.channel {
            Some(_) => basic.with_bus(),
            None => basic,
        }
    }

    async fn connect(&self) -> Result<()> {
        let _pass = self.enter().await?;
        self.router.connect().await.map_err(|error| self.translate(error))
    }

    fn now_ms(&self) -> u64 {
        self.server_info.clock.now_ms()
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        self.router.shard_of(key)
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let _pass = self.enter().await?;
        let answers = self
            .router
            .get(keys)
            .await
            .map_err(|error| self.translate(error))?;
        answers
            .into_iter()
            .map(|answer| match bytes(answer) {
                Ok(found) => Ok(found.filter(|found| Lease::from_bytes(found).is_none())),
                // What is not a string is not ours.
                Err(error) if is_foreign(&error) => Ok(None),
                Err(error) => Err(self.translate(error)),
            })
            .collect()
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        let _pass = self.enter().await?;
        let _room = self.room_for(entries).await?;
        let answers = self.router.set(entries).await;
        first_error(answers.map_err(|error| self.translate(error))?).map_err(|error| self.translate(error))
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let _pass = self.enter().await?;
        let answers = self
            .router
            .unlink(keys)
            .await
            .map_err(|error| self.translate(error))?;
        first_error(answers).map_err(|error| self.translate(error))
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        let _pass = self.enter().await?;
        self.router
            .clear(prefix)
            .await
            .map_err(|error| self.translate(error))
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let _pass = self.enter().await?;
        self.ask_for_leases(keys, request).await
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        let _pass = self.enter().await?;
        let _room = self.room_for(entries).await?;
        let claim = claim(token);
        let arguments = |place: usize, command: &mut Cmd| {
            let entry: &RemoteEntry<'_> = &entries[place];
            command.arg(&claim[..]).arg(&entry.value[..]);
            match entry.ttl {
                Some(ttl) => command.arg(ttl_ms(ttl)),
                None => command.arg(""),
            };
        };
        let keys: Vec<_> = entries.iter().map(|entry| entry.key).collect();
        let answers = self.run(&self.server_info.scripts.fill, &keys, arguments).await?;
        answers
            .into_iter()
            .map(|answer| match answer {
                Value::Int(1) => Ok(Filled::Stored),
                Value::ServerError(error) if !is_foreign(&error) => Err(self.translate(error)),
                _ => Ok(Filled::Lost),
            })
            .collect()
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let _pass = self.enter().await?;
        let claim = claim(token);
        let arguments = |_, command: &mut Cmd| {
            command.arg(&claim[..]);
        };
        let mut answers = self
            .run(&self.server_info.scripts.release, keys, arguments)
            .await?;
        answers.retain(|answer| !matches!(answer, Value::ServerError(error) if is_foreign(error)));
        first_error(answers).map_err(|error| self.translate(error))
    }

    async fn renew(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Result<()> {
        let _pass = self.enter().await?;
        let (claim, time_ms) = (claim(token), ttl_ms(time));
        let lease = Lease {
            token,
            until_ms: self.server_info.clock.now_ms().saturating_add(time_ms),
        };
        let lease = lease.to_bytes();
        let arguments = |_, command: &mut Cmd| {
            command.arg(&claim[..]).arg(&lease[..]).arg(time_ms);
        };
        let mut answers = self.run(&self.server_info.scripts.renew, keys, arguments).await?;
        answers.retain(|answer| !matches!(answer, Value::ServerError(error) if is_foreign(error)));
        first_error(answers).map_err(|error| self.translate(error))
    }

    async fn changed(&self, keys: &[&[u8]]) {
        // Looked at only: closing does not wait for those who wait.
        let is_open = self.enter().await.map(drop).is_ok();
        match self.router.one() {
            Some(connection) if is_open => self.fill_watch.changed(connection, keys).await,
            // The servers of a cluster would pass every fill on to each other.
            _ => std::future::pending().await,
        }
    }

    async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        let _pass = self.enter().await?;
        match &self.channel {
            Some(channel) => self.publish_on(channel, messages).await,
            None => Err(self.without_bus()),
        }
    }

    async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        let Some(channel) = &self.channel else {
            return self.without_bus();
        };
        let listening = self.listen_on(channel, hear);
        self.gate.while_open(&self.location, listening).await
    }

    /// Waits for calls under way and lets go of the connections.
    async fn close(&self) -> Result<()> {
        self.gate.close().await;
        self.fill_watch.disconnect();
        self.router.disconnect();
        Ok(())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis").field(&self.location).finish()
    }
}

fn first_error(answers: Vec<Value>) -> Result<(), ServerError> {
    let error = answers.into_iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    error.map_or(Ok(()), Err)
}

/// The error that the driver gives where it bounds the time itself.
fn timed_out(_: tokio::time::error::Elapsed) -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
