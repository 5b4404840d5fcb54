//! Every interleaving of callers, leaders that go away, and fences, tried by loom. `tests/models.sh` runs it.
//!
//! The tables of `read/mod.rs` and `write/mod.rs` name these cases beside their rows.
//!
//! loom says by itself when a thread would sleep for ever. Each model also ends with an empty table: no flight stays with
//! nobody in it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use loom::thread;

use super::*;

const PREEMPTIONS: usize = 2;

type Table = Arc<FlightTable<usize>>;

/// How a leader ends.
#[derive(Clone, Copy)]
enum As {
    Finishes,
    IsCancelled,
    Panics,
}

fn key() -> FullKey {
    Arc::from(*b"key")
}

/// Time stands still in a model.
fn join(table: &Table) -> Joined<usize> {
    table.join(&key(), tokio::time::Instant::now())
}

fn lead(table: &Table) -> Lead<usize> {
    match join(table) {
        Joined::Lead(lead) => lead,
        Joined::Wait { .. } => panic!("somebody leads already"),
    }
}

/// Runs a step in a thread of its own, beside the model's.
fn beside<S: Send + Sync + 'static, R: 'static>(
    table: &Table,
    shared: &Arc<S>,
    step: impl FnOnce(&Table, &S) -> R + 'static,
) -> thread::JoinHandle<R> {
    let (table, shared) = (Arc::clone(table), Arc::clone(shared));
    thread::spawn(move || step(&table, &shared))
}

/// Counts the leaders of flights that were not fenced. Two at once are two loads of one key.
#[derive(Default)]
struct Leaders(AtomicUsize);

impl Leaders {
    fn enter(&self) {
        assert_eq!(self.0.fetch_add(1, SeqCst), 0, "two lead at once");
    }

    fn leave(&self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A caller of `get`: leads or waits, and tries again when the leader went away. Returns its value, `None` if it went
/// away as a leader.
fn call(table: &Table, leaders: &Leaders, number: usize, end: As) -> Option<usize> {
    loop {
        match join(table) {
            Joined::Lead(lead) => {
                leaders.enter();
                leaders.leave();
                return end_flight(lead, number, end);
            }
            Joined::Wait { flight, .. } => {
                if let End::Done(outcome) = block_on(flight.end()) {
                    return Some(*outcome);
                }
            }
        }
    }
}

fn end_flight(lead: Lead<usize>, number: usize, end: As) -> Option<usize> {
    match end {
        As::Finishes => {
            lead.finish(number);
            Some(number)
        }
        As::IsCancelled => {
            drop(lead);
            None
        }
        As::Panics => {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _lead = lead;
                resume_unwind(Box::new("a load that panics"));
            }));
            assert!(panicked.is_err());
            None
        }
    }
}

