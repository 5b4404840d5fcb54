//! One connection to one server, shared by everybody and made anew when it breaks, falls silent, or leads to a server that is
//! no longer the one to ask.
//!
//! | what happens | what becomes of the connection |
//! |---|---|
//! | it breaks | the next one gets the requests once more |
//! | a caller gives up on an answer | the server has a second to answer a `PING`, else it is given up |
//! | it was idle, and the server does not answer soon | the next one gets the requests once more (`live.rs`) |
//! | the server refuses as a replica does | the next one gets the request once more; see `is_replica` of [`Shared`] |
//! | every ten seconds | a look at the address: if another server answers there by now, its connection takes over |
//!
//! After a fail-over behind one address, connections made before go on leading to the old server, which may answer reads for
//! ever. So wherever a connection leads to another server than those before, the [`generation`](Connection::generation) goes up,
//! and connections that listen end as well.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::connector::Connector;
use super::fault::{is_lost, turns_away};
use super::live::Live;
use super::server_info::{Identity, ServerInfo};
use crate::remote::pause::Pause;

/// The time for which a failed attempt to connect speaks for those that follow, so that a server that is down or refuses us is
/// not asked by every caller.
const HOLD_OFF: Duration = Duration::from_millis(100);
/// The time that callers wait for a connection, counted from the beginning of the attempt. A server that is frozen accepts it and
/// says nothing: callers who come later than this need not wait as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest time that a server that accepted a connection may take to answer the first questions.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// The longest time that a server may leave a `PING` unanswered, once a caller has given up on it, before its connection is given up too.
const PROBE_LIMIT: Duration = Duration::from_secs(1);
/// The time between two looks at who answers at the address, and what time it is there.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The time for which a server that refuses as a replica does on a new connection too is left alone with further ones.
const REPLICA_PAUSE: Duration = Duration::from_secs(1);

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
pub(super) struct Connection {
    shared: Arc<Shared>,
}

struct Shared {
    connector: Connector,
    server_info: Arc<ServerInfo>,
    live: ArcSwapOption<Live>,
    /// Held for a moment, and only by those who find no connection.
    attempt: Mutex<Option<Attempt>>,
    /// The server that connections lead to, as far as it says.
    server: Mutex<Option<Identity>>,
    /// Goes up when they lead to another.
    generation: watch::Sender<u64>,
    /// While it lasts, the server counts as a replica by set-up.
    ///
    /// A server that was demoted answers reads with what it has, for ever perhaps, and its address may lead to another by now. So
    /// the first refusal gives up the connection, and the next one gets the request once more. If that is refused too, there is no
    /// other server to be had just now; reads go on.
    is_replica: Pause,
    probing: OneAtATime,
    /// Since the last look.
    look: Pause,
    born: Instant,
}

type Connected = RedisResult<Arc<Live>>;

/// An attempt to connect, under way or failed a moment ago.
#[derive(Clone)]
struct Attempt {
    begun: tokio::time::Instant,
    outcome: watch::Receiver<Option<(Connected, Instant)>>,
}

impl Attempt {
    /// Says whether those who come now should go by it.
    fn counts(&self) -> bool {
        match &*self.outcome.borrow() {
            // The sender goes away without an outcome when its runtime ends.
            None => self.outcome.has_changed().is_ok(),
            Some((Ok(_), _)) => false,
            Some((Err(_), at)) => at.elapsed() < HOLD_OFF,
        }
    }
}

/// The fate of a request that a server turned away.
enum Repeated {
    No,
    /// On another connection, after the server of this generation had turned it away.
    After(u64),
    /// On another connection, after the first was lost.
    Lost,
}

impl Connection {
    pub(super) fn new(connector: Connector, server_info: Arc<ServerInfo>) -> Self {
        Self {
            shared: Arc::new(Shared {
                connector,
                server_info,
                live: ArcSwapOption::empty(),
                attempt: Mutex::new(None),
                server: Mutex::new(None),
                generation: watch::Sender::new(0),
                is_replica: Pause::default(),
                probing: OneAtATime::default(),
                look: Pause::begun(LOOK_EVERY),
                born: Instant::now(),
            }),
        }
    }

