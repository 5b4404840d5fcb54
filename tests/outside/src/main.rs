//! A service that depends on Cacheme as any other does: every public name at work on the process-wide instance, in memory
//! over SQLite.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cacheme::{
    BoxError, Cacheme, DynamicKind, DynamicNode, Error, KeyPart, KeyWriter, Load, LoadContext, Loaded, MsgPack, Node,
    NodeInfo, NodeStats, Policy, Serializer, Storage, memoize,
};
use cacheme_storage::{
    BloomFilter, Clock, Fence, Flags, LocalCache, LocalEntry, LocalStorage, Lru, Sqlite, TinyLfu,
};
use serde::{Deserialize, Serialize};

static LOADS: AtomicUsize = AtomicUsize::new(0);

/// How many loads there were since the last call of this.
fn loads() -> usize {
    LOADS.swap(0, Ordering::SeqCst)
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct UserInfo {
    name: String,
}

#[derive(Clone, Debug, PartialEq)]
struct DbError;

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database has no such user")
    }
}

impl std::error::Error for DbError {}

#[derive(Node, Clone, Debug)]
#[node(
    key = "user:{user_id}:info",
    value = UserInfo,
    version = "v2",
    tier(storage = "local", ttl = "30s"),
    tier(storage = "sqlite", ttl = Duration::from_secs(600)),
    load = load_user_info,
    load_timeout = "5s",
    lease = "2s"
)]
struct UserInfoNode {
    user_id: i64,
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "seldom:{0}",
    value = Option<String>,
    tier(storage = "local", ttl = "30s"),
    load = load_nothing,
    doorkeeper = 1000,
    negative_ttl = "10s",
    ttl_jitter = 0.1,
)]
struct SeldomNode(u64);

async fn load_nothing(_node: &SeldomNode, _cx: &mut LoadContext<SeldomNode>) -> Result<Option<String>, DbError> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    Ok(None)
}

async fn load_user_info(node: &UserInfoNode, _cx: &mut LoadContext<UserInfoNode>) -> Result<UserInfo, DbError> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    if node.user_id < 0 {
        return Err(DbError);
    }
    Ok(UserInfo {
        name: format!("user {}", node.user_id),
    })
}

#[memoize(node = UserInfoNode { user_id })]
async fn get_user_info(db: &str, user_id: i64) -> Result<UserInfo, DbError> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    Ok(UserInfo {
        name: format!("user {user_id} of {db}"),
    })
}

#[derive(KeyPart, Clone, Debug, PartialEq, Eq, Hash)]
enum Filter {
    All,
    Tag(String),
}

#[derive(Node, Clone, Debug, PartialEq, Eq, Hash)]
#[node(key = "list:{0}", value = Vec<String>, tier(storage = "sqlite", ttl = "1h"), load_all = load_lists, serializer = Backwards)]
struct ListNode(Filter);

async fn load_lists(
    nodes: &[ListNode],
    cx: &mut LoadContext<ListNode>,
) -> Result<HashMap<ListNode, Vec<String>>, DbError> {
    LOADS.fetch_add(1, Ordering::SeqCst);
    cx.ttl(Duration::from_secs(60));
    Ok(nodes.iter().map(|node| (node.clone(), vec![node.key()])).collect())
}

/// A serializer of one's own: MsgPack, backwards.
#[derive(Default)]
struct Backwards;

impl Serializer for Backwards {
    fn name(&self) -> &str {
        "backwards"
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        let start = out.len();
        let flags = MsgPack.serialize(value, out)?;
        out[start..].reverse();
        Ok(flags)
    }

    fn deserialize<T: serde::de::DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        let forwards: Vec<u8> = payload.iter().rev().copied().collect();
        MsgPack.deserialize(&forwards, flags)
    }
}

mod vendored {
    pub(crate) use ::cacheme as renamed;
}

/// Needs no serializer: it lives in memory only.
#[derive(Node, Clone)]
#[node(value = Arc<dyn Fn() -> u64 + Send + Sync>, serializer = none, tier(storage = "shelf"), crate = crate::vendored::renamed)]
struct FunctionNode {
    number: u64,
}

/// A node and its loader by hand.
#[derive(Clone)]
struct SquareNode(u64);

impl Node for SquareNode {
    type Value = u64;

    fn policy(&self) -> Policy<u64> {
        Policy::new("SquareNode", "square:{0}").tier("local", Some(Duration::from_secs(60)))
    }

    fn write_key(&self, key: &mut KeyWriter) {
        key.literal("square:");
        key.part(&self.0);
    }
}

