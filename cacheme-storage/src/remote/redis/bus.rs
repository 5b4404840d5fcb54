//! Telling other processes what has changed: `PUBLISH` and `SUBSCRIBE` on one channel.
//!
//! In a cluster every server passes messages on to all others. So they are published by any server that answers, and each
//! process listens on one, and moves on when that falls silent or is cut off from the others.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use redis::{Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::timeout;

use super::connection::Request;
use super::{Redis, first_error, timed_out};
use crate::contract::remote::Heard;
use crate::error::{Error, Result};
use ::bytes::Bytes;

/// The longest time that the server may take to connect, or to confirm the subscription.
const LIMIT: Duration = Duration::from_secs(5);
/// The time without a message after which the server is asked whether it is still there, and the time that it has to say so.
const QUIET: Duration = Duration::from_secs(1);

/// The channel on which changes are published.
pub(super) struct Channel(String);

impl Channel {
    /// Messages reach every database of a server: each has a channel of its own.
    pub(super) fn of_database(number: i64) -> Self {
        Self(format!("cacheme.changed:{number}"))
    }
}

impl Redis {
    pub(super) async fn publish_on(&self, channel: &Channel, messages: &[Bytes]) -> Result<()> {
        let name = channel.0.as_bytes();
        let publish = |message: &Bytes| {
            let mut command = Cmd::with_capacity(3, name.len() + message.len() + 16);
            command.arg("PUBLISH").arg(name).arg(&message[..]);
            command
        };
        let request = match messages {
            [] => return Ok(()),
            [message] => Request::One(publish(message)),
            _ => {
                let mut pipeline = Pipeline::with_capacity(messages.len());
                for message in messages {
                    pipeline.add_command(publish(message));
                }
                Request::Many(pipeline)
            }
        };
        let answer = self.router.send_to_all(&request).await;
        let answers = match answer.map_err(|error| self.translate(error))? {
            Value::Array(answers) => answers,
            answer => vec![answer],
        };
        first_error(answers).map_err(|error| self.bus_trouble(channel, error))
    }

    /// Listens until the connection is lost.
    pub(super) async fn listen_on(
        &self,
        channel: &Channel,
        hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send),
    ) -> Error {
        match self.hear_on(channel, hear).await {
            Ok(()) => Error::Unreachable {
                storage: self.location.clone(),
                source: "the connection was closed".into(),
            },
            Err(error) => self.bus_trouble(channel, error),
        }
    }

    async fn hear_on(
        &self,
        channel: &Channel,
        hear: &mut (dyn for<'a> FnMut(Heard<'a>) + Send),
    ) -> RedisResult<()> {
        let connection = timeout(LIMIT, self.router.post()).await.map_err(timed_out)??;
        let mut generation = connection.generation();
        let (mut sink, mut messages) = timeout(LIMIT, connection.pubsub())
            .await
            .map_err(timed_out)??
            .split();
        let subscribing = sink.subscribe(&channel.0);
        timeout(LIMIT, subscribing).await.map_err(timed_out)??;
        hear(Heard::Joined);
        loop {
            let replaced = pin!(generation.changed());
            match timeout(QUIET, select(messages.next(), replaced)).await {
                Ok(Either::Left((Some(message), _))) => hear(Heard::Message(message.get_payload_bytes())),
                Ok(Either::Left((None, _))) => return Ok(()),
                Ok(Either::Right(_)) => return Err(replaced_server()),
                // A server that is frozen, or cut off, keeps its connections open, and so does one that is no longer the
                // one that others publish on.
                Err(_) => {
                    let ping = sink.ping::<Value>();
                    timeout(QUIET, ping).await.map_err(timed_out)??;
                    if timeout(QUIET, self.router.is_cut_off(&connection)).await == Ok(true) {
                        return Err(std::io::Error::other("the server is cut off from its cluster").into());
                    }
                }
            }
        }
    }

    /// A user without the right to the channel has no bus, until somebody grants it.
    fn bus_trouble(&self, channel: &Channel, error: impl Into<RedisError>) -> Error {
        let error = error.into();
        match error.kind() {
            redis::ErrorKind::Server(ServerErrorKind::NoPerm) => Error::Config {
                storage: self.location.clone(),
                reason: format!(
                    "has no bus for this user, who may not use the channel `{0}`; grant `&{0}`, or open the storage with \
                     `bus=false`",
                    channel.0
                ),
            },
            _ => self.translate(error),
        }
    }
}

fn replaced_server() -> RedisError {
    std::io::Error::other("another server answers at the address").into()
}
