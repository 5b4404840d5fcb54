//! Telling other processes what has changed: `NOTIFY` and `LISTEN`.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::time::timeout;

use super::Inner;
use super::table::query;
use crate::{Bytes, Error, Heard, Result};

/// How long the server may take to connect, or to confirm that we listen.
const LIMIT: Duration = Duration::from_secs(5);
/// After how long without a message the server is asked whether it is still there, and how long it may take to say so.
const QUIET: Duration = Duration::from_secs(2);
/// What to do where nothing can be heard.
const SILENT: &str = "does not pass notifications on, as behind a pooler that lends connections by the transaction; \
                      connect past it, or open the storage with `bus=false`";

impl Inner {
    pub(super) async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        self.notify(&self.table.channel, messages).await
    }

    async fn notify(&self, channel: &str, messages: &[Bytes]) -> Result<()> {
        let statement = || {
            let messages: Vec<_> = messages.iter().map(|message| message.to_vec()).collect();
            query(&self.table.notify).bind(channel.to_owned()).bind(messages)
        };
        let done = self.pool.run(statement, |_| Ok(())).await;
        self.checked(done).map(drop)
    }

    /// Listens until the connection is lost.
    pub(super) async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        let Err(lost) = self.hear(hear).await;
        lost
    }

    async fn hear(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Result<Infallible> {
        // The driver listens on a connection of a pool only: this one has no other, and keeps it.
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.pool.options());
        let mut listener = self.within(LIMIT, PgListener::connect_with(&pool)).await?;
        // A new connection has missed what was told meanwhile: our caller has to know.
        listener.eager_reconnect(false);
        let echo = format!("cacheme.echo.{:016x}", crate::seed::random());
        let channels = [&*self.table.channel, &*echo];
        self.within(LIMIT, listener.listen_all(channels)).await?;
        self.hear_ourselves(&mut listener, &echo).await?;
        self.within(LIMIT, listener.unlisten(&echo)).await?;
        hear(Heard::Joined);
        loop {
            match timeout(QUIET, self.told(&mut listener)).await {
                Ok(told) => {
                    let told = told?;
                    match from_hex(told.payload()) {
                        Some(message) => hear(Heard::Message(&message)),
                        // Not ours, but on our channel: it says nothing that we could understand.
                        None => hear(Heard::Message(told.payload().as_bytes())),
                    }
                }
                // A server that is frozen, or cut off, keeps its connections open.
                Err(_) => {
                    self.within(QUIET, listener.execute("SELECT 1")).await?;
                }
            }
        }
    }

    /// Hears what we tell on a channel that nobody else listens to. A pooler that lends connections by the transaction lets us
    /// listen, and passes nothing on.
    async fn hear_ourselves(&self, listener: &mut PgListener, echo: &str) -> Result<()> {
        match timeout(LIMIT, self.notify(echo, &[Bytes::new()])).await {
            Ok(told) => told?,
            Err(_) => return Err(self.fault(timed_out())),
        }
        let heard = async {
            // What others told meanwhile needs no hearing: we trust nothing yet.
            while self.told(listener).await?.channel() != echo {}
            Ok(())
        };
        let silent = |_| Error::Config {
            storage: self.location.clone(),
            reason: SILENT.into(),
        };
        timeout(QUIET, heard).await.map_err(silent)?
    }

    async fn told(&self, listener: &mut PgListener) -> Result<PgNotification> {
        let told = self.checked(listener.try_recv().await)?;
        told.ok_or_else(|| self.fault(io::Error::from(io::ErrorKind::ConnectionReset).into()))
    }

    async fn within<T>(&self, limit: Duration, step: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        let done = timeout(limit, step).await;
        self.checked(done.unwrap_or_else(|_| Err(timed_out())))
    }
}

fn timed_out() -> sqlx::Error {
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
