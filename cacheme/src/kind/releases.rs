//! Leases that are given back: at once, and then again until that has worked or the leases have ended by themselves.
//!
//! A lease that no load owns keeps other processes waiting. One comes to be when a load fails or is given up, and when the
//! answer to a request was lost: the server may carry that request out later, until its deadline. So leases that were
//! requested without an answer are given back twice, once at once and once after the deadline. A server that cannot be reached is tried with a
//! single release, at growing pauses.
//!
//! A task gives back, and ends with its runtime, which may be dropped with the very loads that the leases were for. Releases that
//! are left then are *stranded*: whichever call of the instance reaches that storage next, for any node, begins the task anew on its own
//! runtime. **Limit:** where no such call comes, or the process ends, the leases last until their time is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cacheme_storage::LeaseToken;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::flight::FullKey;
use crate::kind::pieces::{Call, Operation, PieceResult, Stopped, weightless};
use crate::kind::shards::Shards;
use crate::kind::tier::RemoteTier;

/// How far the estimate of a server's clock may be off.
pub(crate) const CLOCK_ERROR: Duration = Duration::from_millis(100);

/// How many releases are under way at once.
const AT_ONCE: usize = 16;
/// How many releases wait at most. The oldest give way: their leases end first.
const LIMIT: usize = 10_000;
/// How long after a failure the next try is made; twice as long after each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The leases of one tier that are to be given back.
#[derive(Default)]
pub(crate) struct Releases {
    queue: Mutex<Queue>,
    /// Notified when one is added.
    added: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Release>,
    task: Task,
}

/// The state of the task that gives leases back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Task {
    /// There is nothing to give back.
    #[default]
    None,
    Running,
    /// There was no runtime, or none any more.
    Stranded,
}

/// The tasks of one storage that have no runtime.
#[derive(Default)]
pub(crate) struct Stranded {
    /// Whether there are some.
    any: AtomicBool,
    /// Each begins a task anew.
    tasks: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Stranded {
    /// Begins the tasks anew, where there is a runtime. Every call does so before it reaches the storage.
    #[inline]
    pub(crate) fn resume(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.resume_all();
        }
    }

    #[cold]
    fn resume_all(&self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.take().into_iter().for_each(|begin| begin());
        }
    }

    fn add(&self, begin: impl FnOnce() + Send + 'static) {
        let mut tasks = self.tasks.lock();
        tasks.push(Box::new(begin));
        self.any.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> Vec<Box<dyn FnOnce() + Send>> {
        let mut tasks = self.tasks.lock();
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *tasks)
    }
}

/// Leases of one token.
struct Release {
    keys: Vec<FullKey>,
    token: LeaseToken,
    /// When it is tried next.
    due: Instant,
    /// From then on the server grants no lease of the request any more.
    settled: Instant,
    /// The leases have ended by themselves.
    over: Instant,
    /// The span of the caller that the leases were for.
    span: Span,
}

/// The keys that are left of a release.
#[derive(Default)]
struct Left {
    /// In shards that could not be reached.
    unreached: Vec<FullKey>,
    /// Given back before the request was settled, and so to be given back again.
    given: Vec<FullKey>,
}

impl Release {
    /// Gives the leases back, in every shard that can be reached.
    async fn give(&self, tier: &RemoteTier) -> Left {
        let calls = Call::new(tier, Operation::Release);
        let shards = Shards::of(&*tier.storage, self.keys.iter().map(|key| &**key));
        let mut stopped = Stopped::new();
        // `bounded` counts and logs errors.
        let released = shards.each(&calls, weightless, &mut stopped, |places| async move {
            let keys: Vec<&[u8]> = places.iter().map(|place| &*self.keys[*place]).collect();
            tier.storage.release(&keys, self.token).await
        });
        let mut left = Left::default();
        for (places, released) in released.await {
            let keys = places.iter().map(|place| Arc::clone(&self.keys[*place]));
            match released {
                PieceResult::Done(()) if calls.now >= self.settled => {}
                PieceResult::Done(()) => left.given.extend(keys),
                // Closed: nothing will ever be given back here.
                PieceResult::Failed(cacheme_storage::Error::Config { .. }) => return Left::default(),
                PieceResult::Failed(_) | PieceResult::Spared => left.unreached.extend(keys),
            }
        }
        left
    }

    /// A release of some of these keys, due at another time.
    fn of(&self, keys: Vec<FullKey>, due: Instant) -> Self {
        Self {
            keys,
            due,
            span: self.span.clone(),
            ..*self
        }
    }
}

/// The next step of the task.
enum Next {
    /// Everything is given back.
    Nothing,
    Wait(Instant),
    Give(Vec<Release>),
}

impl Releases {
    fn add(&self, release: Release) {
        let mut queue = self.queue.lock();
        queue.waiting.push_back(release);
        if queue.waiting.len() > LIMIT {
            queue.waiting.pop_front();
        }
        self.added.notify_one();
    }

