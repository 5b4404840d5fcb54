//! What is cached: a number that the test changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use cacheme::{BoxError, Cacheme, Load, Storage};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::fakes::{Local, Remote};

/// A number and its loads. Clones are the same source.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    value: AtomicU64,
    loads: AtomicUsize,
    /// What the next load waits for between reading the value and returning it.
    held: Mutex<Option<oneshot::Receiver<()>>>,
    fails: AtomicBool,
    reached: Notify,
}

/// Keeps a load from ending; dropped, it lets it.
pub(crate) struct Hold {
    _open: oneshot::Sender<()>,
}

impl Source {
    pub(crate) fn new(value: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                value: value.into(),
                loads: AtomicUsize::new(0),
                held: Mutex::default(),
                fails: AtomicBool::new(false),
                reached: Notify::new(),
            }),
        }
    }

    pub(crate) fn change(&self, value: u64) {
        self.shared.value.store(value, Ordering::SeqCst);
    }

    pub(crate) fn loads(&self) -> usize {
        self.shared.loads.load(Ordering::SeqCst)
    }

    /// Keeps the next load from ending; those after it pass.
    pub(crate) fn hold(&self) -> Hold {
        let (open, held) = oneshot::channel();
        *self.shared.held.lock() = Some(held);
        Hold { _open: open }
    }

    /// Lets the next load fail.
    pub(crate) fn fail(&self) {
        self.shared.fails.store(true, Ordering::SeqCst);
    }

    /// Waits until a load has read the value.
    pub(crate) async fn reached(&self) {
        self.shared.reached.notified().await;
    }

    pub(crate) async fn load(&self) -> Result<u64, BoxError> {
        self.shared.loads.fetch_add(1, Ordering::SeqCst);
        let value = self.shared.value.load(Ordering::SeqCst);
        let fails = self.shared.fails.swap(false, Ordering::SeqCst);
        let held = self.shared.held.lock().take();
        self.shared.reached.notify_one();
        if let Some(held) = held {
            // It ends when the hold is dropped, which is an error of the channel.
            let _ = held.await;
        }
        match fails {
            true => Err("the source does not answer".into()),
            false => Ok(value),
        }
    }
}

/// An instance with these storages.
pub(crate) async fn cacheme<const N: usize>(storages: [(&str, Storage); N]) -> Cacheme {
    let cacheme = Cacheme::builder().prefix("never").build().unwrap();
    for (name, storage) in storages {
        cacheme.register_storage(name, storage).await.unwrap();
    }
    cacheme
}

/// A process that shares the storage `near`, with one nearer of its own.
pub(crate) async fn process(near: &Remote) -> Cacheme {
    cacheme([("near", near.storage()), ("local", Local::default().storage())]).await
}

/// A process whose storages are both shared.
pub(crate) async fn process_without_local(near: &Remote, far: &Remote) -> Cacheme {
    cacheme([("near", near.storage()), ("far", far.storage())]).await
}

/// A read in a task of its own.
pub(crate) fn reading<N: Load<Value = u64>>(cacheme: &Cacheme, node: &N) -> JoinHandle<u64> {
    let (cacheme, node) = (cacheme.clone(), node.clone());
    tokio::spawn(async move { cacheme.get(&node).await.unwrap() })
}
