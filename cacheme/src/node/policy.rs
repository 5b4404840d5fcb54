//! The policy of a kind of node, and its description.

use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::node::key::{KeyForm, Template};
use cacheme_storage::{Codec, CodecError, Serializer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The policy of a kind of node: how its values are named, where they are kept and for how long.
///
/// `#[derive(Node)]` writes it from the `#[node(…)]` attribute; a hand-written [`Node`](crate::Node) builds it:
///
/// ```
/// use std::time::Duration;
/// use cacheme::{MsgPack, Policy};
///
/// let policy: Policy<String> = Policy::new("GreetingNode", "greeting:{name}")
///     .version("v2")
///     .tier("local", Some(Duration::from_secs(30)))
///     .tier("my-redis", Some(Duration::from_secs(600)))
///     .serializer(MsgPack);
/// assert_eq!(policy.info().tiers.len(), 2);
/// ```
pub struct Policy<V> {
    pub(crate) info: NodeInfo,
    pub(crate) values: ValuePolicy<V>,
}

/// The part of a policy that knows the type of the values.
#[derive(Clone)]
pub(crate) struct ValuePolicy<V> {
    codec: Option<Codec<V>>,
    /// Whether a value stands for "there is none", where such values have a ttl of their own.
    is_absent: Option<fn(&V) -> bool>,
    /// The weight of a value in local storages whose capacity is a weight.
    weigh: Option<fn(&V) -> u32>,
}

/// A type with a value that stands for "there is none", such as `Option`.
///
/// [`negative_ttl`](Policy::negative_ttl) is for such values. Implement it for a type of your own that has one.
#[diagnostic::on_unimplemented(
    message = "`negative_ttl` is for values that can be absent, and `{Self}` cannot",
    label = "not a `MaybeAbsent`",
    note = "let the node cache an `Option`, or implement `cacheme::MaybeAbsent` for `{Self}`"
)]
pub trait MaybeAbsent {
    /// Whether this value stands for "there is none".
    fn is_absent(&self) -> bool;
}

impl<T> MaybeAbsent for Option<T> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: MaybeAbsent> MaybeAbsent for std::sync::Arc<T> {
    fn is_absent(&self) -> bool {
        (**self).is_absent()
    }
}

/// A kind of node as [`nodes`](crate::Cacheme::nodes) lists it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The name of the node's type, or of the [`DynamicNode`](crate::DynamicNode).
    pub name: Cow<'static, str>,
    /// The key with `{field}` in place of its fields.
    pub key: Cow<'static, str>,
    /// The version, last part of the full key.
    pub version: Cow<'static, str>,
    /// The chain, nearest tier first.
    pub tiers: Vec<Tier>,
    /// How long a load may take, and how long waiters wait for a leader that is never polled.
    pub load_timeout: Duration,
    /// How long the lease of a load lasts; `None` is no leases.
    pub lease: Option<Duration>,
    /// How long a value that stands for "there is none" lives at most; `None` is as long as others.
    pub negative_ttl: Option<Duration>,
    /// The share, 0 to 1, by which a ttl is shortened at most, at random.
    pub ttl_jitter: f64,
    /// The number of keys among which one must come back before its value is stored; `None` stores every value.
    pub doorkeeper: Option<usize>,
    /// Whether the kind has a serializer, which remote tiers need.
    pub serializable: bool,
    /// The types of the application's state that its loader needs.
    pub(crate) state: Vec<StateType>,
    /// Whether a local storage is made where nobody has registered `local`.
    pub(crate) default_local: bool,
    /// The forms of the fields of the key, in their order. A field without one may be anything.
    pub(crate) forms: Vec<KeyForm>,
}

/// A type of the application's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateType {
    pub(crate) id: TypeId,
    pub(crate) name: &'static str,
}

impl StateType {
    pub(crate) fn of<T: 'static>() -> Self {
        Self {
            id: TypeId::of::<T>(),
            name: std::any::type_name::<T>(),
        }
    }
}