    /// Makes sure that there is a connection that answers, however long that takes.
    pub(super) async fn connect(&self) -> RedisResult<()> {
        if self.shared.live.load().is_none() {
            self.connected(None).await?;
        }
        let ping = self.send(&Request::One(redis::cmd("PING"))).await?;
        ping.extract_error().map(drop)
    }

    /// Sends the request and gives what the server answers: for many commands an array, where a command that failed is
    /// a [`Value::ServerError`].
    ///
    /// Whatever this storage sends can be sent twice: a lease taken by the first copy is granted to the second, and a
    /// fill done by the first is lost to the second, which costs no more than a value not kept nearby. So when the
    /// connection breaks, or the server turns the request away, a new one gets the request once more.
    ///
    /// Cancel safety: the server may or may not act on the request. That a caller gave up is taken as a hint that the
    /// server may no longer be there.
    pub(super) async fn send(&self, request: &Request) -> RedisResult<Value> {
        let shared = &self.shared;
        let mut repeated = Repeated::No;
        loop {
            let live = self.live().await?;
            let now_ms = shared.now_ms();
            let unanswered = Unanswered { shared, live: &live };
            let answer = match live.is_in_doubt(now_ms) && !shared.connector.is_fixed() {
                false => live.send(request).await,
                // Boxed, so that a request does not carry its space.
                true => match Box::pin(live.try_send(request, now_ms)).await {
                    Some(answer) => answer,
                    None => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
                },
            };
            std::mem::forget(unanswered);
            match &answer {
                Err(error) if is_lost(error) => {
                    shared.discard(&live);
                    if !matches!(repeated, Repeated::No) {
                        return answer;
                    }
                    repeated = Repeated::Lost;
                }
                Ok(answered) if shared.connector.is_left_by_replicas() && turns_away(answered) => {
                    live.answered(now_ms);
                    match repeated {
                        Repeated::No if !shared.is_replica.is_on() => {
                            repeated = Repeated::After(*shared.generation.borrow());
                            shared.discard(&live);
                        }
                        Repeated::After(_) => {
                            shared.is_replica.begin(REPLICA_PAUSE);
                            return answer;
                        }
                        Repeated::No | Repeated::Lost => return answer,
                    }
                }
                _ => {
                    if let Repeated::After(generation) = repeated {
                        shared.give_up(generation);
                    }
                    live.answered(now_ms);
                    shared.look_at_times(&live);
                    return answer;
                }
            }
        }
    }

    /// A connection that listens to channels.
    pub(super) async fn pubsub(&self) -> RedisResult<redis::aio::PubSub> {
        self.shared.connector.pubsub().await
    }

    /// Counts how often connections of this connection came to lead to another server. Those made before are to be given up when it
    /// changes.
    pub(super) fn generation(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }

    /// Looks who answers at the address.
    pub(super) async fn look(&self) -> RedisResult<()> {
        self.shared.look.begin(LOOK_EVERY);
        self.shared.look().await
    }

    /// Looks who answers at the address, without anybody waiting for it, if nobody did lately. For those who use the server
    /// without sending anything.
    pub(super) fn look_at_times(&self) {
        if let Some(live) = self.shared.live.load_full() {
            self.shared.look_at_times(&live);
        }
    }

    /// Lets go of the connection. The next request makes a new one.
    pub(super) fn disconnect(&self) {
        self.shared.live.store(None);
    }

    /// Says whether there is a connection, which was not found to be of no use.
    pub(super) fn is_live(&self) -> bool {
        self.shared.live.load().is_some()
    }

    /// Says whether both are the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The name of the server's host, where it has one.
    pub(super) fn host(&self) -> Option<&str> {
        self.shared.connector.host()
    }

    async fn live(&self) -> Connected {
        match self.shared.live.load_full() {
            Some(live) => Ok(live),
            // Boxed, so that a request does not carry its space.
            None => Box::pin(self.connected(Some(PATIENCE))).await,
        }
    }

