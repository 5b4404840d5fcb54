use std::collections::HashMap;

use tokio::sync::Semaphore;

use super::*;
use crate::error::Error;

const TIME: Duration = Duration::from_secs(1);

/// Answers each key with itself, but for those that begin with `-`, which are absent.
struct Echo {
    /// The calls with their keys.
    calls: Mutex<Vec<Vec<String>>>,
    /// Let through one call each.
    turns: Semaphore,
    /// Refuses to be asked for many keys.
    only_one: bool,
    /// The least weight of a value.
    weight: usize,
    /// The number of shards, by the last byte of a key.
    shards: usize,
}

impl Echo {
    fn new() -> Self {
        Self {
            calls: Mutex::default(),
            turns: Semaphore::new(1_000_000),
            only_one: false,
            weight: 0,
            shards: 1,
        }
    }

    async fn enter(&self, keys: &[&[u8]]) -> Result<()> {
        let keys: Vec<String> = keys
            .iter()
            .map(|key| String::from_utf8_lossy(key).into())
            .collect();
        let many = keys.len() > 1;
        self.calls.lock().push(keys);
        // Nothing is answered at once.
        tokio::task::yield_now().await;
        self.turns.acquire().await.unwrap().forget();
        match many && self.only_one {
            true => Err(Error::Config {
                storage: "echo".into(),
                reason: "one at a time".into(),
            }),
            false => Ok(()),
        }
    }

    fn value(&self, key: &[u8]) -> Option<Bytes> {
        let mut value = key.to_vec();
        value.resize(value.len().max(self.weight), b'.');
        (!key.starts_with(b"-")).then(|| value.into())
    }
}

#[async_trait]
impl RemoteStorage for Arc<Echo> {
    fn location(&self) -> String {
        "echo".into()
    }

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        0
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        key.last().map_or(0, |&last| usize::from(last) % self.shards)
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        self.enter(keys).await?;
        Ok(keys.iter().map(|key| self.value(key)).collect())
    }

    async fn set(&self, _: &[RemoteEntry<'_>]) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, _: &[&[u8]]) -> Result<()> {
        Ok(())
    }

    async fn clear(&self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        self.enter(keys).await?;
        let acquired = |key: &&[u8]| match self.value(key) {
            None => request.granted_at(0),
            Some(value) => Acquired::Value(value.into()),
        };
        Ok(keys.iter().map(acquired).collect())
    }
}

fn combined(echo: &Arc<Echo>) -> Arc<Coalesced> {
    Arc::new(Coalesced::new(Arc::clone(echo)))
}

/// Reads each key on a task of its own.
fn read_all(storage: &Arc<Coalesced>, keys: impl Iterator<Item = String>) -> HashMap<String, Reading> {
    let read = |key: String| {
        let (storage, asked) = (Arc::clone(storage), key.clone());
        let reading = tokio::spawn(async move { storage.get(&[asked.as_bytes()]).await });
        (key, reading)
    };
    keys.map(read).collect()
}

type Reading = tokio::task::JoinHandle<Result<Vec<Option<Bytes>>>>;

async fn assert_own(readings: HashMap<String, Reading>, weight: usize) {
    for (key, reading) in readings {
        let found = reading.await.unwrap().unwrap();
        let mut expected = key.clone().into_bytes();
        expected.resize(expected.len().max(weight), b'.');
        let expected = (!key.starts_with('-')).then(|| Bytes::from(expected));
        assert_eq!(found, [expected], "{key}");
    }
}

fn names(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    range.map(|n| match n % 7 {
        0 => format!("-{n}"),
        _ => format!("key {n}"),
    })
}

