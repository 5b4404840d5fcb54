//! MongoDB servers that cannot be had here, by a proxy that answers itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use mongodb::bson::{DateTime, Document, doc, to_vec};

/// A server that takes no writes for the time being.
pub(super) struct OtherMongoDb {
    port: u16,
    refuses: Arc<AtomicBool>,
}

/// A server at an address that leads to another one after a fail-over: connections from before stay with the one that gave way.
pub(super) struct DemotedMongoDb {
    port: u16,
    target: Arc<AtomicU16>,
    /// Whether the connections that were made until then meet a secondary.
    demoted: Arc<Mutex<Arc<AtomicBool>>>,
}

impl DemotedMongoDb {
    pub(super) fn new(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let this = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::new(target.into()),
            demoted: Arc::default(),
        };
        let (target, demoted) = (Arc::clone(&this.target), Arc::clone(&this.demoted));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let target = target.load(Ordering::SeqCst);
                let demoted = Arc::clone(&demoted.lock().unwrap());
                thread::spawn(move || {
                    serve(client, target, |message| {
                        let is = |names: &[&str]| begins_with(message, names);
                        let is_demoted = demoted.load(Ordering::SeqCst);
                        // Always from here, so that no server streams its own to who watches it.
                        if is(&["hello\0", "isMaster\0", "ismaster\0"]) {
                            return Some(to_vec(&member(!is_demoted)).unwrap());
                        }
                        let is_refused = is_demoted && is(&["update\0", "delete\0"]);
                        is_refused.then(|| to_vec(&not_primary()).unwrap())
                    })
                });
            }
        });
        this
    }

    pub(super) fn url(&self) -> String {
        format!(
            "mongodb://127.0.0.1:{}/test?directConnection=true&timeout=10s",
            self.port
        )
    }

    /// The server gives way to the one on this port.
    pub(super) fn fail_over_to(&self, target: u16) {
        self.target.store(target, Ordering::SeqCst);
        let before = std::mem::take(&mut *self.demoted.lock().unwrap());
        before.store(true, Ordering::SeqCst);
    }
}

/// Of a message: its length, its number, the number that it answers, and its kind.
const HEAD: usize = 16;
/// The kind of message that carries commands and answers, `OP_MSG`.
/// <https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg>
const MESSAGE: i32 = 2013;

impl OtherMongoDb {
    /// In front of the server on the port `target`; `update` and `delete` are answered with `answer` while it refuses.
    pub(super) fn new(target: u16, answer: &Document) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let refuses = Arc::new(AtomicBool::new(false));
        let answer: Arc<[u8]> = to_vec(answer).unwrap().into();
        let shared = Arc::clone(&refuses);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (refuses, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                thread::spawn(move || {
                    serve(client, target, |message| {
                        let is_write = begins_with(message, &["update\0", "delete\0"]);
                        (refuses.load(Ordering::SeqCst) && is_write).then(|| answer.to_vec())
                    })
                });
            }
        });
        Self { port, refuses }
    }

    pub(super) fn url(&self) -> String {
        // Or else the driver asks the server where it is, and goes there without the proxy.
        format!(
            "mongodb://127.0.0.1:{}/test?directConnection=true&timeout=10s",
            self.port
        )
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

/// Passes messages on, but for those that have an answer.
fn serve(mut client: TcpStream, target: u16, answer: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<()> {
    let mut server = TcpStream::connect(("127.0.0.1", target)).ok()?;
    let (mut from, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || std::io::copy(&mut from, &mut to));
    loop {
        let mut message = vec![0; 4];
        client.read_exact(&mut message).ok()?;
        let length = i32::from_le_bytes(message[..].try_into().unwrap());
        message.resize(usize::try_from(length).unwrap(), 0);
        client.read_exact(&mut message[4..]).ok()?;
        // Nothing is under way from the server: a client sends no command before the answer to the one before.
        if let Some(answer) = answer(&message) {
            let number = &message[4..8];
            let length = i32::try_from(HEAD + 5 + answer.len()).unwrap();
            let mut refusal = length.to_le_bytes().to_vec();
            refusal.extend([0; 4]);
            refusal.extend(number);
            refusal.extend(MESSAGE.to_le_bytes());
            // No flags, and one document.
            refusal.extend([0; 5]);
            refusal.extend(answer);
            client.write_all(&refusal).ok()?;
        } else {
            server.write_all(&message).ok()?;
        }
    }
}

/// Whether the first name in the document of the message, which is that of its command, is one of these.
fn begins_with(message: &[u8], names: &[&str]) -> bool {
    let kind = &message[12..HEAD];
    // Flags, the kind of the section, the length of the document, the type of its first element.
    let name = message.get(HEAD + 4 + 1 + 4 + 1..).unwrap_or_default();
    kind == MESSAGE.to_le_bytes() && names.iter().any(|command| name.starts_with(command.as_bytes()))
}

/// What a member of a replica set says that is asked what it is.
fn member(is_primary: bool) -> Document {
    doc! {
        "ok": 1, "helloOk": true, "isWritablePrimary": is_primary, "ismaster": is_primary, "secondary": !is_primary,
        "setName": "rs", "hosts": ["elsewhere.invalid:27017"], "me": "elsewhere.invalid:27017", "setVersion": 1,
        "readOnly": false, "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000, "localTime": DateTime::now(), "minWireVersion": 0, "maxWireVersion": 21,
    }
}

/// What a secondary says to a write.
fn not_primary() -> Document {
    doc! { "ok": 0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary" }
}

/// What a server says whose disk is full.
pub(super) fn full() -> Document {
    let error = doc! { "index": 0, "code": 14031, "errmsg": "No space left on device" };
    doc! { "ok": 1, "n": 0, "nModified": 0, "writeErrors": [error] }
}

/// What a server says that was started on files it may only read.
pub(super) fn read_only() -> Document {
    doc! { "ok": 0, "code": 20, "codeName": "IllegalOperation", "errmsg": "operation not supported in read-only mode" }
}
