//! Redis servers that cannot be had here, by a proxy that answers some commands itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub(super) struct OtherRedis {
    port: u16,
    altered: Arc<AtomicUsize>,
}

impl OtherRedis {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How many answers were altered.
    pub(super) fn altered(&self) -> usize {
        self.altered.load(Ordering::SeqCst)
    }
}

/// A server that does not know `SET` with `NX` and `GET` together, as those before version 7.
pub(super) fn old(target: u16) -> OtherRedis {
    serve(target, |command, _| {
        let text = command.to_ascii_uppercase();
        let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        (has(b"$3\r\nSET\r\n") && has(b"$2\r\nNX\r\n$3\r\nGET\r\n"))
            .then(|| b"-ERR syntax error\r\n".to_vec())
    })
}

/// A server whose clock is off by so many seconds, as seen from here; as good as a client whose clock is off the other
/// way.
pub(super) fn off_by(target: u16, seconds: i64) -> OtherRedis {
    serve(target, move |command, answer| {
        if command != b"*1\r\n$4\r\nTIME\r\n" {
            return None;
        }
        let answer = String::from_utf8(answer()?).ok()?;
        // An array of two: seconds and microseconds.
        let parts: Vec<&str> = answer.split("\r\n").collect();
        let shifted = (parts[2].parse::<i64>().ok()? + seconds).to_string();
        Some(
            format!(
                "*2\r\n${}\r\n{shifted}\r\n{}\r\n{}\r\n",
                shifted.len(),
                parts[3],
                parts[4]
            )
            .into_bytes(),
        )
    })
}

/// Passes commands on one after the other, but for those that `alter` answers; it may ask the server for its answer.
fn serve(
    target: u16,
    alter: impl Fn(&[u8], &mut dyn FnMut() -> Option<Vec<u8>>) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> OtherRedis {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (altered, alter) = (Arc::new(AtomicUsize::new(0)), Arc::new(alter));
    let counter = Arc::clone(&altered);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (counter, alter) = (Arc::clone(&counter), Arc::clone(&alter));
            thread::spawn(move || -> Option<()> {
                let server = TcpStream::connect(("127.0.0.1", target)).ok()?;
                let (mut to_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
                let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
                loop {
                    let command = element(&mut client)?;
                    let mut answer = || {
                        to_server.write_all(&command).ok()?;
                        element(&mut server)
                    };
                    let answer = match alter(&command, &mut answer) {
                        Some(altered) => {
                            counter.fetch_add(1, Ordering::SeqCst);
                            altered
                        }
                        None => answer()?,
                    };
                    to_client.write_all(&answer).ok()?;
                }
            });
        }
    });
    OtherRedis { port, altered }
}

/// One element of the protocol, as it is.
fn element(from: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_until(b'\n', &mut bytes)
        .ok()
        .filter(|&length| length > 0)?;
    let count = || std::str::from_utf8(&bytes[1..]).ok()?.trim().parse::<i64>().ok();
    match bytes[0] {
        b'$' => {
            if let Ok(length) = usize::try_from(count()?) {
                let start = bytes.len();
                bytes.resize(start + length + 2, 0);
                from.read_exact(&mut bytes[start..]).ok()?;
            }
        }
        b'*' => {
            for _ in 0..count()? {
                bytes.extend(element(from)?);
            }
        }
        _ => {}
    }
    Some(bytes)
}
