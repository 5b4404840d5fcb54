//! The servers of a cluster, each with its link, and asking any of them.

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

use super::connection::Link;
use super::connector::{Access, Connector};
use super::server_info::ServerInfo;

/// How long one server may take before the next is asked as well, where any will do.
const NEXT_AFTER: Duration = Duration::from_millis(100);

/// The host and port of a server.
pub(super) type Address = (String, u16);

/// The servers of a cluster that we know of.
pub(super) struct Nodes {
    /// Those that were named by whoever made the storage.
    seeds: Vec<Address>,
    access: Access,
    server_info: Arc<ServerInfo>,
    links: Mutex<BTreeMap<Address, Link>>,
    /// Where the next question to anybody begins, so that processes and questions are spread.
    turn: AtomicUsize,
}

impl Nodes {
    pub(super) fn new(seeds: Vec<Address>, access: Access, server_info: Arc<ServerInfo>) -> Self {
        Self {
            seeds,
            access,
            server_info,
            links: Mutex::default(),
            turn: AtomicUsize::new(usize::from(std::process::id() as u16)),
        }
    }

    /// The link to a server, always the same one.
    pub(super) fn link(&self, address: &Address) -> RedisResult<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(address) {
            return Ok(link.clone());
        }
        let (host, port) = address;
        let client = self.access.server(host, *port)?;
        let link = Link::new(Connector::Node(client), Arc::clone(&self.server_info));
        links.insert(address.clone(), link.clone());
        Ok(link)
    }

    /// Forgets all servers but these, and those that were named; what was named for others to be asked for is not kept
    /// connected.
    pub(super) fn keep(&self, known: &BTreeSet<&Address>) {
        let mut links = self.links.lock();
        links.retain(|address, link| {
            let is_known = known.contains(address);
            if !is_known {
                link.disconnect();
            }
            is_known || self.seeds.contains(address)
        });
    }

    pub(super) fn disconnect(&self) {
        self.links.lock().values().for_each(Link::disconnect);
    }

    /// All servers, with those first that answered lately, beginning with another at each call.
    pub(super) fn anybody(&self) -> RedisResult<Vec<Link>> {
        for seed in &self.seeds {
            self.link(seed)?;
        }
        let mut links: Vec<Link> = self.links.lock().values().cloned().collect();
        self.spread(&mut links);
        Ok(links)
    }

    /// Puts those first that answered lately, beginning with another at each call.
    pub(super) fn spread(&self, links: &mut [Link]) {
        if !links.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % links.len();
            links.rotate_left(turn);
        }
        links.sort_by_key(|link| !link.is_live());
    }
}

/// Asks one server after the other: the next as soon as one fails, or has not answered for a moment. Gives the first answer, or
/// the last error.
pub(super) async fn first_answer<T, F>(links: Vec<Link>, ask: impl Fn(Link) -> F) -> RedisResult<T>
where
    F: Future<Output = RedisResult<T>>,
{
    let mut links = links.into_iter().peekable();
    let mut asked = FuturesUnordered::new();
    let mut trouble: RedisError = (
        redis::ErrorKind::ClusterConnectionNotFound,
        "no server of the cluster is known",
    )
        .into();
    loop {
        asked.extend(links.next().map(&ask));
        let answer = match links.peek() {
            Some(_) => timeout(NEXT_AFTER, asked.next()).await,
            None => Ok(asked.next().await),
        };
        match answer {
            Ok(Some(Ok(answer))) => return Ok(answer),
            Ok(Some(Err(error))) => trouble = error,
            Ok(None) if links.peek().is_none() => return Err(trouble),
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
        let links = || nodes(&[1, 2, 3, 4]).anybody().unwrap();
        for silent in [false, true] {
            let asked = AtomicUsize::new(0);
            let start = tokio::time::Instant::now();
            let answer = first_answer(links(), |_| async {
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
        let nobody = first_answer(links(), |_| async { Err::<(), _>(failed()) }).await;
        assert!(nobody.unwrap_err().to_string().contains("failed"));
        let nobody = first_answer(Vec::new(), |_| async { Ok(()) }).await;
        assert!(nobody.unwrap_err().to_string().contains("no server"));
    }

    #[test]
    fn servers_that_are_gone_are_forgotten_but_for_those_that_were_named() {
        let nodes = nodes(&[1]);
        let [a, b] = [2, 3].map(|port| ("h".to_owned(), port));
        nodes.link(&a).unwrap();
        nodes.link(&b).unwrap();
        assert_eq!(nodes.anybody().unwrap().len(), 3);
        nodes.keep(&BTreeSet::from([&b]));
        assert_eq!(nodes.anybody().unwrap().len(), 2);
    }
}
