//! Telling other processes what has changed: `NOTIFY` and `LISTEN`.

use std::io;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use super::Inner;
use super::table::query;
use crate::{Bytes, Error, Heard, Result};

/// How long the server may take to connect, or to confirm that we listen.
const LIMIT: Duration = Duration::from_secs(5);
/// After how long without a message the server is asked whether it is still there, and how long it may take to say so.
const QUIET: Duration = Duration::from_secs(2);

impl Inner {
    pub(super) async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        let messages: Vec<&[u8]> = messages.iter().map(|message| &message[..]).collect();
        let statement = || {
            query(&self.table.publish).bind(self.table.channel.clone()).bind(
                messages
                    .iter()
                    .map(|message| message.to_vec())
                    .collect::<Vec<_>>(),
            )
        };
        let done = self.pool.run(statement, |_| Ok(())).await;
        self.checked(done).map(drop)
    }

    /// Listens until the connection is lost.
    pub(super) async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        match self.hear(hear).await {
            Ok(()) => self.fault(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            Err(error) => self.fault(error),
        }
    }

    async fn hear(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> sqlx::Result<()> {
        // The driver listens on a connection of a pool only: this one has no other, and keeps it.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.pool.options());
        let mut listener = timeout(LIMIT, PgListener::connect_with(&pool))
            .await
            .map_err(timed_out)??;
        // A new connection has missed what was told meanwhile: our caller has to know.
        listener.eager_reconnect(false);
        timeout(LIMIT, listener.listen(&self.table.channel))
            .await
            .map_err(timed_out)??;
        hear(Heard::Joined);
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                Ok(Ok(Some(told))) => match from_hex(told.payload()) {
                    Some(message) => hear(Heard::Message(&message)),
                    // Not ours, but on our channel: it says nothing that we could understand.
                    None => hear(Heard::Message(told.payload().as_bytes())),
                },
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // A server that is frozen, or cut off, keeps its connections open.
                Err(_) => {
                    let question = listener.execute("SELECT 1");
                    timeout(QUIET, question).await.map_err(timed_out)??;
                }
            }
        }
    }
}

fn timed_out(_: tokio::time::error::Elapsed) -> sqlx::Error {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| {
        let [high, low] = pair else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_from_hex_and_nothing_else_does() {
        assert_eq!(from_hex("00ff7f").as_deref(), Some(&[0, 0xFF, 0x7F][..]));
        assert_eq!(from_hex("").as_deref(), Some(&[][..]));
        for bad in ["0", "0g", "00f", "é0", "+1"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
