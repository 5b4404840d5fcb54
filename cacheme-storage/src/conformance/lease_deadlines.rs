//! Leases that are asked for until a deadline, and what callers do when an answer was lost.

use std::time::Duration;

use super::leases::{TIME, are_granted, is_busy, is_value};
use super::{Case, Outcome, bytes, slices, token};
use crate::contract::lease::{Acquire, Acquired};

cases![
    past_the_deadline_nothing_is_granted,
    past_the_deadline_nothing_is_stolen,
    past_the_deadline_a_large_call_gets_nothing,
    before_the_deadline_leases_are_granted,
    a_release_gives_back_what_was_asked_for_twice,
];

/// How long a lease lasts at most that a storage grants without judging the deadline.
const UNJUDGED: Duration = Duration::from_secs(1);

impl Case {
    /// A deadline that has passed, by the server's clock.
    async fn past(&self) -> u64 {
        // Some clocks begin with the storage.
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.storage.now_ms().saturating_sub(60_000)
    }
}

async fn past_the_deadline_nothing_is_granted(case: Case) -> Outcome {
    let (absent, value, busy) = (case.key("absent"), case.key("value"), case.key("busy"));
    case.set(&value, "kept", None).await?;
    case.granted(&busy, TIME).await?;
    let request = Acquire::new(token(), TIME).with_deadline(case.past().await);
    for keys in [&[&absent, &value, &busy][..], &[&absent, &absent], &[&absent]] {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_slice()).collect();
        let answers = case.storage.acquire(&keys, &request).await?;
        ensure_eq!(answers.len(), keys.len(), "answers");
        for (key, answer) in keys.iter().zip(&answers) {
            if *key == value {
                ensure_eq!(*answer, is_value("kept"), "the value");
            } else if *key == busy {
                ensure!(is_busy(answer, TIME), "the lease of another: {answer:?}");
            } else {
                let is_short = matches!(answer, Acquired::Granted(grant) if grant.time <= UNJUDGED);
                ensure!(
                    is_short || *answer == Acquired::TooLate,
                    "an absent key, long after the deadline: {answer:?}"
                );
            }
        }
        // What may have been granted is given back, as callers do.
        case.storage.release(&keys, request.token).await?;
    }
    ensure_eq!(case.get(&absent).await?, None, "get of the absent key");
    ensure_eq!(case.get(&value).await?, bytes("kept"), "get of the value");
    let next = case.granted(&absent, TIME).await?;
    case.fills(&absent, "new", next, "fill of the next holder").await
}

async fn past_the_deadline_nothing_is_stolen(case: Case) -> Outcome {
    let (absent, value, leased) = (case.key("absent"), case.key("value"), case.key("leased"));
    case.set(&value, "kept", None).await?;
    let holder = case.granted(&leased, TIME).await?;
    let keys: [&[u8]; 3] = [&absent, &value, &leased];
    let deadline = case.past().await;
    let thief = Acquire::new(token(), TIME).stealing().with_deadline(deadline);
    let answers = case.storage.acquire(&keys, &thief).await?;
    ensure_eq!(answers, vec![Acquired::TooLate; 3], "steal of three");
    for key in keys {
        let answers = case.storage.acquire(&[key], &thief).await?;
        ensure_eq!(answers, [Acquired::TooLate], "steal of one");
    }
    ensure_eq!(
        case.storage.get(&keys).await?,
        [None, bytes("kept"), None],
        "get afterwards"
    );
    case.granted(&absent, TIME).await?;
    case.fills(&leased, "new", holder, "fill of the holder").await
}

async fn past_the_deadline_a_large_call_gets_nothing(case: Case) -> Outcome {
    let keys = case.keys(3_000);
    let keys = slices(&keys);
    let request = Acquire::new(token(), TIME).with_deadline(case.past().await);
    let answers = case.storage.acquire(&keys, &request).await?;
    ensure_eq!(answers, vec![Acquired::TooLate; keys.len()], "acquire");
    case.taken(&keys, token(), TIME).await
}

async fn before_the_deadline_leases_are_granted(case: Case) -> Outcome {
    let (one, two, value) = (case.key("one"), case.key("two"), case.key("value"));
    case.set(&value, "old", None).await?;
    let deadline = case.storage.now_ms() + 60_000;
    let mine = token();
    let request = Acquire::new(mine, TIME).with_deadline(deadline);
    let answers = case.storage.acquire(&[&one], &request).await?;
    are_granted(&answers, 1, "acquire of one")?;
    let answers = case.storage.acquire(&[&two, &one], &request).await?;
    are_granted(&answers, 2, "acquire of two")?;
    let answers = case.storage.acquire(&[&value], &request.stealing()).await?;
    are_granted(&answers, 1, "steal")?;
    for key in [&one, &two, &value] {
        case.fills(key, "new", mine, "fill").await?;
    }
    Ok(())
}

/// A caller that had no answer asks again with the same token, and gives up in the end: what may have been granted is given back
/// once.
async fn a_release_gives_back_what_was_asked_for_twice(case: Case) -> Outcome {
    let (one, two, never) = (case.key("one"), case.key("two"), case.key("never"));
    let mine = token();
    let request = Acquire::new(mine, TIME);
    for keys in [&[&one[..], &two][..], &[&one], &[&two, &one]] {
        let answers = case.storage.acquire(keys, &request).await?;
        are_granted(&answers, keys.len(), "acquire")?;
    }
    for _ in 0..2 {
        case.storage.release(&[&one, &two, &never], mine).await?;
    }
    for key in [&one, &two, &never] {
        let next = case.granted(key, TIME).await?;
        // Whose lease it is does not matter to an older release.
        case.storage.release(&[key], mine).await?;
        case.fills(key, "new", next, "fill of the next holder").await?;
    }
    Ok(())
}
