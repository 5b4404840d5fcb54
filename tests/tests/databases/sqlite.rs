use std::sync::Arc;

use cacheme_storage::{Sqlite, Storage, conformance};

use crate::server::Directory;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_memory_keeps_the_contract() {
    conformance::remote(Arc::new(Sqlite::builder().in_memory().build().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_in_a_file_keeps_the_contract() {
    let directory = Directory::new();
    let storage = Storage::open(&format!("sqlite://{}/cache.db", directory.path().display())).unwrap();
    conformance::remote(Arc::clone(storage.as_remote().unwrap())).await;
}
