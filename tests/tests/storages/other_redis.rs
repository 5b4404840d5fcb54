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

/// What to do about a command.
enum Plan {
    /// Let the server answer.
    Pass,
    /// Answer in its place.
    Answer(&'static [u8]),
    /// Change what the server answers.
    Change,
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
    serve(target, plan, Some)
}

/// A server whose clock is off by so many seconds, as seen from here; as good as a client whose clock is off the other
/// way.
pub(super) fn off_by(target: u16, seconds: i64) -> OtherRedis {
    let plan = |command: &[u8]| match command {
        b"*1\r\n$4\r\nTIME\r\n" => Plan::Change,
        _ => Plan::Pass,
    };
    serve(target, plan, move |answer| {
        let answer = String::from_utf8(answer).ok()?;
        // An array of two: seconds and microseconds.
        let parts: Vec<&str> = answer.split("\r\n").collect();
        let shifted = (parts[2].parse::<i64>().ok()? + seconds).to_string();
        let micros = (parts[3], parts[4]);
        Some(
            format!(
                "*2\r\n${}\r\n{shifted}\r\n{}\r\n{}\r\n",
                shifted.len(),
                micros.0,
                micros.1
            )
            .into_bytes(),
        )
    })
}

/// Passes commands on as they come, and the answers back.
fn serve(
    target: u16,
    plan: impl Fn(&[u8]) -> Plan + Send + Sync + 'static,
    change: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> OtherRedis {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let altered = Arc::new(AtomicUsize::new(0));
    let (counter, how) = (Arc::clone(&altered), Arc::new((plan, change)));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (counter, how) = (Arc::clone(&counter), Arc::clone(&how));
            thread::spawn(move || {
                let mut lines = Lines::new(client, target)?;
                while let Some(altered) = lines.turn(&how.0, &how.1) {
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
    fn turn(
        &mut self,
        plan: impl Fn(&[u8]) -> Plan,
        change: impl Fn(Vec<u8>) -> Option<Vec<u8>>,
    ) -> Option<usize> {
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
                Plan::Change => answers.extend(change(element(&mut self.server)?)?),
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
