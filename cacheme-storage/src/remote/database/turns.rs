//! Things of which there are only so many, and callers that wait for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

/// So many turns, each with or without a thing that its last holder left.
///
/// The oldest waiter is served first while all of them are served soon. Once the oldest has waited for a good part of its time,
/// the newest is served first: an old waiter would give up in the middle of what it begins, and so would everyone after it. A
/// waiter that goes away leaves the queue at once.
#[derive(Debug)]
pub(crate) struct Turns<T, E> {
    most: usize,
    /// From how many milliseconds of waiting on the newest waiter goes first.
    hurry_ms: AtomicU64,
    state: Mutex<State<T, E>>,
    /// Notified when a turn comes back after closing has begun.
    back: Notify,
}

#[derive(Debug)]
struct State<T, E> {
    /// Things that wait for a caller. The one that came back last goes first.
    free: Vec<T>,
    /// Turns without a thing.
    spare: usize,
    /// In the order of asking.
    waiting: BTreeMap<u64, Waiting<T, E>>,
    asked: u64,
    closed: bool,
}

#[derive(Debug)]
struct Waiting<T, E> {
    since: Instant,
    given: oneshot::Sender<Given<T, E>>,
}

/// The answer to a waiter: a turn, with a thing or without, or why there is none.
type Given<T, E> = Result<(Turn<T, E>, Option<T>), E>;

/// One of the turns. Dropped, it goes to the next caller, without a thing.
#[derive(Debug)]
pub(crate) struct Turn<T, E>(Option<Arc<Turns<T, E>>>);

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Ticket<T, E> {
    turns: Arc<Turns<T, E>>,
    number: u64,
    given: oneshot::Receiver<Given<T, E>>,
}

/// The answer to a caller that enters.
pub(crate) enum Entered<T, E> {
    /// A turn with what its last holder left.
    Free(Turn<T, E>, T),
    /// A turn without a thing.
    Spare(Turn<T, E>),
    /// All turns are taken.
    Wait(Ticket<T, E>),
    /// There are no turns any more.
    Closed,
}

/// The reason why a waiter gets no turn.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoTurn<E> {
    /// Nobody gave one back in time.
    TimedOut,
    /// There are none any more.
    Closed,
    /// [`Turns::fail`] said so.
    Failed(E),
}

impl<T, E> Turns<T, E> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            hurry_ms: AtomicU64::new(u64::MAX),
            state: Mutex::new(State {
                free: Vec::new(),
                spare: most,
                waiting: BTreeMap::new(),
                asked: 0,
                closed: false,
            }),
            back: Notify::new(),
        }
    }

    /// The number of turns.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Sets how long callers wait at most.
    pub(crate) fn wait_at_most(&self, limit: Duration) {
        let hurry = u64::try_from(limit.as_millis() / 4).unwrap_or(u64::MAX);
        self.hurry_ms.store(hurry, Ordering::Relaxed);
    }

    /// A turn, or a place in the queue. A caller that does not want one without a thing waits also while some are spare.
    pub(crate) fn enter(self: &Arc<Self>, spare_too: bool) -> Entered<T, E> {
        let mut state = self.state.lock();
        if state.closed {
            return Entered::Closed;
        }
        if let Some(thing) = state.free.pop() {
            return Entered::Free(self.turn(), thing);
        }
        if spare_too && state.spare > 0 {
            state.spare -= 1;
            return Entered::Spare(self.turn());
        }
        let (sender, given) = oneshot::channel();
        let number = state.asked;
        state.asked += 1;
        let waiting = Waiting {
            since: Instant::now(),
            given: sender,
        };
        state.waiting.insert(number, waiting);
        Entered::Wait(Ticket {
            turns: Arc::clone(self),
            number,
            given,
        })
    }

    /// Lets nobody in any more. Gives the things that waited for a caller.
    pub(crate) fn refuse(&self) -> Vec<T> {
        let (free, waiting) = {
            let mut state = self.state.lock();
            state.closed = true;
            let free = std::mem::take(&mut state.free);
            state.spare += free.len();
            (free, std::mem::take(&mut state.waiting))
        };
        drop(waiting);
        free
    }

    fn turn(self: &Arc<Self>) -> Turn<T, E> {
        Turn(Some(Arc::clone(self)))
    }

    /// Hands a turn to a waiter, or keeps it until one comes.
    fn hand_on(self: Arc<Self>, thing: Option<T>) {
        let mut given = (self.turn(), thing);
        loop {
            let waiter = {
                let mut state = self.state.lock();
                match state.next(self.hurry_ms.load(Ordering::Relaxed)) {
                    Some(waiter) => waiter,
                    None => {
                        given.0.0 = None;
                        let closed = state.closed;
                        match given.1.take_if(|_| !closed) {
                            Some(thing) => state.free.push(thing),
                            None => state.spare += 1,
                        }
                        drop(state);
                        if closed {
                            self.back.notify_waiters();
                        }
                        // `given` is dropped after the lock.
                        return;
                    }
                }
            };
            match waiter.given.send(Ok(given)) {
                Err(Ok(back)) => given = back,
                // It has the turn.
                _ => return,
            }
        }
    }
}

