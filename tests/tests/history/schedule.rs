//! One random schedule.

use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use cacheme::{Cacheme, Error, Storage};
use cacheme_storage::RemoteStorage;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use crate::fakes::{Local, Remote};
use crate::observed::{DELIVERY, Fault, Faulty, Hub, Observed};
use crate::random::Random;
use crate::world::{Alone, Behind, Chain, Deep, Entry, Far, KEYS, Log, Near, Read, Stamp, World, Write};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) processes: usize,
    pub(crate) fault: Fault,
    pub(crate) bus: Bus,
    /// Time goes by itself, and threads are many.
    pub(crate) real: bool,
}

/// What the processes hear of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    /// What the storage offers.
    Its,
    /// Every message arrives.
    Works,
    /// Connections break now and then.
    Breaks,
}

/// The remote storage that the processes share.
pub(crate) enum Shared {
    Fake(Remote),
    /// Each process connects by itself.
    Url(String),
}

const TASKS: usize = 8;
const CALLS: usize = 14;

struct Process {
    number: usize,
    cacheme: Cacheme,
    world: Arc<World>,
}

/// Runs the schedule of this seed to its end.
pub(crate) async fn run(seed: u64, setting: Setting, shared: Shared) -> Log {
    let mut random = Random::new(seed);
    // How late a thread may be that was about to write something down.
    let grace = Duration::from_millis(if setting.real { 400 } else { 0 });
    let world = World::new(random.fork(), grace);
    if setting.bus == Bus::Works {
        // Two ways: the message that is on its way first, and those behind it.
        world.log().told_within = Some(DELIVERY * 2);
    }
    let hub = (setting.bus != Bus::Its).then(Arc::<Hub>::default);
    let prefix = format!("history-{seed}");
    let deep = Remote::new("deep");
    let mut processes = Vec::new();
    for number in 0..setting.processes {
        let cacheme = Cacheme::builder().prefix(&prefix).build().unwrap();
        let inner: Arc<dyn RemoteStorage> = match &shared {
            Shared::Fake(remote) => Arc::new(remote.clone()),
            Shared::Url(url) => Arc::clone(Storage::open(url).unwrap().as_remote().unwrap()),
        };
        let observed = |inner, hub| {
            let observed = Observed {
                inner,
                world: Arc::clone(&world),
                process: number,
                fault: setting.fault,
                hub,
            };
            Storage::remote(observed).with_timeout(Duration::from_secs(10))
        };
        let remote = observed(inner, hub.clone());
        let deep = observed(Arc::new(deep.clone()), None);
        let local = match setting.real {
            true => Storage::open("local://lru?size=1000").unwrap(),
            false => Local::default().storage(),
        };
        let local = Storage::local(Faulty {
            inner: Arc::clone(local.as_local().unwrap()),
            fault: setting.fault,
            world: Arc::clone(&world),
            real: setting.real,
        });
        // A server may be without a connection for it until it has ended those of the schedules before.
        let registered = cacheme.register_storage("remote", remote).await;
        assert!(
            matches!(registered, Ok(()) | Err(Error::Unreached { .. })),
            "{registered:?}"
        );
        cacheme.register_storage("deep", deep).await.unwrap();
        cacheme.register_storage("local", local).await.unwrap();
        processes.push(Arc::new(Process {
            number,
            cacheme,
            world: Arc::clone(&world),
        }));
    }
    let breaks = hub.filter(|_| setting.bus == Bus::Breaks);
    let tasks = (0..TASKS).map(|_| {
        let (processes, breaks) = (processes.clone(), breaks.clone());
        let mut random = random.fork();
        tokio::spawn(async move {
            for _ in 0..CALLS {
                sleep(random.pause(Duration::from_millis(20))).await;
                if let Some(hub) = &breaks
                    && random.percent(5)
                {
                    hub.cut(&mut random);
                }
                let process = &processes[random.below(processes.len() as u64) as usize];
                match random.below(7) {
                    0..2 => process.call::<Near>(&mut random).await,
                    2..4 => process.call::<Far>(&mut random).await,
                    4 => process.call::<Deep>(&mut random).await,
                    5 => process.call::<Behind>(&mut random).await,
                    _ => process.call::<Alone>(&mut random).await,
                }
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let all = futures_util::future::try_join_all(tasks);
    let bound = Duration::from_secs(120);
    let ended = timeout(bound, all).await;
    ended
        .unwrap_or_else(|_| panic!("CACHEME_HISTORY_SEED={seed}: somebody waits for ever"))
        .unwrap();
    // What goes on in the background.
    let quiet = async {
        while processes.iter().any(|process| process.in_flight() > 0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(bound, quiet)
        .await
        .unwrap_or_else(|_| panic!("CACHEME_HISTORY_SEED={seed}: a flight stays for ever"));
    let log = world.log();
    Log::clone(&log)
}

impl Process {
    fn in_flight(&self) -> usize {
        self.cacheme.all_stats().iter().map(|stats| stats.in_flight).sum()
    }

    fn entry<C: Chain>(&self, random: &mut Random) -> Entry<C> {
        Entry {
            world: Arc::clone(&self.world),
            process: self.number,
            key: C::FIRST + random.below(KEYS as u64) as usize,
            chain: PhantomData,
        }
    }

    fn call<'a, C: Chain>(&'a self, random: &'a mut Random) -> BoxFuture<'a, ()> {
        let node = self.entry::<C>(random);
        let call = async move {
            match random.below(100) {
                0..40 => self.get(&node, random).await,
                40..50 => self.get_with(&node, random).await,
                50..65 => self.get_all::<C>(random).await,
                65..75 => self.set(&node).await,
                75..85 => self.invalidate(&node).await,
                85..93 => self.refresh(&node, random).await,
                _ => _ = self.world.change(node.key),
            }
        };
        Box::pin(call)
    }

    async fn get<C: Chain>(&self, node: &Entry<C>, random: &mut Random) {
        let begin = self.world.now();
        if let Some(Ok(value)) = unless_gone(self.cacheme.get(node), random).await {
            self.saw(node.key, &value, begin);
        }
    }

    async fn get_with<C: Chain>(&self, node: &Entry<C>, random: &mut Random) {
        let begin = self.world.now();
        let call = self.cacheme.get_with(node, || node.load_for_itself());
        // It panics as the load does that it waits for.
        let call = AssertUnwindSafe(call).catch_unwind();
        if let Some(Ok(Ok(value))) = unless_gone(call, random).await {
            self.saw(node.key, &value, begin);
        }
    }

    async fn get_all<C: Chain>(&self, random: &mut Random) {
        let count = 1 + random.below(4);
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(self.entry::<C>(random));
        }
        let begin = self.world.now();
        if let Some(Ok(values)) = unless_gone(self.cacheme.get_all(&nodes), random).await {
            for (node, value) in nodes.iter().zip(&values) {
                self.saw(node.key, value, begin);
            }
        }
    }

    async fn set<C: Chain>(&self, node: &Entry<C>) {
        let _writer = self.world.writers[node.key].lock().await;
        let version = self.world.change(node.key);
        let value = self.world.stamp(self.number, node.key, version);
        let begin = self.world.now();
        self.cacheme.set(node, value.clone()).await.unwrap();
        self.world.end(&value);
        self.wrote("set", node.key, begin);
    }

    async fn invalidate<C: Chain>(&self, node: &Entry<C>) {
        let _writer = self.world.writers[node.key].lock().await;
        self.world.change(node.key);
        let begin = self.world.now();
        self.cacheme.invalidate(node).await.unwrap();
        self.wrote("invalidate", node.key, begin);
    }

    async fn refresh<C: Chain>(&self, node: &Entry<C>, random: &mut Random) {
        let begin = self.world.now();
        if let Some(Ok(value)) = unless_gone(self.cacheme.refresh(node), random).await {
            self.wrote("refresh", node.key, begin);
            self.saw(node.key, &value, begin);
        }
    }

    fn saw(&self, key: usize, value: &Stamp, begin: crate::world::At) {
        let end = self.world.now();
        let read = Read {
            process: self.number,
            key,
            origin: value.origin(),
            begin,
            end,
        };
        self.world.log().reads.push(read);
    }

    fn wrote(&self, what: &'static str, key: usize, begin: crate::world::At) {
        let end = self.world.now();
        let write = Write {
            what,
            process: self.number,
            key,
            begin,
            end,
        };
        self.world.log().writes.push(write);
    }
}

/// Waits, unless this is one of the callers that go away; those see nothing.
async fn unless_gone<T>(call: impl Future<Output = T>, random: &mut Random) -> Option<T> {
    if random.percent(85) {
        return Some(call.await);
    }
    timeout(random.pause(Duration::from_millis(10)), call).await.ok()
}
