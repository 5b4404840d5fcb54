//! Writers at the same time.

use super::{Case, Outcome, entry, slices};
use ::bytes::Bytes;

cases![
    concurrent_writers_of_their_own_keys,
    concurrent_writers_of_one_key_never_mix,
    concurrent_bulk_writers_of_the_same_keys,
];

const WRITERS: usize = 32;

async fn concurrent_writers_of_their_own_keys(case: Case) -> Outcome {
    let keys = case.keys(WRITERS * 20);
    let writers: Vec<_> = keys
        .chunks(20)
        .map(|keys| {
            let (case, keys) = (case.clone(), keys.to_vec());
            tokio::spawn(async move {
                for key in &keys {
                    case.set(key, key.clone(), None).await?;
                }
                case.storage.get(&slices(&keys)).await
            })
        })
        .collect();
    for (writer, keys) in writers.into_iter().zip(keys.chunks(20)) {
        let found = writer.await??;
        let same = found
            .iter()
            .zip(keys)
            .all(|(found, key)| found.as_deref() == Some(key));
        ensure!(same, "a writer did not find what it wrote: {found:?}");
    }
    let found = case.storage.get(&slices(&keys)).await?;
    let same = found
        .iter()
        .zip(&keys)
        .all(|(found, key)| found.as_deref() == Some(key));
    ensure!(same, "values of another writer under a key");
    Ok(())
}

/// Reads and writes at the same time see whole values only.
async fn concurrent_writers_of_one_key_never_mix(case: Case) -> Outcome {
    let key = case.key("a");
    let written = |n: usize| Bytes::from(vec![u8::try_from(n).unwrap_or(u8::MAX); 1_000 + n * 997]);
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (case, key) = (case.clone(), key.clone());
            tokio::spawn(async move {
                case.set(&key, written(n), None).await?;
                case.get(&key).await
            })
        })
        .collect();
    for writer in writers {
        let found = writer.await??;
        let whole = (0..WRITERS).any(|n| found == Some(written(n)));
        ensure!(whole, "a value that nobody wrote: {found:?}");
    }
    Ok(())
}

/// Each with another order of the keys: servers that lock rows one by one must not end in a deadlock.
async fn concurrent_bulk_writers_of_the_same_keys(case: Case) -> Outcome {
    const KEYS: usize = 200;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let case = case.clone();
            tokio::spawn(async move {
                let mut keys = case.keys(KEYS);
                match writer % 4 {
                    0 => {}
                    1 => keys.reverse(),
                    by => keys.rotate_left(by * 37),
                }
                for round in 0..5 {
                    let value = format!("{writer}:{round}");
                    let entries: Vec<_> = keys.iter().map(|key| entry(key, value.clone(), None)).collect();
                    case.storage.set(&entries).await?;
                    if writer == 7 {
                        case.storage.remove(&slices(&keys[..KEYS / 2])).await?;
                    }
                }
                Ok::<_, crate::error::Error>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    let found = case.storage.get(&slices(&case.keys(KEYS))).await?;
    let kept = found[KEYS / 2..]
        .iter()
        .flatten()
        .all(|value| value.len() == "0:0".len());
    // Which half writer 7 removed from depends on its order of the keys; the rest must all be there.
    let there = found.iter().filter(|found| found.is_some()).count();
    ensure!(
        kept && there >= KEYS / 2,
        "{there} of {KEYS} keys are there, or hold what nobody wrote"
    );
    Ok(())
}
