//! Time to live, by the server's clock.

use std::time::{Duration, Instant};

use super::{CLOCK_GRAIN, Case, Outcome, PATIENCE, bytes, entry};

cases![
    a_value_lives_as_long_as_its_ttl,
    the_shortest_ttl_expires,
    a_ttl_of_zero_leaves_nothing,
    the_longest_ttl_stays,
    each_entry_has_its_own_ttl,
    overwriting_changes_the_ttl,
    an_expired_key_can_be_set_again,
];

const SHORT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(60);

async fn a_value_lives_as_long_as_its_ttl(case: Case) -> Outcome {
    let key = case.key("a");
    let start = Instant::now();
    case.set(&key, "one", Some(SHORT)).await?;
    let lived = case.gone(&key, start).await?;
    ensure!(
        lived + CLOCK_GRAIN >= SHORT,
        "a ttl of {SHORT:?} was over after {lived:?}"
    );
    Ok(())
}

async fn the_shortest_ttl_expires(case: Case) -> Outcome {
    for ttl in [
        Duration::from_nanos(1),
        Duration::from_micros(999),
        Duration::from_millis(1),
    ] {
        let key = case.key(ttl.as_nanos().to_string());
        let start = Instant::now();
        case.set(&key, "one", Some(ttl)).await?;
        case.gone(&key, start).await?;
    }
    Ok(())
}

async fn a_ttl_of_zero_leaves_nothing(case: Case) -> Outcome {
    let key = case.key("a");
    case.set(&key, "old", None).await?;
    let start = Instant::now();
    case.set(&key, "new", Some(Duration::ZERO)).await?;
    ensure!(
        case.get(&key).await? != bytes("old"),
        "the value that was overwritten is still there"
    );
    case.gone(&key, start).await?;
    Ok(())
}

async fn the_longest_ttl_stays(case: Case) -> Outcome {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    for ttl in [
        None,
        Some(YEAR),
        Some(YEAR * 100),
        Some(YEAR * 10_000),
        Some(Duration::MAX),
    ] {
        let key = case.key("a");
        case.set(&key, "one", ttl).await?;
        ensure_eq!(case.get(&key).await?, bytes("one"), "with a ttl of {ttl:?}");
        case.storage.remove(&[&key]).await?;
    }
    Ok(())
}

async fn each_entry_has_its_own_ttl(case: Case) -> Outcome {
    let (short, long, none) = (case.key("short"), case.key("long"), case.key("none"));
    let start = Instant::now();
    case.storage
        .set(&[
            entry(&long, "long", Some(LONG)),
            entry(&short, "short", Some(SHORT)),
            entry(&none, "none", None),
        ])
        .await?;
    case.gone(&short, start).await?;
    let found = case.storage.get(&[&short, &none, &long]).await?;
    ensure_eq!(
        found,
        [None, bytes("none"), bytes("long")],
        "once the short one was gone"
    );
    Ok(())
}

async fn overwriting_changes_the_ttl(case: Case) -> Outcome {
    let (longer, shorter, lifted) = (case.key("longer"), case.key("shorter"), case.key("lifted"));
    let start = Instant::now();
    let first = [
        (&longer, Some(SHORT)),
        (&shorter, Some(LONG)),
        (&lifted, Some(SHORT)),
    ];
    case.storage
        .set(&first.map(|(key, ttl)| entry(key, "one", ttl)))
        .await?;
    let second = [(&longer, Some(LONG)), (&shorter, Some(SHORT)), (&lifted, None)];
    case.storage
        .set(&second.map(|(key, ttl)| entry(key, "two", ttl)))
        .await?;
    case.gone(&shorter, start).await?;
    // The first ttl is over by now too, for those that had it.
    let found = case.storage.get(&[&longer, &lifted]).await?;
    ensure_eq!(found, [bytes("two"), bytes("two")], "with the second ttl");
    Ok(())
}

async fn an_expired_key_can_be_set_again(case: Case) -> Outcome {
    let key = case.key("a");
    let start = Instant::now();
    case.set(&key, "one", Some(Duration::from_millis(1))).await?;
    case.gone(&key, start).await?;
    case.set(&key, "two", Some(PATIENCE)).await?;
    ensure_eq!(case.get(&key).await?, bytes("two"), "after it was set again");
    Ok(())
}
