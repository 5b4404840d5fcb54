//! The two sides: what each does for a job, and the value that both serialise in the same way.

use std::future::Future;

use cacheme::{BoxError, Cacheme, LoadContext, Node};
use serde::{Deserialize, Serialize};

/// About a hundred bytes.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Info {
    pub(crate) id: u64,
    name: String,
    mail: String,
}

impl Info {
    pub(crate) fn of(id: u64) -> Self {
        Self {
            id,
            name: format!("user number {id:>30}"),
            mail: format!("user-{id:>20}@mail.example"),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        bincode::serde::encode_to_vec(self, bincode::config::standard()).expect("it can be written")
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let read = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
        read.expect("it was written by us").0
    }
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "user:{id}:info",
    value = Info,
    tier(storage = "remote", ttl = "10m"),
    load = load,
)]
struct InfoNode {
    id: u64,
}

async fn load(node: &InfoNode, _: &mut LoadContext<InfoNode>) -> Result<Info, BoxError> {
    Ok(Info::of(node.id))
}

/// The jobs, by one side or the other.
pub(crate) trait Side: Send + Sync + 'static {
    /// Reads an entry that is there.
    fn hit(&self, id: u64) -> impl Future<Output = Info> + Send;
    /// Reads entries that are there.
    fn hits(&self, ids: Vec<u64>) -> impl Future<Output = Vec<Info>> + Send;
    /// Finds nothing, loads, and fills.
    fn fill(&self, id: u64) -> impl Future<Output = Info> + Send;
}

impl Side for Cacheme {
    async fn hit(&self, id: u64) -> Info {
        self.get(&InfoNode { id }).await.expect("the server answers")
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let nodes: Vec<_> = ids.into_iter().map(|id| InfoNode { id }).collect();
        self.get_all(&nodes).await.expect("the server answers")
    }

    async fn fill(&self, id: u64) -> Info {
        self.get(&InfoNode { id }).await.expect("the server answers")
    }
}
