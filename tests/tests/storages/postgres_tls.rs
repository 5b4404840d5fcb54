//! PostgreSQL over TLS, with an authority and a certificate made here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use cacheme_storage::{Chain, Postgres, RemoteStorage, conformance};
use sqlx::postgres::PgConnectOptions;
use tests::{Server, postgres};

use super::certificates::Certificates;
use super::open;

/// A server that speaks TLS with these certificates, and only TLS, with more in its lines about who may come.
pub(super) fn server(certificates: &Certificates, more: &str) -> Server {
    let mut server = postgres();
    let data = server.dir().join("data");
    let owner = fs::metadata(&data).unwrap();
    for file in ["cert.pem", "key.pem", "ca.pem"] {
        fs::copy(certificates.dir.path().join(file), data.join(file)).unwrap();
        fs::set_permissions(data.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        chown(data.join(file), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let settings = "ssl = on\nssl_cert_file = 'cert.pem'\nssl_key_file = 'key.pem'\nssl_ca_file = 'ca.pem'\n";
    fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
    let lines = format!("hostssl all all 127.0.0.1/32 trust {more}\n");
    fs::write(data.join("pg_hba.conf"), lines).unwrap();
    server.restart();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_tls_conforms_and_impostors_are_refused() {
    let certificates = Certificates::make();
    let server = server(&certificates, "");
    let (port, ca) = (server.port(), certificates.dir.path().join("ca.pem"));
    let url = |host: &str, options: &str| format!("postgres://postgres@{host}:{port}/postgres?{options}");
    let refusal = async |url: &str| {
        let error = open(url).connect().await.expect_err(url);
        Chain(&error).to_string()
    };
    let clear = refusal(&url("localhost", "sslmode=disable")).await;
    assert!(
        clear.contains("refused") && clear.contains("no encryption"),
        "{clear}"
    );
    let unknown = refusal(&url("localhost", "sslmode=verify-full")).await;
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let trusted = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    let other_name = refusal(&url("127.0.0.1", &trusted)).await;
    assert!(other_name.contains("not valid for name"), "{other_name}");
    conformance::remote(open(&url("localhost", &trusted))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_postgres_over_mutual_tls_conforms() {
    let certificates = Certificates::make();
    let server = server(&certificates, "clientcert=verify-ca");
    let port = server.port();
    let url = |options: &str| format!("postgres://postgres@localhost:{port}/postgres?{options}");
    let (ca, both) = (certificates.path("ca.pem"), certificates.path("both.pem"));
    let error = open(&url(&format!("ca={ca}"))).connect().await.unwrap_err();
    let error = Chain(&error).to_string();
    assert!(
        error.contains("name it with `cert` and its key with `key`"),
        "{error}"
    );
    for options in [
        format!("ca={ca}&cert={both}"),
        format!("sslrootcert={ca}&sslcert={both}&sslkey={both}&sslmode=verify-ca"),
        format!("cert={both}&sslmode=require"),
    ] {
        open(&url(&options)).connect().await.expect(&options);
    }
    let options = PgConnectOptions::new().host("localhost").port(port);
    let options = options.username("postgres").database("postgres");
    let read = |file: &str| fs::read(certificates.path(file)).unwrap();
    let built = Postgres::builder()
        .options(options)
        .tls_authorities(&*certificates.authority)
        .tls_certificate(read("client.pem"), read("client-key.pem"));
    built.build().unwrap().connect().await.unwrap();
    conformance::remote(open(&url(&certificates.mutual()))).await;
}
