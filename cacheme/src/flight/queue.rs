//! Loads that queue, and the callers that wait for one of them.
//!
//! The loads of a bulk call begin a few at a time. A queued load that another caller waits for begins at once: if it stayed in the queue,
//! the loads before it could wait for it in a circle that their data does not have.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Flight;

/// The loads of one bulk call that have to queue. Callers that wait for one of them say so here.
#[derive(Default)]
pub(crate) struct LoadQueue(Mutex<Wanted>);

#[derive(Default)]
struct Wanted {
    numbers: Vec<usize>,
    waker: Option<Waker>,
}

/// Whether the load of a flight may queue.
#[derive(Default)]
pub(super) enum Demand {
    /// It may: no other caller waits for the flight.
    #[default]
    None,
    /// It may not: another caller waits for the flight.
    Wanted,
    /// It does, under this number.
    Queued(Arc<LoadQueue>, usize),
}

impl LoadQueue {
    /// The numbers of queued loads that other callers have begun to wait for.
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
    /// Lets its load queue, under a number. `false` if another caller waits for it already.
    pub(crate) fn queue(&self, queue: &Arc<LoadQueue>, number: usize) -> bool {
        let demand = &mut self.state.lock().demand;
        let may_queue = matches!(demand, Demand::None);
        if may_queue {
            *demand = Demand::Queued(Arc::clone(queue), number);
        }
        may_queue
    }

    /// Notes that a caller that does not lead the flight waits for it.
    pub(crate) fn want(&self) {
        let demand = std::mem::replace(&mut self.state.lock().demand, Demand::Wanted);
        if let Demand::Queued(queue, number) = demand {
            queue.want(number);
        }
    }
}
