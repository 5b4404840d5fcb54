//! MongoDB servers that cannot be had here, by a proxy that answers writes itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use mongodb::bson::{Document, doc, to_vec};

/// A server that takes no writes for the time being.
pub(super) struct OtherMongoDb {
    port: u16,
    refuses: Arc<AtomicBool>,
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
                thread::spawn(move || serve(client, target, &refuses, &answer));
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

/// Passes messages on, and answers in between.
fn serve(mut client: TcpStream, target: u16, refuses: &AtomicBool, answer: &[u8]) -> Option<()> {
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
        if refuses.load(Ordering::SeqCst) && is_write(&message) {
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

/// Whether the first name in the document of the message is that of a command that writes.
fn is_write(message: &[u8]) -> bool {
    let kind = &message[12..HEAD];
    // Flags, the kind of the section, the length of the document, the type of its first element.
    let name = message.get(HEAD + 4 + 1 + 4 + 1..).unwrap_or_default();
    kind == MESSAGE.to_le_bytes()
        && ["update\0", "delete\0"]
            .iter()
            .any(|write| name.starts_with(write.as_bytes()))
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
