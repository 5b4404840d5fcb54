use std::sync::{Arc, Mutex};
use std::time::Duration;

use cacheme_storage::{Acquire, Acquired, Bytes, Error, Filled, LeaseToken, MongoDb, RemoteStorage, Storage};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, Timestamp, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria};
use mongodb::{Client, Collection};

use tests::{Kind, Server, shared_url};

use super::{entry, open};

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn url(server: &Server, options: &str) -> String {
    format!("mongodb://127.0.0.1:{}/test{options}", server.port())
}

/// The shared server with a collection of its own for each test.
fn shared(collection: &str) -> String {
    format!(
        "{}?collection={collection}&timeout=10s",
        shared_url(Kind::MongoDb)
    )
}

async fn documents(collection: &str) -> Collection<Document> {
    let client = Client::with_uri_str(shared_url(Kind::MongoDb)).await.unwrap();
    client.database("test").collection(collection)
}

#[test]
fn mongodb_urls_are_checked() {
    let wrong = |url: &str| {
        let error = Storage::open(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        error.to_string()
    };
    for (url, expected) in [
        ("mongodb://app:s3cret@db/", "names no database"),
        ("mongodb:///app", "names no host"),
        ("mongodb://app:s3cret", "has a port that is no number"),
        ("mongodb://a,b:x/app", "has a port that is no number"),
        (
            "mongodb://app:s3cret@db/app?w=0",
            "cannot do without acknowledgement",
        ),
        (
            "mongodb://db/app?authMechanism=s3cret",
            "`authMechanism` must be the name of a mechanism",
        ),
        (
            "mongodb://db/app?connectTimeoutMS=s3cret",
            "must be a number of milliseconds",
        ),
        (
            "mongodb://db/app?collection=system.x",
            "`collection` must be the name of a collection",
        ),
        (
            "mongodb://db/app?readPreference=secondary",
            "unknown option `readPreference`; known are: ",
        ),
        ("mongodb+srv://app:s3cret@db.example/app", "needs a name server"),
    ] {
        let said = wrong(url);
        assert!(said.contains(expected), "{url}: {said}");
    }
    let good = Storage::open(
        "mongodb://ann:p%40ss%2F@h1:1,h2/app?replicaSet=rs&authSource=admin&w=majority&appName=a%20b",
    );
    assert_eq!(good.unwrap().location(), "mongodb://h1:1,h2:27017/app");
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"] {
        let url = format!("mongodb://ann:secret@h/app?authMechanism={mechanism}");
        Storage::open(&url).expect(&url);
    }
}

/// Counts the commands that reach a server.
struct Counted {
    storage: MongoDb,
    commands: Arc<Mutex<Vec<String>>>,
}