impl Load for SquareNode {
    async fn load(&self, cx: &mut LoadContext<Self>) -> Result<u64, BoxError> {
        LOADS.fetch_add(1, Ordering::SeqCst);
        if self.0 == 0 {
            cx.do_not_store();
        }
        Ok(self.0 * self.0)
    }

    async fn load_all(nodes: &[Self], _cx: &mut LoadContext<Self>) -> Result<Loaded<Self>, BoxError> {
        LOADS.fetch_add(1, Ordering::SeqCst);
        Ok(nodes.iter().map(|node| (node.clone(), node.0 * node.0)).collect())
    }
}

/// A local storage of one's own: a shelf with one place.
#[derive(Default)]
struct Shelf(std::sync::Mutex<Option<(Vec<u8>, LocalEntry)>>);

impl LocalStorage for Shelf {
    fn location(&self) -> String {
        "shelf://".into()
    }

    fn entry(&self, key: &[u8]) -> Option<LocalEntry> {
        let place = self.0.lock().ok()?;
        place.as_ref().filter(|(there, _)| there == key).map(|(_, entry)| entry.clone())
    }

    fn insert(&self, key: &[u8], entry: LocalEntry, fence: &Fence) -> bool {
        let Ok(mut place) = self.0.lock() else { return false };
        if fence.is_raised() {
            return false;
        }
        *place = Some((key.to_vec(), entry));
        true
    }

    fn remove(&self, key: &[u8]) -> bool {
        let Ok(mut place) = self.0.lock() else { return false };
        place.take_if(|(there, _)| there == key).is_some()
    }

    fn clear(&self) {
        if let Ok(mut place) = self.0.lock() {
            *place = None;
        }
    }

    fn len(&self) -> usize {
        self.0.lock().map_or(0, |place| usize::from(place.is_some()))
    }
}

