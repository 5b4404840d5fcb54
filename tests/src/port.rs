//! Ports for the servers of tests.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;
use std::process;
use std::sync::{Mutex, PoisonError};

use nix::unistd::geteuid;

/// Below the ports that systems give to outgoing connections: one of those could take the port of a server that is being
/// restarted, and a client that calls a port where nobody listens could be connected to itself.
///
/// A Redis cluster takes a second port, 10 000 above, unless it is told another.
const PORTS: Range<u16> = 12_000..22_000;

/// Which ports of [`PORTS`] this process has taken.
static TAKEN: Mutex<Taken> = Mutex::new(Taken {
    next: None,
    locks: Vec::new(),
});

struct Taken {
    next: Option<u16>,
    /// Held as long as this process lives, against other processes that run tests.
    locks: Vec<File>,
}

/// A port that nobody listens on, and that is given to nobody else as long as this process lives.
///
/// # Panics
///
/// When all ports are taken.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let length = PORTS.end - PORTS.start;
    // Each process begins somewhere else.
    let first = (process::id().wrapping_mul(97) % u32::from(length)) as u16;
    let mut next = taken.next.unwrap_or(first);
    for _ in 0..length {
        let port = PORTS.start + next;
        next = (next + 1) % length;
        taken.next = Some(next);
        if let Some(lock) = lock(port)
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            taken.locks.push(lock);
            return port;
        }
    }
    panic!("all ports of {PORTS:?} are taken");
}

/// The lock on a port; none if another process of this user has it.
fn lock(port: u16) -> Option<File> {
    let folder = env::temp_dir().join(format!("cacheme-test-ports-{}", geteuid()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(port.to_string()))
        .expect("the lock of a port");
    file.try_lock().is_ok().then_some(file)
}
