//! MySQL and MongoDB over TLS, with an authority and a certificate made here.

use std::fs;

use cacheme_storage::{Chain, MySql, RemoteStorage, conformance};
use sqlx::mysql::MySqlConnectOptions;
use tests::{Server, mariadb, mongodb_on_disk};

use super::certificates::Certificates;
use super::{entry, open};

/// Starts the server again with a certificate for `localhost`; the options of a URL that trusts it, or another authority.
fn with_certificate(server: &mut Server, option: &str) -> (String, String) {
    serve(server, &Certificates::make());
    let other = Certificates::make();
    fs::copy(other.path("ca.pem"), server.dir().join("other.pem")).unwrap();
    let trusting = |file: &str| format!("{option}={}", server.dir().join(file).display());
    (trusting("ca.pem"), trusting("other.pem"))
}

/// Starts the server again with these certificates.
pub(super) fn serve(server: &mut Server, made: &Certificates) {
    for file in ["cert.pem", "key.pem", "ca.pem"] {
        fs::copy(made.path(file), server.dir().join(file)).unwrap();
    }
    server.restart();
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
    for mode in ["preferred", "required"] {
        works(&at("localhost", mode, "")).await;
    }
    for mode in ["verify_ca", "verify_identity"] {
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
async fn t1_mysql_over_mutual_tls_conforms() {
    let (mut server, certificates) = (mariadb(), Certificates::make());
    fs::copy(certificates.path("ca.pem"), server.dir().join("client-ca.pem")).unwrap();
    serve(&mut server, &certificates);
    let pool = sqlx::MySqlPool::connect(&super::mysql::url(&server, ""))
        .await
        .unwrap();
    super::mysql::run(
        &pool,
        "CREATE USER known@'127.0.0.1' REQUIRE X509; GRANT ALL ON test.* TO known@'127.0.0.1'",
    )
    .await;
    let port = server.port();
    let url = |options: &str| format!("mysql://known@localhost:{port}/test?{options}");
    let (ca, both) = (certificates.path("ca.pem"), certificates.path("both.pem"));
    is_refused(&url(&format!("ca={ca}")), "Access denied").await;
    for options in [
        format!("ca={ca}&cert={both}"),
        format!("sslca={ca}&sslcert={both}&sslkey={both}&sslmode=verify_ca"),
        format!("cert={both}&sslmode=required"),
    ] {
        works(&url(&options)).await;
    }
    let options = MySqlConnectOptions::new().host("localhost").port(port);
    let options = options.username("known").database("test");
    let read = |file: &str| fs::read(certificates.path(file)).unwrap();
    let built = MySql::builder()
        .options(options)
        .tls_authorities(&*certificates.authority)
        .tls_certificate(read("client.pem"), read("client-key.pem"));
    built.build().unwrap().connect().await.unwrap();
    conformance::remote(open(&url(&certificates.mutual()))).await;
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
    let clients = Certificates::make();
    fs::copy(clients.path("ca.pem"), server.dir().join("client-ca.pem")).unwrap();
    fs::copy(clients.path("both.pem"), server.dir().join("both.pem")).unwrap();
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
        format!("tlsCertificateKeyFile={}", file("cert.pem")),
        format!("cert={}&key={}", file("both.pem"), file("key.pem")),
    ] {
        let said = wrong(&options);
        assert!(
            said.contains("both in one file (`cat cert.pem key.pem > both.pem`)"),
            "{said}"
        );
    }
}