    /// Whether everything is given back.
    pub(crate) fn is_done(&self) -> bool {
        self.queue.lock().task == Task::None
    }

    /// Whether the caller is to begin a task.
    fn begin(&self) -> bool {
        let task = &mut self.queue.lock().task;
        std::mem::replace(task, Task::Running) != Task::Running
    }

    /// Up to `most` releases that are due. With nothing left, the task is over.
    fn next(&self, most: usize) -> Next {
        let mut queue = self.queue.lock();
        let now = Instant::now();
        queue.waiting.retain(|release| release.over > now);
        let Some(first) = queue.waiting.iter().map(|release| release.due).min() else {
            queue.task = Task::None;
            return Next::Nothing;
        };
        if first > now {
            return Next::Wait(first);
        }
        let (mut due, mut rest) = (Vec::new(), VecDeque::with_capacity(queue.waiting.len()));
        for release in queue.waiting.drain(..) {
            if due.len() < most && release.due <= now {
                due.push(release);
            } else {
                rest.push_back(release);
            }
        }
        queue.waiting = rest;
        Next::Give(due)
    }

    /// No task is there any more, or can be begun. Says whether that is news.
    fn strand(&self, under_way: Vec<Release>) -> bool {
        let mut queue = self.queue.lock();
        queue.waiting.extend(under_way);
        let task = if queue.waiting.is_empty() {
            Task::None
        } else {
            Task::Stranded
        };
        std::mem::replace(&mut queue.task, task) != task && task == Task::Stranded
    }
}

/// Gives back leases of the duration `lease` in the background. With `asked`, they were requested at that moment and no answer came.
pub(crate) fn give_back(
    tier: &Arc<RemoteTier>,
    keys: Vec<FullKey>,
    token: LeaseToken,
    asked: Option<Instant>,
    lease: Duration,
) {
    if keys.is_empty() {
        return;
    }
    let now = Instant::now();
    // The deadline is an estimate of the server's clock, and so is this.
    let settled = asked.map_or(now, |asked| asked + tier.timeout + CLOCK_ERROR * 2);
    let over = settled.max(now) + tier.timeout + lease;
    tier.releases.add(Release {
        keys,
        token,
        due: now,
        settled,
        over,
        span: Span::current(),
    });
    begin(tier);
}

/// Leaves the task to the next caller that reaches the storage.
fn strand(tier: &Arc<RemoteTier>, under_way: Vec<Release>) {
    if tier.releases.strand(under_way) {
        // Weak: the tier has the storage's list of these.
        let stranded = Arc::downgrade(tier);
        tier.stranded.add(move || {
            if let Some(tier) = stranded.upgrade() {
                begin(&tier);
            }
        });
    }
}

fn begin(tier: &Arc<RemoteTier>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return strand(tier, Vec::new());
    };
    if tier.releases.begin() {
        let mut task = ReleaseTask {
            tier: Arc::clone(tier),
            under_way: Vec::new(),
            is_done: false,
        };
        runtime.spawn(async move { task.run().await });
    }
}

/// The task that gives back. Dropped before it is done, it leaves the rest to the next.
struct ReleaseTask {
    tier: Arc<RemoteTier>,
    under_way: Vec<Release>,
    is_done: bool,
}

impl ReleaseTask {
    async fn run(&mut self) {
        run(&self.tier, &mut self.under_way).await;
        self.is_done = true;
    }
}

impl Drop for ReleaseTask {
    fn drop(&mut self) {
        if !self.is_done {
            strand(&self.tier, std::mem::take(&mut self.under_way));
        }
    }
}

async fn run(tier: &RemoteTier, under_way: &mut Vec<Release>) {
    let mut pause = Duration::ZERO;
    loop {
        // While the storage is in trouble, one finds out for all.
        let most = if pause.is_zero() { AT_ONCE } else { 1 };
        match tier.releases.next(most) {
            Next::Nothing => return,
            Next::Wait(due) => {
                // Either way there is something to do.
                let _ = tokio::time::timeout_at(due, tier.releases.added.notified()).await;
                continue;
            }
            Next::Give(due) => *under_way = due,
        }
        let began = Instant::now();
        let all = under_way
            .iter()
            .map(|release| release.give(tier).instrument(release.span.clone()));
        let left = futures_util::future::join_all(all).await;
        let mut failed = false;
        for (release, left) in std::mem::take(under_way).into_iter().zip(left) {
            failed |= !left.unreached.is_empty();
            for (keys, due) in [(left.unreached, began), (left.given, release.settled)] {
                if !keys.is_empty() {
                    tier.releases.add(release.of(keys, due));
                }
            }
        }
        pause = match failed {
            true => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            false => Duration::ZERO,
        };
        tokio::time::sleep(pause).await;
    }
}
