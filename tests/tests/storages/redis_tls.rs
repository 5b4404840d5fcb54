//! Redis over TLS, with an authority and a certificate made here.

use std::time::Duration;

use cacheme_storage::{Acquire, Chain, Error, Filled, LeaseToken, Redis, RemoteStorage, conformance};
use tests::{Server, redis_cli, redis_sentinel};

use super::certificates::Certificates;
use super::{entry, eventually, open};

/// What makes a server speak TLS on `port`.
fn arguments(certificates: &Certificates, port: u16) -> Vec<String> {
    [
        ("port", port.to_string()),
        ("cert-file", certificates.path("cert.pem")),
        ("key-file", certificates.path("key.pem")),
        ("ca-cert-file", certificates.path("ca.pem")),
        ("auth-clients", "no".into()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [format!("--tls-{name}"), value])
    .collect()
}

/// What makes it ask clients for certificates, as well.
const ASKING: [&str; 2] = ["--tls-auth-clients", "yes"];

/// A server that speaks TLS on `tls_port` too, with these arguments besides.
pub(super) fn server_with(certificates: &Certificates, tls_port: u16, more: &[&str]) -> Server {
    let tls = arguments(certificates, tls_port);
    let all: Vec<_> = tls
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    tests::redis(&all)
}

pub(super) fn server(certificates: &Certificates, tls_port: u16) -> Server {
    server_with(certificates, tls_port, &[])
}

/// Every call works, and what it wrote is on that server.
async fn works(url: &str, server: &Server) {
    let storage = open(url);
    let (token, time) = (LeaseToken(1), Duration::from_secs(9));
    storage.remove(&[b"leased"]).await.unwrap();
    storage.set(&[entry(b"set", "v", None)]).await.unwrap();
    let granted = storage
        .acquire(&[b"leased"], &Acquire::new(token, time))
        .await
        .unwrap();
    assert!(granted[0].is_granted(), "{granted:?}");
    let filled = storage.fill(&[entry(b"leased", "w", None)], token).await.unwrap();
    assert_eq!(filled, [Filled::Stored]);
    let found = storage.get(&[b"set", b"leased"]).await.unwrap();
    assert_eq!(found, [Some("v".into()), Some("w".into())]);
    assert_eq!(redis_cli(server.port(), &["get", "set"]).trim(), "v");
    storage.close().await.unwrap();
}

async fn is_refused(url: &str, why: &str) {
    let error = open(url).connect().await.expect_err(url);
    let error = Chain(&error).to_string();
    assert!(error.contains(why), "{url}: {error}");
}

/// Of one server, which has all slots: that all are asked over TLS is what there is to see.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_redis_cluster_is_reached_over_mutual_tls() {
    // A cluster tells the addresses of its servers as numbers.
    let (certificates, port) = (
        Certificates::make_for(&["localhost", "127.0.0.1"]),
        tests::free_port(),
    );
    let bus = tests::free_port().to_string();
    // Redis 7.0 names the ports of TLS only where its servers speak it among themselves.
    let more = [
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--tls-cluster",
        "yes",
        ASKING[0],
        ASKING[1],
    ];
    let server = server_with(&certificates, port, &more);
    redis_cli(server.port(), &["cluster", "addslotsrange", "0", "16383"]);
    eventually("the cluster works", async || {
        redis_cli(server.port(), &["cluster", "info"]).contains("cluster_state:ok")
    })
    .await;
    let url = format!("rediss+cluster://localhost:{port}");
    is_refused(&url, "UnknownIssuer").await;
    let ca = format!("{url}?ca={}", certificates.path("ca.pem"));
    is_refused(&ca, "cannot be reached").await;
    works(&format!("{url}?{}", certificates.mutual()), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_sentinels_and_their_master_are_reached_over_mutual_tls() {
    let (certificates, port) = (
        Certificates::make_for(&["localhost", "127.0.0.1"]),
        tests::free_port(),
    );
    let server = server_with(&certificates, port, &ASKING);
    let sentinel_port = tests::free_port();
    let mut arguments = arguments(&certificates, sentinel_port);
    // With this, it reaches what it watches over TLS as well, and tells where that is.
    arguments.extend(["--tls-replication", "yes"].map(Into::into));
    arguments.extend(ASKING.map(Into::into));
    let mut sentinel = redis_sentinel(port);
    let plain = sentinel.command;
    sentinel.command = Box::new(move |port, dir| {
        let mut command = plain(port, dir);
        command.extend(arguments.iter().cloned());
        command
    });
    let _sentinel = Server::start(sentinel);
    let url = format!("rediss+sentinel://localhost:{sentinel_port}/0?master=main");
    is_refused(&url, "UnknownIssuer").await;
    let ca = format!("{url}&ca={}", certificates.path("ca.pem"));
    is_refused(&ca, "cannot be reached").await;
    works(&format!("{url}&{}", certificates.mutual()), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_conforms() {
    let (certificates, port) = (Certificates::make(), tests::free_port());
    let _server = server(&certificates, port);
    let storage = open(&format!(
        "rediss://localhost:{port}/1?ca={}",
        certificates.path("ca.pem")
    ));
    assert_eq!(storage.location(), format!("rediss://localhost:{port}/1"));
    conformance::remote(storage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_redis_over_mutual_tls_conforms() {
    let (certificates, port) = (Certificates::make(), tests::free_port());
    let server = server_with(&certificates, port, &ASKING);
    let url = format!("rediss://localhost:{port}");
    let ca = certificates.path("ca.pem");
    is_refused(&format!("{url}?ca={ca}"), "cannot be reached").await;
    let both = certificates.path("both.pem");
    works(&format!("{url}?ca={ca}&cert={both}"), &server).await;
    works(&format!("{url}?ca={ca}&cert={both}&key={both}"), &server).await;
    let read = |file: &str| std::fs::read(certificates.path(file)).unwrap();
    let built = Redis::builder()
        .server("localhost", port)
        .tls_authorities(&*certificates.authority)
        .tls_certificate(read("client.pem"), read("client-key.pem"));
    built.build().unwrap().connect().await.unwrap();
    conformance::remote(open(&format!("{url}/1?{}", certificates.mutual()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_refused() {
    let (certificates, port) = (Certificates::make(), tests::free_port());
    let _server = server(&certificates, port);
    is_refused(&format!("rediss://localhost:{port}"), "UnknownIssuer").await;

    let other_name = Redis::builder()
        .server("127.0.0.1", port)
        .tls_authorities(&*certificates.authority);
    let other_name = other_name.build().unwrap().connect().await.unwrap_err();
    let other_name = Chain(&other_name).to_string();
    assert!(other_name.contains("not valid for name"), "{other_name}");

    let no_pem =
        Redis::builder().tls_authorities("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n");
    let no_pem = no_pem.build().unwrap_err();
    assert!(matches!(no_pem, Error::Config { .. }), "{no_pem:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_over_tls() {
    let (certificates, port) = (Certificates::make(), tests::free_port());
    let server = server(&certificates, port);
    let user = ["ACL", "SETUSER", "app", "on", ">pa@ss", "~*", "+@all"];
    super::redis::ask::<()>(server.port(), &user).await;
    super::redis::ask::<()>(server.port(), &["ACL", "SETUSER", "default", "off"]).await;
    let at = |login: &str| {
        open(&format!(
            "rediss://{login}localhost:{port}/2?ca={}",
            certificates.path("ca.pem")
        ))
    };
    let app = at("app:pa%40ss@");
    app.set(&[entry(b"k", "v", None)]).await.unwrap();
    assert_eq!(app.get(&[b"k"]).await.unwrap(), [Some("v".into())]);
    for login in ["app:wrong@", ""] {
        let error = at(login).connect().await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{login}: {error:?}");
    }
}
