//! For tests of applications (feature `testing`): a clock that the test moves, and a remote storage in memory that does what the test tells it to.
//!
//! [The guide](crate::docs::testing) has a test of each kind.

#[cfg(feature = "local")]
use std::time::Duration;

#[cfg(feature = "local")]
use cacheme_storage::{Clock, LocalCache, Storage};

pub use cacheme_storage::testing::{Gate, InMemoryRemote, Operation, Trouble};

/// A clock that stands still until a test moves it: for local storages that are made with it, for an [`InMemoryRemote`], and for every time limit.
///
/// ```
/// use std::time::Duration;
/// use cacheme::testing::{InMemoryRemote, TestClock};
/// use cacheme::{Cacheme, Node, Storage};
///
/// #[derive(Node, Clone)]
/// #[node(key = "clocked:{0}", value = u64, tier(storage = "local", ttl = "30s"), tier(storage = "shared", ttl = "10m"))]
/// struct ClockedNode(u64);
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = TestClock::new();
/// let cacheme = Cacheme::builder().build()?;
/// cacheme.register_storage("local", clock.local(100)).await?;
/// cacheme.register_storage("shared", Storage::remote(InMemoryRemote::new())).await?;
///
/// cacheme.set(&ClockedNode(1), 7).await?;
/// clock.advance(Duration::from_secs(9 * 60)).await;
/// assert_eq!(cacheme.peek(&ClockedNode(1)).await?, Some(7)); // in the second tier
/// clock.advance(Duration::from_secs(60)).await;
/// assert_eq!(cacheme.peek(&ClockedNode(1)).await?, None);
/// # Ok(()) }
/// ```
#[cfg(feature = "local")]
#[derive(Clone, Debug)]
pub struct TestClock {
    local: Clock,
}

#[cfg(feature = "local")]
impl TestClock {
    /// Stops the time of this runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with one thread, which `#[tokio::test]` has, and where time stands still already: there use
    /// [`of_paused`](Self::of_paused).
    #[must_use]
    pub fn new() -> Self {
        tokio::time::pause();
        Self::of_paused()
    }

    /// The clock of a runtime whose time stands still already, as in `#[tokio::test(start_paused = true)]`.
    #[must_use]
    pub fn of_paused() -> Self {
        Self {
            local: Clock::manual(),
        }
    }

    /// A local storage for so many entries, whose values expire by this clock.
    #[must_use]
    pub fn local(&self, entries: usize) -> Storage {
        Storage::local(LocalCache::tlfu(entries).clock(self.local.clone()).build())
    }

    /// Moves the time forward. Tasks whose time has come run first.
    pub async fn advance(&self, by: Duration) {
        self.local.advance(by);
        tokio::time::advance(by).await;
    }
}

#[cfg(feature = "local")]
impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}
