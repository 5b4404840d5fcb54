//! Leases of many keys in one call.

use super::bytes::{TOO_LARGE, is_too_large};
use super::leases::{TIME, are_granted, is_busy, is_value};
use super::{Case, Outcome, bytes, entry, slices, token};
use crate::contract::lease::{Acquire, Filled};
use ::bytes::Bytes;

cases![
    many_leases_0,
    many_leases_1,
    many_leases_1_000,
    many_leases_50_000,
    every_key_of_a_call_is_judged_by_itself,
    a_fill_of_many_reports_what_was_lost_in_every_way,
    a_fill_with_a_value_too_large_stores_nothing,
    leases_on_keys_of_every_kind,
];

async fn many_leases_0(case: Case) -> Outcome {
    many(case, 0).await
}

async fn many_leases_1(case: Case) -> Outcome {
    many(case, 1).await
}

async fn many_leases_1_000(case: Case) -> Outcome {
    many(case, 1_000).await
}

async fn many_leases_50_000(case: Case) -> Outcome {
    many(case, 50_000).await
}

async fn many(case: Case, count: usize) -> Outcome {
    let keys = case.keys(count);
    let keys = slices(&keys);
    let mine = token();
    // Long enough for the slowest server to fill all of them.
    let time = TIME * 4;
    case.taken(&keys, mine, time).await?;
    let third = count / 3;
    case.storage.remove(&keys[..third]).await?;
    let entries: Vec<_> = keys.iter().map(|key| entry(key, key.to_vec(), None)).collect();
    let filled = case.storage.fill(&entries, mine).await?;
    let expected: Vec<_> = (0..count)
        .map(|n| if n < third { Filled::Lost } else { Filled::Stored })
        .collect();
    ensure_eq!(filled, expected, "fill of {count}, a third of them removed");
    let answers = case.storage.acquire(&keys, &Acquire::new(token(), time)).await?;
    are_granted(&answers[..third], third, "acquire of what was removed")?;
    let values: Vec<_> = keys[third..].iter().map(|key| is_value(key.to_vec())).collect();
    ensure_eq!(answers[third..], values[..], "acquire of {count} after the fill");
    case.storage.release(&keys, mine).await?;
    Ok(())
}

async fn every_key_of_a_call_is_judged_by_itself(case: Case) -> Outcome {
    let (value, busy, absent, lost) = (
        case.key("value"),
        case.key("busy"),
        case.key("absent"),
        case.key("lost"),
    );
    case.set(&value, "old", None).await?;
    case.granted(&busy, TIME).await?;
    let mine = token();
    let answers = case
        .storage
        .acquire(&[&absent, &value, &busy, &lost], &Acquire::new(mine, TIME))
        .await?;
    ensure_eq!(answers.len(), 4, "answers of acquire");
    are_granted(&answers[..1], 1, "the absent key")?;
    ensure_eq!(answers[1], is_value("old"), "the value");
    ensure!(is_busy(&answers[2], TIME), "the leased key got {:?}", answers[2]);
    are_granted(&answers[3..], 1, "the other absent key")?;
    case.storage.remove(&[&lost]).await?;
    let keys: [&[u8]; 4] = [&value, &absent, &busy, &lost];
    let filled = case
        .storage
        .fill(&keys.map(|key| entry(key, "new", None)), mine)
        .await?;
    ensure_eq!(
        filled,
        [Filled::Lost, Filled::Stored, Filled::Lost, Filled::Lost],
        "fill"
    );
    let found = case.storage.get(&keys).await?;
    ensure_eq!(found, [bytes("old"), bytes("new"), None, None], "get");
    Ok(())
}

async fn a_fill_of_many_reports_what_was_lost_in_every_way(case: Case) -> Outcome {
    const COUNT: usize = 300;
    let keys = case.keys(COUNT);
    let keys = slices(&keys);
    let mine = token();
    case.taken(&keys, mine, TIME).await?;
    let (removed, set, stolen, released) = (10..20, 30..40, 150..160, COUNT - 1..COUNT);
    case.storage.remove(&keys[removed.clone()]).await?;
    let entries: Vec<_> = keys.iter().map(|key| entry(key, "set", None)).collect();
    case.storage.set(&entries[set.clone()]).await?;
    case.storage
        .acquire(&keys[stolen.clone()], &Acquire::new(token(), TIME).stealing())
        .await?;
    case.storage.release(&keys[released.clone()], mine).await?;

    let entries: Vec<_> = keys.iter().map(|key| entry(key, key.to_vec(), None)).collect();
    let filled = case.storage.fill(&entries, mine).await?;
    let found = case.storage.get(&keys).await?;
    ensure_eq!((filled.len(), found.len()), (COUNT, COUNT), "answers");
    for (at, key) in keys.iter().enumerate() {
        let lost = [&removed, &set, &stolen, &released];
        let (outcome, value) = match lost.into_iter().any(|range| range.contains(&at)) {
            false => (Filled::Stored, Some(Bytes::copy_from_slice(key))),
            true if set.contains(&at) => (Filled::Lost, bytes("set")),
            true => (Filled::Lost, None),
        };
        ensure_eq!(filled[at], outcome, "fill of {at}");
        ensure_eq!(found[at], value, "value of {at}");
    }
    Ok(())
}

async fn a_fill_with_a_value_too_large_stores_nothing(case: Case) -> Outcome {
    let keys = case.keys(3);
    let keys = slices(&keys);
    let mine = token();
    case.taken(&keys, mine, TIME * 4).await?;
    let large = Bytes::from(vec![b'v'; TOO_LARGE]);
    let values = [Bytes::from("first"), large, Bytes::from("last")];
    let entries: Vec<_> = keys
        .iter()
        .zip(values)
        .map(|(key, value)| entry(key, value, None))
        .collect();
    match case.storage.fill(&entries, mine).await {
        Ok(filled) => ensure_eq!(filled, [Filled::Stored; 3], "fill"),
        Err(error) => {
            is_too_large(error)?;
            ensure_eq!(
                case.storage.get(&keys).await?,
                [None, None, None],
                "after the refusal"
            );
            // The leases are still ours.
            let fitting = [entries[0].clone(), entries[2].clone()];
            let filled = case.storage.fill(&fitting, mine).await?;
            ensure_eq!(filled, [Filled::Stored; 2], "fill of what is not too large");
        }
    }
    Ok(())
}

async fn leases_on_keys_of_every_kind(case: Case) -> Outcome {
    let mut names: Vec<Vec<u8>> = ["", "\0", "'", "{a}", "%s", "a ", "A", "a", "😀", "\\"]
        .map(Into::into)
        .into();
    names.extend([vec![0xff], vec![b'k'; 1_000], vec![b'k'; 64 * 1024]]);
    let keys: Vec<_> = names.iter().map(|name| case.key(name)).collect();
    let keys = slices(&keys);
    let mine = token();
    case.taken(&keys, mine, TIME).await?;
    case.storage.release(&keys[..2], mine).await?;
    let entries: Vec<_> = keys.iter().map(|key| entry(key, key.to_vec(), None)).collect();
    let filled = case.storage.fill(&entries, mine).await?;
    ensure_eq!(
        filled[..2],
        [Filled::Lost, Filled::Lost],
        "fill of what was released"
    );
    ensure_eq!(
        filled[2..],
        vec![Filled::Stored; keys.len() - 2],
        "fill of the others"
    );
    for (key, found) in keys.iter().zip(case.storage.get(&keys).await?).skip(2) {
        ensure_eq!(found.as_deref(), Some(*key), "get");
    }
    Ok(())
}
