//! Commands on their way to whoever has their keys.

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use redis::{Cmd, Pipeline, RedisResult, Value};

use super::cluster::Cluster;
use super::connection::{Connection, Request};

/// The number of commands that are written as one, and how many such parts are on their way at once. The server answers one part
/// while the next is written, and memory holds few of them.
const COMMANDS_AT_ONCE: usize = 5_000;
const PARTS_AT_ONCE: usize = 4;

/// One server or many.
pub(super) enum Router {
    One(Connection),
    Cluster(Cluster),
}

impl Router {
    pub(super) async fn connect(&self) -> RedisResult<()> {
        match self {
            Self::One(connection) => connection.connect().await,
            Self::Cluster(cluster) => cluster.connect().await,
        }
    }

    pub(super) fn disconnect(&self) {
        match self {
            Self::One(connection) => connection.disconnect(),
            Self::Cluster(cluster) => cluster.disconnect(),
        }
    }

    /// The server, where there is one.
    pub(super) fn one(&self) -> Option<&Connection> {
        match self {
            Self::One(connection) => Some(connection),
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
            Self::One(connection) => connection.send(request).await,
            Self::Cluster(cluster) => cluster.send_by_anybody(request).await,
        }
    }

    /// The server to listen on. What is known of it is as new as the answer.
    pub(super) async fn post(&self) -> RedisResult<Connection> {
        match self {
            Self::One(connection) => {
                connection.look().await?;
                Ok(connection.clone())
            }
            Self::Cluster(cluster) => cluster.post().await,
        }
    }

    /// Says whether those who listen on this server miss what others say, and would hear it on another.
    pub(super) async fn is_cut_off(&self, post: &Connection) -> bool {
        match self {
            // It finds out by itself.
            Self::One(connection) => {
                connection.look_at_times();
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

    /// Sends a command for each key, by its place, in one round trip.
    pub(super) async fn send_each(
        &self,
        keys: &[&[u8]],
        command: impl Fn(usize) -> Cmd,
    ) -> RedisResult<Vec<Value>> {
        match (keys, self) {
            // The call that there is most of goes without lists.
            (&[_], Self::One(connection)) => Ok(vec![connection.send(&Request::One(command(0))).await?]),
            (&[key], Self::Cluster(cluster)) => Box::pin(cluster.send(&[(key, command(0))])).await,
            _ => {
                let commands = keys.iter().enumerate().map(|(place, &key)| (key, command(place)));
                self.send(commands.collect()).await
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
        let connection = match self {
            _ if commands.is_empty() => return Ok(Vec::new()),
            Self::Cluster(cluster) => return Box::pin(cluster.send(&commands)).await,
            Self::One(connection) => connection,
        };
        if commands.len() > 1 {
            let mut pipeline = Pipeline::with_capacity(commands.len());
            for (_, command) in commands {
                pipeline.add_command(command);
            }
            return send_many(connection, pipeline).await;
        }
        let (_, command) = commands.swap_remove(0);
        Ok(vec![connection.send(&Request::One(command)).await?])
    }
}

pub(super) async fn send_many(connection: &Connection, pipeline: Pipeline) -> RedisResult<Vec<Value>> {
    match connection.send(&Request::Many(pipeline)).await? {
        Value::Array(answers) => Ok(answers),
        other => Ok(vec![other]),
    }
}
