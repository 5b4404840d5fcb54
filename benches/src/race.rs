//! Threads that do the same work at once, and what time it took.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What some work took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the start of the first thread to the end of the last.
    pub wall: Duration,
    /// Of all threads together; waiting asleep is not in it, other programs on the machine neither.
    pub cpu: Duration,
}

impl Took {
    /// Nanoseconds of the wall clock for one of `operations`, times the cores that could work: what an operation
    /// costs, if the threads share the cores evenly.
    #[must_use]
    pub fn wall_ns(&self, operations: usize, threads: usize) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.wall.as_nanos() as f64 * threads.min(cores) as f64 / operations as f64
    }

    /// Nanoseconds of processor time for one of `operations`.
    #[must_use]
    pub fn cpu_ns(&self, operations: usize) -> f64 {
        self.cpu.as_nanos() as f64 / operations as f64
    }
}

/// Runs `work` in so many threads, which start together; gives what each returned as well.
pub fn race<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> (Took, Vec<R>) {
    let start = Barrier::new(threads);
    let run = |thread| {
        start.wait();
        let (began, cpu) = (Instant::now(), cpu_time());
        let result = work(thread);
        (began, Instant::now(), cpu_time() - cpu, result)
    };
    let runs: Vec<_> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|at| scope.spawn(move || run(at))).collect();
        let join =
            |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("the work does not panic");
        threads.into_iter().map(join).collect()
    });
    let began = runs.iter().map(|run| run.0).min().expect("at least one thread");
    let ended = runs.iter().map(|run| run.1).max().expect("at least one thread");
    let took = Took {
        wall: ended - began,
        cpu: runs.iter().map(|run| run.2).sum(),
    };
    (took, runs.into_iter().map(|run| run.3).collect())
}

/// The processor time of this thread.
#[must_use]
pub fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(now.tv_sec).expect("time spent is not negative"),
        u32::try_from(now.tv_nsec).expect("below a second"),
    )
}
