use std::borrow::Cow;
use std::future::Future;
use std::ops::Range;

use bytes::Bytes;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawBson, doc};
use mongodb::options::FindOptions;
use serde::Deserialize;

use crate::contract::remote::RemoteEntry;
use crate::error::{Error, Result};
use crate::remote::database::{KeySet, PieceLimits, after_prefix, side_by_side, ttl_millis};
use crate::remote::long_key::shortened_head;

use super::Inner;
use super::fault::Trouble;

/// Servers take longer ones from version 4.2 on; what nobody can read whole is shortened all the same.
pub(super) const KEY_LIMIT: usize = 1024;

/// A document, and a command, has at most 16 MiB; keys and names go off that.
const VALUE_LIMIT: usize = 16 * 1024 * 1024 - 16 * 1024;

/// Rows of one command.
const ROWS: usize = 1000;

/// The bytes of a row in a command besides its key and its value.
const ROW_BYTES: usize = 1024;

/// Keys of one list within a command that removes.
const LIST: usize = 100;

/// A document of ours. Of `value` and `lease`, what is not ours is not seen.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(rename = "_id")]
    key: RawBson,
    value: Option<RawBson>,
    pub(super) expires_at: Option<RawBson>,
    lease: Option<RawBson>,
}

impl Row {
    /// Milliseconds since the epoch; `None` for ever.
    pub(super) fn expires_at(&self) -> Option<i64> {
        match &self.expires_at {
            Some(RawBson::DateTime(at)) => Some(at.timestamp_millis()),
            _ => None,
        }
    }

    pub(super) fn lease(&self) -> Option<&[u8]> {
        match &self.lease {
            Some(RawBson::Binary(lease)) => Some(&lease.bytes),
            _ => None,
        }
    }

    pub(super) fn has_value(&self) -> bool {
        matches!(self.value, Some(RawBson::Binary(_)))
    }

    pub(super) fn into_value(self) -> Option<Bytes> {
        match self.value {
            Some(RawBson::Binary(value)) => Some(value.bytes.into()),
            _ => None,
        }
    }
}

/// The distinct keys of a call, or some of them: in order.
pub(super) type Keys<'a> = [Cow<'a, [u8]>];

