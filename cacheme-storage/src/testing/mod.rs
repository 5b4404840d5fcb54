//! For tests of what uses storages: a remote storage in memory that does what a test tells it to.
//!
//! ```
//! use cacheme_storage::testing::{InMemoryRemote, Operation, Trouble};
//! use cacheme_storage::{RemoteStorage as _, Storage};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let remote = InMemoryRemote::new();
//! let storage = Storage::remote(remote.clone()); // for the application
//! # let _ = storage;
//! assert_eq!(remote.get(&[b"key"]).await.unwrap(), [None]);
//! assert_eq!(remote.count(Operation::Get), 1);
//! remote.set_trouble(Trouble::Refuses);
//! assert!(remote.get(&[b"key"]).await.is_err());
//! remote.recover();
//! # }
//! ```

mod gate;
mod memory_remote;

pub use gate::Gate;
pub use memory_remote::{InMemoryRemote, Operation, Trouble};
