//! A connection that was made, and whether it can still be relied on.
//!
//! Firewalls forget connections that were idle, and swallow what is sent on them. So a connection that brought no answer for
//! some seconds is in doubt: requests are sent on it all the same, behind a `PING` whose answer must come soon. If it does
//! not, the connection is given up, and whoever waits for it is told to send its request on another.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{Either, select};
use parking_lot::Mutex;
use redis::{RedisResult, Value};
use tokio::sync::watch;

use super::connection::Request;
use super::connector::Wire;

/// The milliseconds without an answer after which a connection is in doubt.
const IDLE_MS: u64 = 3_000;
/// The longest time that a server may take to answer on a connection that is in doubt. One that takes longer for another reason costs a
/// connection, and no call.
const TRIAL_LIMIT: Duration = Duration::from_millis(100);

/// A connection and when it was last of use.
pub(super) struct Live {
    wire: Wire,
    /// The time at which the last request began that was answered, in milliseconds of the connection's clock.
    answered_ms: AtomicU64,
    /// The test of it that is under way.
    trial: Mutex<Option<Trial>>,
}

type Trial = watch::Receiver<Finding>;

/// The result of testing a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    Open,
    Answers,
    Silent,
}

impl Live {
    pub(super) fn new(wire: Wire, now_ms: u64) -> Self {
        Self {
            wire,
            answered_ms: AtomicU64::new(now_ms),
            trial: Mutex::new(None),
        }
    }

    /// Another handle of the connection.
    pub(super) fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Takes note that a request was answered which began at `now_ms`.
    pub(super) fn answered(&self, now_ms: u64) {
        // Read first: a shared line is written once a millisecond at most.
        if self.answered_ms.load(Ordering::Relaxed) < now_ms {
            self.answered_ms.store(now_ms, Ordering::Relaxed);
        }
    }

    /// Says whether nothing came over it for so long that it may be cut off.
    pub(super) fn is_in_doubt(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.answered_ms.load(Ordering::Relaxed)) > IDLE_MS
    }

    /// Sends the request and gives what the server answers, for many commands an array.
    pub(super) async fn send(&self, request: &Request) -> RedisResult<Value> {
        let mut wire = self.wire();
        match request {
            Request::One(command) => wire.send(command).await,
            Request::Many(pipeline) => wire.send_all(pipeline).await.map(Value::Array),
        }
    }

    /// Sends the request on a connection that is in doubt at `now_ms`; `None` if that turns out to be silent.
    pub(super) async fn try_send(
        self: &Arc<Self>,
        request: &Request,
        now_ms: u64,
    ) -> Option<RedisResult<Value>> {
        let mut trial = poll_fn(|cx| Poll::Ready(self.trial(now_ms, cx))).await;
        let is_silent = pin!(async {
            let silent = trial.wait_for(|finding| *finding == Finding::Silent).await;
            silent.is_ok()
        });
        match select(pin!(self.send(request)), is_silent).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right((true, _)) => None,
            // It answers, or the test ended with its runtime.
            Either::Right((false, answer)) => Some(answer.await),
        }
    }

    /// The test of this connection, one for all requests. Once it has failed it stays failed.
    fn trial(self: &Arc<Self>, now_ms: u64, cx: &mut Context<'_>) -> Trial {
        let mut trial = self.trial.lock();
        let counts = |trial: &&Trial| {
            let finding = *trial.borrow();
            match finding {
                Finding::Open => trial.has_changed().is_ok(),
                Finding::Answers => false,
                Finding::Silent => true,
            }
        };
        if let Some(current) = trial.as_ref().filter(counts) {
            return current.clone();
        }
        let (finding, new) = watch::channel(Finding::Open);
        let (live, mut wire) = (Arc::clone(self), self.wire());
        let mut pong = Box::pin(async move { wire.send(&redis::cmd("PING")).await });
        // It goes before the requests, whose answers may be long.
        let early = pong.as_mut().poll(cx);
        tokio::spawn(async move {
            let answer = match early {
                Poll::Ready(answer) => Ok(answer),
                Poll::Pending => tokio::time::timeout(TRIAL_LIMIT, pong).await,
            };
            finding.send_replace(match answer {
                // An error of the connection reaches the requests as well.
                Ok(_) => {
                    live.answered(now_ms);
                    Finding::Answers
                }
                Err(_) => Finding::Silent,
            });
        });
        *trial = Some(new.clone());
        new
    }
}
