//! `#[memoize(key = …)]` on the process-wide instance, as a program that registers nothing uses it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cacheme::{Cacheme, MemoNode, Node, memoize};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How often each function ran.
static RUNS: LazyLock<Mutex<HashMap<&'static str, u64>>> = LazyLock::new(Mutex::default);

fn run(function: &'static str) {
    *RUNS.lock().entry(function).or_default() += 1;
}

/// How often a function ran since this was asked last.
fn runs(function: &'static str) -> u64 {
    RUNS.lock().remove(function).unwrap_or(0)
}

struct Db {
    rows: HashMap<&'static str, u64>,
}

fn db() -> Db {
    Db {
        rows: [("tea", 5)].into(),
    }
}

#[memoize(key = "price:{sku}", ttl = "30s")]
async fn price(db: &Db, sku: &str) -> anyhow::Result<u64> {
    run("price");
    let price = db.rows.get(sku).copied();
    price.ok_or_else(|| anyhow::anyhow!("there is no {sku}"))
}

#[tokio::test]
async fn r1_a_function_with_a_key_is_cached_and_has_its_functions_beside_it() -> anyhow::Result<()> {
    let db = db();
    assert_eq!((price(&db, "tea").await?, price(&db, "tea").await?), (5, 5));
    assert_eq!(runs("price"), 1);
    assert_eq!(
        price(&db, "milk").await.unwrap_err().to_string(),
        "there is no milk"
    );
    assert_eq!(runs("price"), 1);
    price_invalidate("tea").await?;
    assert_eq!((price(&db, "tea").await?, runs("price")), (5, 1));
    assert_eq!((price_refresh(&db, "tea").await?, runs("price")), (5, 1));
    let error = price_refresh(&db, "milk").await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "there is no milk");
    let node = PriceNode { sku: "tea".into() };
    assert_eq!(cacheme::peek(&node).await?, Some(5));
    assert_eq!(cacheme::stats::<PriceNode>().loads, 5);
    assert_eq!(
        (node.key(), format!("{node:?}")),
        ("price:tea".into(), "price:tea".into())
    );
    cacheme::set(&PriceNode { sku: "milk".into() }, 7).await?;
    assert_eq!(price(&db, "milk").await?, 7);
    // `local` needs no registering; `mine` of another test does.
    let error = cacheme::check().unwrap_err();
    assert!(
        matches!(&error, cacheme::Error::Check(found) if found.len() == 1),
        "{error}"
    );
    Ok(())
}

#[memoize(
    key = "parts:{id}/{lang}/{list}/{names}/{pair}/{text}/{shown:display}",
    ttl = "30s"
)]
async fn parts(
    id: u64,
    lang: Option<&str>,
    list: &[u8],
    names: &[&str],
    pair: (&str, u8),
    text: Cow<'_, str>,
    shown: std::net::Ipv4Addr,
) -> usize {
    run("parts");
    names.len()
        + list.len()
        + lang.map_or(0, str::len)
        + pair.0.len()
        + text.len()
        + id as usize
        + shown.octets().len()
}

#[tokio::test]
async fn c4_a_key_that_is_written_from_borrowed_arguments_is_that_of_the_node() {
    let call = || {
        parts(
            1,
            Some("de"),
            &[1, 2],
            &["a", "b:c"],
            ("x", 1),
            "tee".into(),
            [127, 0, 0, 1].into(),
        )
    };
    assert_eq!((call().await, call().await, runs("parts")), (15, 15, 1));
    let node = PartsNode {
        id: 1,
        lang: Some("de".into()),
        list: vec![1, 2],
        names: vec!["a".into(), "b:c".into()],
        pair: ("x".into(), 1),
        text: "tee".into(),
        shown: [127, 0, 0, 1].into(),
    };
    assert_eq!(cacheme::peek(&node).await.unwrap(), Some(15));
    let other = parts(
        1,
        None,
        &[1, 2],
        &["a", "b:c"],
        ("x", 1),
        "tee".into(),
        [127, 0, 0, 1].into(),
    );
    assert_eq!((other.await, runs("parts")), (13, 1));
}

