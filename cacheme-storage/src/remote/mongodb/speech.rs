//! Finds out whether servers speak TLS where we do: the driver does not.

use std::io;

use mongodb::bson::doc;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ServerAddress, Tls};

use crate::remote::tls::{SPEAKS_NO_TLS, SPEAKS_TLS, answers, speaks_tls};

const PORT: u16 = 27017;
/// The length of a message's head, and the kind of message that has all commands. See the specification of the wire protocol,
/// "OP_MSG".
const HEAD: usize = 16;
const OP_MSG: i32 = 2013;
/// Names our question; its answer names it too.
const QUESTION: i32 = 1;

/// The addresses of the servers, and whether they are spoken to over TLS.
#[derive(Debug)]
pub(super) struct Speech {
    is_tls: bool,
    addresses: Vec<ServerAddress>,
}

impl Speech {
    pub(super) fn of(options: &ClientOptions) -> Self {
        Self {
            is_tls: matches!(options.tls, Some(Tls::Enabled(_))),
            addresses: options.hosts.clone(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn addresses(&self) -> &[ServerAddress] {
        &self.addresses
    }

    /// Says whether the error may come from a server that speaks something else: it is silent or, asked in the clear, breaks off.
    pub(super) fn explains(&self, error: &Error) -> bool {
        match &*error.kind {
            ErrorKind::Io(_) if self.is_tls => is_silence(error),
            ErrorKind::Io(error) => !matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused | io::ErrorKind::Other
            ),
            ErrorKind::InvalidResponse { .. } => !self.is_tls,
            _ => false,
        }
    }

    /// Says whether the server certainly speaks something else; what to say then.
    pub(super) async fn is_other_at(&self, address: &ServerAddress) -> Option<Error> {
        let ServerAddress::Tcp { host, port } = address else {
            return None;
        };
        let port = port.unwrap_or(PORT);
        let said = match self.is_tls {
            true => answers(host, port, &hello()?, is_answer)
                .await
                .then(|| SPEAKS_NO_TLS.to_owned()),
            false => speaks_tls(host, port)
                .await
                .then(|| format!("{SPEAKS_TLS}; give `tls=true`")),
        };
        said.map(|said| io::Error::other(said).into())
    }
}

/// The command that every server answers, also before a login.
fn hello() -> Option<Vec<u8>> {
    let command = mongodb::bson::to_vec(&doc! { "hello": 1, "$db": "admin" }).ok()?;
    // No flags, and one section that is a document.
    let head = HEAD + 4 + 1;
    let length = i32::try_from(head + command.len()).ok()?;
    let mut message = Vec::with_capacity(head + command.len());
    for number in [length, QUESTION, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(command);
    Some(message)
}

/// Says whether it is the head of an answer to our question.
fn is_answer(answer: &[u8]) -> bool {
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4)?;
        Some(i32::from_le_bytes(bytes.try_into().ok()?))
    };
    number(8) == Some(QUESTION) && number(12) == Some(OP_MSG)
}

/// Says whether nothing came in time.
pub(super) fn is_silence(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}
