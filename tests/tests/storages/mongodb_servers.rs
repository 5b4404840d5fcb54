//! MongoDB servers that go away, come back, give way to others or refuse: what it costs those that call meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use cacheme_storage::{Chain, Error, MongoDb, RemoteStorage};
use mongodb::Client;
use mongodb::bson::doc;
use mongodb::options::ClientOptions;
use tests::{Proxy, free_port, mongodb, mongodb_on_disk};

use super::mongodb::url;
use super::other_mongodb::DemotedMongoDb;
use super::{entry, eventually, open};

/// How long a call would wait for a server that does not come.
const PATIENCE: &str = "acquire_timeout=1m&timeout=1m";

/// Less than two calls would take that wait, and more than hundreds do that do not.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Calls fail for this cause, all of them together at once.
async fn fail_at_once(storage: &dyn RemoteStorage, cause: &str) {
    let start = Instant::now();
    for _ in 0..50 {
        for error in [
            storage.get(&[b"key"]).await.unwrap_err(),
            storage.remove(&[b"key"]).await.unwrap_err(),
        ] {
            let said = Chain(&error).to_string();
            assert!(said.contains(cause), "no {cause:?} in {said}");
        }
    }
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

async fn works(storage: &dyn RemoteStorage) {
    storage.set(&[entry(b"key", "v", None)]).await.unwrap();
    assert_eq!(storage.get(&[b"key"]).await.unwrap(), [Some("v".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t6_a_mongodb_that_is_not_there_costs_no_wait_and_is_used_again_soon() {
    let nowhere = open(&format!("mongodb://127.0.0.1:{}/test?{PATIENCE}", free_port()));
    fail_at_once(&*nowhere, "refused").await;

    let mut server = mongodb_on_disk();
    let storage = open(&url(&server, &format!("?{PATIENCE}")));
    works(&*storage).await;
    server.kill();
    // The first calls may find the connections that there were, and one that was about to be made.
    eventually("the server is known to be gone", async || {
        let error = storage.get(&[b"key"]).await.err();
        error.is_some_and(|error| Chain(&error).to_string().contains("refused"))
    })
    .await;
    fail_at_once(&*storage, "refused").await;
    server.restart();
    let back = Instant::now();
    eventually("the server is used again", async || {
        storage.set(&[entry(b"key", "v", None)]).await.is_ok()
    })
    .await;
    assert!(back.elapsed() < AT_ONCE, "{:?}", back.elapsed());
    works(&*storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_t6_a_login_that_mongodb_refuses_costs_no_wait_and_works_once_it_is_right() {
    let mut server = mongodb_on_disk();
    let client = Client::with_uri_str(url(&server, "")).await.unwrap();
    let roles = || vec![doc! { "role": "root", "db": "admin" }];
    for user in ["app", "admin"] {
        let user = doc! { "createUser": user, "pwd": "secret", "roles": roles() };
        client.database("admin").run_command(user).await.unwrap();
    }
    client.shutdown().await;
    fs::write(server.dir().join("auth"), "").unwrap();
    server.stop();
    server.restart();
    let at = |login: &str| {
        format!(
            "mongodb://{login}@127.0.0.1:{}/test?authSource=admin&{PATIENCE}",
            server.port()
        )
    };
    let storage = open(&at("app:other"));
    fail_at_once(&*storage, "uthentication failed").await;
    let admin = format!(
        "mongodb://admin:secret@127.0.0.1:{}/?authSource=admin",
        server.port()
    );
    let admin = Client::with_uri_str(admin).await.unwrap();
    let other = doc! { "updateUser": "app", "pwd": "other", "roles": roles() };
    admin.database("admin").run_command(other).await.unwrap();
    eventually("the login works", async || storage.get(&[b"key"]).await.is_ok()).await;
    works(&*storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t5_c1_a_mongodb_that_gave_way_to_another_behind_its_address_is_left() {
    let (before, after) = (mongodb(), mongodb());
    let address = DemotedMongoDb::new(before.port());
    let here = open(&address.url());
    here.set(&[entry(b"key", "old", None), entry(b"other", "old", None)])
        .await
        .unwrap();
    let there = open(&url(&after, "?timeout=10s"));
    there.set(&[entry(b"key", "old", None)]).await.unwrap();
    address.fail_over_to(after.port());
    // By its own words, or by what its monitor sees. Connections that nobody leaves end in half a minute by themselves.
    let since = Instant::now();
    eventually("the new server is used", async || {
        here.remove(&[b"key"]).await.is_ok()
    })
    .await;
    assert!(since.elapsed() < AT_ONCE / 2, "{:?}", since.elapsed());
    assert_eq!(there.get(&[b"key"]).await.unwrap(), [None], "removed elsewhere");
    assert_eq!(
        here.get(&[b"key", b"other"]).await.unwrap(),
        [None, None],
        "read elsewhere"
    );
    works(&*here).await;
    assert_eq!(there.get(&[b"key"]).await.unwrap(), [Some("v".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn c1_a_mongodb_that_is_no_primary_is_not_read() {
    let before = mongodb();
    let address = DemotedMongoDb::new(before.port());
    let here = open(&address.url());
    here.set(&[entry(b"key", "old", None)]).await.unwrap();
    // Nobody is at the address any more.
    address.fail_over_to(free_port());
    eventually("it is not read", async || here.get(&[b"key"]).await.is_err()).await;
    for _ in 0..20 {
        let error = here.get(&[b"key"]).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}

/// The commands of tests that look for an index.
async fn has_index(client: &Client, collection: &str) -> bool {
    let collection = client
        .database("test")
        .collection::<mongodb::bson::Document>(collection);
    let names = collection.list_index_names().await;
    names.is_ok_and(|names| names.contains(&"cacheme_expiry".into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_dropped_collection_of_mongodb_has_its_index_again() {
    let server = mongodb();
    let options = ClientOptions::parse(url(&server, "")).await.unwrap();
    let client = Client::with_options(options.clone()).unwrap();
    let storage = MongoDb::builder()
        .options(options)
        .database("test")
        .collection("dropped")
        .upkeep_every(Duration::from_millis(50))
        .build()
        .unwrap();
    works(&storage).await;
    assert!(has_index(&client, "dropped").await);
    for _ in 0..2 {
        client
            .database("test")
            .run_command(doc! { "drop": "dropped" })
            .await
            .unwrap();
        // The server makes a collection for who writes, and no index.
        works(&storage).await;
        eventually("the index is there again", async || {
            has_index(&client, "dropped").await
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t6_an_idle_connection_to_mongodb_that_a_network_forgot_is_not_used() {
    let server = mongodb();
    let proxy = Proxy::to(server.port());
    let url = format!(
        "mongodb://127.0.0.1:{}/test?directConnection=true&maxIdleTimeMS=1&acquire_timeout=1m&timeout=10s",
        proxy.port()
    );
    let storage = open(&url);
    works(&*storage).await;
    // Longer than a connection may be idle.
    tokio::time::sleep(Duration::from_millis(5)).await;
    proxy.silence();
    let first = tokio::time::timeout(Duration::from_secs(10), storage.get(&[b"key"])).await;
    assert_eq!(first.expect("it waits for nobody").unwrap(), [Some("v".into())]);
}
