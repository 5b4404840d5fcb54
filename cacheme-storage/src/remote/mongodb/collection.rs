use std::time::{Duration, Instant};

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, CollectionOptions, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection};

use crate::error::{Error, Result};

use super::Inner;
use super::connection::Turn;
use super::entries::Row;
use super::fault::Trouble;

/// The number of times that a command is sent again after trouble that sending it again may mend.
const REPEATS: usize = 5;

/// The number of times that the clock is looked at; the answer that came fastest is the one to go by.
const CLOCK_LOOKS: usize = 3;

/// The server's code for two that cannot be where the other is: a unique key, found when an upsert inserts.
const DUPLICATE_KEY: i32 = 11000;

impl Inner {
    /// Reaches the server, makes sure of collection and index, and looks at the clock.
    pub(super) async fn prepare(&self) -> Result<()> {
        self.look_at_clock().await?;
        let filter = doc! { "listCollections": 1, "filter": { "name": &self.collection } };
        let found = self.command(|_| filter.clone()).await?;
        let found = first_batch(&found).next();
        if let Some(found) = found {
            let options = found.get_document("options").cloned().unwrap_or_default();
            let odd = ["capped", "collation", "timeseries", "validator", "viewOn"];
            let odd = odd.into_iter().find(|option| options.contains_key(option));
            if let Some(odd) = odd {
                return Err(self.unusable(format!(
                    "has the option `{odd}`; choose another with the option `collection`, or drop it and run: {}",
                    self.ddl()
                )));
            }
            let indexes = doc! { "listIndexes": &self.collection };
            let indexes = self.command(|_| indexes.clone()).await?;
            let expiring = first_batch(&indexes).find(|index| {
                index
                    .get_document("key")
                    .is_ok_and(|key| *key == doc! { "expires_at": 1 })
            });
            if let Some(index) = expiring {
                // Of whatever numeric type.
                let after = index.get("expireAfterSeconds").map(ToString::to_string);
                if after
                    .as_deref()
                    .is_some_and(|after| after.trim_end_matches(".0") == "0")
                {
                    return Ok(());
                }
                return Err(self.unusable(format!(
                    "has another index of `expires_at`; choose another collection with the option `collection`, \
                     or drop the index and run: {}",
                    self.ddl()
                )));
            }
        }
        if !self.create {
            return Err(self.unusable(format!("lacks its index; run: {}", self.ddl())));
        }
        let index = doc! {
            "createIndexes": &self.collection,
            "indexes": [{ "key": { "expires_at": 1 }, "name": INDEX, "expireAfterSeconds": 0 }],
        };
        match self.command(|_| index.clone()).await {
            Ok(_) => Ok(()),
            Err(Error::Refused { source, .. }) => {
                Err(self.unusable(format!("cannot be made: {source}; make it with: {}", self.ddl())))
            }
            Err(other) => Err(other),
        }
    }

    /// The commands that make collection and index, for the shell.
    fn ddl(&self) -> String {
        format!(
            "db.getCollection({:?}).createIndex({{ expires_at: 1 }}, {{ name: {INDEX:?}, expireAfterSeconds: 0 }})",
            self.collection
        )
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Config {
            storage: self.location.clone(),
            reason: format!("collection `{}` {reason}", self.collection),
        }
    }

    pub(super) async fn look_at_clock(&self) -> Result<()> {
        let mut best: Option<(Duration, Instant, i64)> = None;
        for _ in 0..CLOCK_LOOKS {
            let asked = Instant::now();
            let hello = self.command(|_| doc! { "hello": 1 }).await?;
            let took = asked.elapsed();
            if let Ok(now) = hello.get_datetime("localTime")
                && best.is_none_or(|(least, ..)| took < least)
            {
                // As if it was asked just before, so that its time counts half.
                best = Some((took, asked, now.timestamp_millis()));
            }
        }
        if let Some((took, asked, now)) = best {
            let now = u64::try_from(now).unwrap_or(0);
            self.clock.observe_between(now, asked, asked + took);
        }
        Ok(())
    }

