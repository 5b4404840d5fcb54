//! Remote storages against real servers. One binary, since linking is slow.

#[path = "storages/redis.rs"]
mod redis;

use std::sync::Arc;

use cacheme_storage::{RemoteStorage, Storage, conformance};
use tests::{Kind, shared_url};

/// The remote storage of a URL.
fn open(url: &str) -> Arc<dyn RemoteStorage> {
    let storage = Storage::open(url).expect(url);
    Arc::clone(storage.as_remote().expect("a remote storage"))
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms() {
    conformance::remote(open(&shared_url(Kind::Redis))).await;
}
