//! Every interleaving of a few threads, tried by loom: `tests/models.sh`.

use loom::sync::Arc;
use loom::thread;

use super::slots::{self, Reader};
use super::*;

const OWNERS: usize = 2;

/// Thread number `at`, which owns a slot if there are as many, and claims it now.
fn thread_at(at: usize) -> Reader {
    if at < OWNERS {
        slots::announce_owned(at);
    }
    Reader {
        slot: at,
        name: at + 1,
    }
}

fn lock() -> Arc<ReaderLock<[u32; 2]>> {
    Arc::new(ReaderLock::with_slots([0; 2], OWNERS))
}

fn check(lock: &ReaderLock<[u32; 2]>, me: Reader) -> u32 {
    let value = lock.read_as(me).expect("not the writer");
    assert_eq!(value[0], value[1]);
    value[0]
}

fn add(lock: &ReaderLock<[u32; 2]>, me: Reader) {
    let mut value = lock.write_as(me).expect("not inside");
    value[0] += 1;
    value[1] += 1;
}

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Three switches by force show nearly all mistakes; without a bound, three threads take hours.
    builder.preemption_bound = Some(3);
    builder.check(test);
}

#[test]
fn a_reader_and_a_writer_exclude_each_other() {
    model(|| {
        let lock = lock();
        let other = Arc::clone(&lock);
        let writer = thread::spawn(move || add(&other, thread_at(0)));
        check(&lock, thread_at(1));
        check(&lock, thread_at(1));
        writer.join().expect("does not panic");
        assert_eq!(check(&lock, thread_at(1)), 1);
    });
}

#[test]
fn a_reader_without_a_slot_and_a_writer_exclude_each_other() {
    model(|| {
        let lock = lock();
        let other = Arc::clone(&lock);
        let writer = thread::spawn(move || add(&other, thread_at(0)));
        check(&lock, thread_at(OWNERS));
        writer.join().expect("does not panic");
        assert_eq!(check(&lock, thread_at(OWNERS)), 1);
    });
}

#[test]
fn two_readers_and_a_writer() {
    model(|| {
        let lock = lock();
        let threads: Vec<_> = [0, OWNERS]
            .map(|at| {
                let lock = Arc::clone(&lock);
                thread::spawn(move || {
                    check(&lock, thread_at(at));
                })
            })
            .into();
        add(&lock, thread_at(1));
        for thread in threads {
            thread.join().expect("does not panic");
        }
        assert_eq!(check(&lock, thread_at(1)), 1);
    });
}

#[test]
fn two_writers_and_a_reader() {
    model(|| {
        let lock = lock();
        let threads: Vec<_> = [0, OWNERS]
            .map(|at| {
                let lock = Arc::clone(&lock);
                thread::spawn(move || add(&lock, thread_at(at)))
            })
            .into();
        check(&lock, thread_at(1));
        for thread in threads {
            thread.join().expect("does not panic");
        }
        assert_eq!(check(&lock, thread_at(1)), 2);
    });
}

#[test]
fn nested_reads_do_not_wait_for_a_writer_that_waits_for_them() {
    model(|| {
        let lock = lock();
        let other = Arc::clone(&lock);
        let writer = thread::spawn(move || add(&other, thread_at(0)));
        let outer = lock.read_as(thread_at(1)).expect("not the writer");
        assert_eq!(check(&lock, thread_at(1)), outer[0]);
        assert!(lock.write_as(thread_at(1)).is_none());
        drop(outer);
        writer.join().expect("does not panic");
    });
}

#[test]
fn a_thread_may_write_after_it_read() {
    model(|| {
        let lock = lock();
        let other = Arc::clone(&lock);
        let writer = thread::spawn(move || {
            check(&other, thread_at(0));
            add(&other, thread_at(0));
        });
        check(&lock, thread_at(1));
        add(&lock, thread_at(1));
        writer.join().expect("does not panic");
        assert_eq!(check(&lock, thread_at(1)), 2);
    });
}