#[memoize(key = "moved:{text}", ttl = "30s")]
async fn moved(text: String, (a, mut b): (u8, u8)) -> String {
    b += 1;
    format!("{text}{a}{b}")
}

#[tokio::test]
async fn arguments_may_be_moved_and_be_patterns() {
    assert_eq!(moved("a".into(), (1, 2)).await, "a13");
    assert_eq!(moved("a".into(), (7, 7)).await, "a13");
    assert_eq!(moved_refresh("a".into(), (7, 7)).await.unwrap(), "a78");
}

struct User {
    id: i64,
    tenant: Tenant,
}

struct Tenant {
    name: String,
}

#[memoize(key = "greeting:{user.id: i64}/{user.tenant.name: String}", ttl = "30s")]
async fn greeting(user: &User) -> Result<String, &'static str> {
    run("greeting");
    Ok(format!("hi {}", user.id))
}

#[tokio::test]
async fn a_key_names_what_is_inside_of_an_argument() {
    let tenant = Tenant { name: "x".into() };
    let user = Arc::new(User { id: 3, tenant });
    let call = Arc::clone(&user);
    assert_eq!(
        tokio::spawn(async move { greeting(&call).await }).await.unwrap(),
        Ok("hi 3".into())
    );
    greeting_invalidate(3, "x".into()).await.unwrap();
    assert_eq!((greeting(&user).await, runs("greeting")), (Ok("hi 3".into()), 2));
}

#[memoize(key = "some:{ids}", ttl = "30s", unless = |some| some.is_empty())]
async fn some(ids: &[u64]) -> Vec<u64> {
    run("some");
    ids.to_vec()
}

#[memoize(key = "long:{text}", ttl = "30s", when = text.len() > 2)]
async fn long(text: &str) -> String {
    run("long");
    cacheme::loading().do_not_store();
    cacheme::loading().ttl(Duration::ZERO);
    text.to_owned()
}

#[memoize(key = "short:{id}", ttl = "1h")]
async fn short(id: u64) -> u64 {
    run("short");
    if id == 0 {
        cacheme::loading().do_not_store();
    }
    cacheme::loading().ttl(Duration::from_millis(1));
    id
}

#[tokio::test]
async fn a_function_says_what_is_stored_and_for_how_long() {
    for ids in [&[][..], &[], &[1], &[1]] {
        assert_eq!(some(ids).await, ids);
    }
    assert_eq!(runs("some"), 3);
    for _ in 0..2 {
        assert_eq!(long("ab").await, "ab");
    }
    assert_eq!(runs("long"), 2);
    for id in [0, 0, 1] {
        short(id).await;
    }
    assert_eq!(runs("short"), 3);
    tokio::time::sleep(Duration::from_millis(5)).await;
    short(1).await;
    assert_eq!(runs("short"), 1);
    assert!(!cacheme::loading().is_loading());
}

/// A dependency may be of any type: it is no part of the key.
#[memoize(key = "dependency:{id}", ttl = "1h")]
async fn dependency<D: AsRef<str> + Sync>(db: &D, id: u64) -> Result<u64, std::io::Error> {
    Ok(db.as_ref().len() as u64 + id)
}

#[memoize(key = "row:{T}:{id}", ttl = "1h")]
async fn row<T>(id: u64) -> Result<T, eyre::Report>
where
    T: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static,
{
    run("row");
    let _ = id;
    Ok(T::default())
}

#[tokio::test]
async fn c4_each_type_of_a_generic_function_has_its_own_values() {
    assert_eq!(dependency(&"four", 2).await.unwrap(), 6);
    for _ in 0..2 {
        assert_eq!(row::<u64>(1).await.unwrap(), 0);
        assert_eq!(row::<String>(1).await.unwrap(), "");
    }
    assert_eq!(runs("row"), 2);
    cacheme::invalidate(&row_node::<u64>(1)).await.unwrap();
    assert_eq!(
        (row::<u64>(1).await.unwrap(), row::<String>(1).await.unwrap()),
        (0, String::new())
    );
    assert_eq!(runs("row"), 1);
}

