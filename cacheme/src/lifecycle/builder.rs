//! Building an instance.

use crate::error::{Error, Result};
use crate::instance::Cacheme;
use crate::instance::state::State;
use crate::instance::switches::Switches;
use crate::node::registration::{NodeRegistration, NodeSet};

/// Builds a [`Cacheme`].
#[derive(Clone, Debug)]
pub struct CachemeBuilder {
    prefix: String,
    state: State,
    nodes: Vec<NodeRegistration>,
}

impl CachemeBuilder {
    /// Sets the first part of every full key, by default `cacheme`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Gives loaders a value of the application's, such as a pool of connections: [`LoadContext::state`](crate::LoadContext::state).
    ///
    /// There is one value of each type; another of the same type takes its place. Tests build instances with state of their own.
    ///
    /// ```
    /// use cacheme::{Cacheme, LoadContext, Node};
    ///
    /// struct Db(Vec<&'static str>);
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "name-of:{0}", value = String, state = Db, load = load_name)]
    /// struct NameNode(usize);
    ///
    /// async fn load_name(node: &NameNode, cx: &mut LoadContext<NameNode>) -> Result<String, std::io::Error> {
    ///     let name = cx.state::<Db>().0.get(node.0);
    ///     name.map(|name| name.to_string()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cacheme::Error> {
    /// let cacheme = Cacheme::builder().state(Db(vec!["ann", "bob"])).build()?;
    /// assert_eq!(cacheme.get(&NameNode(1)).await?, "bob");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state.insert(value);
        self
    }

    /// Names derived nodes that the instance will have, as a tuple of up to 16; several calls add up.
    ///
    /// [`check`](Cacheme::check) looks at them before they are used. The process-wide instance knows every node of the program without this; another
    /// one knows those that it is told of, so that nodes of other modules' tests do not get in its way.
    ///
    /// ```
    /// use cacheme::{Cacheme, Error, Node, Storage};
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "user:{0}", value = String, tier(storage = "local", ttl = "1m"))]
    /// struct UserNode(u64);
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "team:{0}", value = String, tier(storage = "teams", ttl = "1m"))]
    /// struct TeamNode(u64);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let users = Cacheme::builder().nodes::<(UserNode,)>().build()?;
    /// users.register_storage("local", Storage::open("local://lru?size=100")?).await?;
    /// users.check()?;
    ///
    /// let both = Cacheme::builder().nodes::<(UserNode, TeamNode)>().build()?;
    /// both.register_storage("local", Storage::open("local://lru?size=100")?).await?;
    /// assert!(both.check().unwrap_err().to_string().contains("`teams`"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn nodes<S: NodeSet>(mut self) -> Self {
        self.nodes.extend(S::registrations());
        self
    }

    /// Builds the instance. What the environment variable `CACHEME_DISABLE` names is [switched off](Cacheme::set_enabled).
    ///
    /// # Errors
    ///
    /// [`Error::Prefix`] for a prefix that is empty or has other characters than `A-Z a-z 0-9 _ . - @`.
    pub fn build(self) -> Result<Cacheme> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@".contains(&byte);
        if self.prefix.is_empty() || !self.prefix.bytes().all(plain) {
            let reason = "must be letters, digits and `_ . - @`, at least one".into();
            return Err(Error::Prefix {
                prefix: self.prefix,
                reason,
            });
        }
        let said = std::env::var_os("CACHEME_DISABLE");
        let switches = Switches::of_environment(said.as_deref());
        Ok(Cacheme::new(self.prefix, self.state, self.nodes, switches))
    }
}

impl Cacheme {
    /// A builder for an instance beside the process-wide one.
    ///
    /// ```
    /// let cacheme = cacheme::Cacheme::builder().prefix("shop").build()?;
    /// # Ok::<(), cacheme::Error>(())
    /// ```
    #[must_use]
    pub fn builder() -> CachemeBuilder {
        CachemeBuilder {
            prefix: "cacheme".into(),
            state: State::default(),
            nodes: Vec::new(),
        }
    }
}
