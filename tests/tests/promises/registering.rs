//! T1: storages that are not there when a service starts.

use cacheme::{Cacheme, Error, Storage};
use tests::{MemoryRemote, Operation, Trouble};

use crate::world::{RemoteItem, SECOND, Source, settle};

fn instance() -> Cacheme {
    Cacheme::builder().prefix("test").build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn t1_a_service_starts_without_its_storage_and_uses_it_once_it_is_there() {
    for trouble in [Trouble::Hangs, Trouble::Refuses] {
        let (remote, source, cacheme) = (MemoryRemote::with_bus(), Source::default(), instance());
        remote.set_trouble(trouble);
        let storage = Storage::remote(remote.clone());
        cacheme.register_storage_lazy("remote", storage.clone()).unwrap();
        let again = cacheme.register_storage_lazy("remote", storage);
        assert!(matches!(again, Err(Error::StorageRegistered { .. })), "{again:?}");
        let node = RemoteItem::new(1, &source);
        assert_eq!(cacheme.get(&node).await.unwrap(), 1_000, "{trouble:?}");
        assert_eq!(cacheme.stats::<RemoteItem>().tiers[0].hits, 0);
        remote.recover();
        cacheme.refresh(&node).await.unwrap();
        assert_eq!(cacheme.get(&node).await.unwrap(), 1_000);
        assert_eq!(cacheme.stats::<RemoteItem>().tiers[0].hits, 1, "{trouble:?}");
        if trouble == Trouble::Refuses {
            // The bus is tried again after a pause. In the other case it is asked for still.
            tokio::time::sleep(SECOND * 10).await;
            assert_eq!(remote.listeners(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t1_a_storage_that_is_registered_lazily_is_connected_to_in_the_background() {
    let (remote, cacheme) = (MemoryRemote::with_bus(), instance());
    let connecting = remote.hold_before(Operation::Connect);
    cacheme
        .register_storage_lazy("remote", Storage::remote(remote.clone()))
        .unwrap();
    connecting.reached().await;
    connecting.open();
    settle().await;
    assert_eq!((remote.count(Operation::Connect), remote.listeners()), (1, 1));
}
