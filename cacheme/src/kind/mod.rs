//! A kind of node in one instance: its policy with the storages found, its flights and its counters.

mod marks;

pub(crate) mod copies;
pub(crate) mod dynamic;
pub(crate) mod found;
pub(crate) mod not_stored;
pub(crate) mod pending;
pub(crate) mod pieces;
pub(crate) mod releases;
pub(crate) mod shards;
pub(crate) mod stats;
pub(crate) mod storages;
pub(crate) mod table;
pub(crate) mod tier;
pub(crate) mod unreached;

use std::any::TypeId;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use self::marks::Marks;
use crate::counter::count;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::flight::outcome::Failure;
use crate::flight::outcome::Outcome;
use crate::flight::{Flight, FlightTable, Joined};
use crate::kind::not_stored::NotStored;
use crate::kind::stats::{NodeCounters, NodeStats};
use crate::kind::table::{AnyKind, Find, KindId, Registration};
use crate::kind::tier::{LocalTier, RemoteTier, Tier, TierBase};
use crate::log_limiter::LogLimiter;
use crate::node::Node;
use crate::node::key::KeyWriter;
use crate::node::policy::{NodeInfo, Policy, ValuePolicy};
use cacheme_storage::{BloomFilter, BoxError, Bytes, Chain, CodecError, DecodeError, SmallBox};

/// A flight of a kind, as its waiters hold it.
pub(crate) type SharedFlight<N> = Arc<Flight<Outcome<<N as Node>::Value>>>;

/// A value with the life it has left; `None` is for ever.
pub(crate) type Living<V> = (SmallBox<V>, Option<Duration>);

pub(crate) struct Kind<N: Node> {
    pub(crate) info: NodeInfo,
    /// How values are encoded and weighed.
    values: ValuePolicy<N::Value>,
    pub(crate) tiers: Vec<Tier>,
    /// The tier on whose bus changes are published: the nearest that has one.
    pub(crate) bus: Option<Arc<RemoteTier>>,
    pub(crate) flights: Arc<FlightTable<Outcome<N::Value>>>,
    pub(crate) counters: Arc<NodeCounters>,
    /// The keys that were loaded lately, where values are stored only when their keys come back.
    doorkeeper: Option<BloomFilter>,
    /// Values that could not be written or read.
    value_log: LogLimiter,
    /// Loads that failed.
    load_log: LogLimiter,
    /// Names the kind to other processes: its template, whatever its version.
    pub(crate) template: Digest,
    /// Which copies in local tiers count as absent.
    pub(crate) marks: Marks,
    /// `prefix:`, with which every full key starts.
    pub(crate) start: Box<str>,
    /// `:version`, with which every full key ends.
    pub(crate) end: Box<str>,
    /// Why nothing can be loaded: the instance lacks state that its loader needs.
    pub(crate) missing_state: Option<Error>,
    /// Another kind has taken its place.
    is_retired: AtomicBool,
    /// That kind. Locked while it is made.
    successor: Mutex<Weak<Self>>,
    /// For a kind that can go away: the registration that ends with it.
    registration: Option<Registration>,
}

/// How many of the keys that come once pass a doorkeeper that is about to forget. Fewer would cost more bits and gain
/// nothing: a key that passes costs no more than every key does without a doorkeeper.
const DOORKEEPER_FALSE_POSITIVES: f64 = 0.01;

impl<N: Node> Kind<N> {
    pub(crate) fn id(node: &N) -> KindId {
        KindId {
            node: TypeId::of::<N>(),
            dynamic: node.dynamic_kind().map_or(0, |kind| kind.id()),
        }
    }

    pub(crate) fn new(policy: Policy<N::Value>, prefix: &str, find: &Find<'_>) -> Result<Self> {
        policy.info.validate()?;
        let (start, end) = around_key(prefix, &policy.info.version);
        Self::build(policy, (start, end), find, None)
    }