#[tokio::test]
async fn many_readers_are_answered_by_few_calls_each_with_its_own() {
    let echo = Arc::new(Echo::new());
    let storage = combined(&echo);
    // What values weigh is known then.
    assert_own(read_all(&storage, names(1..2)), 0).await;
    echo.calls.lock().clear();
    assert_own(read_all(&storage, names(0..1000)), 0).await;
    let calls = std::mem::take(&mut *echo.calls.lock());
    assert!(calls.len() < 30, "{} calls", calls.len());
    assert!(calls.iter().all(|keys| keys.len() <= MOST_KEYS));
    assert_eq!(calls.iter().map(Vec::len).sum::<usize>(), 1000, "each key once");
    assert_eq!(storage.groups.readers.load(Ordering::Relaxed), 0);
    assert!(storage.groups.open.lock().is_empty());
}

#[tokio::test]
async fn t1_keys_of_several_shards_never_share_a_call() {
    let echo = Arc::new(Echo {
        shards: 3,
        ..Echo::new()
    });
    let storage = combined(&echo);
    assert_own(read_all(&storage, names(1..2)), 0).await;
    echo.calls.lock().clear();
    assert_own(read_all(&storage, names(0..1000)), 0).await;
    let calls = std::mem::take(&mut *echo.calls.lock());
    assert!(calls.len() < 40, "{} calls", calls.len());
    for keys in calls {
        let mut shards: Vec<_> = keys.iter().map(|key| echo.shard_of(key.as_bytes())).collect();
        shards.dedup();
        assert_eq!(shards.len(), 1, "{keys:?}");
    }
    assert!(storage.groups.open.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_from_several_threads_again_and_again() {
    let echo = Arc::new(Echo::new());
    let storage = combined(&echo);
    let readers: Vec<_> = (0..32)
        .map(|reader| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                for n in 0..500 {
                    let key = format!("{reader}/{n}");
                    let found = storage.get(&[key.as_bytes()]).await.unwrap();
                    assert_eq!(found, [Some(Bytes::from(key))]);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    let asked: usize = echo.calls.lock().iter().map(Vec::len).sum();
    assert_eq!(asked, 32 * 500);
}

#[tokio::test]
async fn few_readers_ask_by_themselves() {
    let echo = Arc::new(Echo::new());
    let storage = combined(&echo);
    assert_own(read_all(&storage, names(0..FEW)), 0).await;
    assert_eq!(echo.calls.lock().len(), FEW);
}

#[tokio::test]
async fn nobody_joins_a_call_that_was_sent() {
    let mut echo = Echo::new();
    echo.turns = Semaphore::new(0);
    let echo = Arc::new(echo);
    let storage = combined(&echo);
    storage.groups.weigh(1);
    let first = read_all(&storage, names(0..20));
    while echo.calls.lock().len() < FEW + 1 {
        tokio::task::yield_now().await;
    }
    let second = read_all(&storage, names(20..40));
    while echo.calls.lock().len() < FEW + 2 {
        tokio::task::yield_now().await;
    }
    let calls = echo.calls.lock().clone();
    assert_eq!(calls[FEW], names(FEW..20).collect::<Vec<_>>());
    assert_eq!(calls[FEW + 1], names(20..40).collect::<Vec<_>>(), "of its own");
    echo.turns.add_permits(100);
    assert_own(first, 0).await;
    assert_own(second, 0).await;
}

#[tokio::test]
async fn readers_that_go_away_harm_nobody() {
    let mut echo = Echo::new();
    echo.turns = Semaphore::new(0);
    let echo = Arc::new(echo);
    let storage = combined(&echo);
    storage.groups.weigh(1);
    let mut readings = read_all(&storage, names(0..20));
    // The one who opened the group among them, first before it is sent, then while it is under way.
    let leaves = |readings: &mut HashMap<String, Reading>, n: usize| {
        let name = names(n..n + 1).next().unwrap();
        readings.remove(&name).unwrap().abort();
    };
    leaves(&mut readings, FEW);
    while echo.calls.lock().len() < FEW + 1 {
        tokio::task::yield_now().await;
    }
    leaves(&mut readings, FEW + 1);
    leaves(&mut readings, 0);
    tokio::task::yield_now().await;
    echo.turns.add_permits(100);
    assert_own(readings, 0).await;
    assert_eq!(storage.groups.readers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_given_up() {
    let mut echo = Echo::new();
    echo.turns = Semaphore::new(0);
    let echo = Arc::new(echo);
    let storage = combined(&echo);
    storage.groups.weigh(1);
    let readings = read_all(&storage, names(0..20));
    while echo.calls.lock().len() < FEW + 1 {
        tokio::task::yield_now().await;
    }
    // The storage is held by itself and by the one call that is under way.
    let held = Arc::strong_count(&storage.storage);
    assert!(held > 1);
    for reading in readings.into_values() {
        reading.abort();
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&storage.storage), 1, "the call is gone");
    assert_eq!(storage.groups.readers.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_group_that_fails_leaves_each_to_ask_by_itself() {
    let mut echo = Echo::new();
    echo.only_one = true;
    let echo = Arc::new(echo);
    let storage = combined(&echo);
    storage.groups.weigh(1);
    assert_own(read_all(&storage, names(0..20)), 0).await;
    let calls = echo.calls.lock();
    assert_eq!(calls.iter().filter(|keys| keys.len() > 1).count(), 1);
    assert_eq!(calls.iter().filter(|keys| keys.len() == 1).count(), 20);
}

#[test]
fn a_runtime_that_ends_takes_no_readers_of_another_with_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut echo = Echo::new();
    echo.turns = Semaphore::new(0);
    let echo = Arc::new(echo);
    let storage = combined(&echo);
    storage.groups.weigh(1);
    let (one, other) = (runtime(), runtime());
    // The group is opened, and to be sent, by a runtime that never gets to it.
    let opened = one.block_on(async {
        let mut readings = Vec::new();
        for name in names(0..FEW + 1) {
            let storage = Arc::clone(&storage);
            let mut reading = Box::pin(async move { storage.get(&[name.as_bytes()]).await });
            assert!(poll_once(&mut reading).is_pending());
            readings.push(reading);
        }
        readings
    });
    other.block_on(async {
        let reader = Arc::clone(&storage);
        let mut reading = Box::pin(async move { reader.get(&[b"key"]).await });
        assert!(poll_once(&mut reading).is_pending());
        assert_eq!(echo.calls.lock().len(), FEW, "it joined the group");
        one.shutdown_background();
        echo.turns.add_permits(100);
        assert_eq!(reading.await.unwrap(), [Some(Bytes::from("key"))]);
    });
    drop(opened);
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn large_values_are_asked_for_by_few_at_once() {
    let mut echo = Echo::new();
    echo.weight = ROOM / 3;
    let echo = Arc::new(echo);
    let storage = combined(&echo);
    for round in 0..3 {
        assert_own(
            read_all(&storage, names(round * 100..round * 100 + 100)),
            echo.weight,
        )
        .await;
        let calls = std::mem::take(&mut *echo.calls.lock());
        let most = calls.iter().map(Vec::len).max();
        assert_eq!(
            most,
            Some(if round == 0 { 1 } else { 3 }),
            "nothing is known at first"
        );
    }
}

#[tokio::test]
async fn only_what_was_not_found_asks_for_leases() {
    let echo = Arc::new(Echo::new());
    let storage = combined(&echo);
    storage.groups.weigh(1);
    let asking: Vec<_> = names(0..40)
        .map(|name| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let acquired = storage
                    .acquire(&[name.as_bytes()], &Acquire::new(LeaseToken(1), TIME))
                    .await;
                let expected = match name.starts_with('-') {
                    true => Acquire::new(LeaseToken(1), TIME).granted_at(0),
                    false => Acquired::Value(Bytes::from(name).into()),
                };
                assert_eq!(acquired.unwrap(), [expected]);
            })
        })
        .collect();
    for asking in asking {
        asking.await.unwrap();
    }
    let calls = echo.calls.lock();
    let alone = calls.iter().filter(|keys| keys.len() == 1).count();
    let absent = names(FEW..40).filter(|name| name.starts_with('-')).count();
    assert_eq!(alone, FEW + absent);
}
