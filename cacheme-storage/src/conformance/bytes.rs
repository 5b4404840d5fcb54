//! Keeping bytes: one key, many keys, every kind of value.

use super::{Case, Outcome, bytes, entry, slices};
use crate::error::Error;
use ::bytes::Bytes;

cases![
    a_value_is_kept_until_removed,
    a_value_is_overwritten,
    many_keys_keep_their_order_0,
    many_keys_keep_their_order_1,
    many_keys_keep_their_order_1_000,
    many_keys_keep_their_order_50_000,
    a_key_asked_twice_is_answered_twice,
    of_two_entries_for_one_key_the_last_is_kept,
    every_byte_comes_back,
    values_of_every_size,
    a_set_with_a_value_too_large_stores_nothing,
    the_clock_runs,
];

async fn a_value_is_kept_until_removed(case: Case) -> Outcome {
    let key = case.key("a");
    ensure_eq!(case.get(&key).await?, None, "before set");
    case.set(&key, "one", None).await?;
    ensure_eq!(case.get(&key).await?, bytes("one"), "after set");
    ensure_eq!(case.get(&case.key("b")).await?, None, "another key");
    case.storage.remove(&[&key]).await?;
    ensure_eq!(case.get(&key).await?, None, "after remove");
    // Removing what is not there is no error.
    case.storage.remove(&[&key]).await?;
    Ok(())
}

async fn a_value_is_overwritten(case: Case) -> Outcome {
    let key = case.key("a");
    for value in ["a long first value", "", "short", "a long last value"] {
        case.set(&key, value, None).await?;
        ensure_eq!(case.get(&key).await?, bytes(value), "after set");
    }
    Ok(())
}

async fn many_keys_keep_their_order_0(case: Case) -> Outcome {
    many(case, 0).await
}

async fn many_keys_keep_their_order_1(case: Case) -> Outcome {
    many(case, 1).await
}

async fn many_keys_keep_their_order_1_000(case: Case) -> Outcome {
    many(case, 1_000).await
}

async fn many_keys_keep_their_order_50_000(case: Case) -> Outcome {
    many(case, 50_000).await
}

/// Sets every second of `count` keys, reads all, removes the first half, reads all.
async fn many(case: Case, count: usize) -> Outcome {
    let keys = case.keys(count);
    let keys = slices(&keys);
    let value = |n: usize| Bytes::from(format!("value {n}"));
    let entries: Vec<_> = (0..count)
        .step_by(2)
        .map(|n| entry(keys[n], value(n), None))
        .collect();
    case.storage.set(&entries).await?;

    // Asked in another order than stored, since an index would answer in its own.
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|n| (n * 7_919) % 50_021);
    let asked: Vec<&[u8]> = order.iter().map(|&n| keys[n]).collect();
    let expected: Vec<_> = order.iter().map(|&n| (n % 2 == 0).then(|| value(n))).collect();
    ensure_eq!(case.storage.get(&asked).await?, expected, "get of {count}");

    case.storage.remove(&keys[..count / 2]).await?;
    let expected: Vec<_> = order
        .iter()
        .map(|&n| (n % 2 == 0 && n >= count / 2).then(|| value(n)))
        .collect();
    ensure_eq!(
        case.storage.get(&asked).await?,
        expected,
        "get of {count} after remove of half"
    );
    case.storage.remove(&keys).await?;
    Ok(())
}

async fn a_key_asked_twice_is_answered_twice(case: Case) -> Outcome {
    let (a, b) = (case.key("a"), case.key("b"));
    case.set(&a, "one", None).await?;
    let found = case.storage.get(&[&a, &b, &a, &b, &a]).await?;
    ensure_eq!(
        found,
        [bytes("one"), None, bytes("one"), None, bytes("one")],
        "get with duplicates"
    );
    case.storage.remove(&[&a, &a, &b, &a]).await?;
    ensure_eq!(case.get(&a).await?, None, "after a remove with duplicates");
    Ok(())
}

