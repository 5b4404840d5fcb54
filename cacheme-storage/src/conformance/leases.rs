//! Leases: who may fill a key, and who may no longer.

use std::time::{Duration, Instant};

use super::{CLOCK_GRAIN, Case, Failure, Outcome, PATIENCE, bytes, entry, token};
use crate::contract::lease::{Acquire, Acquired, Filled, LeaseToken};
use crate::error::Error;
use ::bytes::Bytes;

cases![
    an_absent_key_is_granted_once,
    a_lease_asked_for_again_by_its_holder_is_granted,
    a_value_is_found_instead_of_a_lease,
    get_sees_a_lease_as_absent,
    fill_stores_and_ends_the_lease,
    fill_keeps_its_own_ttl,
    fill_after_remove_is_lost,
    fill_after_set_is_lost,
    fill_after_clear_is_lost,
    fill_after_a_theft_is_lost,
    fill_after_the_end_of_the_lease_is_lost,
    fill_without_a_lease_is_lost,
    a_lease_ends_by_itself,
    release_lets_the_next_one_in,
    release_harms_nobody_else,
    a_renewed_lease_outlives_its_time,
    renewing_harms_nobody_else,
    stealing_takes_values_and_leases,
    an_expired_value_is_granted,
];

/// The cases for a storage that has no leases.
pub(super) const CASES_WITHOUT: &[(&str, super::RemoteCase)] = &[("lease_operations_refuse", |case| {
    Box::pin(lease_operations_refuse(case))
})];

pub(super) const TIME: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(100);

impl Case {
    pub(super) async fn acquire(
        &self,
        key: &[u8],
        token: LeaseToken,
        time: Duration,
    ) -> Result<Acquired, Error> {
        self.ask(key, &Acquire::new(token, time)).await
    }

    async fn steal(&self, key: &[u8], token: LeaseToken) -> Result<Acquired, Error> {
        self.ask(key, &Acquire::new(token, TIME).stealing()).await
    }

    async fn ask(&self, key: &[u8], request: &Acquire) -> Result<Acquired, Error> {
        let mut answers = self.storage.acquire(&[key], request).await?;
        assert_eq!(
            answers.len(),
            1,
            "acquire of one key answered {} times",
            answers.len()
        );
        Ok(answers.remove(0))
    }

    pub(super) async fn fill(
        &self,
        key: &[u8],
        value: &'static str,
        token: LeaseToken,
    ) -> Result<Filled, Error> {
        let answers = self.storage.fill(&[entry(key, value, Some(TIME))], token).await?;
        assert_eq!(
            answers.len(),
            1,
            "fill of one key answered {} times",
            answers.len()
        );
        Ok(answers[0])
    }

    /// The holder of the lease fills.
    pub(super) async fn fills(
        &self,
        key: &[u8],
        value: &'static str,
        token: LeaseToken,
        what: &str,
    ) -> Outcome {
        ensure_eq!(self.fill(key, value, token).await?, Filled::Stored, "{what}");
        Ok(())
    }

    pub(super) async fn granted(&self, key: &[u8], time: Duration) -> Result<LeaseToken, Failure> {
        let token = token();
        self.taken(&[key], token, time).await?;
        Ok(token)
    }

    /// Takes the leases of absent keys. What was granted for less than the whole time is renewed, as holders do.
    pub(super) async fn taken(&self, keys: &[&[u8]], token: LeaseToken, time: Duration) -> Outcome {
        let answers = self.storage.acquire(keys, &Acquire::new(token, time)).await?;
        are_granted(&answers, keys.len(), "acquire of absent keys")?;
        let is_short = |answer: &Acquired| matches!(answer, Acquired::Granted(grant) if grant.time < time);
        if answers.iter().any(is_short) {
            self.storage.renew(keys, token, time).await?;
        }
        Ok(())
    }

