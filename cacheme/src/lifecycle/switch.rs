//! Switching an instance, a kind or a storage off and on.

use crate::error::Result;
use crate::instance::Cacheme;
use crate::instance::switches::{Switches, switch};
use crate::node::policy::NodeInfo;

impl Cacheme {
    /// Switches the caches of this instance off, or on again: in an incident, or to see what a service does without.
    ///
    /// What is off loads each value from its source, still one load at a time for a key, and nothing is read from its tiers or stored in
    /// them. Changes are sent all the same: `invalidate`, `set` and `refresh` remove the key from remote tiers, and other processes
    /// are told. Copies in local tiers count as absent, also once it is on again.
    ///
    /// A node reads and stores where neither its instance nor its [kind](Self::set_kind_enabled) nor the
    /// [storage](Self::set_storage_enabled) is off. At start-up the environment says what is: `CACHEME_DISABLE=1` (or `all`), or
    /// names of kinds and storages, such as `CACHEME_DISABLE=UserNode,my-redis`.
    ///
    /// A hit costs the same before and after. **Limit:** each switch keeps some hundred bytes for each kind until the instance is dropped. It is for people,
    /// not for loops.
    ///
    /// ```
    /// use cacheme::{Cacheme, Node, Storage};
    ///
    /// #[derive(Node, Clone)]
    /// #[node(key = "price:{0}", value = u64, tier(storage = "local", ttl = "1m"))]
    /// struct PriceNode(u64);
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cacheme = Cacheme::builder().build()?;
    /// cacheme.register_storage("local", Storage::open("local://lru?size=100")?).await?;
    /// cacheme.set(&PriceNode(1), 7).await?;
    /// cacheme.set_enabled(false);
    /// assert_eq!(cacheme.get_with(&PriceNode(1), || async { 8 }).await, 8);
    /// cacheme.set_enabled(true);
    /// assert_eq!(cacheme.get_with(&PriceNode(1), || async { 9 }).await, 9);
    /// # Ok(()) }
    /// ```
    pub fn set_enabled(&self, on: bool) {
        self.switch(|switches| switches.all_off = !on, |_| true);
    }

    /// Switches the kinds of nodes with this name off, or on again, as [`set_enabled`](Self::set_enabled) does for the instance.
    ///
    /// The name is that of the node's type, or of the [`DynamicKind`](crate::DynamicKind), as [`stats`](Self::stats) has it.
    ///
    /// ```
    /// let cacheme = cacheme::Cacheme::builder().build()?;
    /// cacheme.set_kind_enabled("PriceNode", false);
    /// # Ok::<(), cacheme::Error>(())
    /// ```
    pub fn set_kind_enabled(&self, name: &str, on: bool) {
        self.switch(
            |switches| switch(&mut switches.kinds_off, name, on),
            |info| info.name == name,
        );
    }

    /// Switches a storage off for all nodes, or on again, as [`set_enabled`](Self::set_enabled) does for the instance.
    ///
    /// The other tiers of these nodes stay on. The name need not be registered yet.
    ///
    /// ```
    /// let cacheme = cacheme::Cacheme::builder().build()?;
    /// cacheme.set_storage_enabled("my-redis", false);
    /// # Ok::<(), cacheme::Error>(())
    /// ```
    pub fn set_storage_enabled(&self, name: &str, on: bool) {
        self.switch(
            |switches| switch(&mut switches.storages_off, name, on),
            |info| info.tiers.iter().any(|tier| tier.storage == name),
        );
    }

    /// Changes switches, unless that changes nothing.
    fn switch(&self, change: impl FnOnce(&mut Switches), concerns: impl Fn(&NodeInfo) -> bool) {
        let mut switches = self.inner.switches.read().clone();
        change(&mut switches);
        if *self.inner.switches.read() == switches {
            return;
        }
        let change = || -> Result<()> {
            *self.inner.switches.write() = switches;
            Ok(())
        };
        // A closed instance is off.
        let _ = self.renew(change, concerns);
    }
}
