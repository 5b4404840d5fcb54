//! The harness itself: each kind of server starts, answers, dies, freezes and comes back.

#![allow(clippy::unwrap_used, reason = "tests say what is wrong by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tests::{Proxy, Server, mariadb, mongodb, postgres, redis};

fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(1)).is_ok()
}

fn dies_and_comes_back(mut server: Server) {
    let (port, dir) = (server.port(), server.dir());
    assert!(answers(port) && dir.exists());
    server.kill();
    assert!(!answers(port), "it still listens");
    server.restart();
    assert!(answers(port), "not on the same port");
    drop(server);
    assert!(!answers(port), "it outlives its test");
    assert!(!dir.exists(), "its folder stays behind");
}

#[test]
fn redis_dies_and_comes_back() {
    dies_and_comes_back(redis(&[]));
}

#[test]
fn postgres_dies_and_comes_back() {
    dies_and_comes_back(postgres());
}

#[test]
fn mariadb_dies_and_comes_back() {
    dies_and_comes_back(mariadb());
}

#[test]
fn mongodb_dies_and_comes_back() {
    dies_and_comes_back(mongodb());
}

/// The answer to `PING`, or none within the time.
fn ping(stream: &mut TcpStream, limit: Duration) -> Option<String> {
    stream.set_read_timeout(Some(limit)).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_frozen_server_is_silent_until_thawed() {
    let server = redis(&[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    assert_eq!(
        ping(&mut stream, Duration::from_secs(5)).as_deref(),
        Some("+PONG\r\n")
    );
    server.freeze();
    assert_eq!(ping(&mut stream, Duration::from_millis(50)), None);
    server.thaw();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut late = [0; 7];
    stream.read_exact(&mut late).unwrap();
    assert_eq!(&late, b"+PONG\r\n");
}

#[test]
fn a_proxy_counts_stalls_and_cuts() {
    let server = redis(&[]);
    let proxy = Proxy::to(server.port());
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    for _ in 0..3 {
        ping(&mut stream, Duration::from_secs(5)).unwrap();
    }
    let traffic = proxy.traffic();
    assert_eq!((traffic.connections, traffic.round_trips), (1, 3));
    assert_eq!((traffic.sent, traffic.received), (18, 21));

    proxy.stall();
    assert_eq!(ping(&mut stream, Duration::from_millis(50)), None);
    proxy.resume();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut late = [0; 7];
    stream.read_exact(&mut late).unwrap();

    proxy.cut();
    let _ = stream.write_all(b"PING\r\n");
    assert_eq!(
        stream.read(&mut late).unwrap_or(0),
        0,
        "it answers over a connection that was cut"
    );
    let mut again = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    assert!(ping(&mut again, Duration::from_secs(5)).is_some());
}