    /// The lease on `key`, as soon as nobody else holds it.
    async fn granted_in_time(&self, key: &[u8], start: Instant) -> Result<LeaseToken, Failure> {
        let token = token();
        loop {
            match self.acquire(key, token, TIME).await? {
                Acquired::Granted(_) => return Ok(token),
                Acquired::Busy { .. } => {}
                other => return Err(Failure(format!("got {other:?} for a lease"))),
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "still busy after {:?}",
                start.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(super) fn is_busy(answer: &Acquired, time: Duration) -> bool {
    matches!(answer, Acquired::Busy { left } if *left <= time && !left.is_zero())
}

/// All of `count` answers are leases.
pub(super) fn are_granted(answers: &[Acquired], count: usize, what: &str) -> Outcome {
    ensure_eq!(answers.len(), count, "{what}: answers");
    let refused = answers.iter().position(|answer| !answer.is_granted());
    ensure!(
        refused.is_none(),
        "{what}: number {refused:?} of {}",
        super::brief(answers)
    );
    Ok(())
}

/// The answer where a value is.
pub(super) fn is_value(value: impl Into<Bytes>) -> Acquired {
    Acquired::Value(value.into().into())
}

async fn an_absent_key_is_granted_once(case: Case) -> Outcome {
    let key = case.key("a");
    case.granted(&key, TIME).await?;
    for _ in 0..3 {
        let second = case.acquire(&key, token(), TIME * 2).await?;
        ensure!(
            is_busy(&second, TIME),
            "the second asker got {second:?}, the lease is for {TIME:?}"
        );
        let Acquired::Busy { left } = second else {
            unreachable!("it is busy")
        };
        ensure!(
            left + PATIENCE > TIME,
            "a lease for {TIME:?} has {left:?} left at once"
        );
    }
    Ok(())
}

async fn a_lease_asked_for_again_by_its_holder_is_granted(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    let again = case.acquire(&key, mine, TIME).await?;
    ensure!(again.is_granted(), "asked again: {again:?}");
    let twice = case
        .storage
        .acquire(&[&case.key("b"), &case.key("b")], &Acquire::new(mine, TIME))
        .await?;
    are_granted(&twice, 2, "a key twice in one call")?;
    case.fills(&key, "one", mine, "fill").await?;
    Ok(())
}

async fn a_value_is_found_instead_of_a_lease(case: Case) -> Outcome {
    for value in ["one", ""] {
        let key = case.key(value);
        case.set(&key, value, None).await?;
        let found = case.acquire(&key, token(), TIME).await?;
        ensure_eq!(found, is_value(value), "acquire");
        ensure_eq!(case.get(&key).await?, bytes(value), "get after acquire");
    }
    Ok(())
}

async fn get_sees_a_lease_as_absent(case: Case) -> Outcome {
    let (leased, kept) = (case.key("leased"), case.key("kept"));
    case.set(&kept, "kept", None).await?;
    case.granted(&leased, TIME).await?;
    ensure_eq!(case.get(&leased).await?, None, "get of one");
    ensure_eq!(
        case.storage.get(&[&leased, &kept]).await?,
        [None, bytes("kept")],
        "get of two"
    );
    Ok(())
}

async fn fill_stores_and_ends_the_lease(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    case.fills(&key, "one", mine, "fill").await?;
    ensure_eq!(case.get(&key).await?, bytes("one"), "get after fill");
    let found = case.acquire(&key, token(), TIME).await?;
    ensure_eq!(found, is_value("one"), "acquire after fill");
    ensure_eq!(
        case.fill(&key, "two", mine).await?,
        Filled::Lost,
        "a second fill with the same lease"
    );
    ensure_eq!(case.get(&key).await?, bytes("one"), "get after the second fill");
    Ok(())
}

async fn fill_keeps_its_own_ttl(case: Case) -> Outcome {
    let (short, none, long) = (case.key("short"), case.key("none"), case.key("long"));
    let mine = token();
    case.storage.acquire(&[&short], &Acquire::new(mine, TIME)).await?;
    case.storage
        .acquire(&[&none, &long], &Acquire::new(mine, SHORT * 4))
        .await?;
    let start = Instant::now();
    let entries = [
        entry(&short, "short", Some(SHORT * 5)),
        entry(&none, "none", None),
        entry(&long, "long", Some(TIME)),
    ];
    let filled = case.storage.fill(&entries, mine).await?;
    ensure_eq!(filled, [Filled::Stored, Filled::Stored, Filled::Stored], "fill");
    case.gone(&short, start).await?;
    // That took longer than the lease time of the others, which must not be left on their values.
    let found = case.storage.get(&[&none, &long]).await?;
    ensure_eq!(
        found,
        [bytes("none"), bytes("long")],
        "values past the time of the lease"
    );
    Ok(())
}

/// What is under `key` after a fill with the lease `lost` must be what was there before.
async fn is_lost(case: &Case, key: &[u8], lost: LeaseToken) -> Outcome {
    let before = case.get(key).await?;
    ensure_eq!(case.fill(key, "late", lost).await?, Filled::Lost, "fill");
    ensure_eq!(case.get(key).await?, before, "get after the lost fill");
    Ok(())
}

async fn fill_after_remove_is_lost(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    case.storage.remove(&[&key]).await?;
    is_lost(&case, &key, mine).await?;
    let next = case.granted(&key, TIME).await?;
    is_lost(&case, &key, mine).await?;
    case.fills(&key, "new", next, "fill of the next holder").await?;
    is_lost(&case, &key, mine).await
}

async fn fill_after_set_is_lost(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    case.set(&key, "new", None).await?;
    is_lost(&case, &key, mine).await?;
    ensure_eq!(case.get(&key).await?, bytes("new"), "get");
    Ok(())
}

async fn fill_after_clear_is_lost(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    case.storage.clear(&case.prefix).await?;
    is_lost(&case, &key, mine).await
}

async fn fill_after_a_theft_is_lost(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    let thief = token();
    let stolen = case.steal(&key, thief).await?;
    ensure!(stolen.is_granted(), "steal: {stolen:?}");
    is_lost(&case, &key, mine).await?;
    case.fills(&key, "stolen", thief, "fill of the thief").await?;
    Ok(())
}

async fn fill_after_the_end_of_the_lease_is_lost(case: Case) -> Outcome {
    let (taken, untouched) = (case.key("taken"), case.key("untouched"));
    let start = Instant::now();
    let first = case.granted(&taken, SHORT).await?;
    // Began before `taken` becomes free, and is over before that too.
    let second = case.granted(&untouched, SHORT / 4).await?;
    let next = case.granted_in_time(&taken, start).await?;
    is_lost(&case, &taken, first).await?;
    is_lost(&case, &untouched, second).await?;
    case.fills(&taken, "new", next, "fill of the next holder").await?;
    Ok(())
}

async fn fill_without_a_lease_is_lost(case: Case) -> Outcome {
    let (absent, value) = (case.key("absent"), case.key("value"));
    case.set(&value, "kept", None).await?;
    is_lost(&case, &absent, token()).await?;
    is_lost(&case, &value, token()).await
}

async fn a_lease_ends_by_itself(case: Case) -> Outcome {
    let key = case.key("a");
    let start = Instant::now();
    case.granted(&key, SHORT).await?;
    case.granted_in_time(&key, start).await?;
    let held = start.elapsed();
    ensure!(
        held + CLOCK_GRAIN >= SHORT,
        "a lease for {SHORT:?} was over after {held:?}"
    );
    Ok(())
}

async fn release_lets_the_next_one_in(case: Case) -> Outcome {
    let key = case.key("a");
    let mine = case.granted(&key, TIME).await?;
    case.storage.release(&[&key], mine).await?;
    is_lost(&case, &key, mine).await?;
    case.granted(&key, TIME).await?;
    Ok(())
}

async fn a_renewed_lease_outlives_its_time(case: Case) -> Outcome {
    if !case.storage.capabilities().renewals {
        return match case.storage.renew(&[&case.key("a")], token(), TIME).await {
            Ok(()) => Err(Failure("renews leases, and says that it does not".into())),
            Err(_) => Ok(()),
        };
    }
    let (key, control) = (case.key("a"), case.key("control"));
    let mine = case.granted(&key, SHORT * 4).await?;
    let start = Instant::now();
    case.granted(&control, SHORT * 4).await?;
    case.storage.renew(&[&key], mine, TIME).await?;
    case.granted_in_time(&control, start).await?;
    let asked = case.acquire(&key, token(), TIME).await?;
    ensure!(
        matches!(asked, Acquired::Busy { .. }),
        "after its first time: {asked:?}"
    );
    case.fills(&key, "one", mine, "fill").await?;
    // Nor does a value take over the time of the lease.
    case.storage.renew(&[&key], mine, SHORT / 10).await?;
    tokio::time::sleep(SHORT).await;
    ensure_eq!(
        case.get(&key).await?,
        bytes("one"),
        "a value after a late renewal"
    );
    Ok(())
}

async fn renewing_harms_nobody_else(case: Case) -> Outcome {
    if !case.storage.capabilities().renewals {
        return Ok(());
    }
    let (value, absent, other) = (case.key("value"), case.key("absent"), case.key("other"));
    let mine = token();
    let keys: [&[u8]; 3] = [&value, &absent, &other];
    case.storage.acquire(&keys, &Acquire::new(mine, TIME)).await?;
    case.set(&value, "kept", None).await?;
    case.storage.remove(&[&absent]).await?;
    let theirs = token();
    case.steal(&other, theirs).await?;
    case.storage.renew(&keys, mine, SHORT / 10).await?;
    tokio::time::sleep(SHORT).await;
    ensure_eq!(
        case.get(&value).await?,
        bytes("kept"),
        "a value that replaced the lease"
    );
    is_lost(&case, &absent, mine).await?;
    case.fills(&other, "one", theirs, "fill of the thief").await?;
    Ok(())
}

async fn release_harms_nobody_else(case: Case) -> Outcome {
    let (value, absent, other) = (case.key("value"), case.key("absent"), case.key("other"));
    let mine = token();
    let keys: [&[u8]; 3] = [&value, &absent, &other];
    case.storage.acquire(&keys, &Acquire::new(mine, TIME)).await?;
    case.set(&value, "kept", None).await?;
    case.storage.remove(&[&absent]).await?;
    let theirs = token();
    case.steal(&other, theirs).await?;
    case.storage.release(&keys, mine).await?;
    ensure_eq!(
        case.get(&value).await?,
        bytes("kept"),
        "a value that replaced the lease"
    );
    let busy = case.acquire(&other, token(), TIME).await?;
    ensure!(
        is_busy(&busy, TIME),
        "someone else's lease after a release: {busy:?}"
    );
    case.fills(&other, "one", theirs, "fill of the other holder")
        .await?;
    Ok(())
}

async fn stealing_takes_values_and_leases(case: Case) -> Outcome {
    let (value, leased, absent) = (case.key("value"), case.key("leased"), case.key("absent"));
    case.set(&value, "old", None).await?;
    case.granted(&leased, TIME).await?;
    let thief = token();
    let keys: [&[u8]; 3] = [&value, &leased, &absent];
    let answers = case
        .storage
        .acquire(&keys, &Acquire::new(thief, TIME).stealing())
        .await?;
    are_granted(&answers, 3, "steal")?;
    ensure_eq!(
        case.storage.get(&keys).await?,
        [None, None, None],
        "get after the theft"
    );
    for key in keys {
        let busy = case.acquire(key, token(), TIME).await?;
        ensure!(is_busy(&busy, TIME), "another asker after the theft got {busy:?}");
    }
    let filled = case
        .storage
        .fill(&keys.map(|key| entry(key, "new", None)), thief)
        .await?;
    ensure_eq!(
        filled,
        [Filled::Stored, Filled::Stored, Filled::Stored],
        "fill of the thief"
    );
    Ok(())
}

async fn an_expired_value_is_granted(case: Case) -> Outcome {
    let key = case.key("a");
    let start = Instant::now();
    case.set(&key, "old", Some(Duration::from_millis(1))).await?;
    case.gone(&key, start).await?;
    let mine = case.granted(&key, TIME).await?;
    ensure_eq!(case.get(&key).await?, None, "get");
    case.fills(&key, "new", mine, "fill").await?;
    Ok(())
}

async fn lease_operations_refuse(case: Case) -> Outcome {
    let key = case.key("a");
    let acquired = case.acquire(&key, token(), TIME).await;
    ensure!(
        acquired.is_err(),
        "acquire answered {acquired:?} without the capability"
    );
    let filled = case.fill(&key, "one", token()).await;
    ensure!(filled.is_err(), "fill answered {filled:?} without the capability");
    let released = case.storage.release(&[&key], token()).await;
    ensure!(
        released.is_err(),
        "release answered {released:?} without the capability"
    );
    ensure_eq!(case.get(&key).await?, None, "get after the refusals");
    Ok(())
}
