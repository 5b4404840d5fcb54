//! One connection to one server, shared by everybody and made anew when it breaks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::watch;

use super::connector::{Connector, Wire};
use super::error::is_lost;
use super::facts::Facts;

/// How long a failed attempt to connect speaks for those that follow, so that a server that is down or refuses us is
/// not asked by every caller.
const HOLD_OFF: Duration = Duration::from_millis(100);
/// How long a server may leave a `PING` unanswered, once a caller has given up on it, before its connection is given up too.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// How often the server is asked for its time.
const CLOCK_REFRESH: Duration = Duration::from_secs(30);

/// One command, or many in one round trip.
pub(super) enum Request {
    One(Cmd),
    Many(Pipeline),
}

/// A connection that is made when it is first needed.
///
/// Requests of all callers share it: they are written one behind the other and answered in order, so there is nothing
/// to lock and nothing to wait for but the server. Connecting happens in a task of its own, since callers may go away
/// before it is done. That task, and the one that serves the connection, belong to the runtime of the caller that
/// needed them first; when that runtime ends, the next caller's takes over.
#[derive(Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    facts: Arc<Facts>,
    live: ArcSwapOption<Wire>,
    /// Held for a moment, and only by those who find no connection.
    attempt: Mutex<Option<Attempt>>,
    probing: OneAtATime,
    /// When the clock was last asked for, in milliseconds since `born`.
    clock_asked: AtomicU64,
    born: Instant,
}

type Connected = RedisResult<Arc<Wire>>;

/// An attempt to connect, under way or failed a moment ago.
#[derive(Clone)]
struct Attempt {
    outcome: watch::Receiver<Option<(Connected, Instant)>>,
}

impl Attempt {
    /// Whether those who come now should go by it.
    fn counts(&self) -> bool {
        match &*self.outcome.borrow() {
            // The sender goes away without an outcome when its runtime ends.
            None => self.outcome.has_changed().is_ok(),
            Some((Ok(_), _)) => false,
            Some((Err(_), at)) => at.elapsed() < HOLD_OFF,
        }
    }
}

impl Link {
    pub(super) fn new(connector: Connector, facts: Arc<Facts>) -> Self {
        Self {
            shared: Arc::new(Shared {
                connector,
                facts,
                live: ArcSwapOption::empty(),
                attempt: Mutex::new(None),
                probing: OneAtATime::default(),
                clock_asked: AtomicU64::new(0),
                born: Instant::now(),
            }),
        }
    }

    /// Makes sure that there is a connection that answers.
    pub(super) async fn connect(&self) -> RedisResult<()> {
        let ping = self.send(&Request::One(redis::cmd("PING"))).await?;
        ping.extract_error().map(drop)
    }

    /// Sends the request and gives what the server answers: for many commands an array, where a command that failed is
    /// a [`Value::ServerError`].
    ///
    /// Whatever this storage sends can be sent twice: a lease taken by the first copy is granted to the second, and a
    /// fill done by the first is lost to the second, which costs no more than a value not kept nearby. So when the
    /// connection breaks, a new one gets the request once more.
    ///
    /// Cancel safety: the server may or may not act on the request. That a caller gave up is taken as a hint that the
    /// server may no longer be there.
    pub(super) async fn send(&self, request: &Request) -> RedisResult<Value> {
        let mut again = true;
        loop {
            let live = self.live().await?;
            let unanswered = Unanswered {
                shared: &self.shared,
                live: &live,
            };
            let mut connection = Wire::clone(&live);
            let answer = match request {
                Request::One(command) => connection.send(command).await,
                Request::Many(pipeline) => connection.send_all(pipeline).await.map(Value::Array),
            };
            std::mem::forget(unanswered);
            let broken = match &answer {
                Err(error) => is_lost(error),
                Ok(answer) => self.shared.connector.is_demoted(answer),
            };
            if !broken {
                self.shared.refresh_clock(&live);
                return answer;
            }
            self.shared.discard(&live);
            if !std::mem::take(&mut again) {
                return answer;
            }
        }
    }

    /// A connection that listens to channels.
    pub(super) async fn pubsub(&self) -> RedisResult<redis::aio::PubSub> {
        self.shared.connector.pubsub().await
    }

    /// Lets go of the connection. The next request makes a new one.
    pub(super) fn disconnect(&self) {
        self.shared.live.store(None);
    }

