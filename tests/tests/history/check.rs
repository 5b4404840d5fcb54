//! What a history must not show.
//!
//! For a write (`invalidate`, `set`, `refresh`) of a key that was over before a read of that key began:
//!
//! - **C1** a read in the same process gives a value whose load began after the write did, or that was `set` and whose
//!   `set` was not over when the write began;
//! - **C2** so does a read in another process, but for what that process had from the remote storage, or had put there,
//!   before the write was over (its local copy, for its ttl), and what its own load hands to those who joined it;
//! - **C3** where every message arrives, that process has it no longer once it was told of the write;
//! - **C2** nothing whose load began before the write is stored in the remote storage after it.
//!
//! And for two reads in one process, one over before the other began: when the first gave a value that was in the remote
//! storage by then, the second gives no older version of the source. A value that was never stored is left out on both
//! sides: its lease was lost, and who joined its load got it all the same, newer or older than what others agreed on. So is
//! a second one that was `set` by a call that was not over when storing the first began: of two writes at once, the one that
//! reaches the storage last stays, and a `set` brings its value along, however old that is by then. And so is
//! a second one that came of a load which somebody in that process waited for already when the first was read: who joins a load is
//! given what it brings.

use std::fmt;

use crate::observed::CALL;
use crate::world::{
    ALL_KEYS, Alone, Chain as _, Contact, Log, Made, Origin, Read, Seen, Write, life_of_copies,
};

#[derive(Clone, Debug)]
pub(crate) enum Violation {
    /// A read after a write in the same process.
    Own(Read, Write, Origin),
    /// A read after a write in another process.
    Other(Read, Write, Origin),
    /// A fill after a write.
    Fill(Contact, Write, Origin),
    /// Two reads, the second older.
    BackInTime(Read, Read, u64, u64),
}

impl Violation {
    pub(crate) fn key(&self) -> usize {
        match self {
            Self::Own(read, ..) | Self::Other(read, ..) | Self::BackInTime(read, ..) => read.key,
            Self::Fill(_, write, _) => write.key,
        }
    }

    pub(crate) fn is_c1(&self) -> bool {
        matches!(self, Self::Own(..))
    }

    pub(crate) fn is_c2(&self) -> bool {
        matches!(self, Self::Other(..) | Self::Fill(..))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(read, write, origin) => write!(f, "C1: after {write:?}\n  {read:?}\n  gave {origin:?}"),
            Self::Other(read, write, origin) => {
                write!(f, "C2: after {write:?}\n  {read:?}\n  gave {origin:?}")
            }
            Self::Fill(fill, write, origin) => {
                write!(f, "C2: after {write:?}\n  {fill:?}\n  stored {origin:?}")
            }
            Self::BackInTime(first, second, newer, older) => {
                write!(
                    f,
                    "back from version {newer} to {older}:\n  {first:?}\n  {second:?}"
                )
            }
        }
    }
}

pub(crate) fn check(log: &Log) -> Vec<Violation> {
    let mut found = Vec::new();
    for key in 0..ALL_KEYS {
        check_key(log, key, &mut found);
    }
    found
}

fn check_key(log: &Log, key: usize, found: &mut Vec<Violation>) {
    let reads: Vec<&Read> = log.reads.iter().filter(|read| read.key == key).collect();
    let writes: Vec<&Write> = log.writes.iter().filter(|write| write.key == key).collect();
    let contacts: Vec<&Contact> = log
        .contacts
        .iter()
        .filter(|contact| log.origins[contact.origin].key == key)
        .collect();
    for read in &reads {
        let origin = &log.origins[read.origin];
        for write in writes.iter().filter(|write| write.end < read.begin) {
            if !is_before(origin, write) {
                continue;
            }
            if read.process == write.process {
                found.push(Violation::Own(**read, **write, origin.clone()));
            } else if is_shared(key) && !may_be_held(log, &contacts, read, write) {
                found.push(Violation::Other(**read, **write, origin.clone()));
            }
        }
    }
    for contact in contacts.iter().filter(|contact| contact.what == Seen::Stored) {
        let origin = &log.origins[contact.origin];
        for write in writes.iter().filter(|write| write.end < contact.begin) {
            if origin.made == Made::Loaded && is_before(origin, write) {
                found.push(Violation::Fill(**contact, **write, origin.clone()));
            }
        }
    }
    let stored = |origin: usize| {
        let contacts = contacts.iter();
        contacts.filter(move |contact| contact.what == Seen::Stored && contact.origin == origin)
    };
    for first in &reads {
        let newer = &log.origins[first.origin];
        let Some(begun) = stored(first.origin).map(|contact| contact.begin).min() else {
            continue;
        };
        if stored(first.origin).all(|contact| contact.end > first.end) {
            continue;
        }
        for second in &reads {
            let older = &log.origins[second.origin];
            let is_later = second.process == first.process && first.end < second.begin;
            let set_at_once = older.made == Made::Set && older.end.is_none_or(|end| end > begun);
            let joined = reads.iter().any(|other| {
                let is_same = other.process == second.process && other.origin == second.origin;
                is_same && other.begin < first.end && other.end > second.begin
            });
            // Who waited may be gone, or was given an error of another key.
            let under_way = older.made == Made::Loaded
                && older.process == second.process
                && older.begin < first.end
                && stored(second.origin).any(|contact| contact.end > second.begin);
            let joined = joined || under_way;
            let is_stored = stored(second.origin).next().is_some();
            if is_later && older.version < newer.version && is_stored && !set_at_once && !joined {
                found.push(Violation::BackInTime(
                    **first,
                    **second,
                    newer.version,
                    older.version,
                ));
            }
        }
    }
}

/// Whether processes share the key, or have it each for itself.
fn is_shared(key: usize) -> bool {
    key < Alone::FIRST
}

/// Whether the write took the place of what comes from there.
fn is_before(origin: &Origin, write: &Write) -> bool {
    match origin.made {
        Made::Loaded => origin.begin < write.begin,
        Made::Set => origin.end.is_some_and(|end| end < write.begin),
    }
}

/// Whether the reading process may have the value still, since it was not told, or not yet.
fn may_be_held(log: &Log, contacts: &[&Contact], read: &Read, write: &Write) -> bool {
    let ours = |contact: &&&Contact| contact.process == read.process && contact.origin == read.origin;
    let life = life_of_copies(read.key);
    if log
        .told_within
        .is_some_and(|within| read.begin.time > write.end.time + within)
    {
        return false;
    }
    let held = contacts
        .iter()
        .filter(ours)
        .filter(|contact| contact.what != Seen::Refused)
        .any(|contact| contact.begin < write.end && read.begin.time <= contact.end.time + life + log.grace);
    let is_stored = contacts
        .iter()
        .any(|contact| contact.what == Seen::Stored && contact.origin == read.origin);
    // Refused by the storage, it is given to those who waited, until all keys of its call are in the nearer tier.
    let mut refusals = contacts
        .iter()
        .filter(ours)
        .filter(|contact| contact.what == Seen::Refused);
    let waited = refusals.all(|contact| read.begin.time <= contact.end.time + CALL + log.grace);
    let handed_out = !is_stored && waited && log.origins[read.origin].process == read.process;
    held || handed_out
}
