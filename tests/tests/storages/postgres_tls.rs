//! PostgreSQL over TLS, with an authority and a certificate made here.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use cacheme_storage::{Chain, conformance};
use tests::postgres;

use super::open;
use super::redis_tls::certificates;

#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_tls_conforms_and_is_told_from_impostors() {
    let certificates = certificates();
    let mut server = postgres();
    let data = server.dir().join("data");
    let owner = fs::metadata(&data).unwrap();
    for file in ["cert.pem", "key.pem"] {
        fs::copy(certificates.dir.path().join(file), data.join(file)).unwrap();
        fs::set_permissions(data.join(file), fs::Permissions::from_mode(0o600)).unwrap();
        chown(data.join(file), Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let settings = "ssl = on\nssl_cert_file = 'cert.pem'\nssl_key_file = 'key.pem'\n";
    fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
    fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
    server.restart();

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
