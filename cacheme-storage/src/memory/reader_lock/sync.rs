//! The atomics and threads of the lock: the standard ones, or loom's where a model watches it.

pub(super) use self::made_of::*;

#[cfg(not(cacheme_loom))]
mod made_of {
    use std::time::Duration;

    pub(in super::super) use std::sync::atomic::{AtomicU32, AtomicUsize};

    /// The number of times that a reader looks whether the writer is gone before it goes to sleep: a few microseconds, several times
    /// what a write takes.
    pub(in super::super) const SPINS: u32 = 64;

    pub(in super::super) fn spin() {
        std::hint::spin_loop();
    }

    /// The accesses around it are sequentially consistent already.
    #[inline]
    pub(in super::super) fn total_order_fence() {}

    pub(in super::super) struct Mutex(parking_lot::Mutex<()>);
    pub(in super::super) type MutexGuard<'a> = parking_lot::MutexGuard<'a, ()>;

    impl Mutex {
        pub(in super::super) fn new() -> Self {
            Self(parking_lot::Mutex::new(()))
        }

        #[inline]
        pub(in super::super) fn lock(&self) -> MutexGuard<'_> {
            self.0.lock()
        }
    }

    /// The patience of a writer with one reader: readers are done in less than a microsecond, unless the scheduler took them
    /// off their core or they run slow code of the user's. Nobody wakes the writer, since readers would have to look for
    /// it.
    pub(in super::super) struct Patience(u32);

    impl Patience {
        pub(in super::super) fn new() -> Self {
            Self(0)
        }

        pub(in super::super) fn wait(&mut self) {
            match self.0 {
                0..64 => std::hint::spin_loop(),
                64..96 => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(u64::from(self.0.min(1_000)))),
            }
            self.0 += 1;
        }
    }

    /// A cell with the interface of loom's.
    pub(in super::super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);
    pub(in super::super) struct ConstPtr<T>(*const T);
    pub(in super::super) struct MutPtr<T>(*mut T);

    impl<T> UnsafeCell<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(in super::super) fn get(&self) -> ConstPtr<T> {
            ConstPtr(self.0.get())
        }

        #[inline]
        pub(in super::super) fn get_mut(&self) -> MutPtr<T> {
            MutPtr(self.0.get())
        }
    }

    impl<T> ConstPtr<T> {
        /// # Safety
        ///
        /// The cell lives and nobody writes to it while the reference does.
        #[inline]
        pub(in super::super) unsafe fn deref(&self) -> &T {
            // SAFETY: the caller's promise.
            unsafe { &*self.0 }
        }
    }

    impl<T> MutPtr<T> {
        /// # Safety
        ///
        /// The cell lives and nobody else reads or writes it while the reference does.
        #[inline]
        #[allow(clippy::mut_from_ref, reason = "as loom's")]
        pub(in super::super) unsafe fn deref(&self) -> &mut T {
            // SAFETY: the caller's promise.
            unsafe { &mut *self.0 }
        }
    }
}

#[cfg(cacheme_loom)]
mod made_of {
    pub(in super::super) use loom::cell::{ConstPtr, MutPtr, UnsafeCell};
    pub(in super::super) use loom::sync::atomic::{AtomicU32, AtomicUsize};

    /// One look is enough to see both ways.
    pub(in super::super) const SPINS: u32 = 1;

    pub(in super::super) fn spin() {
        loom::hint::spin_loop();
    }

    /// loom has no total order over sequentially consistent accesses, only over fences.
    pub(in super::super) fn total_order_fence() {
        loom::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    pub(in super::super) struct Mutex(loom::sync::Mutex<()>);
    pub(in super::super) type MutexGuard<'a> = loom::sync::MutexGuard<'a, ()>;

    impl Mutex {
        pub(in super::super) fn new() -> Self {
            Self(loom::sync::Mutex::new(()))
        }

        pub(in super::super) fn lock(&self) -> MutexGuard<'_> {
            self.0.lock().expect("nothing panics under it")
        }
    }

    pub(in super::super) struct Patience;

    impl Patience {
        pub(in super::super) fn new() -> Self {
            Self
        }

        pub(in super::super) fn wait(&mut self) {
            loom::thread::yield_now();
        }
    }
}