/// Operations for turns whose things are connections to a database server.
#[cfg(feature = "_server")]
impl<T, E> Turns<T, E> {
    /// Takes the thing that nobody has used for the longest time.
    pub(crate) fn oldest(self: &Arc<Self>) -> Option<(Turn<T, E>, T)> {
        let mut state = self.state.lock();
        if state.free.is_empty() {
            return None;
        }
        let thing = state.free.remove(0);
        Some((self.turn(), thing))
    }

    /// Takes all things that wait for a caller.
    pub(crate) fn all_free(self: &Arc<Self>) -> Vec<(Turn<T, E>, T)> {
        let free = std::mem::take(&mut self.state.lock().free);
        free.into_iter().map(|thing| (self.turn(), thing)).collect()
    }

    /// Sends all waiters away.
    pub(crate) fn fail(&self, error: &E)
    where
        E: Clone,
    {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        for waiter in waiting.into_values() {
            // One that has gone away meanwhile needs no answer.
            let _ = waiter.given.send(Err(error.clone()));
        }
    }

    /// Lets nobody in any more, and waits until all turns are back. Gives the things that waited for a caller.
    pub(crate) async fn close(self: &Arc<Self>) -> Vec<T> {
        let free = self.refuse();
        loop {
            let mut back = std::pin::pin!(self.back.notified());
            back.as_mut().enable();
            if self.state.lock().spare == self.most {
                return free;
            }
            back.await;
        }
    }
}

impl<T, E> State<T, E> {
    fn next(&mut self, hurry_ms: u64) -> Option<Waiting<T, E>> {
        let (_, oldest) = self.waiting.first_key_value()?;
        let in_time = oldest.since.elapsed() < Duration::from_millis(hurry_ms);
        let next = if in_time {
            self.waiting.pop_first()
        } else {
            self.waiting.pop_last()
        };
        next.map(|(_, waiter)| waiter)
    }
}

#[cfg(feature = "_server")]
impl<T, E> Turn<T, E> {
    /// Ends the turn and leaves a thing to the next caller.
    pub(crate) fn leave(mut self, thing: T) {
        if let Some(turns) = self.0.take() {
            turns.hand_on(Some(thing));
        }
    }

    /// Ends the turn without offering it to those who wait: they wait for something better.
    pub(crate) fn put_aside(mut self) {
        if let Some(turns) = self.0.take() {
            let mut state = turns.state.lock();
            state.spare += 1;
            if state.closed {
                turns.back.notify_waiters();
            }
        }
    }
}

impl<T, E> Drop for Turn<T, E> {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.hand_on(None);
        }
    }
}

impl<T, E> Ticket<T, E> {
    /// Waits for a turn, but not for ever.
    pub(crate) async fn wait(mut self, patience: Duration) -> Result<(Turn<T, E>, Option<T>), NoTurn<E>> {
        match timeout(patience, &mut self.given).await {
            Ok(Ok(Ok(given))) => Ok(given),
            Ok(Ok(Err(error))) => Err(NoTurn::Failed(error)),
            Ok(Err(_)) => Err(NoTurn::Closed),
            Err(_) => Err(NoTurn::TimedOut),
        }
    }
}

