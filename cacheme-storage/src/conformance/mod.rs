//! The storage contract as tests: what every [`RemoteStorage`] and every [`LocalStorage`] must do.
//!
//! Run it on a storage of your own, in a test, with the feature `testing`:
//!
//! ```
//! use std::sync::Arc;
//! # use cacheme_storage::{Bytes, RemoteEntry, RemoteStorage, Result};
//! # struct MyStorage;
//! # #[async_trait::async_trait]
//! # impl RemoteStorage for MyStorage {
//! #     fn location(&self) -> String { "my://storage".into() }
//! #     async fn connect(&self) -> Result<()> { Ok(()) }
//! #     fn now_ms(&self) -> u64 { 0 }
//! #     async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> { Ok(vec![None; keys.len()]) }
//! #     async fn set(&self, _: &[RemoteEntry<'_>]) -> Result<()> { Ok(()) }
//! #     async fn remove(&self, _: &[&[u8]]) -> Result<()> { Ok(()) }
//! #     async fn clear(&self, _: &[u8]) -> Result<()> { Ok(()) }
//! # }
//! use cacheme_storage::conformance;
//!
//! # #[allow(unused)]
//! // #[tokio::test(flavor = "multi_thread")]
//! async fn my_storage_conforms() {
//!     conformance::remote(Arc::new(MyStorage)).await;
//! }
//! ```
//!
//! A remote storage is connected by the suite, and may share its server with others: every case works under keys of its
//! own, beginning with `conformance:` and a random number, and clears them afterwards. It is closed in the end. Lease cases run when
//! [`Capabilities::leases`](crate::Capabilities::leases) is set; otherwise the lease operations must refuse. The same goes for the bus. A limit on the size of values is
//! allowed from 1 MiB on, if [`Error::TooLarge`] names it. All cases take some seconds, and some
//! hundred megabytes of memory here and on the server.
//!
//! Duties that the suite checks beyond the letter of the traits:
//! - a request that names a key twice is answered twice, and the last of two entries for one key is kept;
//! - a lease asked for again with its own token is [`Granted`](crate::Acquired::Granted) again, so a call whose answer was lost can be
//!   repeated;
//! - past its deadline, a request is granted nothing, or leases of one second at most ([`Grant::time`](crate::Grant::time)); past
//!   it nothing is stolen;
//! - a call with a value that is too large stores none of its values;
//! - a ttl of zero stores nothing that stays, and one too long for the server counts as none.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::contract::lease::LeaseToken;
use crate::contract::local::LocalStorage;
use crate::contract::remote::{RemoteEntry, RemoteStorage};
use crate::error::{Chain, Error};
use ::bytes::Bytes;

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($message:tt)+) => {
        if !$holds {
            return Err($crate::conformance::Failure(format!($($message)+)));
        }
    };
}

/// Fails the case unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => ensure!(
                left == right,
                "{}: got {}, expected {}", format_args!($($message)+),
                $crate::conformance::brief(left), $crate::conformance::brief(right)
            ),
        }
    };
}

/// The cases of a module, by their names.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        pub(super) const CASES: &[(&str, $crate::conformance::RemoteCase)] =
            &[$((stringify!($case), |case| Box::pin($case(case)))),+];
    };
}

mod bus;
mod bytes;
mod clear;
mod closing;
mod expiry;
mod keys;
mod lease_deadlines;
mod lease_races;
mod leases;
mod local;
mod many_leases;
mod races;
#[cfg(test)]
mod reference;

/// How long one case may take before it counts as hanging.
const CASE_LIMIT: Duration = Duration::from_secs(120);
/// How long to wait for something that the server does by its clock.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers count in whole milliseconds, and some look at a clock that ticks a few times a second only.
const CLOCK_GRAIN: Duration = Duration::from_millis(15);

/// Runs every case for remote storages on `storage`, which is connected first and closed in the end.
///
/// # Panics
///
/// When a case fails: the message names the storage and each case that failed, with what was wrong.
pub async fn remote(storage: Arc<dyn RemoteStorage>) {
    remote_but(storage, |_| false).await;
}

/// Runs the suite without the cases of 50 000 keys, for a server that is slow by nature, such as an emulator.
///
/// # Panics
///
/// As [`remote`].
pub async fn remote_in_small(storage: Arc<dyn RemoteStorage>) {
    remote_but(storage, |case| case.ends_with("_50_000")).await;
}

async fn remote_but(storage: Arc<dyn RemoteStorage>, left_out: impl Fn(&str) -> bool) {
    let location = storage.location();
    assert!(!location.is_empty(), "a storage must say where it is");
    for _ in 0..2 {
        if let Err(error) = storage.connect().await {
            let error = Chain(&error);
            panic!("{location}: connect, which must work any number of times: {error}");
        }
    }
    let mut cases = remote_cases(&*storage);
    cases.retain(|(name, _)| !left_out(name));
    let mut failures = Vec::new();
    for (name, case) in &cases {
        if let Err(failure) = run(&storage, name, *case).await {
            failures.push(format!("{name}: {failure}"));
        }
    }
    let (name, case) = (
        "closing_waits_for_writes_under_way",
        Case::of(&storage, "closing"),
    );
    if let Err(failure) = bounded(closing::closing_waits_for_writes_under_way(case)).await {
        failures.push(format!("{name}: {failure}"));
    }
    report(&location, cases.len() + 1, &failures);
}

