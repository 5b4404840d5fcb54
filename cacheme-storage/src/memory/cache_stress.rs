//! Eight threads do everything at once; what each may see is known without knowing the order.
//!
//! A value says under which key it was stored and when it has ended, and is counted while it lives. So whatever is read
//! must be of its key and must not have ended before the read began, and nothing may be dropped twice or kept for ever.
//! Bounds hold once all calls have returned.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::memory::Evicted;
use crate::memory::TinyLfuBuilder;

const KEYS: u64 = 300;
const STEPS: u64 = if cfg!(miri) { 100 } else { 10_000 };

struct Value {
    key: u64,
    /// Checked against what is computed from the key again: a torn or freed value would not match.
    seal: u64,
    /// A time at which it has ended for sure; [`NEVER`] until that is known, and without a ttl.
    ended: Arc<AtomicU64>,
    timed: bool,
    alive: Arc<AtomicI64>,
}

impl Value {
    fn new(key: u64, timed: bool, alive: &Arc<AtomicI64>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self {
            key,
            seal: seal(key, timed),
            ended: Arc::new(AtomicU64::new(NEVER)),
            timed,
            alive: Arc::clone(alive),
        }
    }

    fn check(&self, key: u64, began: u64) {
        assert_eq!((self.key, self.seal), (key, seal(key, self.timed)));
        let ended = self.ended.load(Ordering::SeqCst);
        assert!(began < ended, "ended at {ended}, read from {began} on");
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Self {
            key: self.key,
            seal: self.seal,
            ended: Arc::clone(&self.ended),
            timed: self.timed,
            alive: Arc::clone(&self.alive),
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        assert_eq!(self.seal, seal(self.key, self.timed));
        self.seal = 0;
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn seal(key: u64, timed: bool) -> u64 {
    (key ^ u64::from(timed) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn stress(builder: TinyLfuBuilder<u64, Value>, weighted: bool, capacities: &[usize]) {
    let alive = Arc::new(AtomicI64::new(0));
    let (stored, left) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let clock = Clock::manual();
    let heard = Arc::clone(&left);
    let cache = builder
        .clock(clock.clone())
        .on_evict(move |key, value, why| {
            assert_eq!((value.key, value.seal), (*key, seal(*key, value.timed)));
            assert!(why != Evicted::Expired || value.timed);
            heard.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    let start = Barrier::new(8);
    thread::scope(|scope| {
        for number in 1..=8u64 {
            let (cache, clock, alive, stored, start) = (&cache, &clock, &alive, &stored, &start);
            scope.spawn(move || {
                let mut state = number * 0x1234_5678_9abc_def1;
                start.wait();
                for _ in 0..STEPS {
                    let dice = random(&mut state);
                    // Half of the work on an eighth of the keys.
                    let key = if dice & 1 == 0 {
                        (dice >> 32) % KEYS
                    } else {
                        (dice >> 32) % (KEYS / 8)
                    };
                    let began = clock.now();
                    match (dice >> 8) % 1000 {
                        0..500 => {
                            if let Some(value) = cache.get(&key) {
                                value.check(key, began);
                            }
                        }
                        500..600 => {
                            cache.read(&key, |value| value.check(key, began));
                        }
                        600..620 => {
                            if let Some((value, life)) = cache.entry(&key) {
                                value.check(key, began);
                                assert_eq!(life.is_some(), value.timed);
                            }
                        }
                        620..800 => {
                            stored.fetch_add(1, Ordering::Relaxed);
                            if !cache.insert(key, Value::new(key, false, alive)) {
                                stored.fetch_sub(1, Ordering::Relaxed);
                            }
                        }
                        800..900 => {
                            let ttl = (dice >> 24) % 2000;
                            let value = Value::new(key, true, alive);
                            let ended = Arc::clone(&value.ended);
                            stored.fetch_add(1, Ordering::Relaxed);
                            if !cache.insert_with_ttl(key, value, Duration::from_nanos(ttl)) {
                                stored.fetch_sub(1, Ordering::Relaxed);
                            }
                            ended.store(clock.now() + ttl, Ordering::SeqCst);
                        }
                        900..970 => {
                            cache.remove(&key);
                        }
                        970..990 => clock.advance(Duration::from_nanos(dice >> 60)),
                        990..994 => cache.sweep(),
                        994..996 => cache.iter().for_each(|(key, value)| value.check(key, began)),
                        996..998 => {
                            cache.resize(capacities[(dice >> 24) as usize % capacities.len()]);
                        }
                        998 => cache.clear(),
                        _ => {
                            assert!(cache.len() <= KEYS as usize);
                            cache.contains(&key);
                        }
                    }
                }
            });
        }
    });
    assert!(cache.weight() <= cache.capacity() as u64);
    let (stored, heard) = (stored.load(Ordering::Relaxed), left.load(Ordering::Relaxed));
    let accounted = heard + cache.len() as u64;
    // What was stored in the place of a lighter entry and could not stay is told of, and counts as not stored.
    assert!(
        accounted == stored || weighted && accounted > stored,
        "{stored} stored, {accounted} left or there"
    );
    assert_eq!(
        alive.load(Ordering::Relaxed),
        cache.len() as i64,
        "copies and entries are dropped once"
    );
    let rest = cache.len() as u64;
    cache.clear();
    assert_eq!(left.load(Ordering::Relaxed), heard + rest);
    assert_eq!((cache.len(), alive.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn eight_threads_see_only_what_was_stored_and_has_not_ended() {
    stress(TinyLfu::builder(100), false, &[0, 1, 2, 50, 100, 100, 100, 200]);
}

#[test]
fn eight_threads_on_several_shards() {
    stress(TinyLfu::builder(100).shards(4), false, &[0, 3, 64, 100, 100]);
}

#[test]
fn eight_threads_on_a_weighted_cache() {
    let weigh = |key: &u64, value: &Value| *key as u32 % 7 + u32::from(value.timed);
    stress(TinyLfu::builder(200).weigh(weigh), true, &[0, 5, 200, 200, 500]);
}