    /// Waits for the attempt under way, or for a new one; for no longer than `patience` from its beginning.
    async fn connected(&self, patience: Option<Duration>) -> Connected {
        // An attempt ends without an outcome when its runtime does: then ours makes the next. Should ours be ending
        // too, so will the next.
        for _ in 0..3 {
            let Attempt { begun, mut outcome } = self.attempt();
            let ended = outcome.wait_for(Option::is_some);
            let ended = match patience {
                None => ended.await,
                Some(patience) => match tokio::time::timeout_at(begun + patience, ended).await {
                    Ok(ended) => ended,
                    Err(_) => return Err(silent()),
                },
            };
            if let Ok(outcome) = ended {
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
        let new = Attempt {
            begun: tokio::time::Instant::now(),
            outcome,
        };
        let shared = Arc::clone(&self.shared);
        // Between a caller's look at `live` and this one, another attempt may have ended.
        if let Some(live) = shared.live.load_full() {
            let _ = done.send_replace(Some((Ok(live), Instant::now())));
            return new;
        }
        tokio::spawn(async move {
            let connected = shared.connect().await.map(|(live, identity)| {
                shared.meet(identity, true);
                shared.live.store(Some(Arc::clone(&live)));
                live
            });
            done.send_replace(Some((connected, Instant::now())));
        });
        *attempt = Some(new.clone());
        new
    }
}

/// The server accepted a connection and says nothing.
fn silent() -> redis::RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "the server does not answer").into()
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A new connection that has been greeted, and who answered.
    async fn connect(&self) -> RedisResult<(Arc<Live>, Option<Identity>)> {
        let mut wire = self.connector.connect().await?;
        let asked = Instant::now();
        let greeting = self.server_info.greeting();
        let answers = timeout(GREETING_LIMIT, wire.send_all(&greeting)).await;
        let answers = answers.map_err(|_| silent())??;
        let identity = self.server_info.learn(&answers, asked);
        Ok((Arc::new(Live::new(wire, self.now_ms())), identity))
    }

    /// Takes note of who answered on a new connection, which is used from now on or was made to look. Says whether it takes
    /// the place of those before.
    fn meet(&self, met: Option<Identity>, is_used: bool) -> bool {
        let mut server = self.server.lock();
        let (is_other, is_same) = match (&*server, &met) {
            (Some(known), Some(met)) => (known.gives_way_to(met), known.is_same_process(met)),
            _ => (false, server.is_none()),
        };
        if met.is_some() && (is_other || is_same || is_used) {
            *server = met;
        }
        drop(server);
        if is_other {
            tracing::info!(
                "another Redis server answers at the address; connections made before are given up"
            );
            self.generation.send_modify(|generation| *generation += 1);
        }
        is_other
    }

    /// Gives up all connections of this generation, unless that was done.
    fn give_up(&self, generation: u64) {
        self.generation.send_if_modified(|current| {
            let is_current = *current == generation;
            *current += u64::from(is_current);
            is_current
        });
    }

    /// Takes a look now and then, without anybody waiting for it.
    fn look_at_times(self: &Arc<Self>, live: &Live) {
        if !self.look.begin_if_over(LOOK_EVERY) {
            return;
        }
        let (shared, mut wire) = (Arc::clone(self), live.wire());
        tokio::spawn(async move {
            if shared.connector.is_fixed() {
                let (asked, question) = (Instant::now(), redis::cmd("TIME"));
                if let Ok(Ok(time)) = timeout(PROBE_LIMIT, wire.send(&question)).await {
                    shared.server_info.observe(&time, asked);
                }
            } else if let Err(error) = shared.look().await {
                tracing::debug!(%error, "nobody answers at the address");
            }
        });
    }

    /// Makes another connection to see who answers there; if that is another server than before, it takes over.
    async fn look(&self) -> RedisResult<()> {
        let (live, identity) = self.connect().await?;
        let is_first = self.live.load().is_none();
        if self.meet(identity, is_first) || is_first {
            self.live.store(Some(live));
        }
        Ok(())
    }

    /// Lets go of this connection, unless another one took its place already.
    fn discard(&self, live: &Arc<Live>) {
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
    live: &'a Arc<Live>,
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
            let (mut wire, ping) = (live.wire(), redis::cmd("PING"));
            let answer = timeout(PROBE_LIMIT, wire.send(&ping)).await;
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
