//! Clearing by prefix.

use super::{Case, Outcome, bytes, entry, slices};
use ::bytes::Bytes;

cases![
    clear_removes_the_prefix_only,
    signs_in_the_prefix_mean_themselves,
    clear_of_many_keys,
    clear_of_long_keys,
];

async fn clear_removes_the_prefix_only(case: Case) -> Outcome {
    let names = [
        "one:", "one:a", "one:b:c", "one", "ones", "One:a", "two:a", "a:one:", "",
    ];
    let keys = names.map(|name| case.key(name));
    let entries = keys.each_ref().map(|key| entry(key, "kept", None));
    case.storage.set(&entries).await?;
    case.storage.clear(&case.key("one:")).await?;
    let found = case.storage.get(&slices(&keys)).await?;
    for (name, found) in names.iter().zip(found) {
        let expected = if name.starts_with("one:") {
            None
        } else {
            bytes("kept")
        };
        ensure_eq!(found, expected, "key {name:?} after clear of \"one:\"");
    }
    // Nothing left is no error.
    case.storage.clear(&case.key("one:")).await?;
    Ok(())
}

async fn signs_in_the_prefix_mean_themselves(case: Case) -> Outcome {
    let prefixes: &[&[u8]] = &[
        b"*",
        b"?",
        b"[ab]",
        b"[^a]",
        b"a-c",
        b"\\",
        b"\\*",
        b"%",
        b"_",
        b"'",
        b"\"",
        b"{",
        b"}",
        b"^",
        b"$",
        b".",
        b".*",
        b"(",
        b"|",
        b"\0",
        b"\xff",
        b"\xff\xff",
        "ä".as_bytes(),
        "😀".as_bytes(),
        b" ",
        b"\n",
    ];
    for prefix in prefixes {
        let inside = [case.key([prefix, &b"x"[..]].concat()), case.key(prefix)];
        // `a` and `b` are what the patterns would match, were they taken for patterns.
        let outside = ["ax", "bx", "x", "b", "a", ""].map(|name| case.key(name));
        let all = [&inside[..], &outside[..]].concat();
        let entries: Vec<_> = all.iter().map(|key| entry(key, "kept", None)).collect();
        case.storage.set(&entries).await?;
        case.storage.clear(&case.key(prefix)).await?;
        let found = case.storage.get(&slices(&all)).await?;
        let shown = String::from_utf8_lossy(prefix);
        ensure_eq!(found[..2], [None, None], "inside after clear of {shown:?}");
        ensure!(
            found[2..].iter().all(Option::is_some),
            "clear of {shown:?} took keys without that prefix"
        );
    }
    Ok(())
}

async fn clear_of_many_keys(case: Case) -> Outcome {
    let keys = case.keys(12_345);
    let keys = slices(&keys);
    let other = [b"x", &*case.prefix].concat();
    let mut entries: Vec<_> = keys.iter().map(|key| entry(key, "some", None)).collect();
    entries.push(entry(&other, "kept", None));
    case.storage.set(&entries).await?;
    case.storage.clear(&case.prefix).await?;
    let found = case.storage.get(&keys).await?;
    let left = found.iter().filter(|found| found.is_some()).count();
    ensure_eq!(left, 0, "keys left of {}", keys.len());
    let kept = case.get(&other).await?;
    case.storage.remove(&[&other]).await?;
    ensure_eq!(
        kept,
        bytes("kept"),
        "a key that holds the prefix, but not in front"
    );
    Ok(())
}

async fn clear_of_long_keys(case: Case) -> Outcome {
    let keys = [200, 1_000, 64 * 1024].map(|length| case.key([&b"in:"[..], &vec![b'k'; length]].concat()));
    let entries = keys
        .each_ref()
        .map(|key| entry(key, Bytes::from_static(b"some"), None));
    case.storage.set(&entries).await?;
    case.storage.clear(&case.key("in:")).await?;
    ensure_eq!(
        case.storage.get(&slices(&keys)).await?,
        [None, None, None],
        "long keys after clear"
    );
    Ok(())
}
