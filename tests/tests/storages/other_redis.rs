//! A Redis server that cannot be had here, by a proxy that answers some commands itself.

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

/// What to do about a command.
enum Plan {
    /// Let the server answer.
    Pass,
    /// Answer in its place.
    Answer(&'static [u8]),
}

/// A server that does not know `SET` with `NX` and `GET` together, as those before version 7.
pub(super) fn old(target: u16) -> OtherRedis {
    let plan = |command: &[u8]| {
        let head = &command[..command.len().min(16)];
        let tail = &command[command.len().saturating_sub(17)..];
        let is_set = head.windows(5).any(|part| part == b"SET\r\n");
        match is_set && tail == b"$2\r\nNX\r\n$3\r\nGET\r\n" {
            true => Plan::Answer(b"-ERR syntax error\r\n"),
            false => Plan::Pass,
        }
    };
    serve(target, plan)
}

/// Passes commands on as they come, and the answers back.
fn serve(target: u16, plan: impl Fn(&[u8]) -> Plan + Send + Sync + 'static) -> OtherRedis {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let altered = Arc::new(AtomicUsize::new(0));
    let (counter, plan) = (Arc::clone(&altered), Arc::new(plan));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (counter, plan) = (Arc::clone(&counter), Arc::clone(&plan));
            thread::spawn(move || {
                let mut lines = Lines::new(client, target)?;
                while let Some(altered) = lines.turn(&*plan) {
                    counter.fetch_add(altered, Ordering::SeqCst);
                }
                Some(())
            });
        }
    });
    OtherRedis { port, altered }
}

/// To the client and to the server.
struct Lines {
    client: BufReader<TcpStream>,
    server: BufReader<TcpStream>,
}

impl Lines {
    fn new(client: TcpStream, target: u16) -> Option<Self> {
        let server = TcpStream::connect(("127.0.0.1", target)).ok()?;
        let buffered = |stream| BufReader::with_capacity(256 * 1024, stream);
        Some(Self {
            client: buffered(client),
            server: buffered(server),
        })
    }

    /// Passes on what the client has sent by now; says how many answers were altered.
    fn turn(&mut self, plan: impl Fn(&[u8]) -> Plan) -> Option<usize> {
        let (mut plans, mut commands, mut answers) = (Vec::new(), Vec::new(), Vec::new());
        while plans.is_empty() || !self.client.buffer().is_empty() {
            let command = element(&mut self.client)?;
            if command.windows(11).take(16).any(|part| part == b"SUBSCRIBE\r\n") {
                return self.pass_all(&command);
            }
            let plan = plan(&command);
            if !matches!(plan, Plan::Answer(_)) {
                commands.extend(command);
            }
            plans.push(plan);
        }
        self.server.get_mut().write_all(&commands).ok()?;
        let mut altered = 0;
        for plan in plans {
            altered += usize::from(!matches!(plan, Plan::Pass));
            match plan {
                Plan::Pass => answers.extend(element(&mut self.server)?),
                Plan::Answer(answer) => answers.extend(answer),
            }
        }
        self.client.get_mut().write_all(&answers).ok()?;
        Some(altered)
    }

    /// Who subscribes is no longer answered command by command.
    fn pass_all(&mut self, first: &[u8]) -> Option<usize> {
        let server = self.server.get_mut();
        server.write_all(first).ok()?;
        let (mut from, mut to) = (server.try_clone().ok()?, self.client.get_ref().try_clone().ok()?);
        thread::spawn(move || {
            // It ends with either side; then the other is to end as well.
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let _ = std::io::copy(&mut self.client, server);
        let _ = server.shutdown(std::net::Shutdown::Both);
        None
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
