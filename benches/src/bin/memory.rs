//! Live heap bytes an entry.

#![allow(
    unsafe_code,
    reason = "counts what the system's allocator hands out; an allocator cannot be written without"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use benches::args::Args;
use benches::peers::{self, CANDIDATES, Candidate, Setting};
use benches::table::Table;
use benches::workload;

const USAGE: &str = "\
memory [--entries N] [--cache NAME,NAME…] [--out FILE]

  --entries  the capacity, and how many entries are inserted (default 1000000); then as many others
  --cache    left out: all of them
  --out      writes the table there as well";

static LIVE: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, with a count of the bytes that were asked for and not given back.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as isize - layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}

fn main() {
    let args = Args::read(&["entries", "cache", "out"], USAGE);
    let entries: usize = args.one("entries", 1_000_000);
    if entries == 0 {
        args.refuse("at least one entry");
    }
    let names: Vec<String> = args.list("cache");
    let find = |name: &String| {
        peers::named(name).unwrap_or_else(|| args.refuse(&format!("no cache is named `{name}`")))
    };
    let caches: Vec<&Candidate> = if names.is_empty() {
        CANDIDATES.iter().collect()
    } else {
        names.iter().map(find).collect()
    };
    let mut table = Table::begin(
        &args.one("out", String::new()),
        "cache\tempty\tfull: entries\tbytes an entry\tafter as many others: entries\tbytes an entry",
    );
    for candidate in caches {
        let before = LIVE.load(Ordering::Relaxed);
        let live = || (LIVE.load(Ordering::Relaxed) - before) as f64;
        let cache = candidate.build(Setting {
            capacity: entries,
            seed: 1,
            counted: true,
        });
        let empty = live();
        let mut columns = vec![candidate.name.to_owned(), format!("{empty:.0}")];
        // Keys are made one by one, so that nothing but the cache lives on the heap.
        let mut next = workload::universe(2 * entries);
        for _ in 0..2 {
            for (at, key) in next.by_ref().take(entries).enumerate() {
                cache.insert(key, key);
                if at % 1_024 == 0 {
                    cache.settle();
                }
            }
            cache.settle();
            let population = cache.population();
            columns.push(population.to_string());
            columns.push(format!("{:.1}", live() / population as f64));
        }
        table.line(&columns.join("\t"));
        drop(cache);
    }
}