fn remote_cases(storage: &dyn RemoteStorage) -> Vec<(&'static str, RemoteCase)> {
    let mut cases = [
        bytes::CASES,
        keys::CASES,
        expiry::CASES,
        races::CASES,
        clear::CASES,
    ]
    .concat();
    match storage.capabilities().leases {
        true => cases.extend(
            [
                leases::CASES,
                lease_deadlines::CASES,
                many_leases::CASES,
                lease_races::CASES,
            ]
            .concat(),
        ),
        false => cases.extend(leases::CASES_WITHOUT),
    }
    cases.extend(match storage.capabilities().bus {
        true => bus::CASES,
        false => bus::CASES_WITHOUT,
    });
    cases
}

/// Runs one case under keys of its own, and clears them.
async fn run(storage: &Arc<dyn RemoteStorage>, name: &str, case: RemoteCase) -> Outcome {
    let context = Case::of(storage, name);
    let outcome = bounded(case(context.clone())).await;
    let cleared = storage.clear(&context.prefix).await.map_err(Failure::from);
    outcome.and(cleared)
}

/// The outcome of a case; a panic and a case that does not end are failures.
async fn bounded(case: impl Future<Output = Outcome>) -> Outcome {
    tokio::time::timeout(CASE_LIMIT, caught(case))
        .await
        .unwrap_or_else(|_| Err(Failure(format!("did not end within {CASE_LIMIT:?}"))))
}

/// Runs every case for local storages on `storage`, which must have room for 10 000 entries of weight 1.
///
/// Blocks the thread; what is in the storage is cleared.
///
/// # Panics
///
/// When a case fails: the message names the storage and each case that failed, with what was wrong.
pub fn local(storage: Arc<dyn LocalStorage>) {
    let mut failures = Vec::new();
    for (name, case) in local::CASES {
        storage.clear();
        // A thread of its own, so that a deadlock is a failure and not a test run that never ends.
        let (done, outcome) = std::sync::mpsc::channel();
        let subject = Arc::clone(&storage);
        std::thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| case(&subject)));
            let _ = done.send(outcome.unwrap_or_else(|panic| Err(Failure::from_panic(&*panic))));
        });
        let outcome = outcome
            .recv_timeout(CASE_LIMIT)
            .unwrap_or_else(|_| Err(Failure(format!("did not end within {CASE_LIMIT:?}"))));
        if let Err(failure) = outcome {
            failures.push(format!("{name}: {failure}"));
        }
    }
    report(&storage.location(), local::CASES.len(), &failures);
}

fn report(location: &str, count: usize, failures: &[String]) {
    assert!(
        failures.is_empty(),
        "{location} fails {} of {count} cases:\n- {}",
        failures.len(),
        failures.join("\n- ")
    );
}

type Outcome = Result<(), Failure>;
type RemoteCase = fn(Case) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;
type LocalCase = fn(&Arc<dyn LocalStorage>) -> Outcome;

/// A mistake of a storage.
struct Failure(String);

impl Failure {
    fn from_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let said = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        Self(format!(
            "panicked: {}",
            said.as_deref().unwrap_or("without a message")
        ))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(format!("unexpected error: {}", Chain(&error)))
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(format!("a concurrent call failed: {error}"))
    }
}

/// The storage under test and the part of its keys that belongs to one case.
#[derive(Clone)]
struct Case {
    storage: Arc<dyn RemoteStorage>,
    prefix: Arc<[u8]>,
}

impl Case {
    fn of(storage: &Arc<dyn RemoteStorage>, name: &str) -> Self {
        let prefix = format!("conformance:{:016x}:{name}:", random());
        Self {
            storage: Arc::clone(storage),
            prefix: prefix.into_bytes().into(),
        }
    }

    fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [&*self.prefix, name.as_ref()].concat()
    }

    /// `count` different keys.
    fn keys(&self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|n| self.key(n.to_string())).collect()
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let mut found = self.storage.get(&[key]).await?;
        assert_eq!(found.len(), 1, "get of one key answered {} times", found.len());
        Ok(found.remove(0))
    }

    async fn set(&self, key: &[u8], value: impl Into<Bytes>, ttl: Option<Duration>) -> Result<(), Error> {
        self.storage.set(&[entry(key, value, ttl)]).await
    }

    /// Waits until nothing is under `key`; says how long that took since `start`.
    async fn gone(&self, key: &[u8], start: Instant) -> Result<Duration, Failure> {
        loop {
            if self.get(key).await?.is_none() {
                return Ok(start.elapsed());
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "still there after {:?}",
                start.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn entry(key: &[u8], value: impl Into<Bytes>, ttl: Option<Duration>) -> RemoteEntry<'_> {
    RemoteEntry {
        key,
        value: value.into(),
        ttl,
    }
}

fn slices(keys: &[Vec<u8>]) -> Vec<&[u8]> {
    keys.iter().map(Vec::as_slice).collect()
}

fn bytes(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

/// A token that nobody had before.
fn token() -> LeaseToken {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let low = NEXT.fetch_add(1, Ordering::Relaxed);
    LeaseToken((u128::from(random()) << 64) | u128::from(low))
}

fn random() -> u64 {
    // Every RandomState is seeded anew.
    RandomState::new().hash_one(0)
}

/// The value for a message, cut short when it is long.
fn brief(value: &(impl fmt::Debug + ?Sized)) -> String {
    const LIMIT: usize = 300;
    let text = format!("{value:?}");
    match text.char_indices().nth(LIMIT) {
        None => text,
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.len()),
    }
}

/// The future's outcome, with a panic as a failure.
async fn caught(future: impl Future<Output = Outcome>) -> Outcome {
    let mut future = pin!(future);
    std::future::poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(Failure::from_panic(&*panic))),
        },
    )
    .await
}
