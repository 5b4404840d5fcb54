//! The servers of a cluster, each with its connection, and asking any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use redis::{RedisError, RedisResult};
use tokio::time::timeout;

use super::connection::Connection;
use super::connector::{Access, Connector};
use super::server_info::ServerInfo;

/// The longest time that one server may take before the next is asked as well, where any will do.
const NEXT_AFTER: Duration = Duration::from_millis(100);

/// The host and port of a server.
pub(super) type Address = (String, u16);

/// The servers of a cluster that we know of.
pub(super) struct Nodes {
    /// Those that were named by whoever made the storage.
    seeds: Vec<Address>,
    access: Access,
    server_info: Arc<ServerInfo>,
    connections: Mutex<BTreeMap<Address, Connection>>,
    /// The server at which the next question to anybody begins, so that processes and questions are spread.
    turn: AtomicUsize,
}

impl Nodes {
    pub(super) fn new(seeds: Vec<Address>, access: Access, server_info: Arc<ServerInfo>) -> Self {
        Self {
            seeds,
            access,
            server_info,
            connections: Mutex::default(),
            turn: AtomicUsize::new(usize::from(std::process::id() as u16)),
        }
    }

    /// The connection to a server, always the same one.
    pub(super) fn connection(&self, address: &Address) -> RedisResult<Connection> {
        let mut connections = self.connections.lock();
        if let Some(connection) = connections.get(address) {
            return Ok(connection.clone());
        }
        let (host, port) = address;
        let client = self.access.server(host, *port)?;
        let connection = Connection::new(Connector::Node(client), Arc::clone(&self.server_info));
        connections.insert(address.clone(), connection.clone());
        Ok(connection)
    }

    /// Forgets all servers but these, and those that were named; what was named for others to be asked for is not kept
    /// connected.
    pub(super) fn keep(&self, known: &BTreeSet<&Address>) {
        let mut connections = self.connections.lock();
        connections.retain(|address, connection| {
            let is_known = known.contains(address);
            if !is_known {
                connection.disconnect();
            }
            is_known || self.seeds.contains(address)
        });
    }

    pub(super) fn disconnect(&self) {
        self.connections.lock().values().for_each(Connection::disconnect);
    }

    /// All servers, with those first that answered lately, beginning with another at each call.
    pub(super) fn anybody(&self) -> RedisResult<Vec<Connection>> {
        for seed in &self.seeds {
            self.connection(seed)?;
        }
        let mut connections: Vec<Connection> = self.connections.lock().values().cloned().collect();
        self.spread(&mut connections);
        Ok(connections)
    }

    /// Puts those first that answered lately, beginning with another at each call.
    pub(super) fn spread(&self, connections: &mut [Connection]) {
        if !connections.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % connections.len();
            connections.rotate_left(turn);
        }
        connections.sort_by_key(|connection| !connection.is_live());
    }
}

/// Asks one server after the other: the next as soon as one fails, or has not answered for a moment. Gives the first answer, or
/// the last error.
pub(super) async fn first_answer<T, F>(
    connections: Vec<Connection>,
    ask: impl Fn(Connection) -> F,
) -> RedisResult<T>
where
    F: Future<Output = RedisResult<T>>,
{
    let mut connections = connections.into_iter().peekable();
    let mut asked = FuturesUnordered::new();
    let mut trouble: RedisError = (
        redis::ErrorKind::ClusterConnectionNotFound,
        "no server of the cluster is known",
    )
        .into();
    loop {
        asked.extend(connections.next().map(&ask));
        let answer = match connections.peek() {
            Some(_) => timeout(NEXT_AFTER, asked.next()).await,
            None => Ok(asked.next().await),
        };
        match answer {
            Ok(Some(Ok(answer))) => return Ok(answer),
            Ok(Some(Err(error))) => trouble = error,
            Ok(None) if connections.peek().is_none() => return Err(trouble),
            Ok(None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::remote::redis::connector::Access;

    fn nodes(ports: &[u16]) -> Nodes {
        let seeds = ports.iter().map(|&port| ("h".to_owned(), port)).collect();
        Nodes::new(seeds, Access::default(), Arc::new(ServerInfo::new(false)))
    }

    fn failed() -> RedisError {
        (redis::ErrorKind::ClusterConnectionNotFound, "failed").into()
    }

    #[tokio::test(start_paused = true)]
    async fn t1_the_next_is_asked_when_one_fails_or_is_silent() {
        let connections = || nodes(&[1, 2, 3, 4]).anybody().unwrap();
        for silent in [false, true] {
            let asked = AtomicUsize::new(0);
            let start = tokio::time::Instant::now();
            let answer = first_answer(connections(), |_| async {
                match asked.fetch_add(1, Ordering::Relaxed) {
                    0 | 1 if silent => pending().await,
                    0 | 1 => Err(failed()),
                    number => Ok(number),
                }
            });
            assert_eq!(answer.await.unwrap(), 2);
            assert_eq!(asked.into_inner(), 3, "nobody is asked without need");
            let waited = if silent { NEXT_AFTER * 2 } else { Duration::ZERO };
            assert_eq!(start.elapsed(), waited);
        }
        let nobody = first_answer(connections(), |_| async { Err::<(), _>(failed()) }).await;
        assert!(nobody.unwrap_err().to_string().contains("failed"));
        let nobody = first_answer(Vec::new(), |_| async { Ok(()) }).await;
        assert!(nobody.unwrap_err().to_string().contains("no server"));
    }

    #[test]
    fn servers_that_are_gone_are_forgotten_but_for_those_that_were_named() {
        let nodes = nodes(&[1]);
        let [a, b] = [2, 3].map(|port| ("h".to_owned(), port));
        nodes.connection(&a).unwrap();
        nodes.connection(&b).unwrap();
        assert_eq!(nodes.anybody().unwrap().len(), 3);
        nodes.keep(&BTreeSet::from([&b]));
        assert_eq!(nodes.anybody().unwrap().len(), 2);
    }
}
