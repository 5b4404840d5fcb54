//! A remote storage of one's own: a `HashMap` with leases, in place of a server that Cacheme does not know.
//!
//! `cargo run -p examples --bin own_storage` uses it under a node; `cargo test -p examples --bin own_storage` runs the
//! suite that every storage has to pass.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cacheme::{Cacheme, LoadContext, Node, Storage};
use cacheme_storage::{
    Acquire, Acquired, Bytes, Capabilities, Filled, LeaseToken, RemoteEntry, RemoteStorage, Result,
};

/// What is under a key, until when in milliseconds since the epoch.
#[derive(Clone)]
struct Slot {
    kept: Kept,
    until: u64,
}

/// The lease lies where the value would be, so that whoever overwrites or removes the key takes it away.
#[derive(Clone)]
enum Kept {
    Value(Bytes),
    Lease(LeaseToken),
}

const FOR_EVER: u64 = u64::MAX;

#[derive(Default)]
struct HashMapStorage {
    // A server would do each operation atomically by itself; here a lock does it for all keys at once.
    slots: Mutex<HashMap<Vec<u8>, Slot>>,
}

impl HashMapStorage {
    fn slots(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Slot>> {
        // Nothing panics in between, so a poisoned map is a map.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of something that lives so long; rounded up, and never past the end of time.
    fn until(&self, ttl: Option<Duration>) -> u64 {
        let Some(ttl) = ttl else { return FOR_EVER };
        let millis = ttl.as_nanos().div_ceil(1_000_000);
        self.now_ms()
            .saturating_add(u64::try_from(millis).unwrap_or(FOR_EVER))
    }

    /// What is there and has not expired.
    fn living<'s>(&self, slots: &'s HashMap<Vec<u8>, Slot>, key: &[u8]) -> Option<&'s Slot> {
        slots.get(key).filter(|slot| slot.until > self.now_ms())
    }

    fn is_held_by(&self, slots: &HashMap<Vec<u8>, Slot>, key: &[u8], token: LeaseToken) -> bool {
        let slot = self.living(slots, key);
        matches!(slot, Some(Slot { kept: Kept::Lease(holder), .. }) if *holder == token)
    }
}

#[async_trait::async_trait]
impl RemoteStorage for HashMapStorage {
    fn location(&self) -> String {
        "hashmap://".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::none().with_leases()
    }

    async fn connect(&self) -> Result<()> {
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        // The server's clock; see `ServerClock` for one that is elsewhere.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(FOR_EVER)
    }

    async fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let slots = self.slots();
        let value = |key: &&[u8]| match &self.living(&slots, key)?.kept {
            Kept::Value(value) => Some(value.clone()),
            Kept::Lease(_) => None,
        };
        Ok(keys.iter().map(value).collect())
    }

    async fn set(&self, entries: &[RemoteEntry<'_>]) -> Result<()> {
        let mut slots = self.slots();
        for entry in entries {
            let slot = Slot {
                kept: Kept::Value(entry.value.clone()),
                until: self.until(entry.ttl),
            };
            slots.insert(entry.key.to_vec(), slot);
        }
        Ok(())
    }

    async fn remove(&self, keys: &[&[u8]]) -> Result<()> {
        let mut slots = self.slots();
        for key in keys {
            slots.remove(*key);
        }
        Ok(())
    }

    async fn clear(&self, prefix: &[u8]) -> Result<()> {
        self.slots().retain(|key, _| !key.starts_with(prefix));
        Ok(())
    }

    async fn acquire(&self, keys: &[&[u8]], request: &Acquire) -> Result<Vec<Acquired>> {
        let mut slots = self.slots();
        let mut answers = Vec::with_capacity(keys.len());
        for key in keys {
            let found = self.living(&slots, key).filter(|_| !request.steals()).cloned();
            answers.push(match found {
                Some(Slot {
                    kept: Kept::Value(value),
                    ..
                }) => Acquired::Value(value.into()),
                Some(Slot {
                    kept: Kept::Lease(holder),
                    until,
                }) if holder != request.token => Acquired::Busy {
                    left: Duration::from_millis(until.saturating_sub(self.now_ms()).max(1)),
                },
                // Whoever asked has gone away.
                _ if request.is_late(self.now_ms()) => Acquired::TooLate,
                // Free, or ours already: then it begins anew.
                _ => {
                    let slot = Slot {
                        kept: Kept::Lease(request.token),
                        until: self.until(Some(request.time)),
                    };
                    slots.insert(key.to_vec(), slot);
                    request.granted_at(self.now_ms())
                }
            });
        }
        Ok(answers)
    }

    async fn fill(&self, entries: &[RemoteEntry<'_>], token: LeaseToken) -> Result<Vec<Filled>> {
        let mut slots = self.slots();
        let mut filled = Vec::with_capacity(entries.len());
        for entry in entries {
            if !self.is_held_by(&slots, entry.key, token) {
                filled.push(Filled::Lost);
                continue;
            }
            let slot = Slot {
                kept: Kept::Value(entry.value.clone()),
                until: self.until(entry.ttl),
            };
            slots.insert(entry.key.to_vec(), slot);
            filled.push(Filled::Stored);
        }
        Ok(filled)
    }

    async fn release(&self, keys: &[&[u8]], token: LeaseToken) -> Result<()> {
        let mut slots = self.slots();
        for key in keys {
            if self.is_held_by(&slots, key, token) {
                slots.remove(*key);
            }
        }
        Ok(())
    }
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "city:{name}:visitors",
    value = u64,
    tier(storage = "own", ttl = "10m"),
    load = count_visitors,
)]
struct Visitors {
    name: String,
}

async fn count_visitors(
    node: &Visitors,
    _cx: &mut LoadContext<Visitors>,
) -> std::result::Result<u64, std::io::Error> {
    println!("counting the visitors of {}", node.name);
    Ok(node.name.len() as u64 * 1_000)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let cacheme = Cacheme::builder().build()?;
    let storage = Storage::remote(HashMapStorage::default());
    cacheme.register_storage("own", storage).await?;
    let rome = Visitors { name: "Rome".into() };
    println!("{} visitors", cacheme.get(&rome).await?);
    println!("{} visitors, from the storage", cacheme.get(&rome).await?);
    cacheme.invalidate(&rome).await?;
    println!("{} visitors", cacheme.get(&rome).await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    #[tokio::test(flavor = "multi_thread")]
    async fn own_storage_conforms() {
        cacheme_storage::conformance::remote(Arc::new(super::HashMapStorage::default())).await;
    }
}