    /// A kind with these parts around its keys. With an `older` one, it takes the place of that.
    fn build(
        policy: Policy<N::Value>,
        (start, end): (Box<str>, Box<str>),
        find: &Find<'_>,
        older: Option<&Self>,
    ) -> Result<Self> {
        let Policy { info, values } = policy;
        let tiers = info.tiers.iter().map(|tier| {
            let found = find(&info, &tier.storage).ok_or_else(|| info.not_registered(&tier.storage))?;
            let mut tiers = older.iter().flat_map(|older| &older.tiers);
            let older = tiers.find(|older| older.base().name == tier.storage);
            Tier::new(tier, &info, found, older)
        });
        let tiers = tiers.collect::<Result<Vec<_>>>()?;
        let tiers: Vec<Tier> = tiers.into_iter().flatten().collect();
        let bus = tiers
            .iter()
            .filter_map(Tier::any_remote)
            .find(|tier| tier.bus.is_some());
        let bus = bus.cloned();
        let template = info.template_digest();
        let doorkeeper = info
            .doorkeeper
            .map(|keys| BloomFilter::new(keys, DOORKEEPER_FALSE_POSITIVES));
        Ok(Self {
            info,
            doorkeeper,
            values,
            tiers,
            bus,
            // The same table: a change fences flights of both, and waits for their writes.
            flights: older.map_or_else(FlightTable::new, |older| Arc::clone(&older.flights)),
            counters: older.map_or_else(Arc::default, |older| Arc::clone(&older.counters)),
            value_log: LogLimiter::default(),
            load_log: LogLimiter::default(),
            // Copies that an earlier kind of this name and type left behind have missed the changes since.
            marks: Marks::new(),
            template,
            start,
            end,
            missing_state: None,
            is_retired: AtomicBool::new(false),
            successor: Mutex::default(),
            registration: None,
        })
    }

    /// Makes it a kind that nothing is loaded for, if its loader needs state that is missing.
    pub(crate) fn without_state(mut self, missing: Option<Error>) -> Self {
        self.missing_state = missing;
        self
    }

    /// The kind that has taken the place of this one, if one has. A change that ends after that is made there too.
    pub(crate) fn successor(&self) -> Option<Arc<Self>> {
        self.is_retired()
            .then(|| self.successor.lock().upgrade())
            .flatten()
    }

    /// Whether another kind has taken its place.
    pub(crate) fn is_retired(&self) -> bool {
        // A flight that began after the marks of the other kind were made sees it.
        fence(Ordering::Acquire);
        self.is_retired.load(Ordering::Relaxed)
    }

    /// Makes it a kind that can go away.
    pub(crate) fn registered(mut self, registration: Registration) -> Self {
        self.registration = Some(registration);
        self
    }

    /// `prefix:key:version`, on the stack.
    pub(crate) fn full_key(&self, node: &N) -> KeyWriter {
        let mut key = KeyWriter::new();
        self.write_full_key(node, &mut key);
        key
    }

    /// Writes `prefix:key:version` into the caller's buffer, so that a hit need not move the key.
    #[inline]
    pub(crate) fn write_full_key(&self, node: &N, key: &mut KeyWriter) {
        self.write_full_key_by(|key| node.write_key(key), key);
    }

    /// Writes `prefix:key:version` around the key that `write_key` writes.
    #[inline]
    pub(crate) fn write_full_key_by(&self, write_key: impl FnOnce(&mut KeyWriter), key: &mut KeyWriter) {
        key.literal(&self.start);
        write_key(key);
        key.literal(&self.end);
    }

