use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Stands between a client and a server, counts, and makes trouble when told.
pub struct Proxy {
    port: u16,
    wire: Arc<Wire>,
}

struct Wire {
    target: AtomicU16,
    sent: AtomicU64,
    received: AtomicU64,
    round_trips: AtomicU64,
    connections: AtomicU64,
    held: Mutex<Held>,
    moved: Condvar,
    open: Mutex<Vec<TcpStream>>,
    closed: AtomicBool,
}

/// What is not let through.
#[derive(Default)]
struct Held {
    /// Everything.
    all: bool,
    /// Connections with a lower number than this.
    before: u64,
}

/// What went over a [`Proxy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub sent: u64,
    /// Bytes from the server.
    pub received: u64,
    /// How often the client spoke after the server did.
    pub round_trips: u64,
    /// Connections made.
    pub connections: u64,
}

impl Proxy {
    /// A proxy to this port of this machine.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let wire = Arc::new(Wire {
            target: AtomicU16::new(target),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            held: Mutex::default(),
            moved: Condvar::new(),
            open: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&wire);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.closed.load(Ordering::SeqCst) {
                    break;
                }
                shared.join(client);
            }
        });
        Self { port, wire }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What went over it until now.
    pub fn traffic(&self) -> Traffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Traffic {
            sent: load(&self.wire.sent),
            received: load(&self.wire.received),
            round_trips: load(&self.wire.round_trips),
            connections: load(&self.wire.connections),
        }
    }

    /// Sends connections made from now on to this port; those that are open stay where they are, as behind an address that
    /// names another server after a fail-over.
    pub fn retarget(&self, target: u16) {
        self.wire.target.store(target, Ordering::SeqCst);
    }

    /// Holds back everything from now on, with connections left open, as a network does that swallows packets.
    pub fn stall(&self) {
        self.wire.held().all = true;
    }

    /// Holds back everything on the connections that are open now; new ones are let through. So does a firewall that forgot
    /// connections which were idle.
    pub fn silence(&self) {
        self.wire.held().before = self.wire.connections.load(Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub fn resume(&self) {
        *self.wire.held() = Held::default();
        self.wire.moved.notify_all();
    }

    /// Cuts all connections; new ones are let through.
    pub fn cut(&self) {
        for stream in self
            .wire
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wire.closed.store(true, Ordering::SeqCst);
        self.resume();
        self.cut();
        // Wakes the thread that listens.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Wire {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::SeqCst))) else {
            return;
        };
        let pairs = (client.try_clone(), server.try_clone());
        let (Ok(client_too), Ok(server_too)) = pairs else {
            return;
        };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            let kept = stream.try_clone().expect("a handle more");
            self.open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(kept);
        }
        let asked = Arc::new(AtomicBool::new(false));
        let (up, down) = (Arc::clone(self), Arc::clone(self));
        let answered = Arc::clone(&asked);
        thread::spawn(move || {
            up.copy(number, client, server_too, &up.sent, || {
                if !asked.swap(true, Ordering::SeqCst) {
                    up.round_trips.fetch_add(1, Ordering::SeqCst);
                }
            });
        });
        thread::spawn(move || {
            down.copy(number, server, client_too, &down.received, || {
                answered.store(false, Ordering::SeqCst)
            });
        });
    }

    /// Copies what one side of connection `number` says to the other.
    fn copy(&self, number: u64, mut from: TcpStream, mut to: TcpStream, count: &AtomicU64, seen: impl Fn()) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let is_held = |held: &mut Held| held.all || number < held.before;
            drop(self.moved.wait_while(self.held(), is_held));
            seen();
            count.fetch_add(length as u64, Ordering::SeqCst);
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}