    async fn live(&self) -> Connected {
        match self.shared.live.load_full() {
            Some(live) => Ok(live),
            // Boxed, so that a request does not carry its space.
            None => Box::pin(self.connected()).await,
        }
    }

    async fn connected(&self) -> Connected {
        // An attempt ends without an outcome when its runtime does: then ours makes the next. Should ours be ending
        // too, so will the next.
        for _ in 0..3 {
            let mut outcome = self.attempt().outcome;
            if let Ok(outcome) = outcome.wait_for(Option::is_some).await {
                let (connected, _) = outcome.clone().expect("it was waited for");
                return connected;
            }
        }
        Err(io::Error::new(io::ErrorKind::NotConnected, "the runtime is shutting down").into())
    }

    /// The attempt under way, or a new one.
    fn attempt(&self) -> Attempt {
        let mut attempt = self.shared.attempt.lock();
        if let Some(current) = attempt.as_ref().filter(|attempt| attempt.counts()) {
            return current.clone();
        }
        let (done, outcome) = watch::channel(None);
        let shared = Arc::clone(&self.shared);
        // Between a caller's look at `live` and this one, another attempt may have ended.
        if let Some(live) = shared.live.load_full() {
            let _ = done.send_replace(Some((Ok(live), Instant::now())));
            return Attempt { outcome };
        }
        tokio::spawn(async move {
            let connected = shared.connect().await;
            if let Ok(live) = &connected {
                shared.live.store(Some(Arc::clone(live)));
            }
            done.send_replace(Some((connected, Instant::now())));
        });
        let new = Attempt { outcome };
        *attempt = Some(new.clone());
        new
    }
}

impl Shared {
    /// A new connection that has been greeted.
    async fn connect(&self) -> Connected {
        let mut connection = self.connector.connect().await?;
        let asked = Instant::now();
        let answers = connection.send_all(&self.facts.greeting()).await?;
        self.facts.learn(&answers, asked);
        Ok(Arc::new(connection))
    }

    /// Asks the server's time now and then, without anybody waiting for it.
    fn refresh_clock(self: &Arc<Self>, live: &Wire) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.clock_asked.load(Ordering::Relaxed);
        let due = last.saturating_add(CLOCK_REFRESH.as_millis() as u64);
        if now < due {
            return;
        }
        let ours = self
            .clock_asked
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        if ours.is_ok() {
            let (shared, mut connection) = (Arc::clone(self), live.clone());
            tokio::spawn(async move {
                let (asked, question) = (Instant::now(), redis::cmd("TIME"));
                let time = tokio::time::timeout(PROBE_LIMIT, connection.send(&question));
                if let Ok(Ok(time)) = time.await {
                    shared.facts.observe(&time, asked);
                }
            });
        }
    }

    /// Lets go of this connection, unless another one took its place already.
    fn discard(&self, live: &Arc<Wire>) {
        self.live.compare_and_swap(live, None);
    }
}

/// Stands for a request without an answer; dropped when its caller gave up.
///
/// A server that is frozen, or behind a network that swallows packets, keeps its connections open for many minutes,
/// also after a fail-over gave its place to another. So when a caller gives up, the server is probed, and a connection
/// that stays silent is let go, with all that is queued for it.
struct Unanswered<'a> {
    shared: &'a Arc<Shared>,
    live: &'a Arc<Wire>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let Some(turn) = self.shared.probing.begin() else {
            return;
        };
        let (shared, live) = (Arc::clone(self.shared), Arc::clone(self.live));
        runtime.spawn(async move {
            let _turn = turn;
            let mut connection = Wire::clone(&live);
            let ping = redis::cmd("PING");
            let answer = tokio::time::timeout(PROBE_LIMIT, connection.send(&ping)).await;
            if !matches!(answer, Ok(Ok(_))) {
                shared.discard(&live);
            }
        });
    }
}

/// Lets one task at a time do something in the background.
#[derive(Default)]
pub(super) struct OneAtATime(Arc<AtomicBool>);

/// Ends when dropped, be the task done, aborted or never run.
pub(super) struct Turn(Arc<AtomicBool>);

impl OneAtATime {
    /// A turn, unless somebody has it.
    pub(super) fn begin(&self) -> Option<Turn> {
        let taken = self.0.swap(true, Ordering::AcqRel);
        (!taken).then(|| Turn(Arc::clone(&self.0)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