async fn of_two_entries_for_one_key_the_last_is_kept(case: Case) -> Outcome {
    let (a, b) = (case.key("a"), case.key("b"));
    let entries = [
        entry(&a, "first", None),
        entry(&b, "other", None),
        entry(&a, "second", None),
        entry(&a, "last", None),
    ];
    case.storage.set(&entries).await?;
    ensure_eq!(
        case.storage.get(&[&a, &b]).await?,
        [bytes("last"), bytes("other")],
        "get"
    );
    Ok(())
}

async fn every_byte_comes_back(case: Case) -> Outcome {
    let mut values: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    values.push((0..=255).collect());
    values.push((0..=255).rev().collect());
    // Line ends, terminators and numbers, which text protocols and clever columns change.
    for text in [
        "\r\n", "\0\0", "$-1\r\n", "*0\r\n", "007", "1e3", "null", " padded ", "\\x00", "'; --",
    ] {
        values.push(text.into());
    }
    let keys = case.keys(values.len());
    let entries: Vec<_> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| entry(key, value.clone(), None))
        .collect();
    case.storage.set(&entries).await?;
    let found = case.storage.get(&slices(&keys)).await?;
    for (found, value) in found.iter().zip(&values) {
        ensure_eq!(found.as_deref(), Some(value.as_slice()), "a value");
    }
    Ok(())
}

async fn values_of_every_size(case: Case) -> Outcome {
    const MIB: usize = 1 << 20;
    for size in [0, 1, 8 * 1024 - 1, 64 * 1024, MIB, 16 * MIB] {
        let key = case.key(size.to_string());
        // Not one byte over and over, which would compress away and hide a part in the wrong place.
        let value: Bytes = (0..size).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect();
        match case.set(&key, value.clone(), None).await {
            Ok(()) => {
                let same = case.get(&key).await?.is_some_and(|found| found == value);
                ensure!(same, "{size} bytes came back changed");
            }
            Err(Error::TooLarge {
                size: said, limit, ..
            }) => {
                ensure!(
                    limit >= MIB && limit < size && said == size,
                    "a value of {size} bytes is refused as {said} bytes with a limit of {limit}"
                );
                ensure_eq!(case.get(&key).await?, None, "a value that was refused");
            }
            Err(other) => return Err(other.into()),
        }
        case.storage.remove(&[&key]).await?;
    }
    Ok(())
}

/// More than some storages take.
pub(super) const TOO_LARGE: usize = 17 << 20;

/// Fails unless the error says that a value of [`TOO_LARGE`] bytes is too large.
pub(super) fn is_too_large(error: Error) -> Outcome {
    match error {
        Error::TooLarge { size, limit, .. } => {
            ensure!(
                limit < size && size == TOO_LARGE,
                "a value of {TOO_LARGE} bytes is refused as {size} bytes with a limit of {limit}"
            );
            Ok(())
        }
        other => Err(other.into()),
    }
}

async fn a_set_with_a_value_too_large_stores_nothing(case: Case) -> Outcome {
    let (first, large, last) = (case.key("first"), case.key("large"), case.key("last"));
    let entries = [
        entry(&first, "first", None),
        entry(&large, vec![b'v'; TOO_LARGE], None),
        entry(&last, "last", None),
    ];
    if let Err(error) = case.storage.set(&entries).await {
        is_too_large(error)?;
        let found = case.storage.get(&[&first, &large, &last]).await?;
        ensure_eq!(found, [None, None, None], "after the refusal");
    }
    Ok(())
}

async fn the_clock_runs(case: Case) -> Outcome {
    let first = case.storage.now_ms();
    case.gone(&case.key("nothing"), std::time::Instant::now()).await?;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let passed = case.storage.now_ms().saturating_sub(first);
    ensure!(
        (10..60_000).contains(&passed),
        "the server's clock moved by {passed} ms in 20 ms"
    );
    Ok(())
}
