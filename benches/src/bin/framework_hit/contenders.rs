//! Who does the job, and how their documentation says to write it.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{CAPACITY, Clocks, Row, Run, StackKey, UserInfo, load, load_plain};

/// What the ratios are to.
pub(crate) const MEASURE: &str = "quick_cache get_or_insert_async, format!";

type Task = Pin<Box<dyn Future<Output = Run> + Send>>;

/// A way to do the job.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    /// Asks for these users, one after the other.
    pub(crate) run: Box<dyn Fn(&'static [u64]) -> Task>,
}

/// The loop is compiled for each contender; what it captures is `'static` and `Copy`.
macro_rules! contender {
    ($key:literal, $name:expr, $id:ident => $get:expr) => {
        Contender {
            name: $name,
            key: $key,
            run: Box::new(move |ids| {
                Box::pin(async move {
                    let clocks = Clocks::start();
                    for &$id in ids {
                        let row = $get;
                        assert_eq!(row.columns[24], $id as u32);
                    }
                    clocks.stop()
                })
            }),
        }
    };
}

fn format_key(id: u64) -> String {
    format!("user:{id}:info")
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// All of them, with caches of their own.
pub(crate) async fn all() -> Vec<Contender> {
    let mut all = vec![];
    all.extend(cacheme().await);
    all.extend(quick());
    all.extend(moka());
    all.extend(foyer());
    all.extend(cached());
    all.extend(hitbox());
    all.extend(amalgam());
    all.extend(cachet());
    all
}

mod ours {
    use super::*;
    use cacheme::{LoadContext, Node, memoize};

    #[derive(Node, Clone, Debug)]
    #[node(
        key = "user:{user_id}:info",
        value = Row,
        tier(storage = "local"),
        load = load_user_info,
        serializer = none,
    )]
    pub(super) struct UserInfoNode {
        pub(super) user_id: u64,
    }

    /// The peers' values live for ever; this is what it costs to look at the time.
    #[derive(Node, Clone, Debug)]
    #[node(
        key = "mortal:{user_id}:info",
        value = Row,
        tier(storage = "local", ttl = "1h"),
        load = load_mortal_info,
        serializer = none,
    )]
    pub(super) struct MortalNode {
        pub(super) user_id: u64,
    }

    async fn load_mortal_info(
        node: &MortalNode,
        _cx: &mut LoadContext<MortalNode>,
    ) -> Result<Row, Infallible> {
        Ok(load(node.user_id).await)
    }

    async fn load_user_info(
        node: &UserInfoNode,
        _cx: &mut LoadContext<UserInfoNode>,
    ) -> Result<Row, Infallible> {
        Ok(load(node.user_id).await)
    }

    #[memoize(node = UserInfoNode { user_id })]
    pub(super) async fn get_user_info(user_id: u64) -> Result<Row, Infallible> {
        Ok(load(user_id).await)
    }
}

async fn cacheme() -> [Contender; 3] {
    // The second runtime of this process finds it registered. Two kinds of nodes share it.
    if cacheme::check().is_err() {
        let local = format!("local://tlfu?size={}", 2 * CAPACITY);
        let local = cacheme::Storage::open(&local).expect("the address is good");
        cacheme::register_storage("local", local)
            .await
            .expect("the name is free");
    }
    [
        contender!("string", "cacheme::get", id => {
            cacheme::get(&ours::UserInfoNode { user_id: id }).await.expect("loads do not fail")
        }),
        contender!("string", "cacheme #[memoize]", id => {
            ours::get_user_info(id).await.expect("loads do not fail")
        }),
        contender!("string", "cacheme::get, values with a ttl", id => {
            cacheme::get(&ours::MortalNode { user_id: id }).await.expect("loads do not fail")
        }),
    ]
}

fn quick() -> [Contender; 3] {
    use quick_cache::sync::Cache;

    let strings: &Cache<String, Row> = leak(Cache::new(CAPACITY));
    let numbers: &Cache<u64, Row> = leak(Cache::new(CAPACITY));
    [
        contender!("string", MEASURE, id => {
            let load = async { Ok::<_, Infallible>(load(id).await) };
            strings.get_or_insert_async(format_key(id).as_str(), load).await.expect("loads do not fail")
        }),
        contender!("string", "quick_cache get_or_insert_async, key on the stack", id => {
            let load = async { Ok::<_, Infallible>(load(id).await) };
            strings.get_or_insert_async(StackKey::new(id).as_str(), load).await.expect("loads do not fail")
        }),
        contender!("u64", "quick_cache get_or_insert_async, u64", id => {
            let load = async { Ok::<_, Infallible>(load(id).await) };
            numbers.get_or_insert_async(&id, load).await.expect("loads do not fail")
        }),
    ]
}

fn moka() -> [Contender; 3] {
    use moka::future::Cache;

    let strings: &Cache<String, Row> = leak(Cache::new(CAPACITY as u64));
    let numbers: &Cache<u64, Row> = leak(Cache::new(CAPACITY as u64));
    [
        contender!("string", "moka get_with, format!", id => {
            strings.get_with(format_key(id), load(id)).await
        }),
        contender!("string", "moka get_with_by_ref, key on the stack", id => {
            strings.get_with_by_ref(StackKey::new(id).as_str(), load(id)).await
        }),
        contender!("u64", "moka get_with, u64", id => numbers.get_with(id, load(id)).await),
    ]
}

