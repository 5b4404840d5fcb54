//! A Redis server that does not know `SET` with `NX` and `GET` together, as those before version 7: a proxy that
//! answers such commands with the error that they do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

pub(super) struct OldRedis {
    port: u16,
    refused: Arc<AtomicUsize>,
}

impl OldRedis {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

/// An old server before the one on this port. It answers one command after the other.
pub(super) fn before(target: u16) -> OldRedis {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&refused);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || serve(client, target, &counter));
        }
    });
    OldRedis { port, refused }
}

fn serve(client: TcpStream, target: u16, refused: &AtomicUsize) -> Option<()> {
    let server = TcpStream::connect(("127.0.0.1", target)).ok()?;
    let (mut to_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    let (mut client, mut server) = (BufReader::new(client), BufReader::new(server));
    loop {
        let command = element(&mut client)?;
        let text = command.to_ascii_uppercase();
        let has = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
        let answer = if has(b"$3\r\nSET\r\n") && has(b"$2\r\nNX\r\n$3\r\nGET\r\n") {
            refused.fetch_add(1, Ordering::SeqCst);
            b"-ERR syntax error\r\n".to_vec()
        } else {
            to_server.write_all(&command).ok()?;
            element(&mut server)?
        };
        to_client.write_all(&answer).ok()?;
    }
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
