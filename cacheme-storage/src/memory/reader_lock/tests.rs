use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};

use super::slots::{self, Reader};
use super::*;

/// A thread without a slot of its own.
fn stranger() -> Reader {
    Reader {
        slot: usize::MAX - 1,
        ..Reader::this_thread()
    }
}

/// Every way in must be refused or granted as it must, whether the thread owns a slot or not.
#[test]
fn a_thread_knows_what_it_holds_already() {
    for me in [Reader::this_thread(), stranger()] {
        let lock = ReaderLock::new(1);
        {
            let outer = lock.read_as(me).expect("nobody writes");
            let inner = lock.read_as(me).expect("reads nest");
            assert!(lock.write_as(me).is_none());
            // Not in the order of their making.
            drop(outer);
            assert!(lock.write_as(me).is_none());
            assert_eq!(*inner, 1);
        }
        {
            let mut guard = lock.write_as(me).expect("nobody is inside");
            *guard += 1;
            assert!(lock.read_as(me).is_none());
            assert!(lock.write_as(me).is_none());
        }
        assert_eq!(lock.read_as(me).map(|guard| *guard), Some(2));
    }
}

#[test]
fn other_locks_are_not_mixed_up() {
    for me in [Reader::this_thread(), stranger()] {
        let (one, other) = (ReaderLock::new(1), ReaderLock::new(2));
        let _one = one.read_as(me);
        assert!(other.write_as(me).is_some());
        let _other = other.write_as(me);
        assert!(one.read_as(me).is_some());
    }
}

#[test]
fn a_panic_leaves_the_lock_free() {
    for me in [Reader::this_thread(), stranger()] {
        let lock = ReaderLock::new(0);
        let reading = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.read_as(me);
            panic!("inside");
        }));
        let writing = catch_unwind(AssertUnwindSafe(|| {
            let _guard = lock.write_as(me);
            panic!("inside");
        }));
        assert!(reading.is_err() && writing.is_err());
        assert!(lock.write_as(me).is_some());
        assert!(lock.read_as(me).is_some());
    }
}

#[test]
fn readers_read_at_once_and_writers_wait_for_them() {
    let lock = ReaderLock::new(0);
    let (all_inside, written) = (Barrier::new(3), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for me in [Reader::this_thread as fn() -> Reader, stranger] {
            let (lock, all_inside, written) = (&lock, &all_inside, &written);
            scope.spawn(move || {
                let guard = lock.read_as(me()).expect("not the writer");
                all_inside.wait();
                all_inside.wait();
                assert!(!written.load(Ordering::SeqCst));
                drop(guard);
            });
        }
        all_inside.wait();
        scope.spawn(|| {
            *lock.write().expect("not inside") = 1;
            written.store(true, Ordering::SeqCst);
        });
        // The word is set before the slots are looked at: from here on the writer waits.
        while lock.writer.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        all_inside.wait();
    });
    assert_eq!(lock.read().map(|guard| *guard), Some(1));
}

#[test]
fn nested_reads_pass_a_writer_that_waits() {
    for me in [Reader::this_thread(), stranger()] {
        let lock = ReaderLock::new(0);
        std::thread::scope(|scope| {
            let outer = lock.read_as(me).expect("nobody writes");
            scope.spawn(|| *lock.write().expect("not inside") = 1);
            while lock.writer.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert_eq!(lock.read_as(me).map(|guard| *guard), Some(0));
            drop(outer);
        });
        assert_eq!(lock.read().map(|guard| *guard), Some(1));
    }
}

#[test]
fn readers_that_were_in_the_way_get_their_turn() {
    let lock = ReaderLock::new(0);
    let (entered, enter) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut guard = lock.write().expect("nobody is inside");
        let readers: Vec<_> = [Reader::this_thread as fn() -> Reader, stranger]
            .into_iter()
            .map(|me| {
                let (lock, entered) = (&lock, entered.clone());
                scope.spawn(move || {
                    entered.send(()).expect("the test waits");
                    lock.read_as(me()).map(|guard| *guard)
                })
            })
            .collect();
        for _ in &readers {
            enter.recv().expect("a reader begins");
        }
        *guard = 7;
        drop(guard);
        for reader in readers {
            assert_eq!(reader.join().expect("does not panic"), Some(7));
        }
    });
}

#[test]
fn slots_go_to_the_next_thread() {
    // One after the other; other tests' threads may own any of the slots meanwhile.
    let slot = |_| {
        std::thread::spawn(|| Reader::this_thread().slot)
            .join()
            .expect("does not panic")
    };
    let owners = (0..10_000).map(slot).filter(|slot| *slot < slots::number());
    // More than there are slots.
    assert_eq!(owners.take(2 * slots::number()).count(), 2 * slots::number());
}

/// Readers of every kind must see both halves of a write.
#[test]
fn no_reader_sees_half_a_write() {
    let steps = if cfg!(debug_assertions) { 2_000 } else { 100_000 };
    let lock = ReaderLock::with_slots([0_u64; 16], 2);
    // More threads than slots: some share one.
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let lock = &lock;
            scope.spawn(move || {
                for step in 0..steps {
                    if (step + thread) % 5 == 0 {
                        let mut value = lock.write().expect("not inside");
                        for number in value.iter_mut() {
                            *number += 1;
                        }
                    } else {
                        let value = lock.read().expect("not the writer");
                        assert!(value.iter().all(|number| *number == value[0]));
                    }
                }
            });
        }
    });
    let written = 6 * steps / 5;
    assert_eq!(lock.read().map(|value| value[15]), Some(written as u64));
}
