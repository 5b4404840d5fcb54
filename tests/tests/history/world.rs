//! The source, and what is written down of everything that happens.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cacheme::{BoxError, Load, LoadContext, Node, Policy};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::random::Random;

/// Keys of each kind of chain.
pub(crate) const KEYS: usize = 3;
pub(crate) const ALL_KEYS: usize = Alone::FIRST + KEYS;
pub(crate) const SHORT_TTL: Duration = Duration::from_millis(40);
pub(crate) const LONG_TTL: Duration = Duration::from_millis(150);
pub(crate) const LEASE: Duration = Duration::from_millis(60);

/// What a loader panics with now and then.
pub(crate) const BUG: &str = "a loader with a bug";

/// A moment: its place in the order of all that is written down, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) tick: u64,
    pub(crate) time: Duration,
}

/// A cached value: tells where it comes from, also to who sees only its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp([u8; 16]);

const MARK: [u8; 8] = *b"\xF1history";

impl Stamp {
    fn new(origin: usize) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&MARK);
        bytes[8..].copy_from_slice(&(origin as u64).to_be_bytes());
        Self(bytes)
    }

    pub(crate) fn origin(&self) -> usize {
        u64::from_be_bytes(*self.0.last_chunk().expect("it is longer")) as usize
    }

    /// The origin of the stamp somewhere in these bytes.
    pub(crate) fn find(bytes: &[u8]) -> Option<usize> {
        let at = bytes.windows(8).position(|window| window == MARK)?;
        let number = bytes[at + 8..].first_chunk()?;
        Some(u64::from_be_bytes(*number) as usize)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Loaded,
    Set,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) key: usize,
    pub(crate) process: usize,
    pub(crate) made: Made,
    /// When the load or the `set` began.
    pub(crate) begin: At,
    /// `None` for one that did not come to its end.
    pub(crate) end: Option<At>,
    /// Of the source, when it was read.
    pub(crate) version: u64,
}

/// A read that gave a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) process: usize,
    pub(crate) key: usize,
    pub(crate) origin: usize,
    pub(crate) begin: At,
    pub(crate) end: At,
}

/// An `invalidate`, `set` or `refresh` that succeeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) what: &'static str,
    pub(crate) process: usize,
    pub(crate) key: usize,
    pub(crate) begin: At,
    pub(crate) end: At,
}

/// A process saw a value in the remote storage, or put it there, or tried to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    pub(crate) process: usize,
    pub(crate) origin: usize,
    pub(crate) begin: At,
    pub(crate) end: At,
    pub(crate) what: Seen,
}

/// What was to be seen of a value in the remote storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Found,
    Stored,
    /// The lease was gone.
    Refused,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) origins: Vec<Origin>,
    pub(crate) reads: Vec<Read>,
    pub(crate) writes: Vec<Write>,
    pub(crate) contacts: Vec<Contact>,
    /// How much later than it happened something may be written down.
    pub(crate) grace: Duration,
    /// How long after a write all other processes have heard of it, where they all do.
    pub(crate) told_within: Option<Duration>,
}

impl Log {
    /// What happened to a key, by the time when it was over.
    pub(crate) fn story(&self, key: usize) -> String {
        let mut lines = Vec::new();
        let mut line = |begin: At, end: At, text: String| {
            lines.push((
                end,
                format!(
                    "{:>5}–{:<5} {:>7.2?} to {:<7.2?} {text}",
                    begin.tick, end.tick, begin.time, end.time
                ),
            ));
        };
        for (number, origin) in self
            .origins
            .iter()
            .enumerate()
            .filter(|(_, origin)| origin.key == key)
        {
            let text = format!(
                "process {} {:?} value {number} of version {}",
                origin.process, origin.made, origin.version
            );
            line(origin.begin, origin.end.unwrap_or(origin.begin), text);
        }
        for read in self.reads.iter().filter(|read| read.key == key) {
            let text = format!("process {} read value {}", read.process, read.origin);
            line(read.begin, read.end, text);
        }
        for write in self.writes.iter().filter(|write| write.key == key) {
            line(
                write.begin,
                write.end,
                format!("process {} {}", write.process, write.what),
            );
        }
        for contact in &self.contacts {
            if self.origins[contact.origin].key == key {
                let text = format!(
                    "process {} {:?} value {} remotely",
                    contact.process, contact.what, contact.origin
                );
                line(contact.begin, contact.end, text);
            }
        }
        lines.sort_by_key(|(end, _)| *end);
        let lines: Vec<String> = lines.into_iter().map(|(_, text)| text).collect();
        lines.join("\n")
    }
}

/// The source with its versions, and the log.
#[derive(Debug)]
pub(crate) struct World {
    start: Instant,
    ticks: AtomicU64,
    versions: Vec<AtomicU64>,
    /// Held by who changes a key: its source has one writer at a time.
    pub(crate) writers: Vec<tokio::sync::Mutex<()>>,
    log: Mutex<Log>,
    random: Mutex<Random>,
}

