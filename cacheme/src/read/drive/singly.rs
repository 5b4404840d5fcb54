//! LOADING, one load for each node of a batch ([page](super::super)): what the default [`Load::load_all`] asks for (R3).
//!
//! Each runs on a task of its own with a `load_timeout` of its own, and lands when it ends: its waiters do not wait for the others, and it
//! fails for its node alone. The batch stays together for work that is cheaper together: its leases are renewed in one call, and loads that
//! end while others land, land as one.
//!
//! A few loads run at once; the others queue with their leases. A flight that another caller waits for does not queue: if all running loads
//! waited for a queued one, none would ever end.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, Sleep};

use super::{land, load_one};
use crate::background;
use crate::flight::LoadQueue;
use crate::flight::outcome::Failure;
use crate::instance::Cacheme;
use crate::kind::shards::Items;
use crate::load::{CONCURRENT_LOADS, Load};
use crate::node::Node;
use crate::read::batch::{Answer, Batch};

/// How many groups of values land at once. Loads that end meanwhile land together next.
const LANDINGS: usize = 4;

/// An item, and the answer of its load.
type Ended<N> = (usize, Answer<<N as Node>::Value>);

struct Singly<'b, N: Load> {
    cacheme: &'b Cacheme,
    batch: &'b mut Batch<N>,
    /// Loads that have not begun, in order of the items.
    queued: BTreeMap<usize, N>,
    queue: Arc<LoadQueue>,
    running: FuturesUnordered<BoxFuture<'static, Ended<N>>>,
    /// Answers that wait to land.
    ended: Vec<Ended<N>>,
    landing: FuturesUnordered<BoxFuture<'static, ()>>,
    /// How often the batch shows signs of life.
    pulse: Duration,
}

/// Loads nodes for items of a batch, each by itself, until their flights have ended.
pub(super) async fn load_singly<N: Load>(
    cacheme: &Cacheme,
    batch: &mut Batch<N>,
    nodes: impl Iterator<Item = (usize, N)>,
) {
    let pulse = batch.pulse();
    let mut loads = Singly {
        cacheme,
        batch,
        queued: BTreeMap::new(),
        queue: Arc::default(),
        running: FuturesUnordered::new(),
        ended: Vec::new(),
        landing: FuturesUnordered::new(),
        pulse,
    };
    for (item, node) in nodes {
        if loads.batch.flight(item).queue(&loads.queue, item) {
            loads.queued.insert(item, node);
        } else {
            loads.begin(item, node);
        }
    }
    let mut beat = pin!(tokio::time::sleep(pulse));
    while loads.goes_on() {
        std::future::poll_fn(|cx| loads.poll(beat.as_mut(), cx)).await;
    }
}

impl<N: Load> Singly<'_, N> {
    /// Begins loads and landings as far as there is room. `false` once all is done.
    fn goes_on(&mut self) -> bool {
        while self.running.len() < CONCURRENT_LOADS
            && let Some((item, node)) = self.queued.pop_first()
        {
            self.begin(item, node);
        }
        if !self.ended.is_empty() && self.landing.len() < LANDINGS {
            self.begin_landing();
        }
        !(self.running.is_empty() && self.landing.is_empty())
    }

    /// Handles loads and landings that have ended, callers that wait, and the beat. Ready if there was one of these.
    fn poll(&mut self, mut beat: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let mut happened = Poll::Pending;
        while let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(cx) {
            self.ended.push(ended);
            happened = Poll::Ready(());
        }
        while let Poll::Ready(Some(())) = self.landing.poll_next_unpin(cx) {
            happened = Poll::Ready(());
        }
        if let Poll::Ready(wanted) = self.queue.poll_wanted(cx) {
            for item in wanted {
                // It may have begun meanwhile.
                if let Some(node) = self.queued.remove(&item) {
                    self.begin(item, node);
                }
            }
            happened = Poll::Ready(());
        }
        if beat.as_mut().poll(cx).is_ready() {
            beat.reset(Instant::now() + self.pulse);
            self.batch.extend();
            // Where there is no runtime, the timer has panicked already.
            let _ = background::spawn(self.batch.renewals());
            happened = Poll::Ready(());
        }
        happened
    }

    fn begin(&self, item: usize, node: N) {
        let load = self.batch.begin_load(&[item]);
        let (cacheme, bound) = (self.cacheme.clone(), self.batch.load_timeout());
        let work = async move { (item, load_one(&cacheme, &node, &load, bound).await) };
        let task = match background::spawn(work) {
            Ok(task) => task,
            Err(work) => return self.running.push(work.boxed()),
        };
        let ended = async move {
            match task.await.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(ended) => ended,
                Err(Ok(panic)) => (item, Answer::failed(Failure::panicked(&*panic))),
                // The runtime ends, and this task with it.
                Err(Err(_)) => std::future::pending().await,
            }
        };
        self.running.push(ended.boxed());
    }

    fn begin_landing(&mut self) {
        let (items, answers): (Items, Vec<_>) = std::mem::take(&mut self.ended).into_iter().unzip();
        let mut batch = self.batch.split_off(&items);
        let answers = answers.into_iter().enumerate().collect();
        self.landing
            .push(async move { land(&mut batch, answers).await }.boxed());
    }
}
