//! Leases in databases where no statement both reads and writes (MySQL, MongoDB).

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::contract::lease::{Acquire, Acquired, LeaseToken};
use crate::error::Result;

use super::{KeySet, too_late};

/// The result of a look under a key.
#[derive(Clone)]
pub(crate) enum Found {
    Nothing,
    /// The lease, ours already.
    Ours,
    /// A value, or the lease of another holder.
    Theirs(Acquired),
}

/// Leases in databases where nothing both reads and writes.
pub(crate) trait LeaseTurns: Sync {
    /// The server's time, as far as it is known.
    fn now_ms(&self) -> u64;

    /// Looks what lives under each of the keys.
    fn look(
        &self,
        keys: &[Cow<'_, [u8]>],
        token: LeaseToken,
    ) -> impl Future<Output = Result<Vec<Found>>> + Send;

    /// Says whether the request's deadline has passed; looks at the server's clock for that.
    fn is_late(&self, request: &Acquire) -> impl Future<Output = Result<bool>> + Send;

    /// Takes the leases of keys that are free, or of all if the request steals, until its deadline; says for each whether it
    /// is certain that it did.
    fn take(
        &self,
        keys: &[Cow<'_, [u8]>],
        request: &Acquire,
    ) -> impl Future<Output = Result<Vec<bool>>> + Send;
}

/// Takes the leases of what is free, and looks at who has the others.
///
/// A single key is looked at first, which locks and writes nothing: to ask for its lease is how it is read. A caller
/// that asks for many has read them before and knows that they were not there.
pub(crate) async fn acquire_by_turns(
    storage: &impl LeaseTurns,
    keys: KeySet<'_>,
    request: &Acquire,
) -> Result<Vec<Acquired>> {
    let all = keys.distinct();
    let granted = request.granted_at(storage.now_ms());
    let mut answers: Vec<Option<Acquired>> = vec![None; all.len()];
    if all.len() == 1 && !request.steals() {
        // A lease that is ours already is taken anew, for its time.
        look(storage, all, request.token, &mut answers, None).await?;
    }
    let mut again = false;
    while answers.iter().any(Option::is_none) {
        // A key is without an answer after a turn only if it is too late, or if the key went to somebody else and was given
        // up again within.
        if std::mem::replace(&mut again, true) && storage.is_late(request).await? {
            too_late(&mut answers);
            break;
        }
        let (open, places) = open(all, &answers);
        let taken = storage.take(&open, request).await?;
        for (place, taken) in places.into_iter().zip(taken) {
            answers[place] = taken.then(|| granted.clone());
        }
        // What is there is no answer for a thief.
        if !request.steals() {
            look(storage, all, request.token, &mut answers, Some(granted.clone())).await?;
        }
    }
    Ok(keys.answers(answers.into_iter().flatten().collect()))
}

/// Answers for keys without one: with what somebody else has there, and with `ours` for a lease of our own.
async fn look(
    storage: &impl LeaseTurns,
    keys: &[Cow<'_, [u8]>],
    token: LeaseToken,
    answers: &mut [Option<Acquired>],
    ours: Option<Acquired>,
) -> Result<()> {
    let (open, places) = open(keys, answers);
    if open.is_empty() {
        return Ok(());
    }
    let found = storage.look(&open, token).await?;
    for (place, found) in places.into_iter().zip(found) {
        answers[place] = match found {
            Found::Nothing => None,
            Found::Ours => ours.clone(),
            Found::Theirs(answer) => Some(answer),
        };
    }
    Ok(())
}

/// The keys that have no answer yet, and their places.
fn open<'a>(keys: &'a [Cow<'_, [u8]>], answers: &[Option<Acquired>]) -> (Vec<Cow<'a, [u8]>>, Vec<usize>) {
    let places = keys.iter().zip(answers).enumerate();
    places
        .filter(|(_, (_, answer))| answer.is_none())
        .map(|(place, (key, _))| (Cow::Borrowed(&**key), place))
        .unzip()
}

/// A number that no other call has, in this process or another.
///
/// A call stores it beside its values, and recognizes them by it afterwards, also after it was sent twice.
pub(crate) fn call_id() -> [u8; 16] {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    ((u128::from(*PROCESS) << 64) | u128::from(call)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;

    const REQUEST: Acquire = Acquire::new(LeaseToken(1), Duration::from_secs(1));

    /// Answers as told, and writes down what was asked.
    #[derive(Default)]
    struct Script {
        looks: Mutex<Vec<Vec<Found>>>,
        takes: Mutex<Vec<Vec<bool>>>,
        /// The answers to whether it is late, by turns.
        late: Mutex<Vec<bool>>,
        asked: Mutex<Vec<String>>,
    }

    impl Script {
        fn ask(&self, what: &str, keys: &[Cow<'_, [u8]>]) {
            let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
            self.asked.lock().push(format!("{what} {}", keys.join("")));
        }
    }

    impl LeaseTurns for Script {
        fn now_ms(&self) -> u64 {
            0
        }

        async fn look(&self, keys: &[Cow<'_, [u8]>], _: LeaseToken) -> Result<Vec<Found>> {
            self.ask("look", keys);
            Ok(self.looks.lock().remove(0))
        }

        async fn is_late(&self, _: &Acquire) -> Result<bool> {
            self.ask("late", &[]);
            Ok(self.late.lock().remove(0))
        }

        async fn take(&self, keys: &[Cow<'_, [u8]>], request: &Acquire) -> Result<Vec<bool>> {
            self.ask(if request.steals() { "steal" } else { "take" }, keys);
            Ok(self.takes.lock().remove(0))
        }
    }

    async fn acquire(script: &Script, keys: &[&str], request: Acquire) -> Vec<Acquired> {
        let keys = KeySet::new(keys.iter().map(|key| key.as_bytes()), None);
        acquire_by_turns(script, keys, &request).await.unwrap()
    }

    fn value() -> Acquired {
        Acquired::Value(::bytes::Bytes::from("v").into())
    }

    #[tokio::test]
    async fn one_key_is_looked_at_first() {
        let script = Script::default();
        script.looks.lock().push(vec![Found::Theirs(value())]);
        assert_eq!(acquire(&script, &["a", "a"], REQUEST).await, [value(), value()]);
        script.looks.lock().push(vec![Found::Ours]);
        script.takes.lock().push(vec![true]);
        assert_eq!(acquire(&script, &["a"], REQUEST).await, [REQUEST.granted_at(0)]);
        assert_eq!(*script.asked.lock(), ["look a", "look a", "take a"]);
    }

    #[tokio::test]
    async fn of_many_keys_those_in_doubt_are_looked_at() {
        let script = Script::default();
        script.late.lock().push(false);
        script
            .takes
            .lock()
            .extend([vec![true, false, false, false], vec![true]]);
        script
            .looks
            .lock()
            .push(vec![Found::Theirs(value()), Found::Ours, Found::Nothing]);
        let answers = acquire(&script, &["d", "a", "c", "b"], REQUEST).await;
        let granted = REQUEST.granted_at(0);
        assert_eq!(answers, [granted.clone(), granted.clone(), granted, value()]);
        assert_eq!(*script.asked.lock(), ["take abcd", "look bcd", "late ", "take d"]);
    }

    #[tokio::test]
    async fn when_it_is_too_late_nothing_is_tried_again() {
        let script = Script::default();
        script
            .takes
            .lock()
            .extend([vec![false, false], vec![true, false], vec![false]]);
        script
            .looks
            .lock()
            .push(vec![Found::Nothing, Found::Theirs(value())]);
        script.late.lock().extend([true, false, true]);
        let answers = acquire(&script, &["a", "b"], REQUEST).await;
        assert_eq!(answers, [Acquired::TooLate, value()]);
        let answers = acquire(&script, &["a", "b"], REQUEST.stealing()).await;
        assert_eq!(answers, [REQUEST.granted_at(0), Acquired::TooLate]);
        let asked = [
            "take ab", "look ab", "late ", "steal ab", "late ", "steal b", "late ",
        ];
        assert_eq!(*script.asked.lock(), asked);
    }

    #[test]
    fn no_two_calls_have_the_same_id() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| call_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