/// Runs callers at once, one of them in the model's own thread. A caller that leads ends its flight as `ends` says.
fn callers_at_once(ends: &'static [As]) {
    let mut model = loom::model::Builder::new();
    // Two are tried in full. With three, each switch to another thread where one waits is tried, and this many where none has to.
    model.preemption_bound = (ends.len() > 2).then_some(PREEMPTIONS);
    model.check(move || {
        let (table, leaders) = (FlightTable::new(), Arc::new(Leaders::default()));
        let threads: Vec<_> = (1..ends.len())
            .map(|number| {
                beside(&table, &leaders, move |table, leaders| {
                    call(table, leaders, number, ends[number])
                })
            })
            .collect();
        let mut got = vec![call(&table, &leaders, 0, ends[0])];
        got.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
        for (number, got) in got.iter().enumerate() {
            match (ends[number], got) {
                (As::Finishes, None) => panic!("{number} went away without an answer"),
                (_, Some(of)) => assert!(matches!(ends[*of], As::Finishes), "{of} never answered"),
                (As::IsCancelled | As::Panics, None) => {}
            }
        }
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn r1_callers_share_one_flight_and_all_get_an_answer() {
    callers_at_once(&[As::Finishes, As::Finishes, As::Finishes]);
}

#[test]
fn l1_a_waiter_takes_over_from_a_cancelled_leader() {
    callers_at_once(&[As::Finishes, As::IsCancelled, As::Finishes]);
}

#[test]
fn l2_a_leader_that_panics_leaves_nobody_behind() {
    callers_at_once(&[As::Finishes, As::Panics]);
}

#[test]
fn l1_a_waiter_that_goes_away_takes_nobody_elses_place() {
    loom::model(|| {
        let table = FlightTable::new();
        let lead = lead(&table);
        let flight = Arc::clone(lead.flight());
        let waiter = {
            let flight = Arc::clone(&flight);
            thread::spawn(move || block_on(flight.end()))
        };
        let passer_by = thread::spawn(move || {
            let mut end = flight.end();
            block_on(std::future::poll_fn(|cx| {
                let _ = Pin::new(&mut end).poll(cx);
                Poll::Ready(())
            }));
        });
        lead.finish(7);
        assert!(matches!(waiter.join().unwrap(), End::Done(outcome) if *outcome == 7));
        passer_by.join().unwrap();
        assert_eq!(table.len(), 0);
    });
}

/// A removal as `invalidate` does it: after the fence is raised it removes at once if nobody is storing, else it waits first.
fn remove(storage: &AtomicUsize, older: Option<Arc<Flight<usize>>>) {
    if let Some(older) = older.filter(|older| older.is_storing()) {
        block_on(older.end());
    }
    storage.store(0, SeqCst);
}

/// An invalidation while a load stores its value and ends.
fn nothing_old_is_stored(finish: fn(Lead<usize>)) {
    loom::model(move || {
        let (table, storage) = (FlightTable::new(), Arc::new(AtomicUsize::new(0)));
        let lead = lead(&table);
        let leader = beside(&table, &storage, move |_, storage| {
            if lead.begin_storing() {
                storage.store(7, SeqCst);
            }
            finish(lead);
        });
        remove(&storage, table.fence(&key()));
        leader.join().unwrap();
        assert_eq!(storage.load(SeqCst), 0, "a fenced load stored its value");
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn c1_nothing_old_is_stored_after_an_invalidation() {
    nothing_old_is_stored(|lead| lead.finish(7));
}

#[test]
fn c1_a_fence_that_is_raised_while_a_flight_ends_sees_the_end() {
    nothing_old_is_stored(|lead| assert_eq!(lead.finish_and_keep(7), 7));
}

#[test]
fn c1_nobody_joins_a_fenced_flight() {
    nobody_joins_after(|table| _ = table.fence(&key()));
}

#[test]
fn c3_nobody_joins_a_load_that_another_process_overtook() {
    nobody_joins_after(|table| table.supersede_remotely(&key(), true));
}

fn nobody_joins_after(fence: fn(&Table)) {
    loom::model(move || {
        let (table, fenced) = (FlightTable::new(), Arc::new(AtomicBool::new(false)));
        let lead = lead(&table);
        let old = Arc::clone(lead.flight());
        let invalidator = beside(&table, &fenced, move |table, fenced| {
            fence(table);
            fenced.store(true, SeqCst);
        });
        let reader = beside(&table, &fenced, move |table, fenced| {
            let late = fenced.load(SeqCst);
            match join(table) {
                Joined::Lead(lead) => lead.finish(8),
                Joined::Wait { flight, .. } => {
                    assert!(!(late && Arc::ptr_eq(&flight, &old)), "it joined a fenced flight");
                    block_on(flight.end());
                }
            }
        });
        lead.finish(7);
        invalidator.join().unwrap();
        reader.join().unwrap();
        assert_eq!(table.len(), 0);
    });
}

/// A `set` of `number`, as `write/set.rs` has it. Returns whether it took the place of another flight.
fn set(table: &Table, storage: &AtomicUsize, number: usize) -> bool {
    let (lead, older) = table.supersede(&key(), Work::Set, tokio::time::Instant::now());
    let took_over = older.is_some();
    if let Some(older) = older.filter(|older| older.is_storing()) {
        block_on(older.end());
    }
    if lead.begin_storing() {
        storage.store(number, SeqCst);
    }
    lead.finish(number);
    took_over
}

#[test]
fn c1_the_later_of_two_writes_stays() {
    loom::model(|| {
        let (table, storage) = (FlightTable::new(), Arc::new(AtomicUsize::new(0)));
        let other = beside(&table, &storage, |table, storage| set(table, storage, 1));
        let took_over = set(&table, &storage, 2);
        let other_took_over = other.join().unwrap();
        let stored = storage.load(SeqCst);
        match (other_took_over, took_over) {
            (true, false) => assert_eq!(stored, 1),
            (false, true) => assert_eq!(stored, 2),
            // One was over before the other began.
            (false, false) => assert!(stored == 1 || stored == 2),
            (true, true) => panic!("each took the place of the other"),
        }
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn c1_a_change_waits_for_the_store_that_a_refresh_is_queued_behind() {
    loom::model(|| {
        let (table, storage) = (FlightTable::new(), Arc::new(AtomicUsize::new(0)));
        let lead = lead(&table);
        assert!(lead.begin_storing());
        let leader = beside(&table, &storage, move |_, storage| {
            storage.store(7, SeqCst);
            lead.finish(7);
        });
        let (refresh, older) = table.supersede(&key(), Work::Load, tokio::time::Instant::now());
        if older.is_some() {
            // A change in another process means nothing to a load that has not begun.
            table.supersede_remotely(&key(), true);
            assert!(!refresh.flight().fence().local().is_raised());
        }
        remove(&storage, table.fence(&key()));
        assert!(!refresh.begin_storing(), "a fenced refresh stored its value");
        leader.join().unwrap();
        refresh.finish(8);
        assert_eq!(
            storage.load(SeqCst),
            0,
            "what the refresh waited for was stored later"
        );
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn c1_a_write_and_a_caller_end_and_leave_nothing() {
    loom::model(|| {
        let (table, storage) = (FlightTable::new(), Arc::new(AtomicUsize::new(0)));
        let caller = beside(&table, &storage, |table, _| {
            call(table, &Leaders::default(), 1, As::Finishes)
        });
        set(&table, &storage, 2);
        assert!(caller.join().unwrap().is_some());
        assert_eq!((table.len(), storage.load(SeqCst)), (0, 2));
    });
}

/// The values of a remote tier and of the local tier before it.
struct Tiers {
    /// Behind a lock, as a server is: after a write every reader sees it.
    remote: sync::Mutex<usize>,
    local: sync::Mutex<Option<usize>>,
}

const OLD: usize = 1;
const NEW: usize = 2;
const LEASED: usize = 3;

impl Tiers {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            remote: sync::Mutex::new(OLD),
            local: sync::Mutex::new(None),
        })
    }

    /// Stores as local storages do: they read the fence under their lock.
    fn keep(&self, value: usize, flight: &Flight<usize>) {
        let mut local = self.local.lock();
        *local = Some(value).filter(|_| !flight.fence().local().is_raised());
    }

    fn change_elsewhere(&self, table: &Table) {
        table.supersede_remotely(&key(), true);
        *self.local.lock() = None;
    }

    /// A caller of `get`, which keeps a remote value in the local tier.
    fn get(&self, table: &Table) {
        match join(table) {
            Joined::Lead(lead) => {
                let found = *self.remote.lock();
                if found != LEASED {
                    self.keep(found, lead.flight());
                }
                lead.finish(found);
            }
            Joined::Wait { flight, .. } => drop(block_on(flight.end())),
        }
    }

    fn set(&self, table: &Table) {
        let (lead, _) = table.supersede(&key(), Work::Set, tokio::time::Instant::now());
        lead.begin_storing();
        *self.remote.lock() = NEW;
        self.keep(NEW, lead.flight());
        lead.finish(NEW);
    }

    fn refresh(&self, table: &Table) {
        let (mut lead, _) = table.supersede(&key(), Work::Load, tokio::time::Instant::now());
        *self.remote.lock() = LEASED;
        if lead.begin_storing() {
            *self.remote.lock() = NEW;
        }
        self.keep(NEW, lead.flight());
        if lead.flight().fence().is_superseded() {
            self.change_elsewhere(table);
        }
        table.close([&mut lead]);
        lead.finish(NEW);
    }
}

/// A write while a message of another process arrives and a caller reads. Once the write has returned, the local tier has nothing older.
fn write_during_a_message(write: fn(&Tiers, &Table)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(move || {
        let (table, tiers) = (FlightTable::new(), Tiers::new());
        let bus = beside(&table, &tiers, |table, tiers| tiers.change_elsewhere(table));
        let reader = beside(&table, &tiers, |table, tiers| tiers.get(table));
        write(&tiers, &table);
        assert_ne!(*tiers.local.lock(), Some(OLD), "when it returned");
        bus.join().unwrap();
        reader.join().unwrap();
        assert_ne!(*tiers.local.lock(), Some(OLD), "later");
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn c1_nothing_older_is_nearby_after_a_set_during_which_a_message_came() {
    write_during_a_message(Tiers::set);
}

#[test]
fn c1_nothing_older_is_nearby_after_a_refresh_during_which_a_message_came() {
    write_during_a_message(Tiers::refresh);
}

/// A caller whose patience with `stuck` is over.
fn depose_and_call(table: &Table, leaders: &Leaders, stuck: &Arc<Flight<usize>>) {
    table.depose(stuck);
    loop {
        match join(table) {
            Joined::Lead(lead) => {
                assert!(!Arc::ptr_eq(lead.flight(), stuck));
                leaders.enter();
                thread::yield_now();
                leaders.leave();
                return lead.finish(1);
            }
            Joined::Wait { flight, .. } => {
                assert!(!Arc::ptr_eq(&flight, stuck), "it waits for who was deposed");
                if let End::Done(_) = block_on(flight.end()) {
                    return;
                }
            }
        }
    }
}

#[test]
fn l3_one_takes_over_from_a_leader_that_is_stuck() {
    loom::model(|| {
        let (table, leaders) = (FlightTable::new(), Arc::new(Leaders::default()));
        let lead = lead(&table);
        let stuck = Arc::clone(lead.flight());
        let other = {
            let stuck = Arc::clone(&stuck);
            beside(&table, &leaders, move |table, leaders| {
                depose_and_call(table, leaders, &stuck)
            })
        };
        // It comes back to life: what it does ends nobody's flight but its own.
        let late = thread::spawn(move || lead.finish(0));
        depose_and_call(&table, &leaders, &stuck);
        other.join().unwrap();
        late.join().unwrap();
        assert_eq!(table.len(), 0);
    });
}

/// A bulk call for the key twice and for another one, as `read/get.rs` has it. It closes its flights together and keeps their outcomes.
fn call_for_two(table: &Table, number: usize) -> [usize; 3] {
    let keys = [key(), Arc::from(*b"other"), key()];
    let mut leads = Vec::new();
    let mut others = Vec::new();
    let joined = table.join_all(keys.iter().map(|key| &**key), tokio::time::Instant::now());
    for (position, joined) in joined.into_iter().enumerate() {
        match joined {
            Joined::Lead(lead) => leads.push((position, lead)),
            Joined::Wait { flight, .. } => others.push((position, flight)),
        }
    }
    let mut got = [0; 3];
    table.close(leads.iter_mut().map(|(_, lead)| lead));
    for (position, lead) in leads {
        got[position] = lead.finish_and_keep(number);
    }
    for (position, flight) in others {
        match block_on(flight.end()) {
            End::Done(outcome) => got[position] = *outcome,
            End::Abandoned => panic!("nobody goes away"),
        }
    }
    got
}

#[test]
fn r1_a_bulk_call_and_others_share_flights_and_all_get_an_answer() {
    loom::model(|| {
        let table = FlightTable::new();
        let bulk = beside(&table, &Arc::new(()), |table, _| call_for_two(table, 1));
        let single = call(&table, &Leaders::default(), 2, As::Finishes);
        let got = bulk.join().unwrap();
        assert!(matches!(single, Some(1 | 2)));
        assert_eq!(got[1], 1);
        assert!(got[0] == got[2] && matches!(got[0], 1 | 2), "{got:?}");
        assert_eq!(table.len(), 0);
    });
}

#[test]
fn r1_two_bulk_calls_wait_for_each_other_and_both_end() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(|| {
        let table = FlightTable::new();
        let other = beside(&table, &Arc::new(()), |table, _| call_for_two(table, 1));
        let ours = call_for_two(&table, 2);
        let theirs = other.join().unwrap();
        for got in [ours, theirs] {
            assert!(got.iter().all(|number| matches!(number, 1 | 2)), "{got:?}");
        }
        assert_eq!(table.len(), 0);
    });
}
