//! Flights whose loads have to queue, and those of them that somebody waits for.
//!
//! The loads of a bulk call begin a few at a time. One that queues and is waited for by another caller begins at once: were it to queue on, the
//! loads before it could wait for it in a circle that their data does not have.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Flight;

/// Where those who wait for a flight say so.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Wanted>);

#[derive(Default)]
struct Wanted {
    numbers: Vec<usize>,
    waker: Option<Waker>,
}

/// Whether the load of a flight is to begin before its turn.
#[derive(Default)]
pub(super) enum Turn {
    /// Nobody has asked for it.
    #[default]
    None,
    /// Somebody waits for the flight: it is not to queue.
    Wanted,
    /// It queues, under this number.
    Queued(Arc<Queue>, usize),
}

impl Queue {
    /// The numbers of flights that have come to be wanted.
    pub(crate) fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<Vec<usize>> {
        let mut wanted = self.0.lock();
        if wanted.numbers.is_empty() {
            wanted.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut wanted.numbers))
    }

    fn want(&self, number: usize) {
        let waker = {
            let mut wanted = self.0.lock();
            wanted.numbers.push(number);
            wanted.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Flight<T> {
    /// Lets its load queue, under a number. `false` if somebody waits for it already.
    pub(crate) fn queue(&self, queue: &Arc<Queue>, number: usize) -> bool {
        let turn = &mut self.state.lock().turn;
        let may_queue = matches!(turn, Turn::None);
        if may_queue {
            *turn = Turn::Queued(Arc::clone(queue), number);
        }
        may_queue
    }

    /// Says that somebody waits for it who does not lead it.
    pub(crate) fn want(&self) {
        let turn = std::mem::replace(&mut self.state.lock().turn, Turn::Wanted);
        if let Turn::Queued(queue, number) = turn {
            queue.want(number);
        }
    }
}