impl Counted {
    async fn new(collection: &str) -> Self {
        let mut options = ClientOptions::parse(shared_url(Kind::MongoDb)).await.unwrap();
        let commands = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&commands);
        options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(started) = event {
                seen.lock().unwrap().push(started.command_name);
            }
        }));
        // Not what we read with.
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(
            ReadPreference::SecondaryPreferred { options: None },
        ));
        let client = Client::with_options(options).unwrap();
        let builder = MongoDb::builder()
            .client(client)
            .database("test")
            .collection(collection);
        Self {
            storage: builder.build().unwrap(),
            commands,
        }
    }

    fn were(&self, expected: &[&str], what: &str) {
        let commands = std::mem::take(&mut *self.commands.lock().unwrap());
        assert_eq!(commands, expected, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_answers_each_call_with_one_command() {
    let counted = Counted::new("counted").await;
    let storage = &counted.storage;
    storage.connect().await.unwrap();
    counted.were(
        &["hello", "hello", "hello", "listCollections", "createIndexes"],
        "connect",
    );
    let names: Vec<_> = (0..200_u32).map(u32::to_be_bytes).collect();
    let all: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    let (mine, theirs) = (LeaseToken(1), LeaseToken(2));
    for count in [1, 20, 200] {
        let keys = &all[..count];
        let entries: Vec<_> = keys.iter().map(|key| entry(key, "value", None)).collect();
        let of = |single: &'static [&'static str], many: &'static [&'static str]| {
            if count == 1 { single } else { many }
        };

        let granted = storage.acquire(keys, &Acquire::new(mine, MINUTE)).await.unwrap();
        assert!(granted.iter().all(Acquired::is_granted));
        counted.were(
            of(&["find", "findAndModify"], &["update"]),
            "a lease that is free",
        );
        let busy = storage
            .acquire(keys, &Acquire::new(theirs, MINUTE))
            .await
            .unwrap();
        assert!(busy.iter().all(|answer| matches!(answer, Acquired::Busy { .. })));
        counted.were(of(&["find"], &["update", "find"]), "a lease that somebody has");
        let filled = storage.fill(&entries, mine).await.unwrap();
        assert!(filled.iter().all(|filled| *filled == Filled::Stored));
        counted.were(&["update"], "fill");
        let found = storage.get(keys).await.unwrap();
        assert!(found.iter().all(Option::is_some));
        counted.were(&["find"], "get");
        let found = storage
            .acquire(keys, &Acquire::new(theirs, MINUTE))
            .await
            .unwrap();
        assert!(found.iter().all(|answer| matches!(answer, Acquired::Value(_))));
        counted.were(of(&["find"], &["update", "find"]), "a lease where a value is");
        storage
            .acquire(keys, &Acquire::new(theirs, MINUTE).stealing())
            .await
            .unwrap();
        counted.were(of(&["findAndModify"], &["update"]), "a lease stolen");
        storage.release(keys, theirs).await.unwrap();
        counted.were(&["delete"], "release");
        storage.set(&entries).await.unwrap();
        counted.were(&["update"], "set");
        storage.remove(keys).await.unwrap();
        counted.were(&["delete"], "remove");
    }
    storage.clear(b"").await.unwrap();
    counted.were(&["delete"], "clear");
    storage.close().await.unwrap();
    // The client is the application's.
    let other = Counted::new("counted").await;
    other.storage.connect().await.unwrap();
    other.were(
        &["hello", "hello", "hello", "listCollections", "listIndexes"],
        "connect to what is there",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_foreign_documents_are_no_values() {
    let storage = open(&shared("foreign"));
    storage.connect().await.unwrap();
    let documents = documents("foreign").await;
    let binary = Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: b"0123456789abcdef".to_vec(),
    });
    let odd = [
        doc! { "_id": "text", "value": "text" },
        doc! { "_id": "number", "value": 7, "expires_at": 9e15 },
        doc! { "_id": "nothing" },
        doc! { "_id": "lease", "lease": "ours" },
        doc! { "_id": "odd end", "lease": binary.clone(), "expires_at": Timestamp { time: u32::MAX, increment: 1 } },
        doc! { "_id": "no end", "lease": binary },
        doc! { "_id": "nested", "value": { "$binary": 1 }, "expires_at": "never" },
    ];
    documents.insert_many(&odd).await.unwrap();
    let keys: Vec<&[u8]> = odd
        .iter()
        .map(|odd| odd.get_str("_id").unwrap().as_bytes())
        .collect();
    assert_eq!(storage.get(&keys).await.unwrap(), vec![None; odd.len()]);
    // They stand in nobody's way.
    for key in &keys {
        let granted = storage
            .acquire(&[*key], &Acquire::new(LeaseToken(1), MINUTE))
            .await
            .unwrap();
        assert!(
            granted[0].is_granted(),
            "{}: {granted:?}",
            String::from_utf8_lossy(key)
        );
        let filled = storage
            .fill(&[entry(key, "v", None)], LeaseToken(1))
            .await
            .unwrap();
        assert_eq!(filled, [Filled::Stored]);
    }
    assert_eq!(
        storage.get(&keys).await.unwrap(),
        vec![Some("v".into()); odd.len()]
    );
    let found = documents
        .find_one(doc! { "_id": "nested" })
        .await
        .unwrap()
        .unwrap();
    assert!(!found.contains_key("expires_at"), "{found}");
    // Other types of keys are no text of ours, and not in the way of clearing.
    documents
        .insert_one(doc! { "_id": 5, "value": Bson::Null })
        .await
        .unwrap();
    storage.clear(b"").await.unwrap();
    assert_eq!(documents.count_documents(doc! {}).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_takes_values_as_long_as_its_documents() {
    let storage = open(&shared("large"));
    let error = storage.set(&[entry(b"a", vec![9; 16 << 20], None)]).await;
    let Err(Error::TooLarge { size, limit, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(size == 16 << 20 && limit > 16_000_000, "{size} {limit}");
    let (key, token) = (vec![0xFE; 2000], LeaseToken(1));
    let value = Bytes::from(vec![9; limit]);
    storage
        .acquire(&[&key], &Acquire::new(token, MINUTE))
        .await
        .unwrap();
    let filled = storage
        .fill(&[entry(&key, value.clone(), Some(MINUTE))], token)
        .await;
    assert_eq!(filled.unwrap(), [Filled::Stored]);
    assert!(storage.get(&[&key]).await.unwrap() == [Some(value.clone())]);
    // More than one command holds, in one call.
    storage
        .set(&[entry(b"a", value.clone(), None), entry(b"b", value.clone(), None)])
        .await
        .unwrap();
    assert!(storage.get(&[b"a", b"b"]).await.unwrap() == vec![Some(value); 2]);
    storage.clear(b"").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_removes_what_has_expired_by_itself() {
    let storage = open(&shared("expiring"));
    storage
        .set(&[
            entry(b"short", "v", Some(Duration::from_millis(1))),
            entry(b"long", "v", Some(MINUTE)),
            entry(b"stays", "v", None),
        ])
        .await
        .unwrap();
    let documents = documents("expiring").await;
    let indexes = documents.list_index_names().await.unwrap();
    assert!(indexes.contains(&"cacheme_expiry".into()), "{indexes:?}");
    let long = documents.find_one(doc! { "_id": "long" }).await.unwrap().unwrap();
    let at = long.get_datetime("expires_at").unwrap().timestamp_millis();
    let left = at - i64::try_from(storage.now_ms()).unwrap();
    assert!((50_000..=60_000).contains(&left), "{left}");
}
