//! A reader-writer lock whose readers write nothing that another thread writes.
//!
//! A lock word that counts readers moves between the cores with every read; so does a striped count, less often. Here
//! each reading thread owns one cache line of the lock, its slot, and says there that it reads: with more threads reads
//! cost no more than with one. What is saved there is paid by writers, who look at all slots that were ever owned by a
//! thread.
//!
//! Reader: raise the own slot, look at the writer word; if a writer is there, take the slot back and wait. Writer: set
//! the word, look at the slots, wait until all are down. Either sees the other, since each writes before it looks and
//! all four accesses are sequentially consistent (Dekker's algorithm). Writers come one at a time, through a mutex; a
//! reader that waits waits for that mutex, so it sleeps instead of spinning, in turn with the writers. The same holds for
//! the number of slots that were ever owned: who claims one raises it before it first reads, a writer asks for it after it has
//! set the word.
//!
//! A thread that is inside already is told, instead of waiting for itself: see [`ReaderLock::read`] and
//! [`ReaderLock::write`].

#![allow(
    unsafe_code,
    reason = "the lock lends what it protects; checked by the models beside it and by the tests under valgrind"
)]

mod slots;
mod sync;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use self::slots::{Held, Reader};
use self::sync::{
    AtomicU32, AtomicUsize, ConstPtr, MutPtr, Mutex, MutexGuard, UnsafeCell, total_order_fence,
};

/// The lock.
#[repr(align(64))]
pub(crate) struct ReaderLock<T> {
    /// The thread that writes or is about to; 0 is none.
    writer: AtomicUsize,
    /// Whose turn it is: a writer's, or a reader's that was in a writer's way.
    turn: Mutex,
    /// One for each owner, and at the end one that all other threads share.
    slots: Box<[Slot]>,
    // Behind the word that every reader looks at: its first fields lie in a line that is there already.
    value: UnsafeCell<T>,
}

/// The number of read guards: of the thread that owns the slot, or of all that own none.
#[repr(align(64))]
struct Slot(AtomicU32);

// SAFETY: as of `RwLock`. Through a shared lock a thread gets `&T` beside others (`T: Sync`), and `&mut T`, by which it
// may take the value away (`T: Send`).
unsafe impl<T: Send + Sync> Sync for ReaderLock<T> {}

/// Lends the value to a reader. Not `Send`: the thread that drops it must own the slot. Nor may it be kept in a
/// thread-local, which could outlive that ownership.
pub(crate) struct ReadGuard<'a, T> {
    // Dropped in this order: the value is given back before the slot.
    value: ConstPtr<T>,
    _reading: Reading<'a>,
}

/// Lends the value to the writer.
pub(crate) struct WriteGuard<'a, T> {
    // Dropped in this order: the value is given back before the word.
    value: MutPtr<T>,
    _writing: Writing<'a>,
}

