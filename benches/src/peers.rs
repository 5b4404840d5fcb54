//! The caches that are compared, each in its documented best setting, as caches from `u64` to `u64`.

mod foyer;
mod lru;
mod moka;
mod ours;
mod quick_cache;
mod sieve;
mod stretto;
mod tinyufo;

/// A cache under test.
///
/// The loops are provided methods, so that each is compiled for its cache: one call through the trait object for many
/// operations.
pub trait Peer: Send + Sync {
    /// The value under `key`, which counts as a use.
    fn get(&self, key: u64) -> Option<u64>;

    /// Stores a value.
    fn insert(&self, key: u64, value: u64);

    /// How many entries the cache holds at this moment, whatever it says itself. True of a replay, where only absent
    /// keys are inserted, of a cache that was built to be counted.
    fn population(&self) -> usize;

    /// Lets the cache do now what it put off.
    fn settle(&self) {}

    /// Asks for every key and inserts what is missing; the number of hits.
    fn replay(&self, keys: &[u64]) -> u64 {
        let mut hits = 0;
        for &key in keys {
            if self.get(key).is_some() {
                hits += 1;
            } else {
                self.insert(key, key);
            }
        }
        hits
    }

    /// Asks for every key; the number of hits.
    fn get_all(&self, keys: &[u64]) -> u64 {
        keys.iter().filter(|&&key| self.get(key).is_some()).count() as u64
    }

    /// Inserts every fourth key and asks for the others; the number of hits.
    fn mix(&self, keys: &[u64]) -> u64 {
        let mut hits = 0;
        for (at, &key) in keys.iter().enumerate() {
            if at % 4 == 3 {
                self.insert(key, key);
            } else {
                hits += u64::from(self.get(key).is_some());
            }
        }
        hits
    }
}

/// A replay of a cache that works behind its caller's back, waited for every few accesses.
fn settled_replay(peer: &impl Peer, keys: &[u64], every: usize) -> u64 {
    let mut hits = 0;
    for chunk in keys.chunks(every) {
        for &key in chunk {
            if peer.get(key).is_some() {
                hits += 1;
            } else {
                peer.insert(key, key);
            }
        }
        peer.settle();
    }
    hits
}

/// A cache that can be built.
#[derive(Debug)]
pub struct Candidate {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    build: fn(Setting) -> Box<dyn Peer>,
}

/// What a cache is built with.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// How many entries it may hold.
    pub capacity: usize,
    /// The seed of its hash, for those that take one.
    pub seed: u64,
    /// Whether [`Peer::population`] will be asked for: some can only tell by counting what comes and goes.
    pub counted: bool,
}

impl Candidate {
    /// A new cache.
    #[must_use]
    pub fn build(&self, setting: Setting) -> Box<dyn Peer> {
        (self.build)(setting)
    }
}

/// Every cache there is.
pub static CANDIDATES: &[Candidate] = &[
    Candidate {
        name: "cacheme",
        about: "cacheme_storage::TinyLfu",
        build: ours::tlfu,
    },
    Candidate {
        name: "cacheme_lru",
        about: "cacheme_storage::Lru",
        build: ours::lru,
    },
    Candidate {
        name: "lru",
        about: "lru, which is exact, under one lock",
        build: lru::build,
    },
    Candidate {
        name: "moka",
        about: "moka::sync, left alone",
        build: moka::left_alone,
    },
    Candidate {
        name: "moka_sync16",
        about: "moka::sync, settled every 16 accesses",
        build: moka::settled,
    },
    Candidate {
        name: "mini_moka",
        about: "mini_moka::sync",
        build: moka::mini,
    },
    Candidate {
        name: "quick_cache",
        about: "quick_cache::sync",
        build: quick_cache::build,
    },
    Candidate {
        name: "quick_cache_held",
        about: "the same with its shards rounded down, so that it keeps its capacity",
        build: quick_cache::held,
    },
    Candidate {
        name: "foyer_lfu",
        about: "foyer in memory, w-TinyLFU",
        build: foyer::lfu,
    },
    Candidate {
        name: "foyer_s3fifo",
        about: "foyer in memory, S3-FIFO",
        build: foyer::s3fifo,
    },
    Candidate {
        name: "sieve",
        about: "sieve_cache, sharded",
        build: sieve::build,
    },
    Candidate {
        name: "stretto",
        about: "stretto, settled every 256 accesses of a replay",
        build: stretto::build,
    },
    Candidate {
        name: "tinyufo",
        about: "TinyUFO",
        build: tinyufo::build,
    },
];

/// The cache of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Candidate> {
    CANDIDATES.iter().find(|candidate| candidate.name == name)
}
