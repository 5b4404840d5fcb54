//! What is said when TLS cannot be spoken, and how soon.

use std::time::{Duration, Instant};

use cacheme_storage::{Chain, Error};
use tests::{Server, mariadb, mongodb_on_disk, postgres, redis};

use super::certificates::Certificates;
use super::{eventually, mysql, open, postgres_tls, redis_tls, tls};

/// How soon a server that speaks something else is found out: as long as most servers wait is five seconds.
const SOON: Duration = Duration::from_millis(1_500);

/// The error says why, at once.
async fn is_refused(url: &str, why: &str) {
    let start = Instant::now();
    let error = open(url).connect().await.expect_err(url);
    let took = start.elapsed();
    assert!(
        matches!(error, Error::Unreachable { .. } | Error::Refused { .. }),
        "{url}: {error:?}"
    );
    let said = Chain(&error).to_string();
    assert!(said.contains(why), "{url}: {said}");
    assert!(took < SOON, "{url}: {took:?} until {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_redis_says_at_once_that_a_server_speaks_no_tls() {
    let (open, closed) = (redis(&[]), redis(&["--requirepass", "x"]));
    for server in [&open, &closed] {
        let port = server.port();
        for url in ["rediss://", "rediss+cluster://", "rediss+sentinel://"] {
            let master = if url.contains("sentinel") {
                "?master=main"
            } else {
                ""
            };
            let url = format!("{url}localhost:{port}{master}");
            is_refused(&url, "the server speaks no TLS on this port").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_redis_says_at_once_that_a_server_speaks_tls() {
    let (certificates, port) = (Certificates::make(), tests::free_port());
    let _server = redis_tls::server(&certificates, port);
    for url in ["redis://", "redis+cluster://", "redis+sentinel://"] {
        let master = if url.contains("sentinel") {
            "?master=main"
        } else {
            ""
        };
        let url = format!("{url}localhost:{port}{master}");
        is_refused(&url, "the server speaks TLS on this port").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_postgres_says_at_once_who_speaks_tls() {
    let plain = postgres();
    let port = plain.port();
    let ca = Certificates::make();
    for options in ["sslmode=require".to_owned(), format!("ca={}", ca.path("ca.pem"))] {
        let url = format!("postgres://postgres@localhost:{port}/postgres?{options}");
        is_refused(&url, "the server speaks no TLS").await;
    }
    let server = postgres_tls::server(&ca, "");
    let url = format!(
        "postgres://postgres@localhost:{}/postgres?sslmode=disable",
        server.port()
    );
    is_refused(&url, "no encryption").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mysql_says_at_once_who_speaks_tls() {
    let mut server = mariadb();
    let port = server.port();
    let ca = Certificates::make();
    for options in ["sslmode=required".to_owned(), format!("ca={}", ca.path("ca.pem"))] {
        let url = format!("mysql://root@localhost:{port}/test?{options}");
        is_refused(&url, "the server speaks no TLS").await;
    }
    tls::serve(&mut server, &ca);
    let pool = sqlx::MySqlPool::connect(&mysql::url(&server, "")).await.unwrap();
    mysql::run(&pool, "SET GLOBAL require_secure_transport = ON").await;
    let url = format!("mysql://root@localhost:{port}/test?sslmode=disabled");
    // What MariaDB says of it.
    is_refused(&url, "Access denied").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_mongodb_says_at_once_who_speaks_tls() {
    let mut server = mongodb_on_disk();
    let url = |options: &str| {
        format!(
            "mongodb://localhost:{}/test?directConnection=true&acquire_timeout=10s&{options}",
            server.port()
        )
    };
    let (with_tls, without) = (url("tls=true"), url("tls=false"));
    is_refused(&with_tls, "the server speaks no TLS on this port").await;
    tls::serve(&mut server, &Certificates::make());
    // On a busy machine the emulator may take too long to be asked what it speaks; it is asked again each second.
    let storage = open(&without);
    eventually("the server is known to speak TLS", async || {
        let error = storage.connect().await.unwrap_err();
        Chain(&error)
            .to_string()
            .contains("the server speaks TLS on this port")
    })
    .await;
}

/// Servers of all kinds with these certificates, as URLs that trust the authority.
fn servers(made: &Certificates) -> (Vec<Server>, Vec<String>) {
    let tls_port = tests::free_port();
    let redis = redis_tls::server(made, tls_port);
    let postgres = postgres_tls::server(made, "");
    let (mut mysql, mut mongodb) = (mariadb(), mongodb_on_disk());
    tls::serve(&mut mysql, made);
    tls::serve(&mut mongodb, made);
    let ca = format!("ca={}", made.path("ca.pem"));
    let urls = vec![
        format!("rediss://localhost:{tls_port}?{ca}"),
        format!("postgres://postgres@localhost:{}/postgres?{ca}", postgres.port()),
        format!("mysql://root@localhost:{}/test?{ca}", mysql.port()),
        format!(
            "mongodb://localhost:{}/test?directConnection=true&acquire_timeout=10s&{ca}",
            mongodb.port()
        ),
    ];
    (vec![redis, postgres, mysql, mongodb], urls)
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_certificate_that_is_its_own_authority_is_refused_with_the_cure() {
    let made = Certificates::own_authority();
    let (_servers, urls) = servers(&made);
    for url in urls {
        is_refused(&url, "Make one for the server that the authority signs").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_certificate_of_a_server_that_has_expired_is_named() {
    let made = Certificates::make().with_expired_server();
    let (_servers, urls) = servers(&made);
    for url in urls {
        is_refused(&url, "the server's certificate has expired").await;
    }
}