    /// A full key of this kind without prefix and version, as it is published to other processes.
    pub(crate) fn key_within<'k>(&self, full: &'k [u8]) -> &'k [u8] {
        &full[self.start.len()..full.len() - self.end.len()]
    }

    /// How long `value` may live whatever the tiers say: as its loader says, and no longer than the node's `negative_ttl` if
    /// it stands for "there is none".
    pub(crate) fn life(&self, value: &N::Value, said: Option<Duration>) -> Option<Duration> {
        let negative = self.info.negative_ttl.filter(|_| self.values.is_absent(value));
        said.into_iter().chain(negative).min()
    }

    /// Whether the value just loaded for this key is to be stored: with a doorkeeper, not the first one.
    pub(crate) fn admits(&self, key: &[u8]) -> bool {
        self.doorkeeper.as_ref().is_none_or(|seen| !seen.insert(key))
    }

    /// The local tiers, from the nearest on.
    pub(crate) fn locals(&self) -> impl DoubleEndedIterator<Item = &LocalTier> {
        self.tiers.iter().filter_map(Tier::local)
    }

    /// The remote tiers with their places, from the nearest on.
    pub(crate) fn remotes(&self) -> impl DoubleEndedIterator<Item = (usize, &Arc<RemoteTier>)> {
        let tiers = self.tiers.iter().enumerate();
        tiers.filter_map(|(at, tier)| Some((at, tier.remote()?)))
    }

    /// All remote tiers, which are those that changes are sent to, from the nearest on.
    pub(crate) fn all_remotes(&self) -> impl DoubleEndedIterator<Item = &Arc<RemoteTier>> {
        self.tiers.iter().filter_map(Tier::any_remote)
    }

    /// The local tiers behind this one, if it is remote. Their copies are older than the value found there, and must not be found after it.
    pub(crate) fn local_behind(&self, at: usize) -> impl Iterator<Item = &LocalTier> {
        let behind = match &self.tiers[at] {
            Tier::Local(_) | Tier::Off(_) => &[],
            Tier::Remote(_) => &self.tiers[at + 1..],
        };
        behind.iter().filter_map(Tier::local)
    }

    /// Whether a value can be copied from a remote tier to a nearer one that has no leases.
    pub(crate) fn copies_unguarded(&self) -> bool {
        let mut remotes = self.remotes();
        remotes.any(|(_, remote)| remote.lease.is_none()) && remotes.next().is_some()
    }

    /// Whether leases keep values that are out of date from every remote tier.
    pub(crate) fn is_guarded(&self) -> bool {
        self.remotes().all(|(_, remote)| remote.lease.is_some())
    }

    /// How long writing to all tiers may take.
    pub(crate) fn storing_patience(&self) -> Duration {
        self.all_remotes().map(|remote| remote.timeout * 2).sum()
    }

    /// The bytes of a value for a remote tier; counted and logged if it has none.
    pub(crate) fn encode(
        &self,
        tier: &RemoteTier,
        key: &[u8],
        value: &N::Value,
        created_ms: u64,
        expires_ms: Option<u64>,
    ) -> std::result::Result<Bytes, NotStored> {
        let codec = self.values.codec();
        codec
            .encode_within(tier.largest_value, value, created_ms, expires_ms)
            .map_err(|why| {
                self.undecodable(&tier.base, key, &why);
                NotStored::of_codec(&why)
            })
    }

    /// The value in `bytes` from a remote tier, and the life it has left at `now_ms` by the server's clock; `None`, counted if
    /// it is not ours to read.
    pub(crate) fn decode(
        &self,
        tier: &RemoteTier,
        key: &[u8],
        bytes: &[u8],
        now_ms: u64,
    ) -> Option<Living<N::Value>> {
        match self.decode_at(tier.largest_value, bytes, now_ms) {
            Ok(found) => found,
            Err(why) => {
                self.undecodable(&tier.base, key, &why);
                None
            }
        }
    }

    /// The value in `bytes` and the life it has left; `Ok(None)` for a value that has expired. It counts nothing.
    pub(crate) fn decode_at(
        &self,
        largest: usize,
        bytes: &[u8],
        now_ms: u64,
    ) -> std::result::Result<Option<Living<N::Value>>, DecodeError> {
        let decoded = self.values.codec().decode_boxed(largest, bytes)?;
        let left = match decoded.expires_ms {
            None => None,
            Some(expires) => match expires.checked_sub(now_ms) {
                None | Some(0) => return Ok(None),
                Some(left) => Some(Duration::from_millis(left)),
            },
        };
        Ok(Some((decoded.value, left)))
    }

    /// Joins the flight for `key`, to wait for it, or begins it; counts a caller that joins.
    pub(crate) fn join(&self, key: &[u8], patience: tokio::time::Instant) -> Joined<Outcome<N::Value>> {
        let joined = self.flights.join(key, patience);
        if let Joined::Wait { flight, .. } = &joined {
            count(&self.counters.joined, 1);
            flight.want();
        }
        joined
    }

    /// Joins or begins the flights for the keys of a bulk call, in their order; counts those that it joins.
    pub(crate) fn join_all<'k>(
        &self,
        keys: impl ExactSizeIterator<Item = &'k [u8]>,
        patience: tokio::time::Instant,
    ) -> Vec<Joined<Outcome<N::Value>>> {
        let joined = self.flights.join_all(keys, patience);
        self.count_joined(joined.iter().filter_map(|joined| match joined {
            Joined::Wait { flight, ours: false } => Some(flight),
            _ => None,
        }));
        joined
    }

    /// Joins those keys of a bulk call whose flights are under way: takes them out of `numbers`, and gives the flights.
    pub(crate) fn join_existing<'k>(
        &self,
        numbers: &mut Vec<usize>,
        key: impl Fn(usize) -> &'k [u8],
    ) -> Vec<(usize, SharedFlight<N>)> {
        let joined = self.flights.join_existing(numbers, key);
        self.count_joined(joined.iter().map(|(_, flight)| flight));
        joined
    }

    /// Counts flights that a bulk call joined. A key that is named again joins its flight once.
    fn count_joined<'f>(&self, flights: impl Iterator<Item = &'f SharedFlight<N>>)
    where
        N: 'f,
    {
        let mut flights: Vec<_> = flights.map(Arc::as_ptr).collect();
        flights.sort_unstable();
        flights.dedup();
        count(&self.counters.joined, flights.len());
    }

    /// Counts a load and how it ended; logs failures.
    pub(crate) fn loaded(&self, key: &[u8], failure: Option<&Failure>) {
        count(&self.counters.loads, 1);
        let Some(failure) = failure else {
            if let Some(over) = self.load_log.works() {
                tracing::info!(node = %self.info.name, trouble = %over, "loads work again");
            }
            return;
        };
        count(&self.counters.load_failures, 1);
        self.log_load(key, failure);
    }

    /// Logs a load that goes on for longer than others wait for it.
    pub(crate) fn overdue(&self, key: &[u8]) {
        let bound = self.info.load_timeout;
        self.log_load(
            key,
            &format_args!("it goes on for longer than {bound:?}; others no longer wait for it"),
        );
    }

    fn log_load(&self, key: &[u8], reason: &dyn std::fmt::Display) {
        if let Some(trouble) = self.load_log.trouble() {
            tracing::warn!(
                node = %self.info.name,
                key = %String::from_utf8_lossy(key),
                %reason,
                %trouble,
                "a load failed",
            );
        }
    }

    /// Counts a value that a tier did not store, and logs it with its key.
    pub(crate) fn not_stored(&self, tier: &TierBase, key: &[u8], reason: NotStored) {
        tier.counters.not_stored.count(reason);
        tracing::debug!(
            node = %self.info.name,
            storage = %tier.name,
            key = %String::from_utf8_lossy(key),
            %reason,
            "a value was not stored",
        );
    }

    /// Counts and logs a value that could not be read or written.
    pub(crate) fn undecodable(&self, tier: &TierBase, key: &[u8], why: &(dyn std::error::Error + 'static)) {
        count(&tier.counters.undecodable, 1);
        if let Some(trouble) = self.value_log.trouble() {
            tracing::warn!(
                node = %self.info.name,
                storage = %tier.name,
                key = %String::from_utf8_lossy(key),
                reason = %Chain(why),
                %trouble,
                "a value could not be decoded or encoded and counts as a miss",
            );
        }
    }
}