/// One tier of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tier {
    /// The name under which the storage is registered.
    pub storage: Cow<'static, str>,
    /// How long a value lives there; `None` is for ever.
    pub ttl: Option<Duration>,
}

/// The name of the local storage that is made where nobody has registered one.
pub(crate) const DEFAULT_LOCAL: &str = "local";

/// The longest time of a load or a lease. Times are added and multiplied, so they need a bound.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<V> Policy<V> {
    /// How long a load may take by default.
    pub const DEFAULT_LOAD_TIMEOUT: Duration = Duration::from_secs(30);

    /// How long a lease lasts by default: the time that the death of a loading process costs the others, once.
    pub const DEFAULT_LEASE: Duration = Duration::from_secs(5);

    /// A policy without tiers.
    ///
    /// `key` is the template of the key, with fields in braces. It is for listings and for [`check`](crate::Cacheme::check): of two kinds
    /// that can give one key in one version, neither works. Braces stand for any text that a field may have.
    pub fn new(name: impl Into<Cow<'static, str>>, key: impl Into<Cow<'static, str>>) -> Self {
        let info = NodeInfo {
            name: name.into(),
            key: key.into(),
            version: "v1".into(),
            tiers: Vec::new(),
            load_timeout: Self::DEFAULT_LOAD_TIMEOUT,
            lease: Some(Self::DEFAULT_LEASE),
            negative_ttl: None,
            ttl_jitter: 0.0,
            doorkeeper: None,
            serializable: false,
            state: Vec::new(),
            default_local: false,
            forms: Vec::new(),
        };
        let values = ValuePolicy {
            codec: None,
            is_absent: None,
            weigh: None,
        };
        Self { info, values }
    }

    /// Sets the version, by default `v1`. Another version is another full key: all values are loaded anew.
    #[must_use]
    pub fn version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.info.version = version.into();
        self
    }

    /// Adds a tier at the end of the chain.
    #[must_use]
    pub fn tier(mut self, storage: impl Into<Cow<'static, str>>, ttl: Option<Duration>) -> Self {
        self.info.tiers.push(Tier {
            storage: storage.into(),
            ttl,
        });
        self
    }

    /// Says that the loader needs a value of this type from the instance ([`LoadContext::state`](crate::LoadContext::state)).
    ///
    /// ```
    /// # use cacheme::Policy;
    /// # struct Db;
    /// let policy: Policy<String> = Policy::new("NameNode", "name:{id}").state::<Db>();
    /// ```
    #[must_use]
    pub fn state<T: 'static>(mut self) -> Self {
        self.info.state.push(StateType::of::<T>());
        self
    }

    /// Adds the tier of a memoized function without tiers: `local`, which is made where nobody has registered it.
    #[doc(hidden)]
    #[must_use]
    pub fn default_local(mut self, ttl: Duration) -> Self {
        self.info.default_local = true;
        self.tier(DEFAULT_LOCAL, Some(ttl))
    }

    /// Bounds a load, by default to [30 s](Self::DEFAULT_LOAD_TIMEOUT). A year is the longest bound.
    #[must_use]
    pub fn load_timeout(mut self, bound: Duration) -> Self {
        self.info.load_timeout = bound.min(LONGEST);
        self
    }

    /// Sets how long the lease of a load lasts, by default [5 s](Self::DEFAULT_LEASE). A year is the longest time.
    ///
    /// With `None`, processes that share a remote storage do not wait for each other.
    #[must_use]
    pub fn lease(mut self, time: Option<Duration>) -> Self {
        self.info.lease = time.map(|time| time.min(LONGEST));
        self
    }

    /// Shortens the ttl of each value by up to this share of itself, at random, in all tiers alike. By default none is shortened.
    ///
    /// Values that were stored together then do not expire together. `0.1` turns ten minutes into nine to ten. The ttl of a loader or of
    /// [`set_with_ttl`](crate::Cacheme::set_with_ttl) is shortened too.
    #[must_use]
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.info.ttl_jitter = share;
        self
    }

    /// Bounds the life of values that stand for "there is none", in every tier.
    ///
    /// A row that does not exist yet is then asked for again sooner than one that does.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cacheme::Policy;
    /// let policy: Policy<Option<String>> = Policy::new("NameNode", "name:{id}")
    ///     .tier("local", Some(Duration::from_secs(600)))
    ///     .negative_ttl(Duration::from_secs(5));
    /// ```
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self
    where
        V: MaybeAbsent,
    {
        self.info.negative_ttl = Some(ttl);
        self.values.is_absent = Some(V::is_absent);
        self
    }

    /// Stores a value only when its key is loaded for the second time.
    ///
    /// The first time, the value is returned and its key remembered, in about 10 bits. After `keys` of them the doorkeeper forgets all and
    /// begins anew. It is for nodes most of whose keys are asked for once: they then cost no write to a remote storage and no memory.
    ///
    /// A value that is [`set`](crate::Cacheme::set) or [refreshed](crate::Cacheme::refresh) is always stored, and a value that is found in
    /// a farther tier is kept in the nearer ones. One value in a hundred may be stored at its first load. Each process remembers its own
    /// loads.
    ///
    /// ```
    /// # use cacheme::Policy;
    /// let policy: Policy<String> = Policy::new("PageNode", "page:{path}")
    ///     .tier("my-redis", None)
    ///     .doorkeeper(100_000);
    /// ```
    #[must_use]
    pub fn doorkeeper(mut self, keys: usize) -> Self {
        self.info.doorkeeper = Some(keys);
        self
    }

    /// Sets the weight of a value in local storages whose capacity is a weight (`local://tlfu?weight=N`). The default weight is 1.
    ///
    /// Its unit is that of the capacity, as a rule bytes. Storages that count entries do not use it.
    ///
    /// ```
    /// # use cacheme::Policy;
    /// let policy: Policy<String> = Policy::new("PageNode", "page:{path}")
    ///     .tier("local", None)
    ///     .weigh(|page| u32::try_from(page.len()).unwrap_or(u32::MAX));
    /// ```
    #[must_use]
    pub fn weigh(mut self, weigh: fn(&V) -> u32) -> Self {
        self.values.weigh = Some(weigh);
        self
    }

    /// Sets the forms of the fields of the key, in their order. It is for generated code.
    #[doc(hidden)]
    #[must_use]
    pub fn key_forms(mut self, forms: impl Into<Vec<KeyForm>>) -> Self {
        self.info.forms = forms.into();
        self
    }

    /// The description of the policy, without the parts that know the type of the values.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }
}

