//! Changes of several kinds that are sent together ([page](super)).

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;

use cacheme_storage::Chain;

use super::invalidate::{Removal, finish_removals};
use crate::background;
use crate::error::Result;
use crate::instance::Cacheme;
use crate::kind::unreached::Unreached;
use crate::node::Node;

/// Changes of nodes of any kinds, collected while a transaction is under way and sent after its commit.
///
/// Nothing happens before [`send`](Self::send). Changes that are dropped unsent are lost, with a warning in the log, unless they are
/// [discarded](Self::discard).
///
/// ```
/// use cacheme::Node;
///
/// #[derive(Node, Clone)]
/// #[node(key = "changed-user:{0}", value = String, tier(storage = "local", ttl = "1m"))]
/// struct UserNode(u64);
///
/// #[derive(Node, Clone)]
/// #[node(key = "changed-count:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
/// struct CountNode(String);
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cacheme = cacheme::Cacheme::builder().build()?;
/// # cacheme.register_storage("local", cacheme::Storage::open("local://tlfu?size=100")?).await?;
/// let mut changes = cacheme.changes();
/// changes.invalidate(&UserNode(1)).invalidate_all(&["users", "active"].map(|name| CountNode(name.into())));
/// // … commit the transaction …
/// changes.send().await?;
/// # Ok(()) }
/// ```
#[must_use = "changes do nothing until they are sent"]
pub struct Changes {
    cacheme: Cacheme,
    /// The nodes of each type.
    nodes: HashMap<TypeId, Box<dyn Nodes>>,
}

/// Nodes of one type: a `Vec<N>`.
trait Nodes: Any + Send + Sync {
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn len(&self) -> usize;
    fn begin_removals(&self, cacheme: &Cacheme, removals: &mut Vec<Removal>, unreached: &mut Unreached);
}

impl<N: Node> Nodes for Vec<N> {
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn begin_removals(&self, cacheme: &Cacheme, removals: &mut Vec<Removal>, unreached: &mut Unreached) {
        cacheme.begin_removals(self, removals, unreached);
    }
}

impl Cacheme {
    /// Collects changes of nodes of any kinds, to be sent together.
    pub fn changes(&self) -> Changes {
        Changes {
            cacheme: self.clone(),
            nodes: HashMap::new(),
        }
    }
}

impl Changes {
    /// Adds the removal of the value of `node`.
    pub fn invalidate<N: Node>(&mut self, node: &N) -> &mut Self {
        self.invalidate_all(std::slice::from_ref(node))
    }

    /// Adds the removal of the values of many nodes.
    pub fn invalidate_all<N: Node>(&mut self, nodes: &[N]) -> &mut Self {
        let known = self.nodes.entry(TypeId::of::<N>());
        let known = known.or_insert_with(|| Box::new(Vec::<N>::new()));
        let known: Option<&mut Vec<N>> = known.as_any_mut().downcast_mut();
        known.expect("kept under its type").extend_from_slice(nodes);
        self
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.values().map(|nodes| nodes.len()).sum()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what was collected, for example because the transaction was rolled back.
    pub fn discard(mut self) {
        self.nodes.clear();
    }

    /// Removes the values of all nodes from every tier: each kind in one call for each storage, the kinds side by side.
    ///
    /// Once this has returned `Ok`, no later read in this process sees a value of theirs whose load began before.
    ///
    /// # Errors
    ///
    /// Those of [`invalidate_all`](Cacheme::invalidate_all).
    ///
    /// # Cancel safety
    ///
    /// Once polled, the removals go through even if the future is dropped.
    pub async fn send(mut self) -> Result<()> {
        let (removals, unreached) = self.begin();
        finish_removals(removals, unreached).await
    }

    fn begin(&mut self) -> (Vec<Removal>, Unreached) {
        let (mut removals, mut unreached) = (Vec::new(), Unreached::default());
        for (_, nodes) in self.nodes.drain() {
            nodes.begin_removals(&self.cacheme, &mut removals, &mut unreached);
        }
        (removals, unreached)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        if !self.is_empty() {
            tracing::warn!(
                nodes = self.len(),
                "changes were dropped unsent: the values of these nodes are not invalidated; call `send` or `discard`"
            );
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("nodes", &self.len()).finish()
    }
}

/// The changes of a function that invalidates, which are sent when its body ends, or in the background if its future is dropped.
#[derive(Debug)]
pub struct ChangesOfBody {
    /// `None` once they are on their way.
    changes: Option<Changes>,
}

impl ChangesOfBody {
    /// Nothing yet.
    #[must_use]
    pub fn new(cacheme: &Cacheme) -> Self {
        Self {
            changes: Some(cacheme.changes()),
        }
    }

    /// Adds a node.
    pub fn add<N: Node>(&mut self, node: &N) {
        if let Some(changes) = &mut self.changes {
            changes.invalidate(node);
        }
    }

    /// Forgets them: the body changed nothing.
    pub fn discard(mut self) {
        if let Some(changes) = self.changes.take() {
            changes.discard();
        }
    }

    /// Sends them. What cannot be reached is logged, and tried again in the background.
    pub async fn send(mut self) {
        let Some(mut changes) = self.changes.take() else {
            return;
        };
        let (removals, unreached) = changes.begin();
        log(finish_removals(removals, unreached).await);
    }
}

impl Drop for ChangesOfBody {
    /// The body was dropped or panicked, and may have written.
    fn drop(&mut self) {
        let Some(mut changes) = self.changes.take() else {
            return;
        };
        let (removals, unreached) = changes.begin();
        let sending = async move { log(finish_removals(removals, unreached).await) };
        if background::spawn(sending).is_err() {
            tracing::warn!(
                "a function that invalidates was dropped outside of a runtime: remote tiers may have old values"
            );
        }
    }
}

fn log(sent: Result<()>) {
    if let Err(error) = sent {
        tracing::warn!(error = %Chain(&error), "a change of a function could not be sent; trying again in the background");
    }
}