impl Inner {
    pub(super) async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let keys = key_set(keys);
        let get = async |piece: Range<usize>| {
            let rows = self.living_rows(&keys.distinct()[piece], None).await?;
            Ok(rows
                .into_iter()
                .map(|row| row.and_then(Row::into_value))
                .collect())
        };
        let found = self.in_pieces(keys.distinct(), get).await?;
        Ok(keys.answers(found))
    }

    /// Finds what is under each of the keys and has not expired, values and leases; with `fields`, only these of it.
    pub(super) async fn living_rows(
        &self,
        keys: &Keys<'_>,
        fields: Option<Document>,
    ) -> Result<Vec<Option<Row>>> {
        let now = self.now();
        let mut rows: Vec<Option<Row>> = std::iter::repeat_with(|| None).take(keys.len()).collect();
        let read = async |rows: &mut [Option<Row>]| {
            let turn = self.connector.turn().await?;
            // By the key alone: a server finds that in its index, and the rest is as well done here.
            let wanted = match keys {
                // Servers have a way of their own to find one, without a plan.
                [key] => doc! { "_id": text(key) },
                _ => doc! { "_id": { "$in": texts(keys) } },
            };
            let options = FindOptions::builder()
                // All in the first answer, and one more, so that the server knows that it was all.
                .batch_size(u32::try_from(keys.len() + 1).unwrap_or(u32::MAX))
                .max_time(turn.limit)
                .projection(fields.clone())
                .build();
            let collection = self.rows(&turn.client);
            let find = async move {
                let mut rows = Vec::new();
                let mut found = collection.find(wanted).with_options(options).await?;
                while found.advance().await? {
                    rows.push(found.deserialize_current()?);
                }
                Ok(rows)
            };
            for row in turn.run(find).await? {
                let RawBson::String(name) = &row.key else {
                    continue;
                };
                let index =
                    bytes(name).and_then(|key| keys.binary_search_by(|probe| (**probe).cmp(&key)).ok());
                if let Some(index) = index
                    && row.expires_at().is_none_or(|at| at > now)
                {
                    rows[index] = Some(row);
                }
            }
            Ok(())
        };
        let mut done = read(&mut rows).await;
        // The driver tries a second time by itself, which is not enough for several connections that broke.
        for _ in 0..2 {
            match &done {
                Err(error) if Trouble::of(error) == Trouble::Passing => done = read(&mut rows).await,
                _ => break,
            }
        }
        self.checked(done)?;
        Ok(rows)
    }

    pub(super) async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        self.check_size(entries)?;
        let keys = KeySet::new(entries.iter().map(|entry| entry.key), Some(KEY_LIMIT));
        let set = async |piece: Range<usize>| {
            let updates = || -> Vec<_> {
                let update = |row: usize| {
                    let entry = &entries[keys.last()[row]];
                    let mut fields = doc! { "value": binary(&entry.value) };
                    if let Some(ttl) = ttl_millis(entry.ttl) {
                        fields.insert("expires_at", date(self.now() + ttl));
                    }
                    doc! { "q": { "_id": text(&keys.distinct()[row]) }, "u": fields, "upsert": true }
                };
                piece.clone().map(update).collect()
            };
            self.update(updates).await?;
            Ok(Vec::<()>::new())
        };
        self.entries_in_pieces(entries, &keys, set).await.map(drop)
    }

    /// Runs updates, each on its own.
    pub(super) async fn update(&self, updates: impl Fn() -> Vec<Document>) -> Result<Document> {
        self.write(|| doc! { "update": &self.collection, "updates": updates(), "ordered": false })
            .await
    }

    /// Runs removals, each on its own.
    pub(super) async fn delete(&self, filters: impl Fn() -> Vec<Document>) -> Result<Document> {
        let deletes = || -> Vec<_> {
            let all = |filter| doc! { "q": filter, "limit": 0 };
            filters().into_iter().map(all).collect()
        };
        self.write(|| doc! { "delete": &self.collection, "deletes": deletes(), "ordered": false })
            .await
    }

    pub(super) async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let keys = key_set(keys);
        let remove = async |piece: Range<usize>| {
            let keys = &keys.distinct()[piece];
            let list = |keys: &Keys<'_>| doc! { "_id": { "$in": texts(keys) } };
            self.delete(|| keys.chunks(LIST).map(list).collect()).await?;
            Ok(Vec::<()>::new())
        };
        self.in_pieces(keys.distinct(), remove).await.map(drop)
    }

    pub(super) async fn clear(&self, prefix: &[u8]) -> Result<()> {
        let prefix = shortened_head(prefix, KEY_LIMIT);
        let mut range = doc! { "$gte": text(prefix) };
        if let Some(end) = after_prefix(prefix) {
            range.insert("$lt", text(&end));
        }
        self.delete(|| vec![doc! { "_id": range.clone() }])
            .await
            .map(drop)
    }

    /// Runs something on pieces of a list of keys; the answers are in the order of the keys.
    pub(super) async fn in_pieces<T, F>(
        &self,
        keys: &Keys<'_>,
        run: impl Fn(Range<usize>) -> F,
    ) -> Result<Vec<T>>
    where
        F: Future<Output = Result<Vec<T>>>,
    {
        let pieces = pieces(keys.len(), |row| text_bytes(&keys[row]));
        side_by_side(pieces, self.connector.width(), run).await
    }

    /// Does the work in pieces of entries under distinct keys.
    pub(super) async fn entries_in_pieces<T, F>(
        &self,
        entries: &[RemoteEntry<'_>],
        keys: &KeySet<'_>,
        run: impl Fn(Range<usize>) -> F,
    ) -> Result<Vec<T>>
    where
        F: Future<Output = Result<Vec<T>>>,
    {
        let size = |row: usize| text_bytes(&keys.distinct()[row]) + entries[keys.last()[row]].value.len();
        side_by_side(pieces(keys.last().len(), size), self.connector.width(), run).await
    }

    /// The server's time in milliseconds since the epoch.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX)
    }

    /// Refuses a value that the server cannot take, before it is sent anywhere.
    pub(super) fn check_size(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        match entries.iter().find(|entry| entry.value.len() > VALUE_LIMIT) {
            None => Ok(()),
            Some(entry) => Err(Error::TooLarge {
                storage: self.location.clone(),
                size: entry.value.len(),
                limit: VALUE_LIMIT,
            }),
        }
    }
}

fn pieces(rows: usize, size: impl Fn(usize) -> usize) -> impl Iterator<Item = Range<usize>> {
    let limits = PieceLimits {
        rows: ROWS,
        exact: ROWS,
        bytes: VALUE_LIMIT,
    };
    crate::remote::database::pieces(rows, limits, move |row| size(row) + ROW_BYTES)
}

pub(super) fn key_set<'a>(keys: &[&'a [u8]]) -> KeySet<'a> {
    KeySet::new(keys.iter().copied(), Some(KEY_LIMIT))
}

/// A key as text: each byte is the character with its number, so that ASCII stays readable.
///
/// Why not as binary data: the server sorts that by its length first, and so could not find keys by their beginning.
pub(super) fn text(key: &[u8]) -> String {
    key.iter().copied().map(char::from).collect()
}

/// The length of that text at most, in bytes.
fn text_bytes(key: &[u8]) -> usize {
    2 * key.len()
}

pub(super) fn texts(keys: &Keys<'_>) -> Vec<String> {
    keys.iter().map(|key| text(key)).collect()
}

/// The key that a text stands for.
fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

pub(super) fn binary(bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    })
}

pub(super) fn date(millis: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_text_and_keep_their_order() {
        let all: Vec<u8> = (0..=255).collect();
        let keys = [&b""[..], b"\0", b"a:1", b"a\x7f", "ä".as_bytes(), b"\xff", &all];
        for key in keys {
            assert_eq!(bytes(&text(key)).as_deref(), Some(key));
        }
        assert_eq!(text(b"cacheme:user:1:v1"), "cacheme:user:1:v1");
        assert_eq!(bytes("€"), None);
        assert!(all.windows(2).all(|pair| text(&pair[..1]) < text(&pair[1..])));
    }
}