    /// Our collection. Read from the primary, since others may not yet know of an invalidation.
    pub(super) fn rows(&self, client: &Client) -> Collection<Row> {
        let options = CollectionOptions::builder()
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        client
            .database(&self.database)
            .collection_with_options(&self.collection, options)
    }

    /// Writes, acknowledged as the client asks for; answers what the server says.
    ///
    /// The command is made when its turn has come: it holds a copy of the values that it carries.
    pub(super) async fn write(&self, make: impl Fn() -> Document) -> Result<Document> {
        self.command(|turn| {
            let mut command = make();
            if let Some(concern) = turn.client.write_concern().and_then(written) {
                command.insert("writeConcern", concern);
            }
            if let Some(limit) = turn.limit {
                command.insert("maxTimeMS", i64::try_from(limit.as_millis()).unwrap_or(i64::MAX));
            }
            command
        })
        .await
    }

    /// Runs a command, several times if need be: what ours do the second time is what they did the first time.
    async fn command(&self, make: impl Fn(&Turn) -> Document) -> Result<Document> {
        let mut left = REPEATS;
        loop {
            let sent = async {
                let turn = self.connector.turn().await?;
                let database = turn.client.database(&self.database);
                let command = make(&turn);
                turn.run(async move { database.run_command(command).await }).await
            };
            match sent.await {
                Ok(answer) => match self.refusal(&answer) {
                    // Two that insert the same key at once: the second one finds it when it tries again.
                    Some((DUPLICATE_KEY, _)) if left > 0 => {}
                    Some((_, refusal)) => {
                        return Err(Error::Refused {
                            storage: self.location.clone(),
                            source: refusal.into(),
                        });
                    }
                    None => return Ok(answer),
                },
                Err(error)
                    if left > 0 && (Trouble::of(&error) == Trouble::Passing || is_duplicate(&error)) => {}
                Err(error) => {
                    if let ErrorKind::Command(command) = &*error.kind
                        && command.code == NO_COLLECTION
                    {
                        self.ready.reset();
                    }
                    return Err(self.fault(error));
                }
            }
            left -= 1;
        }
    }

    /// The failure in the answer to a write; the driver takes it for a success.
    fn refusal(&self, answer: &Document) -> Option<(i32, String)> {
        let of_writes = answer.get_array("writeErrors").ok();
        let first = of_writes
            .and_then(|errors| errors.first())
            .and_then(Bson::as_document);
        let first = first.or_else(|| answer.get_document("writeConcernError").ok())?;
        let message = first.get_str("errmsg").unwrap_or("without a message");
        let code = first.get_i32("code").unwrap_or(0);
        Some((code, format!("{message} (code {code})")))
    }
}

/// Says whether a whole command, which changes one document, failed for a duplicate key.
fn is_duplicate(error: &mongodb::error::Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == DUPLICATE_KEY)
}

/// The index by which the server removes what has expired.
const INDEX: &str = "cacheme_expiry";

/// The server knows no such collection.
const NO_COLLECTION: i32 = 26;

fn first_batch(answer: &Document) -> impl Iterator<Item = &Document> {
    let cursor = answer.get_document("cursor");
    let batch = cursor.and_then(|cursor| cursor.get_array("firstBatch"));
    batch.into_iter().flatten().filter_map(Bson::as_document)
}

/// A write concern as a part of commands; none if it says nothing, or what we cannot do with.
fn written(concern: &WriteConcern) -> Option<Document> {
    let mut document = Document::new();
    match &concern.w {
        Some(Acknowledgment::Nodes(0)) => return None,
        Some(Acknowledgment::Nodes(nodes)) => drop(document.insert("w", i64::from(*nodes))),
        Some(Acknowledgment::Custom(tag)) => drop(document.insert("w", tag)),
        Some(_) => drop(document.insert("w", "majority")),
        None => {}
    }
    if let Some(journal) = concern.journal {
        document.insert("j", journal);
    }
    if let Some(timeout) = concern.w_timeout {
        document.insert("wtimeout", i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
    }
    (!document.is_empty()).then_some(document)
}
