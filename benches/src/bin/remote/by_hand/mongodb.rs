//! MongoDB, on the driver's client.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::{Binary, Bson, DateTime, Document, doc, spec::BinarySubtype};
use mongodb::options::IndexOptions;

use super::{LEASE_MS, TTL_MS, token};
use crate::side::{Info, Side};

pub(crate) struct RawMongoDb(mongodb::Collection<Document>);

impl RawMongoDb {
    /// Connects and makes the index by which the server removes what has expired.
    pub(crate) async fn connect(url: &str) -> Self {
        let client = mongodb::Client::with_uri_str(url).await.expect("a URL");
        let collection = client.database("test").collection("raw");
        let options = IndexOptions::builder().expire_after(Duration::ZERO).build();
        let index = IndexModel::builder()
            .keys(doc! { "expires_at": 1 })
            .options(options);
        collection
            .create_index(index.build())
            .await
            .expect("it can be made");
        Self(collection)
    }

    fn value(found: &Document) -> Info {
        Info::from_bytes(found.get_binary_generic("value").expect("it is a value"))
    }
}

fn binary(bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes,
    })
}

fn text(id: u64) -> String {
    format!("raw:user:{id}:info")
}

fn in_millis(ms: i64) -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + ms)
}

impl Side for RawMongoDb {
    async fn hit(&self, id: u64) -> Info {
        let found = self.0.find_one(doc! { "_id": text(id) }).await;
        Self::value(&found.expect("the server answers").expect("it is there"))
    }

    async fn hits(&self, ids: Vec<u64>) -> Vec<Info> {
        let names: Vec<_> = ids.into_iter().map(text).collect();
        let found = self
            .0
            .find(doc! { "_id": { "$in": names } })
            .await
            .expect("the server answers");
        let found: Vec<Document> = found.try_collect().await.expect("the server answers");
        found.iter().map(Self::value).collect()
    }

    async fn fill(&self, id: u64) -> Info {
        let found = self.0.find_one(doc! { "_id": text(id) }).await;
        assert!(found.expect("the server answers").is_none(), "{id} is there");
        let token = binary(token());
        let lease = doc! { "$set": { "lease": token.clone(), "expires_at": in_millis(LEASE_MS) } };
        let leased = self
            .0
            .update_one(doc! { "_id": text(id) }, lease)
            .upsert(true)
            .await;
        assert!(leased.expect("the server answers").upserted_id.is_some());
        let info = Info::of(id);
        let value = doc! { "$set": { "value": binary(info.to_bytes()), "expires_at": in_millis(TTL_MS) } };
        let filled = self
            .0
            .update_one(doc! { "_id": text(id), "lease": token }, value)
            .await;
        assert_eq!(filled.expect("the server answers").modified_count, 1);
        info
    }
}
