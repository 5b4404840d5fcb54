//! Keys are any bytes, and different bytes are different keys.

use super::{Case, Outcome, entry, slices};
use ::bytes::Bytes;

cases![
    keys_of_every_plane_and_sign,
    keys_of_raw_bytes,
    keys_that_look_alike_differ,
    keys_of_64_kib,
];

async fn keys_of_every_plane_and_sign(case: Case) -> Outcome {
    let mut names: Vec<String> = (0..=16u32)
        .flat_map(|plane| [1, 0x41, 0x3042, 0xFFFD].map(|low| (plane << 16) | low))
        .filter_map(char::from_u32)
        .map(|sign| format!("<{sign}>"))
        .collect();
    for text in [
        "",
        "\0",
        "a\0b",
        "'",
        "\"",
        "`",
        "''",
        "%",
        "%s",
        "%00",
        "{",
        "}",
        "{}",
        "{a}b",
        "a{b",
        "\\",
        "\\\\",
        "\\'",
        "*",
        "?",
        "[a]",
        "[^a]",
        "_",
        "--",
        "/*",
        "; DROP TABLE x",
        "$1",
        "$where",
        "a.b",
        "a:b",
        ":",
        "\r\n",
        "\u{7f}",
        "\u{202e}",
        "\u{feff}",
        "👩‍👩‍👧",
        "🇦🇶",
    ] {
        names.push(text.into());
    }
    distinct(case, names.into_iter().map(String::into_bytes).collect()).await
}

async fn keys_of_raw_bytes(case: Case) -> Outcome {
    let mut names: Vec<Vec<u8>> = (0..=255).map(|byte| vec![b'<', byte, b'>']).collect();
    names.push((0..=255).collect());
    names.push(vec![0xff; 40]);
    names.push(vec![0xff; 41]);
    names.push(b"\xed\xa0\x80".to_vec());
    distinct(case, names).await
}

/// What collations, padding, normalisation and number parsing take for one.
async fn keys_that_look_alike_differ(case: Case) -> Outcome {
    let names = [
        "a",
        "A",
        "ä",
        "a\u{308}",
        "á",
        "ａ",
        "a ",
        " a",
        "a  ",
        "a\0",
        "\0a",
        "ß",
        "ss",
        "ẞ",
        "SS",
        "ı",
        "i",
        "I",
        "İ",
        "1",
        "01",
        "1.0",
        "+1",
        "Ａ",
        "ﬁ",
        "fi",
        "\u{2126}",
        "\u{3a9}",
        "a\u{200b}",
        "a\u{ad}",
    ];
    distinct(case, names.map(Into::into).to_vec()).await
}

async fn keys_of_64_kib(case: Case) -> Outcome {
    const LENGTH: usize = 64 * 1024;
    let long = |change: Option<(usize, u8)>| {
        let mut name = vec![b'k'; LENGTH - case.prefix.len()];
        if let Some((at, byte)) = change {
            name[at] = byte;
        }
        name
    };
    let last = LENGTH - case.prefix.len() - 1;
    let mut names = vec![long(None)];
    names.extend([0, 100, 1_000, last / 2, last].map(|at| long(Some((at, b'x')))));
    names.push(long(None)[..last].to_vec());
    // Lengths at which servers begin to shorten, and one on either side.
    for limit in [191, 255, 512, 767, 1_024, 2_712, 3_072, 8_191] {
        names.extend([limit - 1, limit, limit + 1].map(|length| vec![b'k'; length]));
    }
    distinct(case, names).await
}

/// Each of the names keeps a value of its own, alone and in bulk.
async fn distinct(case: Case, names: Vec<Vec<u8>>) -> Outcome {
    let keys: Vec<_> = names.iter().map(|name| case.key(name)).collect();
    let value = |n: usize| Bytes::from(n.to_string());
    let entries: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(n, key)| entry(key, value(n), None))
        .collect();
    case.storage.set(&entries).await?;
    for (n, found) in case.storage.get(&slices(&keys)).await?.into_iter().enumerate() {
        ensure_eq!(found, Some(value(n)), "get of all, key {}", shown(&names[n]));
    }
    for (n, key) in keys.iter().enumerate().step_by(7) {
        ensure_eq!(
            case.get(key).await?,
            Some(value(n)),
            "get of key {}",
            shown(&names[n])
        );
        case.storage.remove(&[key]).await?;
    }
    for (n, found) in case.storage.get(&slices(&keys)).await?.into_iter().enumerate() {
        let expected = (n % 7 != 0).then(|| value(n));
        ensure_eq!(
            found,
            expected,
            "after removing every seventh, key {}",
            shown(&names[n])
        );
    }
    Ok(())
}

fn shown(name: &[u8]) -> String {
    let head = &name[..name.len().min(40)];
    format!("{:?} ({} bytes)", String::from_utf8_lossy(head), name.len())
}