async fn start(file: &str) -> Result<(), Box<dyn std::error::Error>> {
    cacheme::set_prefix("outside")?;
    // Nothing is registered: the error names every node and storage.
    let Err(Error::Check(missing)) = cacheme::check() else {
        panic!("nothing is registered yet")
    };
    assert!(missing.len() >= 4, "{missing:?}");
    assert!(matches!(cacheme::set_prefix("late"), Err(Error::DefaultInUse)));

    let user = get_user_info("no cache", 1).await?;
    assert_eq!((user.name.as_str(), loads()), ("user 1 of no cache", 1), "a memoized function works without storages");

    cacheme::register_storage("local", Storage::open("local://tlfu?size=100000")?).await?;
    cacheme::register_storage("sqlite", Storage::open(&format!("sqlite://{file}?timeout=10s"))?).await?;
    cacheme::register_storage("shelf", Storage::local(Shelf::default())).await?;
    cacheme::check()?;
    let nodes: Vec<NodeInfo> = cacheme::nodes();
    let names: Vec<_> = nodes.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["FunctionNode", "ListNode", "SeldomNode", "UserInfoNode"]);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).expect("a folder for the database");
    let file = format!("{folder}/cache.db");
    start(&file).await?;

    // One load for all who ask at once, by whatever call.
    let node = UserInfoNode { user_id: 1 };
    let callers: Vec<_> = (0..1_000)
        .map(|at| {
            let node = node.clone();
            tokio::spawn(async move {
                match at % 2 {
                    0 => cacheme::get(&node).await,
                    _ => cacheme::get_all(&[node]).await.map(|users| users[0].clone()),
                }
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await??.name, "user 1");
    }
    assert_eq!(get_user_info("the database", 1).await?.name, "user 1");
    assert_eq!(loads(), 1);

    let users = cacheme::get_all(&[2, 1, 2].map(|user_id| UserInfoNode { user_id })).await?;
    assert_eq!(users.iter().map(|user| &*user.name).collect::<Vec<_>>(), ["user 2", "user 1", "user 2"]);
    assert_eq!(loads(), 1);

    let error = cacheme::get(&UserInfoNode { user_id: -1 }).await.unwrap_err();
    assert_eq!(error.downcast_load(), Some(&DbError));
    assert_eq!(loads(), 1);

    cacheme::set(&node, UserInfo { name: "set".into() }).await?;
    assert_eq!(cacheme::peek(&node).await?.expect("it was set").name, "set");
    assert_eq!(cacheme::refresh(&node).await?.name, "user 1");
    cacheme::set_with_ttl(&node, UserInfo { name: "short".into() }, Duration::from_secs(1)).await?;
    assert_eq!(cacheme::get(&node).await?.name, "short");
    cacheme::invalidate(&node).await?;
    assert_eq!(cacheme::peek(&node).await?, None);
    assert_eq!(get_user_info("the database", 1).await?.name, "user 1 of the database");
    cacheme::invalidate_all(&[node.clone(), UserInfoNode { user_id: 2 }]).await?;
    assert_eq!(cacheme::peek(&node).await?, None);
    assert_eq!(loads(), 2);
    let with = cacheme::get_with(&node, || async { Ok::<_, DbError>(UserInfo { name: "with".into() }) }).await;
    assert_eq!(with.map(|user| user.name), Ok("with".into()));
    let stats: NodeStats = cacheme::stats::<UserInfoNode>();
    assert_eq!((&*stats.name, stats.tiers.len(), stats.load_failures, stats.in_flight), ("UserInfoNode", 2, 1, 0));
    assert!(stats.hit_rate().is_some() && stats.to_string().contains("sqlite"));

    // Another process on the same file: an instance of its own, with a storage from its builder.
    let other = Cacheme::builder().prefix("outside").build()?;
    let clock = Clock::manual();
    let local = LocalCache::lru(100).clock(clock.clone()).build();
    other.register_storage("local", Storage::local(local)).await?;
    let sqlite = Sqlite::builder().file(&file).build()?;
    other.register_storage("sqlite", Storage::remote(sqlite)).await?;
    assert_eq!(other.get(&node).await?.name, "with", "found on SQLite");
    clock.advance(Duration::from_secs(31));
    assert_eq!((other.peek(&node).await?.map(|user| user.name), loads()), (Some("with".into()), 0));
    assert_eq!(other.full_key(&node), "outside:user:1:info:v2");
    assert_eq!((node.key(), node.full_key()), ("user:1:info".into(), "outside:user:1:info:v2".into()));

    // `load_all`, a serializer of one's own, an enum in the key.
    let lists = [ListNode(Filter::All), ListNode(Filter::Tag("a:b".into()))];
    for _ in 0..2 {
        let found = cacheme::get_all(&lists).await?;
        assert_eq!(found, [vec!["list:All".to_owned()], vec!["list:(Tag,a%3Ab)".to_owned()]]);
    }
    assert_eq!(cacheme::get(&lists[0]).await?, ["list:All"]);
    assert_eq!(loads(), 1);

    // By hand, and in memory only.
    assert_eq!(cacheme::get_all(&[SquareNode(3), SquareNode(2)]).await?, [9, 4]);
    assert_eq!((cacheme::get(&SquareNode(3)).await?, loads()), (9, 1));
    assert_eq!((cacheme::get(&SquareNode(0)).await?, cacheme::get(&SquareNode(0)).await?, loads()), (0, 0, 2));
    let function = FunctionNode { number: 7 };
    assert_eq!(function.key(), "FunctionNode:7");
    let number = function.number;
    cacheme::set(&function, Arc::new(move || number)).await?;
    assert_eq!(cacheme::peek(&function).await?.map(|function| function()), Some(7));

    // Named at run time.
    let policy = Policy::<String>::new("report", "")
        .version("v3")
        .tier("local", Some(Duration::from_secs(60)))
        .tier("sqlite", None)
        .serializer(MsgPack);
    let report: DynamicNode<String> = DynamicKind::new(policy)?.node(&("monthly", 7));
    assert_eq!(report.full_key(), "outside:report:(monthly,7):v3");
    let made = cacheme::get_with(&report, || async { "made".to_owned() }).await;
    let found = cacheme::get_with(&report, || async { "made again".to_owned() }).await;
    assert_eq!((made.as_str(), found.as_str()), ("made", "made"));
    assert!(cacheme::nodes().iter().any(|node| node.name == "report"));
    assert!(cacheme::default_instance().all_stats().iter().any(|stats| stats.name == "report"));

    // The engine by itself.
    let lru: Lru<&str, u32> = Lru::new(2);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(key, value)| _ = lru.insert(key, value));
    assert_eq!((lru.get("a"), lru.get("c"), lru.len()), (None, Some(3), 2));
    let tlfu: TinyLfu<String, u32> = TinyLfu::new(2);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(key, value)| _ = tlfu.insert(key.into(), value));
    assert_eq!((tlfu.len(), tlfu.iter().count()), (2, 2));
    tlfu.clear();
    assert!(tlfu.is_empty());

    let seen = BloomFilter::new(100, 0.01);
    assert!(seen.insert("a") && !seen.insert("a") && !seen.contains("b"));

    // A doorkeeper lets in what comes back; an absent value is remembered for a while of its own.
    let seldom = SeldomNode(1);
    for expected in [1, 1, 0] {
        assert_eq!(cacheme::get(&seldom).await?, None);
        assert_eq!(loads(), expected);
    }
    println!("{}", cacheme::stats::<UserInfoNode>());
    Ok(())
}
