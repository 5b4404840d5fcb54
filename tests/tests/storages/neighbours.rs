//! Two applications on one server.

use cacheme::Storage;
use cacheme_storage::RemoteStorage;
use tests::{Kind, RedisCluster, shared_url};

use super::service::{Square, loads, start, working};
use super::{entry, open};

/// Two services whose entries must never meet: each is asked, told and cleared without the other noticing.
async fn keep_apart(one: (&str, &str), two: (&str, &str)) {
    let (first, second) = (working(one.0, one.1).await, working(two.0, two.1).await);
    let node = Square { number: 12 };
    first.set(&node, 1).await.unwrap();
    assert_eq!(
        second.peek(&node).await.unwrap(),
        None,
        "{one:?} shows in {two:?}"
    );
    second.set(&node, 2).await.unwrap();
    assert_eq!(first.get(&node).await.unwrap(), 1, "{two:?} shows in {one:?}");
    assert_eq!(second.get(&node).await.unwrap(), 2);
    first.invalidate(&node).await.unwrap();
    assert_eq!(
        second.get(&node).await.unwrap(),
        2,
        "{one:?} invalidates for {two:?}"
    );
    first.set(&node, 1).await.unwrap();
    second.refresh(&node).await.unwrap();
    assert_eq!(first.get(&node).await.unwrap(), 1);
    assert_eq!(loads(&first), 0);

    let clear = async |(prefix, url): (&str, &str)| {
        open(url).clear(format!("{prefix}:").as_bytes()).await.unwrap();
    };
    clear(two).await;
    assert_eq!(second.peek(&node).await.unwrap(), None);
    assert_eq!(
        first.peek(&node).await.unwrap(),
        Some(1),
        "{two:?} clears for {one:?}"
    );
    second.set(&node, 2).await.unwrap();
    clear(one).await;
    assert_eq!(first.peek(&node).await.unwrap(), None);
    assert_eq!(
        second.peek(&node).await.unwrap(),
        Some(2),
        "{one:?} clears for {two:?}"
    );
    clear(two).await;
}

/// Prefixes that begin alike, differ in case only, or look like a pattern for the other.
const PREFIXES: [(&str, &str); 4] = [("shop", "shop2"), ("shop", "Shop"), ("a.b", "a_b"), ("a", "a.a")];

#[tokio::test(flavor = "multi_thread")]
async fn c4_prefixes_keep_applications_apart() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/cache.db?timeout=10s", folder.path().display());
    let redis = shared_url(Kind::Redis) + "?timeout=10s";
    let postgres = shared_url(Kind::Postgres) + "?timeout=10s";
    let mysql = shared_url(Kind::MySql) + "?timeout=10s";
    let mongodb = shared_url(Kind::MongoDb) + "?timeout=10s";
    let servers = RedisCluster::start();
    let cluster = servers.url() + "?timeout=10s";
    for url in [&redis, &cluster, &postgres, &mysql, &mongodb, &sqlite] {
        for (one, two) in PREFIXES {
            keep_apart((one, url), (two, url)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn c4_tables_and_databases_keep_applications_apart() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/cache.db?timeout=10s&", folder.path().display());
    let redis = shared_url(Kind::Redis);
    let postgres = shared_url(Kind::Postgres) + "?timeout=10s&";
    let mysql = shared_url(Kind::MySql) + "?timeout=10s&";
    let url = |base: &str, rest: &str| format!("{base}{rest}");
    keep_apart(
        ("same", &url(&redis, "/7?timeout=10s")),
        ("same", &url(&redis, "/8?timeout=10s")),
    )
    .await;
    let mongodb = shared_url(Kind::MongoDb) + "?timeout=10s&collection=";
    keep_apart(("same", &url(&mongodb, "shop")), ("same", &url(&mongodb, "Shop"))).await;
    for base in [&postgres, &mysql, &sqlite] {
        // Words of the language are names like others, since names are quoted.
        for (one, two) in [("shop", "shop_expiry2"), ("select", "order"), ("User", "user_")] {
            keep_apart(
                ("same", &url(base, &format!("table={one}"))),
                ("same", &url(base, &format!("table={two}"))),
            )
            .await;
        }
    }
}

/// Names that would end a statement, or a name, were they not between quotes; each with one that looks like it.
const NAMES: [(&str, &str); 8] = [
    ("a\"b", "a\"\"b"),
    ("a'b", "a''b"),
    ("a`b", "a``b"),
    ("a b", "a  b"),
    ("50%", "50%%"),
    ("größe", "grosse"),
    ("?", "$1"),
    ("x\"; DROP TABLE \"y", "y"),
];

#[tokio::test(flavor = "multi_thread")]
async fn c4_names_of_tables_are_names_whatever_stands_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = format!("sqlite://{}/cache.db", folder.path().display());
    let encoded = |name: &str| -> String { name.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    for base in [shared_url(Kind::Postgres), shared_url(Kind::MySql), sqlite] {
        let table = |name: &str| format!("{base}?timeout=10s&table={}", encoded(name));
        for (one, two) in NAMES {
            keep_apart(("same", &table(one)), ("same", &table(two))).await;
        }
        // Of a table that may not be made, the message has what would make it, name and all.
        let error = open(&(table("it's \"absent`") + "&create=false")).connect().await;
        let said = error.unwrap_err().to_string();
        let quoted = ["\"it's \"\"absent`\"", "`it's \"absent```"];
        assert!(
            said.contains("table `it's \"absent`` does not exist; run: CREATE TABLE")
                && quoted
                    .iter()
                    .any(|quoted| said.contains(&format!("EXISTS {quoted} ("))),
            "{said}"
        );
        for name in ["", "a.b.c", ".a", "a.", "a\0b", "a\nb", &"x".repeat(49)] {
            let error = Storage::open(&table(name)).expect_err(name).to_string();
            assert!(error.contains("`table` must be a table name"), "{error}");
        }
    }
    // And keys and values are arguments, never text.
    let storage = cacheme_storage::Sqlite::builder().in_memory().build().unwrap();
    let evil = b"'; DROP TABLE cacheme; --";
    storage.set(&[entry(evil, &evil[..], None)]).await.unwrap();
    assert_eq!(storage.get(&[evil]).await.unwrap(), [Some((&evil[..]).into())]);
    let (cacheme, registered) = start("evil", Storage::remote(storage)).await;
    registered.unwrap();
    assert_eq!(cacheme.get(&Square { number: 4 }).await.unwrap(), 16);
}