impl<V: Serialize + DeserializeOwned + 'static> Policy<V> {
    /// Sets the serializer of values for remote tiers. Without one, no tier may be remote.
    #[must_use]
    pub fn serializer(mut self, serializer: impl Serializer) -> Self {
        let identity = self.info.normalised_key();
        self.info.serializable = true;
        self.values.codec = Some(Codec::new(serializer, identity));
        self
    }
}

impl<V> fmt::Debug for Policy<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("info", &self.info)
            .field("serializer", &self.values.codec.is_some())
            .finish()
    }
}

impl<V> ValuePolicy<V> {
    /// The codec of a kind that has remote tiers.
    pub(crate) fn codec(&self) -> &Codec<V> {
        self.codec
            .as_ref()
            .expect("a kind without a serializer has no remote tiers")
    }

    /// The name of the serializer.
    pub(crate) fn serializer(&self) -> Option<&str> {
        self.codec.as_ref().map(Codec::serializer)
    }

    /// Whether the serializer can read the values, as far as their type shows.
    pub(crate) fn check_serializer(&self) -> std::result::Result<(), CodecError> {
        self.codec.as_ref().map_or(Ok(()), Codec::check_type)
    }

    /// Whether `value` stands for "there is none", where such values have a ttl of their own.
    pub(crate) fn is_absent(&self, value: &V) -> bool {
        self.is_absent.is_some_and(|is_absent| is_absent(value))
    }

