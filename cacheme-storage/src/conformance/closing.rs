//! The end of a storage.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::bus::{Listener, mark};
use super::{Case, Outcome, entry};
use crate::error::Chain;
use ::bytes::Bytes;

/// What was begun is carried out, and closing twice is no mistake. Nothing is asked of a storage that was closed.
pub(super) async fn closing_waits_for_writes_under_way(case: Case) -> Outcome {
    let listener = match case.storage.capabilities().bus {
        true => Some(Listener::join(&case.storage, &mark()).await?),
        false => None,
    };
    let keys = case.keys(8);
    // Nobody can clear them any more.
    let ttl = Some(Duration::from_secs(1));
    let value = Bytes::from(vec![b'x'; 256 * 1024]);
    let entries: Vec<_> = keys.iter().map(|key| entry(key, value.clone(), ttl)).collect();
    let mut write = pin!(case.storage.set(&entries));
    let begun = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let mut closing = pin!(case.storage.close());
    if let Poll::Ready(written) = begun {
        written?;
        closing.await?;
    } else {
        let (mut written, mut closed) = (None, None);
        std::future::poll_fn(|cx| {
            if closed.is_none()
                && let Poll::Ready(outcome) = closing.as_mut().poll(cx)
            {
                closed = Some(outcome);
            }
            if written.is_none()
                && let Poll::Ready(outcome) = write.as_mut().poll(cx)
            {
                written = Some(outcome);
            }
            match (&written, &closed) {
                (Some(_), Some(_)) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        for (what, outcome) in [("the write under way", written), ("close", closed)] {
            if let Some(Err(error)) = outcome {
                return Err(super::Failure(format!("{what}: {}", Chain(&error))));
            }
        }
    }
    case.storage.close().await?;
    if let Some(listener) = listener {
        // Nobody waits for who listens; it ends.
        listener.end().await?;
    }
    Ok(())
}
