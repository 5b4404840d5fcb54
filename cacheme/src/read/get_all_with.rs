//! `get_all_with`: LOADING of many keys by the caller itself ([page](super)).

use std::future::Future;
use std::panic::resume_unwind;

use cacheme_storage::BoxError;

use super::batch::{Answer, Batch};
use super::drive::{answers_of, failed_together};
use super::get::BulkLoads;
use crate::error::Result;
use crate::flight::outcome::Failure;
use crate::instance::Cacheme;
use crate::load::Loaded;
use crate::node::Node;

impl Cacheme {
    /// The values of `nodes`, in their order, duplicates included; those that no tier has are loaded by `load`, which may borrow.
    ///
    /// As [`get_all`](Self::get_all), with a loader that comes with the call. It gets the nodes that are missing and not in flight already, and
    /// returns what a [`load_all`](crate::Load::load_all) may return: a `Vec` or map of nodes and values, or [`Loaded`]. It may be called again, for nodes
    /// whose load another caller gave up.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use cacheme::{Cacheme, Node};
    /// #[derive(Node, Clone, PartialEq, Eq, Hash)]
    /// #[node(key = "word-length:{0}", value = usize, tier(storage = "local", ttl = "1m"))]
    /// struct LengthNode(String);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cacheme = Cacheme::builder().build()?;
    /// # cacheme.register_storage("local", cacheme::Storage::open("local://tlfu?size=100")?).await?;
    /// let nodes = ["tea", "milk"].map(|word| LengthNode(word.into()));
    /// let lengths = cacheme
    ///     .get_all_with(&nodes, async |missing: Vec<LengthNode>| {
    ///         let lengths = missing.into_iter().map(|node| (node.clone(), node.0.len()));
    ///         Ok::<HashMap<_, _>, std::io::Error>(lengths.collect())
    ///     })
    ///     .await?;
    /// assert_eq!(lengths, [3, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get_all`](Self::get_all). `load` has no time limit.
    ///
    /// # Panics
    ///
    /// When the load panics.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the load. Callers that wait for it try again.
    pub async fn get_all_with<N, L, E, F>(
        &self,
        nodes: &[N],
        load: impl Fn(Vec<N>) -> F,
    ) -> Result<Vec<N::Value>>
    where
        N: Node,
        F: Future<Output = std::result::Result<L, E>>,
        L: Into<Loaded<N>>,
        E: Into<BoxError>,
    {
        self.get_all_by(nodes, &ByCaller(load)).await
    }
}

/// By the caller itself.
///
/// The loader takes a `Vec`: the future of an `AsyncFn(&[N])` cannot be told to be `Send` for every lifetime, so that no task could be spawned with it.
struct ByCaller<C>(C);

impl<N, L, E, F, C> BulkLoads<N> for ByCaller<C>
where
    N: Node,
    C: Fn(Vec<N>) -> F,
    F: Future<Output = std::result::Result<L, E>>,
    L: Into<Loaded<N>>,
    E: Into<BoxError>,
{
    async fn load(&self, _: &Cacheme, batch: &mut Batch<N>) {
        loop {
            batch.extend();
            let Some(items) = batch.advance().await else {
                return;
            };
            batch.extend();
            let nodes = batch.take_nodes(&items).into_vec();
            let load = async { (self.0)(nodes).await.map(Into::into).map_err(Into::into) };
            let (loaded, store) = batch.load_here(&items, load).await;
            let answers = match loaded {
                Ok(Ok(loaded)) => answers_of(batch, &items, loaded, store),
                Ok(Err(error)) => failed_together(batch, &items, error),
                Err(panic) => {
                    let failed = |item: &usize| (*item, Answer::failed(Failure::panicked(&*panic)));
                    batch.land(items.iter().map(failed).collect()).await;
                    resume_unwind(panic);
                }
            };
            batch.land(answers).await;
        }
    }
}
