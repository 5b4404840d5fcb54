//! What `Storage::open` says about URLs that cannot be right.

use std::time::Duration;

use cacheme_storage::{Acquire, Bytes, Error, LeaseToken, Storage};
use tests::{Kind, shared_url};

use crate::{entry, open};

/// For each scheme a URL that works, and all its options.
const SCHEMES: [(&str, &str); 15] = [
    ("local://tlfu?size=10", "largest_value, size, timeout, weight"),
    ("local://lru?size=10", "largest_value, size, timeout, weight"),
    ("redis://h", "bus, largest_value, timeout"),
    ("rediss://h", "bus, ca, cert, key, largest_value, timeout"),
    (
        "redis+unix:///run/redis.sock?db=1",
        "bus, db, largest_value, timeout",
    ),
    ("redis+cluster://a,b", "bus, largest_value, timeout"),
    (
        "rediss+cluster://a,b",
        "bus, ca, cert, key, largest_value, timeout",
    ),
    (
        "redis+sentinel://a,b?master=m",
        "bus, largest_value, master, sentinel_password, sentinel_user, timeout",
    ),
    (
        "rediss+sentinel://a,b?master=m",
        "bus, ca, cert, key, largest_value, master, sentinel_password, sentinel_user, timeout",
    ),
    (
        "postgres://h/app",
        "acquire_timeout, bus, ca, cert, connections, create, key, largest_value, purge, socket, sslcert, sslkey, sslmode, \
         sslrootcert, table, timeout",
    ),
    (
        "postgresql://h/app",
        "acquire_timeout, bus, ca, cert, connections, create, key, largest_value, purge, socket, sslcert, sslkey, sslmode, \
         sslrootcert, table, timeout",
    ),
    (
        "mongodb://h/app",
        "acquire_timeout, appName, authMechanism, authMechanismProperties, authSource, ca, cert, collection, connectTimeoutMS, connections, create, directConnection, heartbeatFrequencyMS, journal, key, largest_value, loadBalanced, localThresholdMS, maxIdleTimeMS, minPoolSize, replicaSet, serverSelectionTimeoutMS, timeout, tls, tlsAllowInvalidCertificates, tlsCAFile, tlsCertificateKeyFile, w, wTimeoutMS",
    ),
    (
        "mysql://h/app",
        "acquire_timeout, ca, cert, connections, create, key, largest_value, purge, socket, sslca, sslcert, sslkey, sslmode, \
         table, timeout",
    ),
    (
        "mariadb://h/app",
        "acquire_timeout, ca, cert, connections, create, key, largest_value, purge, socket, sslca, sslcert, sslkey, sslmode, \
         table, timeout",
    ),
    (
        "sqlite://cache.db",
        "acquire_timeout, busy_timeout, connections, corrupt, create, largest_value, purge, synchronous, table, timeout",
    ),
];

fn with(url: &str, option: &str) -> String {
    format!("{url}{}{option}", if url.contains('?') { "&" } else { "?" })
}

fn refusal(url: &str) -> String {
    let error = Storage::open(url).expect_err(url);
    assert!(matches!(error, Error::Url { .. }), "{url}: {error:?}");
    error.to_string()
}

#[tokio::test]
async fn an_unknown_option_lists_those_that_are_known() {
    for (url, known) in SCHEMES {
        Storage::open(url).expect(url);
        let refused = refusal(&with(url, "colour=red"));
        let expected = format!("unknown option `colour`; known are: {known}");
        assert!(refused.ends_with(&expected), "{url}: {refused}");
    }
}

#[tokio::test]
async fn a_wrong_value_says_what_the_option_must_be() {
    let wrong = [
        ("timeout", "soon", "a duration such as `500ms` or `1m30s`"),
        ("timeout", "0s", "a duration such as `500ms` or `1m30s`"),
        ("timeout", "5", "a duration such as `500ms` or `1m30s`"),
        ("purge", "0s", "a duration such as `500ms` or `1m30s`"),
        ("acquire_timeout", "-1s", "a duration such as `500ms` or `1m30s`"),
        ("busy_timeout", "", "a duration such as `500ms` or `1m30s`"),
        ("connections", "0", "a number from 1 on"),
        ("connections", "many", "a number from 1 on"),
        ("create", "maybe", "`true` or `false`"),
        ("corrupt", "delete", "`reset` or `refuse`"),
        ("synchronous", "off", "`full` or `normal`"),
        (
            "table",
            "a.b.c",
            "a table name of at most 48 bytes, without dots and control characters",
        ),
        (
            "table",
            "a%0Ab",
            "a table name of at most 48 bytes, without dots and control characters",
        ),
        ("db", "one", "the number of a database"),
        ("ca", "/nowhere/ca.pem", "the path of a"),
        // PostgreSQL and MySQL have different words for it.
        ("sslmode", "on", "`disable"),
        ("size", "lots", "a number of entries"),
    ];
    let mut tried = 0;
    for (url, known) in SCHEMES {
        let known: Vec<_> = known.split(", ").collect();
        for (option, value, what) in wrong {
            if known.contains(&option) && !url.contains(&format!("{option}=")) {
                let refused = refusal(&with(url, &format!("{option}={value}")));
                let expected = format!("option `{option}` must be {what}");
                assert!(refused.contains(&expected), "{url}, {option}={value}: {refused}");
                tried += 1;
            }
        }
        let refused = refusal(&with(url, "timeout=1s&timeout=2s"));
        assert!(
            refused.contains("option `timeout` is given twice"),
            "{url}: {refused}"
        );
        let refused = refusal(&with(url, "timeout"));
        assert!(
            refused.contains("option `timeout` has no value"),
            "{url}: {refused}"
        );
    }
    assert!(tried > 40, "only {tried}");
}