fn foyer() -> [Contender; 3] {
    use foyer::{Cache, CacheBuilder, S3FifoConfig};

    let builder = || CacheBuilder::new(CAPACITY).with_eviction_config(S3FifoConfig::default());
    let strings: &Cache<String, Row> = leak(builder().build());
    let numbers: &Cache<u64, Row> = leak(
        CacheBuilder::new(CAPACITY)
            .with_eviction_config(S3FifoConfig::default())
            .build(),
    );
    [
        contender!("string", "foyer s3fifo get_or_fetch, format!", id => {
            let fetch = || async move { Ok::<_, Infallible>(load(id).await) };
            let entry = strings.get_or_fetch(format_key(id).as_str(), fetch).await;
            Arc::clone(entry.expect("loads do not fail").value())
        }),
        contender!("string", "foyer s3fifo get_or_fetch, key on the stack", id => {
            let fetch = || async move { Ok::<_, Infallible>(load(id).await) };
            let entry = strings.get_or_fetch(StackKey::new(id).as_str(), fetch).await;
            Arc::clone(entry.expect("loads do not fail").value())
        }),
        contender!("u64", "foyer s3fifo get_or_fetch, u64", id => {
            let fetch = || async move { Ok::<_, Infallible>(load(id).await) };
            let entry = numbers.get_or_fetch(&id, fetch).await;
            Arc::clone(entry.expect("loads do not fail").value())
        }),
    ]
}

mod memoized {
    use super::*;
    use cached::macros::{cached, concurrent_cached};

    #[concurrent_cached(max_size = 125_000, key = "String", convert = { format_key(id) })]
    pub(super) async fn concurrent_string(id: u64) -> Row {
        load(id).await
    }

    #[concurrent_cached(max_size = 125_000)]
    pub(super) async fn concurrent_number(id: u64) -> Row {
        load(id).await
    }

    #[cached(max_size = 125_000, key = "String", convert = { format_key(id) })]
    pub(super) async fn locked_string(id: u64) -> Row {
        load(id).await
    }

    #[cached(max_size = 125_000)]
    pub(super) async fn locked_number(id: u64) -> Row {
        load(id).await
    }
}

fn cached() -> [Contender; 4] {
    use memoized::{concurrent_number, concurrent_string, locked_number, locked_string};

    [
        contender!("string", "cached #[concurrent_cached], format!", id => concurrent_string(id).await),
        contender!("string", "cached #[cached], format!", id => locked_string(id).await),
        contender!("u64", "cached #[concurrent_cached], u64", id => concurrent_number(id).await),
        contender!("u64", "cached #[cached], u64", id => locked_number(id).await),
    ]
}

mod boxed {
    use super::*;
    use hitbox_fn::prelude::*;

    /// It keeps bytes, so an `Arc` would be made for each hit.
    #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, CacheableResponse)]
    pub(super) struct Boxed {
        pub(super) columns: [u32; 25],
    }

    impl From<UserInfo> for Boxed {
        fn from(UserInfo { columns }: UserInfo) -> Self {
            Self { columns }
        }
    }

    #[cached(prefix = "user")]
    pub(super) async fn get_user_info(id: u64) -> Boxed {
        load_plain(id).await.into()
    }
}

fn hitbox() -> [Contender; 1] {
    use hitbox::policy::PolicyConfig;
    use hitbox_fn::Cache;
    use hitbox_moka::MokaBackend;

    let policy = PolicyConfig::builder().ttl(Duration::from_secs(3_600)).build();
    let backend = MokaBackend::builder().max_entries(CAPACITY as u64).build();
    let cache = leak(Cache::builder().backend(backend).policy(policy).build());
    [contender!("string", "hitbox #[cached] over moka", id => boxed::get_user_info(id).cache(cache).await)]
}

fn amalgam() -> [Contender; 2] {
    use amalgam::{Cache, EntryOptions, source};

    let hour = EntryOptions::new(Duration::from_secs(3_600));
    let builder = Cache::<Row>::builder()
        .default_options(hour)
        .max_capacity(CAPACITY as u64);
    let cache: &Cache<Row> = leak(builder.try_build().expect("its settings are good"));
    [
        contender!("string", "amalgam-cache get_or_set, format!", id => {
            let load = source::factory(move |_| async move { Ok::<_, Infallible>(load(id).await) });
            cache.get_or_set(format_key(id).as_str(), load).await.expect("loads do not fail")
        }),
        contender!("string", "amalgam-cache get_or_set, key on the stack", id => {
            let load = source::factory(move |_| async move { Ok::<_, Infallible>(load(id).await) });
            cache.get_or_set(StackKey::new(id).as_str(), load).await.expect("loads do not fail")
        }),
    ]
}

fn cachet() -> [Contender; 3] {
    use cachet::Cache;
    use tick::Clock;

    let clock = Clock::new_tokio();
    let strings = Cache::builder::<String, Row>(clock.clone())
        .memory_with(|memory| memory.max_capacity(CAPACITY as u64));
    let strings: &Cache<String, Row> = leak(strings.stampede_protection().build());
    let plain = Cache::builder::<String, Row>(clock.clone())
        .memory_with(|memory| memory.max_capacity(CAPACITY as u64));
    let plain: &Cache<String, Row> = leak(plain.build());
    let numbers =
        Cache::builder::<u64, Row>(clock).memory_with(|memory| memory.max_capacity(CAPACITY as u64));
    let numbers: &Cache<u64, Row> = leak(numbers.stampede_protection().build());
    [
        contender!("string", "cachet get_or_insert, one load a key, format!", id => {
            let entry = strings.get_or_insert(format_key(id).as_str(), || load(id)).await;
            entry.expect("loads do not fail").into_value()
        }),
        contender!("string", "cachet get_or_insert, format!", id => {
            let entry = plain.get_or_insert(format_key(id).as_str(), || load(id)).await;
            entry.expect("loads do not fail").into_value()
        }),
        contender!("u64", "cachet get_or_insert, one load a key, u64", id => {
            let entry = numbers.get_or_insert(&id, || load(id)).await;
            entry.expect("loads do not fail").into_value()
        }),
    ]
}
