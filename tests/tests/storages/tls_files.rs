//! What the files of certificates must hold, found when a storage is opened.

use cacheme_storage::{Error, MySql, Postgres, Redis, Storage};

use super::certificates::Certificates;

/// For each scheme a URL that takes certificates, and whether the key may have a file of its own.
const SCHEMES: [(&str, bool); 7] = [
    ("rediss://h?", true),
    ("rediss+cluster://a,b?", true),
    ("rediss+sentinel://a,b?master=m&", true),
    ("postgres://h/app?", true),
    ("mysql://h/app?", true),
    ("mariadb://h/app?", true),
    ("mongodb://h/app?", false),
];

fn refusal(url: &str) -> String {
    let error = Storage::open(url).expect_err(url);
    assert!(matches!(error, Error::Url { .. }), "{url}: {error:?}");
    error.to_string()
}

#[track_caller]
fn is_refused(url: &str, why: &str) {
    let said = refusal(url);
    assert!(said.contains(why), "{url}: {said}");
}

/// Files by their names, with one that is empty, one that is no PEM, and one whose base64 is no certificate.
fn files() -> Certificates {
    let files = Certificates::make().with_expired();
    files.write("empty.pem", "");
    files.write("text.pem", "a certificate, they said\n");
    files.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    files.write(
        "encrypted.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    files
}

#[tokio::test]
async fn t1_an_authority_that_is_none_is_refused_by_name() {
    let files = files();
    for (url, _) in SCHEMES {
        let with = |file: &str| format!("{url}ca={}", files.path(file));
        Storage::open(&with("ca.pem")).expect(url);
        for (file, why) in [
            ("nowhere.pem", "No such file"),
            ("empty.pem", "holds no certificate in PEM"),
            ("text.pem", "holds no certificate in PEM"),
            ("key.pem", "holds a private key and no certificate"),
            ("broken.pem", "holds a certificate that cannot be read"),
        ] {
            let said = refusal(&with(file));
            let what = "option `ca` must be the path of a PEM file with a certificate";
            for part in [what, &files.path(file), why] {
                assert!(said.contains(part), "{url}, {file}: {part:?} is not in {said}");
            }
        }
    }
}

#[tokio::test]
async fn t1_a_certificate_of_ours_that_cannot_be_used_is_refused_by_name() {
    let files = files();
    for (url, own_file) in SCHEMES {
        let cert = |file: &str| format!("{url}cert={}", files.path(file));
        let pair = |cert: &str, key: &str| format!("{url}cert={}&key={}", files.path(cert), files.path(key));
        Storage::open(&cert("both.pem")).expect(url);
        Storage::open(&pair("both.pem", "both.pem")).expect(url);
        is_refused(&cert("nowhere.pem"), "No such file");
        is_refused(&cert("empty.pem"), "holds no certificate in PEM");
        is_refused(&cert("broken.pem"), "holds a certificate that cannot be read");
        is_refused(
            &cert("expired.pem"),
            "expired.pem cannot be used at this time: certificate expired",
        );
        is_refused(&cert("client.pem"), "client.pem holds no private key in PEM");
        is_refused(&cert("client.pem"), "`cat cert.pem key.pem > both.pem`");
        is_refused(
            &format!("{url}key={}", files.path("client-key.pem")),
            "option `key` is of no use without `cert`",
        );
        let keys = [
            ("nowhere.pem", "No such file"),
            ("key.pem", "key.pem holds the key of another certificate"),
            ("encrypted.pem", "holds an encrypted key; decrypt it"),
            ("empty.pem", "empty.pem holds no private key in PEM"),
        ];
        for (key, why) in keys.into_iter().filter(|_| own_file) {
            is_refused(&pair("client.pem", key), why);
            is_refused(
                &pair("client.pem", key),
                "option `key` must be the path of a PEM file",
            );
        }
        match own_file {
            true => drop(Storage::open(&pair("client.pem", "client-key.pem")).expect(url)),
            false => is_refused(
                &pair("client.pem", "client-key.pem"),
                "option `key` must be the same file as `cert`: the driver takes both in one file",
            ),
        }
    }
}

#[tokio::test]
async fn t1_certificates_that_would_go_unused_are_refused() {
    let files = files();
    let (ca, both) = (
        format!("ca={}", files.path("ca.pem")),
        format!("cert={}", files.path("both.pem")),
    );
    for (plain, cure) in [
        ("redis://h?", "write `rediss://`"),
        ("redis+cluster://h?", "write `rediss+cluster://`"),
        ("redis+sentinel://h?master=m&", "write `rediss+sentinel://`"),
        ("redis+unix:///run/redis.sock?", "not a unix socket"),
        ("mongodb://h/app?tls=false&", "leave that out"),
        ("postgres://h/app?sslmode=prefer&", "`sslmode=verify-full`"),
        ("postgres://h/app?sslmode=disable&", "`sslmode=verify-full`"),
        ("postgres:///app?socket=/run/postgresql&", "not a unix socket"),
        ("mysql://h/app?sslmode=preferred&", "`sslmode=verify_identity`"),
        ("mysql://h/app?sslmode=disabled&", "`sslmode=verify_identity`"),
        ("mysql:///app?socket=/run/mysql.sock&", "not a unix socket"),
    ] {
        for option in [&ca, &both] {
            is_refused(&format!("{plain}{option}"), cure);
        }
    }
    for (url, cure) in [
        (
            "postgres://h/app?sslmode=require&",
            "does not look at who answers",
        ),
        ("mysql://h/app?sslmode=required&", "does not look at who answers"),
    ] {
        is_refused(&format!("{url}{ca}"), cure);
        Storage::open(&format!("{url}{both}")).expect(url);
    }
    for (url, others) in [
        ("postgres://h/app?", ["sslrootcert", "sslcert"]),
        ("mysql://h/app?", ["sslca", "sslcert"]),
        ("mongodb://h/app?", ["tlsCAFile", "tlsCertificateKeyFile"]),
    ] {
        for (ours, other) in [&ca, &both].into_iter().zip(others) {
            let (name, path) = ours.split_once('=').unwrap();
            Storage::open(&format!("{url}{other}={path}")).expect(url);
            let said = format!("options `{name}` and `{other}` are the same: give one of them");
            is_refused(&format!("{url}{ours}&{other}={path}"), &said);
        }
    }
}

#[tokio::test]
async fn t1_sentinels_have_a_login_of_their_own_or_none() {
    let user = Storage::open("redis+sentinel://h?master=m&sentinel_user=ann");
    let user = user.unwrap_err().to_string();
    assert!(user.contains("give `sentinel_password` too"), "{user}");
    let elsewhere = Redis::builder().server("h", 1).sentinel_password("x").build();
    let elsewhere = elsewhere.unwrap_err().to_string();
    assert!(elsewhere.contains("names no sentinels"), "{elsewhere}");
}

#[tokio::test]
async fn t1_builders_refuse_certificates_that_cannot_be_used() {
    let files = files();
    let read = |file: &str| std::fs::read(files.path(file)).unwrap();
    let pool = sqlx::PgPool::connect_lazy("postgres://h/app").unwrap();
    let with_pool = Postgres::builder().pool(pool).tls_authorities(read("ca.pem"));
    let (client, other_key) = (read("client.pem"), read("key.pem"));
    let database = sqlx::mysql::MySqlConnectOptions::new().database("app");
    let mysql = || MySql::builder().options(database.clone());
    let refusals = [
        Redis::builder().tls_authorities("").build().map(drop),
        Redis::builder()
            .tls_certificate(client.clone(), other_key.clone())
            .build()
            .map(drop),
        Postgres::builder().tls_authorities("").build().map(drop),
        Postgres::builder()
            .tls_certificate(client.clone(), other_key.clone())
            .build()
            .map(drop),
        mysql().tls_authorities("").build().map(drop),
        mysql().tls_certificate(client, other_key).build().map(drop),
        with_pool.build().map(drop),
    ];
    for refused in refusals {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
        let said = error.to_string();
        let why = [
            "`tls_authorities` holds no certificate",
            "holds the key of another certificate",
            "leave out",
        ];
        assert!(why.iter().any(|why| said.contains(why)), "{said}");
    }
}
