//! Slots and the threads that own them: a thread has the same one in every lock of the process, for as long as the thread lives.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sync::{AtomicUsize, total_order_fence};

/// The slots that are owned, a bit for each.
static OWNED: AtomicU64 = AtomicU64::new(0);

#[cfg(not(cacheme_loom))]
static EVER_OWNED: AtomicUsize = AtomicUsize::new(0);

// loom makes it anew for every interleaving.
#[cfg(cacheme_loom)]
loom::lazy_static! {
    static ref EVER_OWNED: AtomicUsize = AtomicUsize::new(0);
}

/// The number of slots that were ever owned, counted from the lowest. Writers look at those alone.
#[inline]
pub(super) fn ever_owned() -> usize {
    EVER_OWNED.load(Ordering::SeqCst)
}

/// A slot is owned from now on. Comes before its owner's first read.
pub(super) fn announce_owned(slot: usize) {
    EVER_OWNED.fetch_max(slot + 1, Ordering::SeqCst);
    total_order_fence();
}

/// The number of owners that there may be: at least two threads a core, since more seldom run at once; a cache line for each in
/// every lock. The others share one.
pub(super) fn number() -> usize {
    static NUMBER: OnceLock<usize> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (2 * cores).next_power_of_two().clamp(8, 64)
    })
}

/// A thread, as locks know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// Its slot, or a number that is none's.
    pub(super) slot: usize,
    /// Different from that of every other thread that lives, and not 0.
    pub(super) name: usize,
}

const NOT_ASKED: usize = usize::MAX;
const NONE: usize = usize::MAX - 1;

thread_local! {
    /// The slot of this thread. Without a destructor, so it can be read as fast and as long as possible.
    static SLOT: Cell<usize> = const { Cell::new(NOT_ASKED) };
    /// Gives the slot back when the thread ends.
    static OWNER: Owner = const { Owner(Cell::new(NONE)) };
}

#[cfg(not(cacheme_loom))]
thread_local! {
    /// The locks that a thread without a slot reads.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

// loom's threads are not the machine's.
#[cfg(cacheme_loom)]
loom::thread_local! {
    static HELD: RefCell<Vec<usize>> = RefCell::new(Vec::new());
}

impl Reader {
    #[inline]
    pub(super) fn this_thread() -> Self {
        SLOT.with(|cell| {
            let slot = match cell.get() {
                NOT_ASKED => claim(cell),
                slot => slot,
            };
            let name = std::ptr::from_ref(cell).addr();
            Self { slot, name }
        })
    }
}

struct Owner(Cell<usize>);

impl Drop for Owner {
    fn drop(&mut self) {
        // Whatever this thread still reads, it reads without a slot.
        SLOT.set(NONE);
        let slot = self.0.get();
        if slot != NONE {
            // The next owner sees what this one left in the slots.
            OWNED.fetch_and(!(1 << slot), Ordering::Release);
        }
    }
}

#[cold]
fn claim(cell: &Cell<usize>) -> usize {
    // A thread on its way out, whose owner is gone, gets none.
    let slot = OWNER.try_with(|owner| {
        let slot = lowest_free(&OWNED, number()).unwrap_or(NONE);
        if slot != NONE {
            announce_owned(slot);
        }
        owner.0.set(slot);
        slot
    });
    let slot = slot.unwrap_or(NONE);
    cell.set(slot);
    slot
}

/// Takes the lowest bit that is not set, below `limit`.
fn lowest_free(owned: &AtomicU64, limit: usize) -> Option<usize> {
    let mut seen = owned.load(Ordering::Relaxed);
    loop {
        let free = seen.trailing_ones() as usize;
        if free >= limit {
            return None;
        }
        match owned.compare_exchange_weak(seen, seen | 1 << free, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Some(free),
            Err(now) => seen = now,
        }
    }
}

/// Remembers that this thread reads a lock without a slot of its own.
pub(super) struct Held(usize);

impl Held {
    pub(super) fn has(lock: usize) -> bool {
        // Where the list is gone, at the end of the thread, nothing is known of it.
        HELD.try_with(|held| held.borrow().contains(&lock))
            .unwrap_or(false)
    }

    pub(super) fn remember(lock: usize) -> Self {
        let _ = HELD.try_with(|held| held.borrow_mut().push(lock));
        Self(lock)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|lock| *lock == self.0) {
                held.swap_remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_is_handed_out_once() {
        let owned = AtomicU64::new(0);
        let taken: Vec<_> = (0..64).map(|_| lowest_free(&owned, 64)).collect();
        assert_eq!(taken, (0..64).map(Some).collect::<Vec<_>>());
        assert_eq!(lowest_free(&owned, 64), None);
        owned.fetch_and(!(1 << 7), Ordering::Release);
        assert_eq!(lowest_free(&owned, 7), None);
        assert_eq!(lowest_free(&owned, 8), Some(7));
    }
}