impl<T> ReaderLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self::with_slots(value, slots::number())
    }

    fn with_slots(value: T, owners: usize) -> Self {
        Self {
            writer: AtomicUsize::new(0),
            turn: Mutex::new(),
            slots: (0..=owners).map(|_| Slot(AtomicU32::new(0))).collect(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the writer, if there is one. Threads may read what they read already.
    ///
    /// `None` if this very thread is the writer.
    #[inline]
    pub(crate) fn read(&self) -> Option<ReadGuard<'_, T>> {
        self.read_as(Reader::this_thread())
    }

    #[inline]
    fn read_as(&self, me: Reader) -> Option<ReadGuard<'_, T>> {
        let reading = match self.own_slot(me) {
            Some(slot) => {
                let before = slot.0.swap(1, SeqCst);
                total_order_fence();
                if before != 0 || self.writer.load(SeqCst) != 0 {
                    self.announce_again(slot, before, me)?;
                }
                Reading {
                    slot,
                    shared: None,
                    _not_send: PhantomData,
                }
            }
            None => self.read_without_slot(me)?,
        };
        Some(ReadGuard {
            // SAFETY of what is lent: this reader is announced, so no writer passes before the guard is dropped; and
            // the last writer's release of the word happened before we saw it at 0, or its release of the mutex
            // before we held it.
            value: self.value.get(),
            _reading: reading,
        })
    }

    /// Waits for readers and the other writers.
    ///
    /// `None` if this very thread reads or writes already.
    #[inline]
    pub(crate) fn write(&self) -> Option<WriteGuard<'_, T>> {
        self.write_as(Reader::this_thread())
    }

    #[inline(always)]
    fn write_as(&self, me: Reader) -> Option<WriteGuard<'_, T>> {
        let reads = match self.own_slot(me) {
            Some(slot) => slot.0.load(Relaxed) != 0,
            None => Held::has(self.address()),
        };
        // Nobody else writes our name there.
        if reads || self.writer.load(Relaxed) == me.name {
            return None;
        }
        let turn = self.turn.lock();
        self.writer.swap(me.name, SeqCst);
        total_order_fence();
        let writing = Writing {
            writer: &self.writer,
            _turn: turn,
        };
        self.wait_for_readers();
        Some(WriteGuard {
            // SAFETY of what is lent: no other writer has the turn; every reader's slot was seen down after the word
            // was set, or had never been owned then, so whoever raises it later sees the word and takes it back.
            value: self.value.get_mut(),
            _writing: writing,
        })
    }

    /// The writer's word is set: waits until every slot was seen down.
    #[inline(always)]
    fn wait_for_readers(&self) {
        let (shared, owned) = self.slots.split_last().expect("the shared slot is always there");
        // Whoever claims a slot later sees the word.
        for slot in owned.iter().take(slots::ever_owned()) {
            if slot.0.load(SeqCst) != 0 {
                Self::wait_for(slot);
            }
        }
        if shared.0.load(SeqCst) != 0 {
            Self::wait_for(shared);
        }
    }

    #[cold]
    fn wait_for(slot: &Slot) {
        let mut patience = sync::Patience::new();
        while slot.0.load(SeqCst) != 0 {
            patience.wait();
        }
    }

    #[inline]
    fn own_slot(&self, me: Reader) -> Option<&Slot> {
        let owners = self.slots.len() - 1;
        self.slots[..owners].get(me.slot)
    }

    /// The rest of a read that met something: our own guard (then we are in already), or a writer.
    #[cold]
    fn announce_again(&self, slot: &Slot, before: u32, me: Reader) -> Option<()> {
        if before != 0 {
            // Ours alone to write; it was not 0 in between.
            slot.0
                .store(before.checked_add(1).expect("guards fit in memory"), Relaxed);
            return Some(());
        }
        slot.0.store(0, Release);
        if self.writer.load(Relaxed) == me.name {
            return None;
        }
        for _ in 0..sync::SPINS {
            sync::spin();
            if self.writer.load(Relaxed) == 0 {
                slot.0.swap(1, SeqCst);
                total_order_fence();
                if self.writer.load(SeqCst) == 0 {
                    return Some(());
                }
                slot.0.store(0, Release);
            }
        }
        // With the turn in hand there is no writer, and whoever takes it after us sees our slot.
        let _turn = self.turn.lock();
        slot.0.store(1, SeqCst);
        Some(())
    }

    /// The read of a thread that owns no slot, since more threads live than there are slots. Its reads of this lock
    /// are remembered by the thread.
    #[cold]
    fn read_without_slot(&self, me: Reader) -> Option<Reading<'_>> {
        let slot = self.slots.last().expect("the shared slot is always there");
        let nested = Held::has(self.address());
        slot.0.fetch_add(1, SeqCst);
        total_order_fence();
        if !nested && self.writer.load(SeqCst) != 0 {
            slot.0.fetch_sub(1, Release);
            if self.writer.load(Relaxed) == me.name {
                return None;
            }
            let _turn = self.turn.lock();
            slot.0.fetch_add(1, SeqCst);
        }
        Some(Reading {
            slot,
            shared: Some(Held::remember(self.address())),
            _not_send: PhantomData,
        })
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Takes the slot back when the reader is done, or unwinds.
struct Reading<'a> {
    slot: &'a Slot,
    /// There for the slot that is shared.
    shared: Option<Held>,
    _not_send: PhantomData<*const ()>,
}

impl Drop for Reading<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.shared.is_some() {
            self.slot.0.fetch_sub(1, Release);
        } else {
            // Ours alone to write.
            self.slot.0.store(self.slot.0.load(Relaxed) - 1, Release);
        }
    }
}

/// Takes the word back when the writer is done, or unwinds; then the turn passes.
struct Writing<'a> {
    writer: &'a AtomicUsize,
    _turn: MutexGuard<'a>,
}

impl Drop for Writing<'_> {
    #[inline]
    fn drop(&mut self) {
        self.writer.store(0, Release);
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread is announced as a reader as long as the guard lives, and writers wait for it.
        unsafe { self.value.deref() }
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the only writer, and no reader is inside, as long as the guard lives.
        unsafe { self.value.deref() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the only writer, and no reader is inside, as long as the guard lives; it is lent once, by `&mut self`.
        unsafe { self.value.deref() }
    }
}

impl<T> fmt::Debug for ReaderLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderLock")
            .field("written", &(self.writer.load(Acquire) != 0))
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, cacheme_loom))]
mod model;
#[cfg(all(test, not(cacheme_loom)))]
mod tests;
