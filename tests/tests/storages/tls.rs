//! MySQL and MongoDB over TLS, with an authority and a certificate made here.

use std::fs;

use cacheme_storage::Chain;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tests::{Server, mariadb, mongodb_on_disk};

use super::redis_tls::certificates;
use super::{entry, open};

/// Starts the server again with a certificate for `localhost`; the options of a URL that trusts it, or another authority.
fn with_certificate(server: &mut Server, option: &str) -> (String, String) {
    let made = certificates();
    for file in ["cert.pem", "key.pem", "ca.pem"] {
        fs::copy(made.dir.path().join(file), server.dir().join(file)).unwrap();
    }
    let other = certificates();
    fs::copy(other.dir.path().join("ca.pem"), server.dir().join("other.pem")).unwrap();
    server.restart();
    let trusting = |file: &str| format!("{option}={}", server.dir().join(file).display());
    (trusting("ca.pem"), trusting("other.pem"))
}

/// An authority, and a client's certificate by it with its key.
fn client_certificate() -> (String, String) {
    let named = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let key = KeyPair::generate().unwrap();
    let mut authority = named("an authority for clients");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let its_own = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let client = named("a client").signed_by(&key, &issuer).unwrap();
    (its_own, client.pem() + &key.serialize_pem())
}

async fn works(url: &str) {
    let storage = open(url);
    storage.set(&[entry(b"a", "v", None)]).await.unwrap();
    assert_eq!(storage.get(&[b"a"]).await.unwrap(), [Some("v".into())]);
    storage.close().await.unwrap();
}

async fn is_refused(url: &str, why: &str) {
    let error = open(url).connect().await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(error.contains(why), "{url}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_over_tls_checks_who_answers() {
    let mut server = mariadb();
    let (trusted, other) = with_certificate(&mut server, "sslca");
    let at = |host: &str, mode: &str, ca: &str| {
        format!("mysql://root@{host}:{}/test?sslmode={mode}&{ca}", server.port())
    };
    for mode in ["preferred", "required", "verify_ca", "verify_identity"] {
        works(&at("localhost", mode, &trusted)).await;
    }
    works(&at("127.0.0.1", "verify_ca", &trusted)).await;
    is_refused(&at("localhost", "verify_ca", &other), "invalid peer certificate").await;
    is_refused(
        &at("127.0.0.1", "verify_identity", &trusted),
        "not valid for name",
    )
    .await;
    // What was asked for is what is spoken.
    let pool = sqlx::MySqlPool::connect(&super::mysql::url(&server, ""))
        .await
        .unwrap();
    super::mysql::run(
        &pool,
        "CREATE USER strict@'127.0.0.1' REQUIRE SSL; GRANT ALL ON test.* TO strict@'127.0.0.1'",
    )
    .await;
    let strict = |mode: &str| format!("mysql://strict@127.0.0.1:{}/test?sslmode={mode}", server.port());
    works(&strict("required")).await;
    is_refused(&strict("disabled"), "Access denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_over_tls_checks_who_answers() {
    let mut server = mongodb_on_disk();
    let (trusted, other) = with_certificate(&mut server, "tlsCAFile");
    // The emulator says that it is at 127.0.0.1, where its certificate is not for.
    let at = |host: &str, options: &str| {
        format!(
            "mongodb://{host}:{}/test?directConnection=true&acquire_timeout=1s&{options}",
            server.port()
        )
    };
    works(&at("localhost", &format!("tls=true&{trusted}"))).await;
    is_refused(
        &at("localhost", &format!("tls=true&{other}")),
        "invalid peer certificate",
    )
    .await;
    is_refused(
        &at("127.0.0.1", &format!("tls=true&{trusted}")),
        "not valid for name",
    )
    .await;
    is_refused(&at("localhost", "tls=false"), "cannot be reached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_asks_for_the_certificate_of_its_client() {
    let mut server = mongodb_on_disk();
    let (authority, certificate) = client_certificate();
    fs::write(server.dir().join("client-ca.pem"), authority).unwrap();
    fs::write(server.dir().join("both.pem"), certificate).unwrap();
    with_certificate(&mut server, "tlsCAFile");
    let file = |name: &str| server.dir().join(name).display().to_string();
    let at = |options: &str| {
        format!(
            "mongodb://localhost:{}/test?directConnection=true&acquire_timeout=5s&timeout=10s&ca={}&{options}",
            server.port(),
            file("ca.pem")
        )
    };
    works(&at(&format!("cert={}", file("both.pem")))).await;
    works(&at(&format!("cert={0}&key={0}", file("both.pem")))).await;
    works(&at(&format!(
        "tls=true&tlsCertificateKeyFile={}",
        file("both.pem")
    )))
    .await;
    is_refused(&at(""), "cannot be reached").await;
    let wrong = |options: &str| {
        cacheme_storage::Storage::open(&at(options))
            .unwrap_err()
            .to_string()
    };
    for options in [
        format!("cert={}", file("cert.pem")),
        format!("cert={}", file("key.pem")),
        format!("cert={}&key={}", file("both.pem"), file("key.pem")),
    ] {
        let said = wrong(&options);
        assert!(
            said.contains("both from one file (`cat cert.pem key.pem > both.pem`)"),
            "{said}"
        );
    }
    let no_certificate = format!("mongodb://h/test?ca={}", file("key.pem"));
    let said = cacheme_storage::Storage::open(&no_certificate)
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("option `ca` must be the path of a PEM file with a certificate"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mongodb_says_what_is_wrong_with_tls() {
    let mut server = mongodb_on_disk();
    let file = |name: &str| server.dir().join(name);
    let key = KeyPair::generate().unwrap();
    let mut its_own_authority = CertificateParams::new(vec!["localhost".into()]).unwrap();
    its_own_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = its_own_authority.self_signed(&key).unwrap().pem();
    fs::write(file("ca.pem"), &certificate).unwrap();
    let at = |name: &str, port: u16| {
        let ca = file("ca.pem").display().to_string();
        format!(
            "mongodb://localhost:{port}/test?directConnection=true&acquire_timeout=10s&timeout=1m&{name}={ca}"
        )
    };
    let port = server.port();
    // Nobody speaks TLS there yet.
    let (ours, the_drivers) = (at("ca", port), at("tlsCAFile", port));
    is_refused(&ours, "cannot be reached").await;
    fs::write(file("cert.pem"), &certificate).unwrap();
    fs::write(file("key.pem"), key.serialize_pem()).unwrap();
    server.restart();
    for url in [ours, the_drivers] {
        is_refused(&url, "make one for the server that the authority signs").await;
    }
}