struct App {
    cacheme: Cacheme,
}

#[memoize(key = "shop:{id}", tier(storage = "mine", ttl = "1h"), cacheme = &app.cacheme, name = ShopKey, version = "v2")]
async fn shop(app: &Arc<App>, id: u64) -> u64 {
    let _ = app;
    id
}

#[tokio::test]
async fn a_function_has_an_instance_and_policies_of_its_own() {
    let app = Arc::new(App {
        cacheme: Cacheme::builder().build().unwrap(),
    });
    let local = cacheme::Storage::open("local://tlfu?size=10").unwrap();
    app.cacheme.register_storage("mine", local).await.unwrap();
    assert_eq!(shop(&app, 3).await, 3);
    shop_invalidate(3, &app).await.unwrap();
    assert_eq!(shop_refresh(&app, 3).await.unwrap(), 3);
    assert_eq!(app.cacheme.full_key(&ShopKey { id: 3 }), "cacheme:shop:3:v2");
    assert_eq!(app.cacheme.stats::<ShopKey>().loads, 2);
}

struct Repository {
    shop: u64,
}

impl Repository {
    #[memoize(key = "by-id:{id}", ttl = "1m")]
    async fn by_id(&self, id: u64) -> Result<u64, Box<dyn StdError + Send + Sync>> {
        run("by_id");
        Ok(self.shop + id)
    }

    #[memoize(key = "of:{self.shop: u64}:{name}", ttl = "1m")]
    async fn of(self: Arc<Self>, name: &str) -> String {
        format!("{name}{}", self.shop)
    }
}

struct Cell<T>(T);

impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Cell<T> {
    #[memoize(key = "cell:{Self}:{id}", ttl = "1m")]
    async fn get(&self, id: u64) -> Option<T> {
        run("cell");
        (id > 0).then(|| self.0.clone())
    }
}

#[tokio::test]
async fn c4_methods_have_nodes_of_the_librarys_type() {
    let repository = Arc::new(Repository { shop: 1 });
    for _ in 0..2 {
        assert_eq!(repository.by_id(1).await.unwrap(), 2);
    }
    let node: MemoNode<u64> = Repository::by_id_node(1);
    assert_eq!(cacheme::peek(&node).await.unwrap(), Some(2));
    cacheme::invalidate(&node).await.unwrap();
    assert_eq!((repository.by_id(1).await.unwrap(), runs("by_id")), (2, 2));
    assert_eq!(Arc::clone(&repository).of("n").await, "n1");
    assert_eq!(
        cacheme::peek(&Repository::of_node(1, "n"))
            .await
            .unwrap()
            .unwrap(),
        "n1"
    );
    for _ in 0..2 {
        assert_eq!(Cell(1u8).get(1).await, Some(1));
        assert_eq!(Cell("a".to_owned()).get(1).await.unwrap(), "a");
    }
    assert_eq!(runs("cell"), 2);
    let stats = cacheme::default_instance().all_stats();
    let by_id = stats
        .iter()
        .find(|stats| stats.name == "one_line::Repository::by_id")
        .unwrap();
    assert_eq!(by_id.loads, 2);
}

#[tokio::test]
async fn a_function_in_a_function_is_memoized() {
    #[memoize(key = "inner:{name}", ttl = "1s")]
    async fn inner(name: &str) -> String {
        name.to_owned()
    }
    assert_eq!(inner("x").await, "x");
    inner_invalidate("x").await.unwrap();
    assert_eq!(inner_refresh("x").await.unwrap(), "x");
}

#[tokio::test]
async fn the_local_storage_that_was_made_cannot_be_replaced_by_registering() {
    moved("b".into(), (1, 2)).await;
    let local = cacheme::Storage::open("local://tlfu?size=10").unwrap();
    let error = cacheme::register_storage("local", local).await.unwrap_err();
    assert!(
        matches!(error, cacheme::Error::DefaultStorageInUse { .. }),
        "{error}"
    );
}
