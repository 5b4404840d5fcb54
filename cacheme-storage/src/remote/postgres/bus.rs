//! Telling other processes what has changed: `NOTIFY` and `LISTEN`.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::timeout;

use super::statement::query;
use super::{Inner, connection};
use crate::contract::remote::Heard;
use crate::error::{Error, Result};
use crate::remote::database::ServerPool;
use ::bytes::Bytes;

/// The longest time that the server may take to connect, or to confirm that we listen.
const LIMIT: Duration = Duration::from_secs(5);
/// The time without a message after which the server is asked whether it is still there, and the time that it has to say so.
const QUIET: Duration = Duration::from_secs(2);
/// Advice for servers on which nothing can be received.
const SILENT: &str = "does not pass notifications on, as behind a pooler that lends connections by the transaction; \
                      connect past it, or open the storage with `bus=false`";

impl Inner {
    pub(super) async fn publish(&self, messages: &[Bytes]) -> Result<()> {
        self.notify(&self.table.channel, messages).await
    }

    async fn notify(&self, channel: &str, messages: &[Bytes]) -> Result<()> {
        let statement = || {
            let messages: Vec<&[u8]> = messages.iter().map(|message| &**message).collect();
            query(&self.table.notify).bind(channel.to_owned()).bind(messages)
        };
        let done = self.pool.run(statement, |_| Ok(())).await;
        self.checked(done).map(drop)
    }

    /// Listens until the connection is lost, or its server is left for another one.
    pub(super) async fn listen(&self, hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send)) -> Error {
        let (mut listener, server) = match self.join().await {
            Ok(joined) => joined,
            Err(error) => return error,
        };
        let hearing = pin!(self.hear(&mut listener, hear));
        match select(hearing, pin!(server.left())).await {
            Either::Left((Err(lost), _)) => lost,
            Either::Right(_) => {
                let left = "the server was left for another one";
                self.fault(sqlx::Error::from(io::Error::other(left)).into())
            }
        }
    }

    /// Connects, and makes sure that notifications arrive.
    async fn join(&self) -> Result<(PgListener, ListensTo)> {
        // The driver listens on a connection of a pool only: this one has no other, and keeps it.
        let options = match &self.pool {
            ServerPool::Own(connections) => connections.dial().options().clone(),
            ServerPool::Foreign(foreign) => foreign.options(),
        };
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(LIMIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let mut listener = self.within(LIMIT, PgListener::connect_with(&pool)).await?;
        // A new connection has missed what was published meanwhile: our caller has to know.
        listener.eager_reconnect(false);
        let server = self.server_of(&mut listener).await?;
        let echo = format!("cacheme.echo.{:016x}", crate::random::random());
        let channels = [&*self.table.channel, &*echo];
        self.within(LIMIT, listener.listen_all(channels)).await?;
        self.hear_ourselves(&mut listener, &echo).await?;
        self.within(LIMIT, listener.unlisten(&echo)).await?;
        Ok((listener, server))
    }

    /// The generation of our other connections that this one belongs to.
    async fn server_of(&self, listener: &mut PgListener) -> Result<ListensTo> {
        let ServerPool::Own(connections) = &self.pool else {
            return Ok(ListensTo::Any);
        };
        let newest = connections.generation();
        let identity = self.within(LIMIT, connection::identity(listener)).await?;
        match connections.meet(identity.as_deref()) {
            Some(generation) => Ok(ListensTo::Generation { generation, newest }),
            None => {
                let other = "it leads to a server that was left for another one";
                Err(self.fault(sqlx::Error::from(io::Error::other(other)).into()))
            }
        }
    }

    async fn hear(
        &self,
        listener: &mut PgListener,
        hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send),
    ) -> Result<Infallible> {
        hear(Heard::Joined);
        loop {
            if let ServerPool::Own(connections) = &self.pool {
                connections.look_at_address();
            }
            match timeout(QUIET, self.notification(listener)).await {
                Ok(notification) => {
                    let notification = notification?;
                    match from_hex(notification.payload()) {
                        Some(message) => hear(Heard::Message(&message)),
                        // Not ours, but on our channel: it says nothing that we could understand.
                        None => hear(Heard::Message(notification.payload().as_bytes())),
                    }
                }
                // A server that is frozen, or cut off, keeps its connections open.
                Err(_) => {
                    self.within(QUIET, listener.execute("SELECT 1")).await?;
                }
            }
        }
    }

    /// Hears our own message on a channel that nobody else listens to. A pooler that lends connections by the transaction lets us
    /// listen, and passes nothing on.
    async fn hear_ourselves(&self, listener: &mut PgListener, echo: &str) -> Result<()> {
        match timeout(LIMIT, self.notify(echo, &[Bytes::new()])).await {
            Ok(notified) => notified?,
            Err(_) => return Err(self.fault(timed_out().into())),
        }
        let heard = async {
            // Messages of others are passed over: no local value is trusted yet.
            while self.notification(listener).await?.channel() != echo {}
            Ok(())
        };
        let silent = |_| Error::Config {
            storage: self.location.clone(),
            reason: SILENT.into(),
        };
        timeout(QUIET, heard).await.map_err(silent)?
    }

    async fn notification(&self, listener: &mut PgListener) -> Result<PgNotification> {
        let received = self.checked(listener.try_recv().await.map_err(Into::into))?;
        received.ok_or_else(|| {
            let reset = io::Error::from(io::ErrorKind::ConnectionReset);
            self.fault(sqlx::Error::from(reset).into())
        })
    }

    async fn within<T>(&self, limit: Duration, step: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        let done = timeout(limit, step).await;
        self.checked(done.unwrap_or_else(|_| Err(timed_out())).map_err(Into::into))
    }
}

/// The server that a connection listens to.
enum ListensTo {
    /// That of this generation of our other connections.
    Generation {
        generation: u64,
        newest: watch::Receiver<u64>,
    },
    /// The server that a pool of the application leads to.
    Any,
}

impl ListensTo {
    /// Waits until our other connections leave the server.
    async fn left(self) {
        match self {
            Self::Generation {
                generation,
                mut newest,
            } => {
                // An error says that nobody will leave any more.
                if newest.wait_for(|newest| *newest != generation).await.is_err() {
                    std::future::pending().await
                }
            }
            Self::Any => std::future::pending().await,
        }
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