impl<N: Node> AnyKind for Kind<N> {
    fn info(&self) -> &NodeInfo {
        &self.info
    }

    fn remote_tiers(&self) -> Vec<Arc<RemoteTier>> {
        self.all_remotes().cloned().collect()
    }

    fn renewed(&self, find: &Find<'_>) -> Result<Arc<dyn AnyKind>> {
        let policy = Policy {
            info: self.info.clone(),
            values: self.values.clone(),
        };
        let around = (self.start.clone(), self.end.clone());
        let mut successor = self.successor.lock();
        // Before the new one is made: the marks of that make absent what this one has stored.
        self.is_retired.store(true, Ordering::SeqCst);
        self.flights.supersede_all_remotely(self.is_guarded());
        let mut newer = Self::build(policy, around, find, Some(self))?;
        newer.missing_state.clone_from(&self.missing_state);
        newer.registration = self.registration.as_ref().map(|known| known.again());
        let newer = Arc::new(newer);
        *successor = Arc::downgrade(&newer);
        Ok(newer)
    }

    fn stats(&self) -> NodeStats {
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        NodeStats {
            name: self.info.name.clone(),
            tiers: self.tiers.iter().map(Tier::stats).collect(),
            loads: load(&self.counters.loads),
            load_failures: load(&self.counters.load_failures),
            joined: load(&self.counters.joined),
            remote_invalidations: load(&self.counters.remote_invalidations),
            in_flight: self.flights.len(),
        }
    }

    fn check_serializer(&self) -> std::result::Result<(), CodecError> {
        self.values.check_serializer()
    }
}

/// The parts of a full key before and after the key: `prefix:key:version`.
pub(crate) fn around_key(prefix: &str, version: &str) -> (Box<str>, Box<str>) {
    (format!("{prefix}:").into(), format!(":{version}").into())
}

/// The error of a loader as [`Error`] keeps it.
pub(crate) fn load_error(key: &[u8], source: BoxError) -> Error {
    Error::Load {
        key: String::from_utf8_lossy(key).into_owned(),
        source: source.into(),
    }
}

/// Drops keys from the local tiers, back to front.
pub(crate) fn drop_nearby<N: Node>(kind: &Kind<N>, keys: &[impl AsRef<[u8]>]) {
    for tier in kind.locals().rev() {
        keys.iter().for_each(|key| _ = tier.storage.remove(key.as_ref()));
    }
}