    /// The weight of `value` in local storages whose capacity is a weight.
    pub(crate) fn weight(&self, value: &V) -> u32 {
        self.weigh.map_or(1, |weigh| weigh(value))
    }
}

impl NodeInfo {
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |reason: String| {
            Err(Error::Policy {
                node: self.name.to_string(),
                reason,
            })
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if self.key.is_empty() {
            return wrong("its key is empty".into());
        }
        if self.version.is_empty() || !self.version.bytes().all(plain) {
            return wrong("its version must be letters, digits and `_ . -`, at least one".into());
        }
        for (at, tier) in self.tiers.iter().enumerate() {
            if tier.ttl == Some(Duration::ZERO) {
                return wrong(format!(
                    "its ttl on `{}` is zero, so nothing would be kept",
                    tier.storage
                ));
            }
            if self.tiers[..at]
                .iter()
                .any(|before| before.storage == tier.storage)
            {
                return wrong(format!("it has two tiers on `{}`", tier.storage));
            }
        }
        if self.load_timeout.is_zero() || self.lease == Some(Duration::ZERO) {
            return wrong("its load_timeout and lease must be longer than zero".into());
        }
        if self.negative_ttl == Some(Duration::ZERO) {
            return wrong("its negative_ttl is zero, so nothing would be kept".into());
        }
        if !(0.0..1.0).contains(&self.ttl_jitter) {
            return wrong("its ttl_jitter must be a share from 0 up to, but not including, 1".into());
        }
        if self.doorkeeper == Some(0) {
            return wrong("its doorkeeper remembers no key, so nothing would be kept".into());
        }
        Ok(())
    }

    /// The factor for the ttls of one value: 1, or less with `ttl_jitter`.
    pub(crate) fn spread(&self) -> f64 {
        use std::hash::{BuildHasher, RandomState};

        if self.ttl_jitter == 0.0 {
            return 1.0;
        }
        // Every `RandomState` has keys of its own. 53 bits are what an f64 holds.
        let random = (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64;
        1.0 - self.ttl_jitter * random
    }

    /// Whether the storage of a tier is made where nobody has registered it.
    pub(crate) fn makes(&self, tier: &Tier) -> bool {
        self.default_local && tier.storage == DEFAULT_LOCAL
    }

    pub(crate) fn not_registered(&self, storage: &str) -> Error {
        Error::StorageNotRegistered {
            node: self.name.to_string(),
            storage: storage.to_owned(),
        }
    }

    pub(crate) fn no_serializer(&self, storage: &str) -> Error {
        Error::NoSerializer {
            node: self.name.to_string(),
            storage: storage.to_owned(),
        }
    }

    pub(crate) fn template(&self) -> Template<'_> {
        Template {
            key: &self.key,
            forms: &self.forms,
        }
    }

    /// The digest of the template, which names the kind on a bus.
    pub(crate) fn template_digest(&self) -> Digest {
        Digest::of(self.normalised_key().as_bytes())
    }

    /// The key with nameless fields.
    pub(crate) fn normalised_key(&self) -> String {
        let mut normalised = String::new();
        let mut rest = &*self.key;
        while let Some((literal, field)) = rest.split_once('{') {
            normalised.push_str(literal);
            normalised.push_str("{}");
            rest = field.split_once('}').map_or("", |(_, rest)| rest);
        }
        normalised + rest
    }
}

/// When a value that lives for `ttl` from `now_ms` on expires, in milliseconds; `None` is never.
pub(crate) fn expires_ms(now_ms: u64, ttl: Option<Duration>) -> Option<u64> {
    // A time that overflows is for ever.
    let ttl_ms = u64::try_from(ttl?.as_millis()).ok()?;
    now_ms.checked_add(ttl_ms.max(1))
}

/// A ttl times a [`spread`](NodeInfo::spread). The longest durations cannot be multiplied, not even by 1.
pub(crate) fn shortened(ttl: Duration, spread: f64) -> Duration {
    if spread < 1.0 { ttl.mul_f64(spread) } else { ttl }
}