impl<T, E> Drop for Ticket<T, E> {
    fn drop(&mut self) {
        self.turns.state.lock().waiting.remove(&self.number);
        self.given.close();
        // It was given a turn in the same moment.
        if let Ok(Ok((mut turn, thing))) = self.given.try_recv()
            && let Some(turns) = turn.0.take()
        {
            turns.hand_on(thing);
        }
    }
}

#[cfg(all(test, feature = "_server"))]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    type Tickets = Vec<Ticket<u32, &'static str>>;

    fn turns(most: usize) -> Arc<Turns<u32, &'static str>> {
        let turns = Arc::new(Turns::new(most));
        turns.wait_at_most(Duration::from_millis(400));
        turns
    }

    fn spare(turns: &Arc<Turns<u32, &'static str>>) -> Turn<u32, &'static str> {
        match turns.enter(true) {
            Entered::Spare(turn) => turn,
            _ => panic!("a turn is spare"),
        }
    }

    fn wait(turns: &Arc<Turns<u32, &'static str>>) -> Ticket<u32, &'static str> {
        match turns.enter(true) {
            Entered::Wait(ticket) => ticket,
            _ => panic!("all turns are taken"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_goes_to_the_oldest_waiter_and_then_to_whoever_comes() {
        let turns = turns(1);
        let turn = spare(&turns);
        let (first, second) = (wait(&turns), wait(&turns));
        turn.leave(7);
        let (turn, thing) = first.wait(PATIENCE).await.unwrap();
        assert_eq!(thing, Some(7));
        drop(turn);
        let (turn, thing) = second.wait(PATIENCE).await.unwrap();
        assert_eq!(thing, None, "the thing was not left");
        turn.leave(8);
        assert!(matches!(turns.enter(true), Entered::Free(_, 8)));
        assert_eq!(turns.state.lock().spare, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn t6_once_waiters_are_old_the_newest_goes_first() {
        let turns = turns(1);
        let turn = spare(&turns);
        let old: Tickets = (0..3).map(|_| wait(&turns)).collect();
        tokio::time::advance(Duration::from_millis(100)).await;
        let new = wait(&turns);
        turn.leave(1);
        let (turn, _) = new.wait(PATIENCE).await.unwrap();
        drop(old);
        let young: Tickets = (0..2).map(|_| wait(&turns)).collect();
        turn.leave(2);
        let mut young = young.into_iter();
        let (_turn, thing) = young.next().unwrap().wait(PATIENCE).await.unwrap();
        assert_eq!(thing, Some(2), "the oldest again, once all are young");
    }

    #[tokio::test(start_paused = true)]
    async fn t6_a_waiter_that_goes_away_leaves_at_once_and_passes_on_what_it_was_given() {
        let turns = turns(1);
        let turn = spare(&turns);
        let gone: Tickets = (0..1000).map(|_| wait(&turns)).collect();
        drop(gone);
        assert!(turns.state.lock().waiting.is_empty());
        let (given, next) = (wait(&turns), wait(&turns));
        turn.leave(3);
        drop(given);
        let (turn, thing) = next.wait(PATIENCE).await.unwrap();
        assert_eq!(thing, Some(3));
        let late = wait(&turns).wait(Duration::from_secs(1)).await.err();
        assert_eq!(late, Some(NoTurn::TimedOut));
        assert!(turns.state.lock().waiting.is_empty());
        let failing = wait(&turns);
        turns.fail(&"down");
        assert_eq!(failing.wait(PATIENCE).await.err(), Some(NoTurn::Failed("down")));
        drop(turn);
    }

    #[tokio::test]
    async fn closing_waits_for_all_turns_and_lends_no_more() {
        let turns = turns(3);
        let (one, two, three) = (spare(&turns), spare(&turns), spare(&turns));
        let waiting = wait(&turns);
        three.leave(3);
        let (three, _) = waiting.wait(PATIENCE).await.unwrap();
        two.leave(2);
        let mut closing = Box::pin(turns.close());
        assert!(futures_util::poll!(&mut closing).is_pending());
        assert!(matches!(turns.enter(true), Entered::Closed));
        three.leave(4);
        assert!(futures_util::poll!(&mut closing).is_pending());
        drop(one);
        assert_eq!(closing.await, [2], "what came back later was dropped");
    }
}
