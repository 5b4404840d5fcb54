//! Looking whether a server speaks TLS: it does not say so itself where it expects one thing and gets the other.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest time that a server may take to answer; longer, and nothing is known.
const LIMIT: Duration = Duration::from_millis(500);
/// The most of an answer that is looked at.
const MOST: usize = 64;

/// The greeting of a client that speaks TLS 1.2 and nothing else: every server that speaks TLS answers it, with a refusal as a
/// rule. RFC 5246, section 7.4.1.2.
fn client_hello() -> Vec<u8> {
    // A record of a handshake, the greeting of a client in it, TLS 1.2.
    let head = [0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    let chance = [0; 32];
    // No session; one cipher, AES-128 with RSA; no compression.
    let tail = [0, 0, 2, 0, 0x2F, 1, 0];
    [&head[..], &chance, &tail].concat()
}
/// The first bytes of answers of TLS: an alert, a handshake.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];

/// Says whether what listens there answers a greeting of TLS with one.
pub(crate) async fn speaks_tls(host: &str, port: u16) -> bool {
    answers(
        host,
        port,
        &client_hello(),
        |answer| matches!(answer, [record, 3, ..] if TLS_RECORDS.contains(record)),
    )
    .await
}

/// Says whether what listens there answers `question`, sent in the clear, as `is_answer` expects.
pub(crate) async fn answers(
    host: &str,
    port: u16,
    question: &[u8],
    is_answer: impl Fn(&[u8]) -> bool,
) -> bool {
    let answer = timeout(LIMIT, ask(host, port, question)).await;
    matches!(answer, Ok(Ok(answer)) if is_answer(&answer))
}

async fn ask(host: &str, port: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.write_all(question).await?;
    let mut answer = vec![0; MOST];
    let length = stream.read(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}
