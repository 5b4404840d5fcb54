//! The bus: what is published reaches everybody who listens.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::{Case, Outcome, PATIENCE, RemoteCase, random};
use crate::contract::remote::{BUS_MESSAGE_LIMIT, Heard, RemoteStorage};
use crate::error::Error;
use ::bytes::Bytes;

cases![
    every_listener_receives_every_message_in_order,
    a_message_may_be_any_bytes_up_to_the_limit,
    many_messages_at_once_arrive,
    who_listens_no_longer_is_forgotten,
];

pub(super) const CASES_WITHOUT: &[(&str, RemoteCase)] =
    &[("without_a_bus_listening_and_publishing_are_refused", |case| {
        Box::pin(without_a_bus_listening_and_publishing_are_refused(case))
    })];

/// One who listens. Others may use the bus at the same time: only what begins with `mark` is ours.
pub(super) struct Listener {
    mark: Vec<u8>,
    heard: UnboundedReceiver<Bytes>,
    listening: JoinHandle<Error>,
}

impl Listener {
    /// Joined already.
    pub(super) async fn join(storage: &Arc<dyn RemoteStorage>, mark: &[u8]) -> Result<Self, super::Failure> {
        let (tell, mut heard) = unbounded_channel();
        let storage = Arc::clone(storage);
        let listening = tokio::spawn(async move {
            let mut hear = |heard: Heard<'_>| {
                // Nobody takes it when the case has failed already.
                let _ = tell.send(match heard {
                    Heard::Joined => Bytes::from_static(b"joined"),
                    Heard::Message(message) => Bytes::copy_from_slice(message),
                });
            };
            storage.listen(&mut hear).await
        });
        let joined = tokio::time::timeout(PATIENCE, heard.recv()).await;
        ensure_eq!(
            joined.ok().flatten().as_deref(),
            Some(&b"joined"[..]),
            "the first that a listener hears"
        );
        Ok(Self {
            mark: mark.to_vec(),
            heard,
            listening,
        })
    }

    /// The next message of ours, without the mark.
    async fn next(&mut self) -> Result<Bytes, super::Failure> {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, self.heard.recv()).await {
                Ok(Some(message)) if message.starts_with(&self.mark) => {
                    return Ok(message.slice(self.mark.len()..));
                }
                Ok(Some(_)) => {}
                Ok(None) => return Err(super::Failure("the listener ended".into())),
                Err(_) => return Err(super::Failure(format!("no message within {PATIENCE:?}"))),
            }
        }
    }

    /// How it ends once the storage is closed.
    pub(super) async fn end(mut self) -> Result<Error, super::Failure> {
        match tokio::time::timeout(PATIENCE, &mut self.listening).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Err(super::Failure(format!(
                "still listens {PATIENCE:?} after the storage was closed"
            ))),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

pub(super) fn mark() -> Vec<u8> {
    format!("conformance:{:016x}:", random()).into_bytes()
}

fn marked(mark: &[u8], rest: &[u8]) -> Bytes {
    [mark, rest].concat().into()
}

async fn every_listener_receives_every_message_in_order(case: Case) -> Outcome {
    let mark = mark();
    let mut one = Listener::join(&case.storage, &mark).await?;
    let mut other = Listener::join(&case.storage, &mark).await?;
    for call in 0..5_u8 {
        let messages = [0, 1, 2].map(|number| marked(&mark, &[call, number]));
        case.storage.publish(&messages).await?;
    }
    for listener in [&mut one, &mut other] {
        for call in 0..5_u8 {
            for number in 0..3_u8 {
                let heard = listener.next().await?;
                ensure_eq!(heard, [call, number][..], "message {number} of call {call}");
            }
        }
    }
    Ok(())
}

async fn a_message_may_be_any_bytes_up_to_the_limit(case: Case) -> Outcome {
    let mark = mark();
    let mut listener = Listener::join(&case.storage, &mark).await?;
    let every: Vec<u8> = (0..=255).collect();
    let longest: Vec<u8> = every
        .iter()
        .copied()
        .cycle()
        .take(BUS_MESSAGE_LIMIT - mark.len())
        .collect();
    for message in [&b""[..], b"\0", &every, &longest] {
        case.storage.publish(&[marked(&mark, message)]).await?;
        let heard = listener.next().await?;
        ensure_eq!(heard, message, "a message of {} bytes", message.len());
    }
    case.storage.publish(&[]).await?;
    Ok(())
}

async fn many_messages_at_once_arrive(case: Case) -> Outcome {
    let mark = mark();
    let mut listener = Listener::join(&case.storage, &mark).await?;
    let rest = vec![b'x'; 1_000];
    let messages: Vec<Bytes> = (0..1_000_u32)
        .map(|number| marked(&mark, &[&number.to_be_bytes()[..], &rest].concat()))
        .collect();
    case.storage.publish(&messages).await?;
    for number in 0..1_000_u32 {
        let heard = listener.next().await?;
        ensure_eq!(heard[..4], number.to_be_bytes()[..], "message {number} of 1 000");
    }
    Ok(())
}

async fn who_listens_no_longer_is_forgotten(case: Case) -> Outcome {
    let mark = mark();
    for _ in 0..20 {
        drop(Listener::join(&case.storage, &mark).await?);
    }
    let mut last = Listener::join(&case.storage, &mark).await?;
    case.storage.publish(&[marked(&mark, b"1")]).await?;
    ensure_eq!(last.next().await?, b"1"[..], "after 20 others came and went");
    Ok(())
}

async fn without_a_bus_listening_and_publishing_are_refused(case: Case) -> Outcome {
    let published = case.storage.publish(&[Bytes::from_static(b"m")]).await;
    ensure!(
        matches!(published, Err(Error::Config { .. })),
        "publish: got {published:?}, expected Error::Config"
    );
    let mut heard = Vec::new();
    let mut hear = |event: Heard<'_>| heard.push(format!("{event:?}"));
    let listened = tokio::time::timeout(PATIENCE, case.storage.listen(&mut hear)).await;
    ensure!(
        matches!(listened, Ok(Error::Config { .. })),
        "listen: got {listened:?}, expected Error::Config"
    );
    ensure_eq!(heard, Vec::<String>::new(), "what is heard");
    Ok(())
}