#[tokio::test]
async fn an_unknown_scheme_lists_those_that_are_known() {
    for url in ["memcached://h", "redis+tls://h", "file:///a"] {
        let refused = refusal(url);
        for (known, _) in SCHEMES {
            let (scheme, _) = known.split_once("://").unwrap();
            assert!(refused.contains(scheme), "{url}: {scheme} is not in {refused}");
        }
    }
    for url in ["", "redis", "localhost:6379", "://h", "host=h user=u"] {
        let refused = refusal(url);
        assert!(
            refused.contains("has no scheme; write for example"),
            "{url}: {refused}"
        );
    }
}

#[tokio::test]
async fn hosts_and_paths_that_cannot_be_say_so() {
    for (url, reason) in [
        ("redis://", "names no host"),
        ("redis://h:70000", "has no number for a port"),
        ("redis://a,b", "`redis+cluster://`"),
        ("redis://h/zero", "is no database"),
        ("postgres://h:port/app", "a port that is no number"),
        ("postgres://a,b/app", "must name one host"),
        ("mysql://a,b/app", "must name one host"),
        ("sqlite://", "names no file"),
        ("sqlite://ann:x@cache.db", "SQLite has no users"),
        ("redis+sentinel://h", "?master="),
        ("redis://h/%FF", "not UTF-8"),
    ] {
        let refused = refusal(url);
        assert!(refused.contains(reason), "{url}: {refused}");
    }
}

#[tokio::test]
async fn the_longest_timeout_is_a_day() {
    let storage = Storage::open("redis://h?timeout=500000000y").unwrap();
    assert_eq!(storage.timeout(), Duration::from_secs(86_400));
}

#[tokio::test(flavor = "multi_thread")]
async fn l3_no_option_and_no_time_is_too_long() {
    const AGE: &str = "500000000y";
    let directory = tempfile::tempdir().unwrap();
    let sql = format!("acquire_timeout={AGE}&purge={AGE}");
    for (url, options) in [
        (shared_url(Kind::Redis), String::new()),
        (shared_url(Kind::Postgres), sql.clone()),
        (shared_url(Kind::MySql), sql.clone()),
        (shared_url(Kind::MongoDb), format!("acquire_timeout={AGE}")),
        ("sqlite://:memory:".into(), format!("busy_timeout={AGE}&{sql}")),
        (
            format!("sqlite://{}/cache.db", directory.path().display()),
            format!("busy_timeout={AGE}&{sql}"),
        ),
    ] {
        let storage = open(&with(&url, &format!("timeout={AGE}&{options}")));
        storage.connect().await.expect(&url);
        for (number, time) in [Duration::MAX, Duration::MAX / 2, Duration::from_secs(1 << 61)]
            .iter()
            .enumerate()
        {
            let (value, lease) = (format!("longest:{number}"), format!("longest-lease:{number}"));
            let (value, lease) = (value.as_bytes(), lease.as_bytes());
            storage.remove(&[value, lease]).await.expect(&url);
            storage
                .set(&[entry(value, "a value", Some(*time))])
                .await
                .expect(&url);
            let (token, other) = (LeaseToken(1), LeaseToken(2));
            let request = Acquire::new(token, *time);
            let granted = storage.acquire(&[lease], &request).await.expect(&url);
            assert!(granted[0].is_granted(), "{url}: {granted:?}");
            storage.renew(&[lease], token, *time).await.expect(&url);
            let busy = storage.acquire(&[lease], &Acquire::new(other, *time)).await;
            assert!(!busy.expect(&url)[0].is_granted(), "{url}");
            let found = storage.get(&[value, lease]).await.expect(&url);
            assert_eq!(found, [Some(Bytes::from("a value")), None], "{url}");
            storage
                .fill(&[entry(lease, "filled", Some(*time))], token)
                .await
                .expect(&url);
            let found = storage.get(&[lease]).await.expect(&url);
            assert_eq!(found, [Some(Bytes::from("filled"))], "{url}");
        }
        storage.close().await.expect(&url);
    }
}