impl World {
    pub(crate) fn new(random: Random, grace: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            ticks: AtomicU64::new(0),
            versions: (0..ALL_KEYS).map(|_| AtomicU64::new(0)).collect(),
            writers: (0..ALL_KEYS).map(|_| tokio::sync::Mutex::default()).collect(),
            log: Mutex::new(Log {
                grace,
                ..Log::default()
            }),
            random: Mutex::new(random),
        })
    }

    pub(crate) fn now(&self) -> At {
        At {
            tick: self.ticks.fetch_add(1, Ordering::SeqCst),
            time: self.start.elapsed(),
        }
    }

    pub(crate) fn log(&self) -> parking_lot::MutexGuard<'_, Log> {
        self.log.lock()
    }

    pub(crate) fn random(&self) -> Random {
        self.random.lock().fork()
    }

    /// Changes the source.
    pub(crate) fn change(&self, key: usize) -> u64 {
        self.versions[key].fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A value that is about to be `set`.
    pub(crate) fn stamp(&self, process: usize, key: usize, version: u64) -> Stamp {
        let begin = self.now();
        self.begin(Origin {
            key,
            process,
            made: Made::Set,
            begin,
            end: None,
            version,
        })
    }

    fn begin(&self, origin: Origin) -> Stamp {
        let mut log = self.log();
        log.origins.push(origin);
        Stamp::new(log.origins.len() - 1)
    }

    pub(crate) fn end(&self, stamp: &Stamp) {
        let end = self.now();
        self.log().origins[stamp.origin()].end = Some(end);
    }
}

/// The source does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered;

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the source does not answer")
    }
}

impl std::error::Error for Unanswered {}

/// A chain of tiers.
pub(crate) trait Chain: Clone + Send + Sync + 'static {
    const NAME: &'static str;
    /// The number of its first key.
    const FIRST: usize;
    const TIERS: &'static [(&'static str, Duration)];
}

/// How long a process may keep a copy of this key.
pub(crate) fn life_of_copies(key: usize) -> Duration {
    match key {
        Far::FIRST..Behind::FIRST => Duration::ZERO,
        Behind::FIRST..Deep::FIRST => LONG_TTL,
        _ => SHORT_TTL,
    }
}

const LOCAL: (&str, Duration) = ("local", SHORT_TTL);
const REMOTE: (&str, Duration) = ("remote", LONG_TTL);

/// A local tier before the shared one.
#[derive(Clone, Debug)]
pub(crate) struct Near;
/// The shared tier only.
#[derive(Clone, Debug)]
pub(crate) struct Far;
/// A local tier behind the shared one.
#[derive(Clone, Debug)]
pub(crate) struct Behind;
/// Two shared tiers, of which the nearer forgets sooner, behind a local one.
#[derive(Clone, Debug)]
pub(crate) struct Deep;
/// A local tier only.
#[derive(Clone, Debug)]
pub(crate) struct Alone;

impl Chain for Near {
    const NAME: &'static str = "near";
    const FIRST: usize = 0;
    const TIERS: &'static [(&'static str, Duration)] = &[LOCAL, REMOTE];
}

impl Chain for Far {
    const NAME: &'static str = "far";
    const FIRST: usize = Near::FIRST + KEYS;
    const TIERS: &'static [(&'static str, Duration)] = &[REMOTE];
}

impl Chain for Behind {
    const NAME: &'static str = "behind";
    const FIRST: usize = Far::FIRST + KEYS;
    // What lies behind is there longest.
    const TIERS: &'static [(&'static str, Duration)] = &[("remote", SHORT_TTL), ("local", LONG_TTL)];
}

impl Chain for Deep {
    const NAME: &'static str = "deep";
    const FIRST: usize = Behind::FIRST + KEYS;
    const TIERS: &'static [(&'static str, Duration)] =
        &[("local", SHORT_TTL), ("remote", SHORT_TTL), ("deep", LONG_TTL)];
}

impl Chain for Alone {
    const NAME: &'static str = "alone";
    const FIRST: usize = Deep::FIRST + KEYS;
    const TIERS: &'static [(&'static str, Duration)] = &[LOCAL];
}

/// A key as one process asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Entry<C> {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) key: usize,
    pub(crate) chain: PhantomData<C>,
}

impl<C: Chain> Node for Entry<C> {
    type Value = Stamp;

    fn policy(&self) -> Policy<Stamp> {
        let policy = Policy::new(C::NAME, format!("{}:{{key}}", C::NAME));
        let tiers = C::TIERS.iter();
        tiers
            .fold(policy, |policy, (storage, ttl)| policy.tier(*storage, Some(*ttl)))
            .lease(Some(LEASE))
            .load_timeout(Duration::from_millis(400))
            .serializer(cacheme::Bincode)
    }

    fn write_key(&self, key: &mut cacheme::KeyWriter) {
        key.literal(C::NAME);
        key.literal(":");
        key.part(&(self.key as u64));
    }
}

impl<C: Chain> Load for Entry<C> {
    async fn load(&self, _: &mut LoadContext<Self>) -> Result<Stamp, BoxError> {
        if self.world.random().percent(3) {
            panic!("{BUG}");
        }
        Ok(self.load_for_itself().await?)
    }
}

impl<C: Chain> Entry<C> {
    /// Reads the source, as the load of a memoized function does.
    pub(crate) async fn load_for_itself(&self) -> Result<Stamp, Unanswered> {
        let world = &self.world;
        let mut random = world.random();
        let begin = world.now();
        // Now and then longer than a lease.
        let most = Duration::from_millis(if random.percent(5) { 90 } else { 8 });
        sleep(random.pause(most)).await;
        let version = world.versions[self.key].load(Ordering::SeqCst);
        sleep(random.pause(most)).await;
        if random.percent(8) {
            return Err(Unanswered);
        }
        let stamp = world.begin(Origin {
            key: self.key,
            process: self.process,
            made: Made::Loaded,
            begin,
            end: None,
            version,
        });
        world.end(&stamp);
        Ok(stamp)
    }
}
