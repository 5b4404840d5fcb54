//! Redis over TLS, with an authority and a certificate made here.

use std::fs;

use cacheme_storage::{Error, Redis, RemoteStorage, conformance};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tests::Server;

use super::open;

pub(super) struct Certificates {
    pub(super) dir: TempDir,
    authority: String,
}

/// An authority, and a server's certificate for `localhost` by it.
pub(super) fn certificates() -> Certificates {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);

    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    fs::write(dir.path().join("ca.pem"), &authority).unwrap();
    fs::write(dir.path().join("cert.pem"), server.pem()).unwrap();
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    Certificates { dir, authority }
}

/// A server that speaks TLS on `tls_port` too.
fn server(certificates: &Certificates, tls_port: u16) -> Server {
    let path = |file: &str| certificates.dir.path().join(file).display().to_string();
    tests::redis(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_conforms() {
    let (certificates, port) = (certificates(), tests::free_port());
    let _server = server(&certificates, port);
    let ca = certificates.dir.path().join("ca.pem");
    let storage = open(&format!("rediss://localhost:{port}/1?ca={}", ca.display()));
    assert_eq!(storage.location(), format!("rediss://localhost:{port}/1"));
    conformance::remote(storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_refused() {
    let (certificates, port) = (certificates(), tests::free_port());
    let _server = server(&certificates, port);
    let unknown = open(&format!("rediss://localhost:{port}"))
        .connect()
        .await
        .unwrap_err();
    assert!(unknown.to_string().contains("UnknownIssuer"), "{unknown}");

    let other_name = Redis::builder()
        .server("127.0.0.1", port)
        .tls_authorities(&*certificates.authority);
    let other_name = other_name.build().unwrap().connect().await.unwrap_err();
    assert!(
        other_name.to_string().contains("not valid for name"),
        "{other_name}"
    );

    let no_pem =
        Redis::builder().tls_authorities("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n");
    let no_pem = no_pem.build().unwrap_err();
    assert!(
        matches!(no_pem, Error::Config { .. } | Error::Unreachable { .. }),
        "{no_pem:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_over_tls() {
    let (certificates, port) = (certificates(), tests::free_port());
    let server = server(&certificates, port);
    let user = ["ACL", "SETUSER", "app", "on", ">pa@ss", "~*", "+@all"];
    super::redis::ask::<()>(server.port(), &user).await;
    super::redis::ask::<()>(server.port(), &["ACL", "SETUSER", "default", "off"]).await;
    let ca = certificates.dir.path().join("ca.pem");
    let at = |login: &str| open(&format!("rediss://{login}localhost:{port}/2?ca={}", ca.display()));
    let app = at("app:pa%40ss@");
    app.set(&[super::entry(b"k", "v", None)]).await.unwrap();
    assert_eq!(app.get(&[b"k"]).await.unwrap(), [Some("v".into())]);
    for login in ["app:wrong@", ""] {
        let error = at(login).connect().await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{login}: {error:?}");
    }
}
