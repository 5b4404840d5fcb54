//! `#[memoize]` in all its shapes, driven against the runtime.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cacheme::{Cacheme, Node, memoize};

use crate::world::World;

#[derive(Node, Clone)]
#[node(key = "memoized:{0}", value = u64, tier(storage = "local", ttl = "60s"))]
struct CountNode(u64);

#[derive(Node, Clone)]
#[node(key = "memoized-text:{kind}:{text}", value = String, tier(storage = "local", ttl = "60s"), tier(storage = "remote", ttl = "10m"))]
struct TextNode {
    kind: &'static str,
    text: String,
}

#[derive(Node, Clone)]
#[node(key = "memoized-maybe:{0}", value = Option<u64>, tier(storage = "local", ttl = "60s"))]
struct MaybeNode(u64);

#[derive(Node, Clone)]
#[node(key = "memoized-result:{0}", value = Result<u64, String>, tier(storage = "local", ttl = "60s"))]
struct ResultNode(u64);

#[derive(Clone, Debug, PartialEq)]
struct DbError(&'static str);

impl From<std::num::ParseIntError> for DbError {
    fn from(_: std::num::ParseIntError) -> Self {
        Self("not a number")
    }
}

/// A database that counts.
#[derive(Default)]
struct Db {
    asked: AtomicUsize,
}

impl Db {
    fn ask(&self) -> u64 {
        self.asked.fetch_add(1, Ordering::SeqCst) as u64 + 1
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[memoize(node = CountNode(id), cacheme = cacheme)]
async fn plain(cacheme: &Cacheme, db: &Db, id: u64) -> u64 {
    tokio::task::yield_now().await;
    db.ask() + id
}

#[memoize(node = CountNode(id), cacheme = cacheme)]
async fn fallible(cacheme: &Cacheme, db: &Db, id: u64, text: &str) -> Result<u64, DbError> {
    db.ask();
    if text.is_empty() {
        return Err(DbError("no text"));
    }
    Ok(text.parse::<u64>()? + id)
}

#[memoize(node = MaybeNode(id), cacheme = cacheme)]
async fn optional(cacheme: &Cacheme, db: &Db, id: u64) -> Option<u64> {
    db.ask();
    let even = id.is_multiple_of(2).then_some(id)?;
    Some(even)
}

#[memoize(node = ResultNode(id), cacheme = cacheme)]
async fn result_as_value(cacheme: &Cacheme, db: &Db, id: u64) -> Result<u64, String> {
    db.ask();
    Err(format!("no {id}"))
}

#[memoize(node = TextNode { kind: std::any::type_name::<T>(), text: text.to_string() }, cacheme = cacheme)]
async fn generic<T: Display + Sync + ?Sized, const N: usize>(
    cacheme: &Cacheme,
    text: &T,
    log: &mut Vec<String>,
    _: [u8; N],
) -> Result<String, DbError> {
    log.push(text.to_string());
    Ok(format!("{text} {N}"))
}

#[memoize(node = TextNode { kind: "moved", text: text.clone() }, cacheme = &cacheme)]
async fn moved(cacheme: Cacheme, text: String, count: &Cell<u32>) -> String {
    count.set(count.get() + 1);
    text
}

#[tokio::test(start_paused = true)]
async fn memoized_functions_run_their_body_on_a_miss_only() {
    let (world, db) = (World::new().await, Db::default());
    let cacheme = &world.cacheme;
    let (a, b) = futures_util::future::join(plain(cacheme, &db, 1), plain(cacheme, &db, 1)).await;
    assert_eq!((a, b, plain(cacheme, &db, 1).await, db.asked()), (2, 2, 2, 1));
    assert_eq!((plain(cacheme, &db, 2).await, db.asked()), (4, 2));
    cacheme.invalidate(&CountNode(1)).await.unwrap();
    assert_eq!((plain(cacheme, &db, 1).await, db.asked()), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn memoized_functions_keep_their_errors_and_cache_none() {
    let (world, db) = (World::new().await, Db::default());
    let cacheme = &world.cacheme;
    assert_eq!(fallible(cacheme, &db, 1, "").await, Err(DbError("no text")));
    assert_eq!(fallible(cacheme, &db, 1, "x").await, Err(DbError("not a number")));
    assert_eq!(fallible(cacheme, &db, 1, "41").await, Ok(42));
    assert_eq!(fallible(cacheme, &db, 1, "").await, Ok(42), "a hit");
    assert_eq!(db.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn memoized_options_and_results_are_values_where_the_node_says_so() {
    let (world, db) = (World::new().await, Db::default());
    let cacheme = &world.cacheme;
    for _ in 0..2 {
        assert_eq!(optional(cacheme, &db, 1).await, None);
        assert_eq!(optional(cacheme, &db, 2).await, Some(2));
        assert_eq!(result_as_value(cacheme, &db, 1).await, Err("no 1".into()));
    }
    assert_eq!(db.asked(), 3, "`None` and the node's own `Err` are cached");
}

#[tokio::test(start_paused = true)]
async fn memoized_generics_references_and_moves_work() {
    let (world, mut log) = (World::new().await, Vec::new());
    let cacheme = &world.cacheme;
    for _ in 0..2 {
        assert_eq!(generic(cacheme, "a", &mut log, [0; 3]).await.unwrap(), "a 3");
        assert_eq!(
            generic::<u64, 2>(cacheme, &7, &mut log, [0; 2]).await.unwrap(),
            "7 2"
        );
    }
    assert_eq!(log, ["a", "7"]);
    let count = Cell::new(0);
    for _ in 0..2 {
        assert_eq!(moved(cacheme.clone(), "b".into(), &count).await, "b");
    }
    assert_eq!(count.get(), 1);
    // Another process finds it.
    let neighbour = world.neighbour().await;
    assert_eq!(moved(neighbour.cacheme, "b".into(), &count).await, "b");
    assert_eq!(count.get(), 1);
}

struct Service {
    cacheme: Cacheme,
    db: Db,
    id: u64,
}

impl Service {
    const START: u64 = 100;

    async fn new() -> Self {
        Self {
            cacheme: World::new().await.cacheme,
            db: Db::default(),
            id: 1,
        }
    }

    #[memoize(node = CountNode(self.id), cacheme = &self.cacheme)]
    async fn by_ref(&self) -> u64 {
        self.db.ask()
    }

    #[memoize(node = CountNode(id), cacheme = &self.cacheme.clone())]
    async fn by_mut(&mut self, id: u64) -> Result<u64, DbError> {
        self.id += 1;
        Ok(self.db.ask())
    }

    #[memoize(node = CountNode(self.id), cacheme = &self.cacheme.clone())]
    async fn by_arc(self: Arc<Self>) -> u64 {
        self.db.ask()
    }

    #[memoize(node = CountNode(Self::START), cacheme = cacheme)]
    async fn associated(cacheme: &Cacheme, db: &Db) -> u64 {
        Self::START + db.ask()
    }
}

#[tokio::test(start_paused = true)]
async fn memoized_methods_work() {
    let mut service = Service::new().await;
    assert_eq!((service.by_ref().await, service.by_ref().await), (1, 1));
    assert_eq!(service.by_mut(7).await, Ok(2));
    assert_eq!(service.by_mut(7).await, Ok(2));
    assert_eq!(service.id, 2, "the body ran once");
    let cacheme = service.cacheme.clone();
    assert_eq!(Service::associated(&cacheme, &service.db).await, 103);
    assert_eq!(Service::associated(&cacheme, &service.db).await, 103);
    let service = Arc::new(service);
    assert_eq!(Arc::clone(&service).by_arc().await, 4);
    assert_eq!(service.by_arc().await, 4);
}

trait Users {
    async fn user(&self, id: u64) -> Result<u64, DbError>;
}

impl Users for Service {
    #[memoize(node = CountNode(id), cacheme = &self.cacheme)]
    async fn user(&self, id: u64) -> Result<u64, DbError> {
        Ok(self.db.ask() + id)
    }
}

async fn through_the_trait(users: &impl Users) -> Result<u64, DbError> {
    users.user(50).await
}

#[tokio::test(start_paused = true)]
async fn memoized_trait_implementations_work() {
    let service = Service::new().await;
    assert_eq!(through_the_trait(&service).await, Ok(51));
    assert_eq!(through_the_trait(&service).await, Ok(51));
    assert_eq!(service.db.asked(), 1);
}

/// Is on the process-wide instance, which has no storages in this program: the body answers.
#[memoize(node = CountNode(id))]
async fn by_default(db: &Db, id: u64) -> u64 {
    db.ask() + id
}

#[tokio::test(start_paused = true)]
async fn memoized_functions_without_a_storage_run_their_body() {
    let db = Db::default();
    assert_eq!((by_default(&db, 1).await, by_default(&db, 1).await), (2, 3));
}
