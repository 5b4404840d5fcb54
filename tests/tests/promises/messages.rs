//! C3: a message on the bus concerns what it names, and nothing else.

use std::sync::{Arc, Mutex};

use cacheme::{
    Bincode, BusStats, Cacheme, DynamicKind, DynamicNode, KeyPart, LoadContext, Node, Policy, Storage,
};
use cacheme_storage::{BUS_MESSAGE_LIMIT, Bytes, Heard, RemoteStorage as _};
use tests::{MemoryRemote, Operation};
use tracing::Level;

use crate::bus::pair;
use crate::fences::{Caller, call};
use crate::logged::Logged;
use crate::world::{Item, LocalItem, NoSource, SECOND, Source, World, settle};

#[derive(Node, Clone, Debug)]
#[node(
    key = "long-item:{name}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m"),
    load = Self::load_value
)]
struct LongItem {
    name: String,
    #[node(skip)]
    source: Source,
}

impl LongItem {
    fn new(letter: &str, length: usize, source: &Source) -> Self {
        Self {
            name: letter.repeat(length),
            source: source.clone(),
        }
    }

    async fn load_value(node: &Self, _cx: &mut LoadContext<Self>) -> Result<u64, NoSource> {
        node.source.load(0).await
    }
}

/// The key of `Item` as another release has it.
#[derive(Node, Clone, Debug)]
#[node(
    key = "item:{number}",
    value = u64,
    version = "v0",
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m")
)]
struct OlderItem {
    number: u64,
}

#[derive(Node, Clone, Debug)]
#[node(
    key = "of:{T}:{id}",
    value = u64,
    tier(storage = "local", ttl = "60s"),
    tier(storage = "remote", ttl = "10m")
)]
struct Of<T: KeyPart + Clone + Send + Sync + 'static> {
    id: T,
}

/// Whether this instance answers for `node` from its memory.
async fn holds<N: Node>(world: &World, node: &N) -> bool {
    world.remote.take_calls();
    let found = world.cacheme.peek(node).await.unwrap();
    found.is_some() && world.remote.take_calls().is_empty()
}

async fn set_here<N: Node<Value = u64>>(world: &World, nodes: &[N]) {
    for node in nodes {
        world.cacheme.set(node, 1).await.unwrap();
    }
    settle().await;
}

fn heard(world: &World) -> BusStats {
    let mut stats = world.cacheme.bus_stats();
    assert_eq!(stats.len(), 1, "one storage has a bus");
    stats.remove(0)
}

/// Five kinds of counts, in the order of [`BusStats`].
fn counts(world: &World) -> [u64; 5] {
    let stats = heard(world);
    assert_eq!(stats.storage, "remote");
    [
        stats.received,
        stats.partly_understood,
        stats.other_prefix,
        stats.other_version,
        stats.unreadable,
    ]
}

/// Keeps what is published.
struct Tap {
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Tap {
    async fn on(remote: &MemoryRemote) -> Self {
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (keep, remote) = (Arc::clone(&heard), remote.clone());
        let listening = tokio::spawn(async move {
            let mut hear = |heard: Heard<'_>| {
                if let Heard::Message(message) = heard {
                    keep.lock().unwrap().push(message.to_vec());
                }
            };
            remote.listen(&mut hear).await;
        });
        settle().await;
        Self { heard, listening }
    }

    async fn take(&self) -> Vec<Vec<u8>> {
        settle().await;
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Magic and version.
const HEAD: usize = 5;

/// A message by its fields: a type, a length of two bytes, and a value.
fn fields(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &message[HEAD..];
    let mut fields = Vec::new();
    while let [field, high, low, after @ ..] = rest {
        let (value, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        fields.push((*field, value.to_vec()));
        rest = after;
    }
    assert_eq!(rest, b"");
    fields
}

/// A message with these fields, written as a process does that knows more than we do.
fn message(like: &[u8], fields: &[(u8, Vec<u8>)]) -> Bytes {
    let mut message = like[..HEAD].to_vec();
    for (field, value) in fields {
        message.push(*field);
        message.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        message.extend(value);
    }
    message.into()
}

const SENDER: u8 = 0x01;
const PREFIX: u8 = 0x02;
const KIND: u8 = 0x03;
const KEY: u8 = 0x81;
const LONG_KEY: u8 = 0x82;

/// What `world` publishes when `node` changes, as if somebody else had.
async fn change_by_another<N: Node>(world: &World, node: &N) -> (Vec<u8>, Vec<(u8, Vec<u8>)>) {
    let tap = Tap::on(&world.remote).await;
    world.cacheme.invalidate(node).await.unwrap();
    let message = tap.take().await.remove(0);
    let mut fields = fields(&message);
    let names: Vec<u8> = fields.iter().map(|(field, _)| *field).collect();
    assert_eq!(names[..3], [SENDER, PREFIX, KIND]);
    assert!([KEY, LONG_KEY].contains(&names[3]));
    fields[0].1 = vec![0xAB; 16];
    (message, fields)
}

#[tokio::test(start_paused = true)]
async fn c3_t3_garbage_changes_nothing_and_is_counted_and_logged_once() {
    let (told, _guard) = Logged::listen();
    let (ours, theirs, source) = pair().await;
    let (node, local) = (Item::new(1, &source), LocalItem::new(1, &source));
    let (good, fields) = change_by_another(&ours, &node).await;
    set_here(&theirs, std::slice::from_ref(&node)).await;
    set_here(&theirs, std::slice::from_ref(&local)).await;
    let before = counts(&theirs);
    let torn = good[..good.len() - 1].to_vec();
    let too_long = [&good[..], &vec![0x7F; BUS_MESSAGE_LIMIT]].concat();
    let without_prefix = message(&good, &[fields[0].clone(), fields[2].clone(), fields[3].clone()]);
    let key_of_no_kind = message(&good, &[fields[0].clone(), fields[1].clone(), fields[3].clone()]);
    let garbage = [
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from_static(b"\x01"),
        Bytes::from_static(b"user:1 has changed"),
        vec![0xFF; BUS_MESSAGE_LIMIT].into(),
        torn.into(),
        without_prefix,
        key_of_no_kind,
    ];
    ours.remote.publish(&garbage).await.unwrap();
    // A server may pass on more than the storage publishes.
    ours.remote.publish_anything(too_long.into());
    settle().await;
    assert!(holds(&theirs, &node).await && holds(&theirs, &local).await);
    assert_eq!(counts(&theirs)[..4], before[..4]);
    assert_eq!(counts(&theirs)[4], before[4] + garbage.len() as u64 + 1);
    assert_eq!(theirs.cacheme.stats::<Item>().remote_invalidations, 0);
    let warnings = told.at(Level::WARN);
    let ours = warnings
        .iter()
        .filter(|text| text.contains("is not understood and changes nothing"));
    assert_eq!(ours.count(), 2, "one a process: {warnings:?}");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let line = heard(&theirs).to_string();
    assert!(
        line.starts_with("remote: ") && line.contains("9 unreadable"),
        "{line}"
    );
}

#[tokio::test(start_paused = true)]
async fn c3_a_later_version_of_the_format_changes_nothing_and_is_counted() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    let (good, fields) = change_by_another(&ours, &node).await;
    set_here(&theirs, std::slice::from_ref(&node)).await;
    let mut later = message(&good, &fields).to_vec();
    later[HEAD - 1] += 1;
    let bare = later[..HEAD].to_vec();
    ours.remote.publish(&[later.into(), bare.into()]).await.unwrap();
    settle().await;
    assert!(holds(&theirs, &node).await);
    assert_eq!(counts(&theirs), [1, 0, 0, 2, 0]);
    ours.remote.publish(&[message(&good, &fields)]).await.unwrap();
    settle().await;
    assert!(!holds(&theirs, &node).await, "this version is understood");
    assert_eq!(counts(&theirs), [2, 0, 0, 2, 0]);
}

/// Fields that this version does not know: some may be passed over, some say that more has changed.
#[tokio::test(start_paused = true)]
async fn c3_what_a_later_release_adds_is_passed_over_or_drops_what_it_may_concern() {
    let (ours, theirs, source) = pair().await;
    let other_remote = MemoryRemote::with_bus();
    let storage = Storage::remote(other_remote.clone());
    let (items, local) = (
        [Item::new(1, &source), Item::new(2, &source)],
        LocalItem::new(1, &source),
    );
    let long = LongItem::new("k", 10, &source);
    theirs
        .cacheme
        .register_storage("elsewhere", storage)
        .await
        .unwrap();
    let elsewhere = dynamic("messages-elsewhere", "elsewhere").node(&1);
    let (good, known) = change_by_another(&ours, &items[0]).await;
    let [sender, prefix, kind, key] = &known[..] else {
        panic!("{known:?}")
    };
    let [sender, prefix, kind, key] = [sender, prefix, kind, key].map(Clone::clone);
    let (skippable, change) = ((0x7F, b"anything".to_vec()), (0xFE, b"anything".to_vec()));
    let fill = async || {
        set_here(&theirs, &items).await;
        set_here(&theirs, std::slice::from_ref(&local)).await;
        set_here(&theirs, std::slice::from_ref(&long)).await;
        set_here(&theirs, std::slice::from_ref(&elsewhere)).await;
    };
    let held = async || {
        let mut held = Vec::new();
        for item in &items {
            held.push(holds(&theirs, item).await);
        }
        held.extend([holds(&theirs, &long).await, holds(&theirs, &local).await]);
        other_remote.take_calls();
        let found = theirs.cacheme.peek(&elsewhere).await.unwrap();
        held.push(found.is_some() && other_remote.take_calls().is_empty());
        held
    };
    let nothing = (0x05, Vec::new());
    for (what, fields, expected) in [
        (
            "skippable fields",
            vec![
                skippable.clone(),
                sender.clone(),
                skippable.clone(),
                prefix.clone(),
                kind.clone(),
                nothing,
                key.clone(),
            ],
            [false, true, true, true, true],
        ),
        (
            "another change of the kind",
            vec![sender.clone(), prefix.clone(), kind.clone(), change.clone()],
            [false, false, true, true, true],
        ),
        (
            "another change of a kind that nobody here has",
            vec![
                sender.clone(),
                prefix.clone(),
                (KIND, vec![1; 16]),
                change.clone(),
            ],
            [true, true, true, true, true],
        ),
        (
            "another change of the prefix",
            vec![
                sender.clone(),
                prefix.clone(),
                change.clone(),
                kind.clone(),
                key.clone(),
            ],
            [false, false, false, true, true],
        ),
        (
            "another change of another prefix",
            vec![
                sender.clone(),
                (PREFIX, vec![1; 16]),
                change.clone(),
                kind,
                change,
            ],
            [true, true, true, true, true],
        ),
    ] {
        fill().await;
        assert_eq!(held().await, [true; 5], "{what}");
        ours.remote.publish(&[message(&good, &fields)]).await.unwrap();
        settle().await;
        assert_eq!(held().await, expected, "{what}");
    }
    let stats = theirs.cacheme.bus_stats();
    assert_eq!(stats.len(), 2);
    let heard = &stats[1];
    assert_eq!((heard.partly_understood, heard.other_prefix), (3, 1));
    assert_eq!((heard.other_version, heard.unreadable), (0, 0));
    assert_eq!(stats[0], BusStats::default().named("elsewhere"));
}

trait Named {
    fn named(self, storage: &str) -> Self;
}

impl Named for BusStats {
    fn named(mut self, storage: &str) -> Self {
        self.storage = storage.to_owned();
        self
    }
}

fn dynamic(name: &'static str, storage: &'static str) -> DynamicKind<u64> {
    let policy = Policy::new(name, "")
        .tier("local", Some(60 * SECOND))
        .tier(storage, Some(60 * SECOND))
        .serializer(Bincode);
    DynamicKind::new(policy).unwrap()
}

/// Around the longest key that stands in a message, and around what a message holds.
#[tokio::test(start_paused = true)]
async fn c3_a_key_of_any_length_drops_that_key_only() {
    for length in [10, 2_980, 2_990, 2_991, 3_000, 3_900, 5_000, 100_000] {
        let (ours, theirs, source) = pair().await;
        let long = ["k", "l"].map(|letter| LongItem::new(letter, length, &source));
        let (node, local) = (Item::new(1, &source), LocalItem::new(1, &source));
        for world in [&ours, &theirs] {
            for long in &long {
                world.cacheme.get(long).await.unwrap();
            }
            world.cacheme.get(&node).await.unwrap();
            world.cacheme.get(&local).await.unwrap();
        }
        let new = source.bump();
        ours.cacheme.invalidate(&long[0]).await.unwrap();
        settle().await;
        assert!(!holds(&theirs, &long[0]).await, "{length}");
        assert_eq!(theirs.cacheme.get(&long[0]).await.unwrap(), new, "{length}");
        assert!(
            holds(&theirs, &long[0]).await,
            "what came since is held: {length}"
        );
        assert!(holds(&theirs, &long[1]).await, "another key: {length}");
        assert!(
            holds(&theirs, &node).await && holds(&theirs, &local).await,
            "{length}"
        );
        assert_eq!(
            theirs.cacheme.stats::<LongItem>().remote_invalidations,
            1,
            "{length}"
        );
        assert_eq!(theirs.cacheme.stats::<Item>().remote_invalidations, 0, "{length}");
        // A set is told as well, and what is set stays with its process.
        ours.cacheme.set(&long[0], 77).await.unwrap();
        settle().await;
        assert!(
            holds(&ours, &long[0]).await && holds(&ours, &long[1]).await,
            "{length}"
        );
        assert_eq!(theirs.cacheme.get(&long[0]).await.unwrap(), 77, "{length}");
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_change_of_a_long_key_fences_its_flight_only() {
    let (ours, theirs, source) = pair().await;
    let long = ["k", "l"].map(|letter| LongItem::new(letter, 5_000, &source));
    let gates = [(); 2].map(|()| source.hold());
    let mut old = Vec::new();
    for (long, gate) in long.iter().zip(&gates) {
        let (cacheme, long) = (theirs.cacheme.clone(), long.clone());
        old.push(tokio::spawn(async move { cacheme.get(&long).await }));
        gate.reached().await;
    }
    let new = source.bump();
    ours.cacheme.invalidate(&long[0]).await.unwrap();
    settle().await;
    assert_eq!(
        theirs.cacheme.get(&long[0]).await.unwrap(),
        new,
        "nobody joins what was told of"
    );
    gates.iter().for_each(|gate| gate.open());
    for old in old {
        assert_eq!(old.await.unwrap().unwrap(), 0);
    }
    settle().await;
    assert_eq!(theirs.cacheme.get(&long[0]).await.unwrap(), new);
    assert!(holds(&theirs, &long[1]).await, "its flight went on");
    assert_eq!(source.loads(), 3);
}

#[tokio::test(start_paused = true)]
async fn c3_neighbours_with_another_prefix_are_not_concerned() {
    let (ours, theirs, source) = pair().await;
    let other = World::of_prefix("other", &ours.remote).await;
    let (node, long) = (Item::new(1, &source), LongItem::new("k", 10_000, &source));
    let many: Vec<LongItem> = (0..50)
        .map(|id| LongItem::new("m", 10_000 + id, &source))
        .collect();
    other.cacheme.get(&node).await.unwrap();
    other.cacheme.get(&long).await.unwrap();
    ours.cacheme.invalidate(&node).await.unwrap();
    ours.cacheme.invalidate(&long).await.unwrap();
    ours.cacheme.invalidate_all(&many).await.unwrap();
    settle().await;
    assert!(holds(&other, &node).await && holds(&other, &long).await);
    assert_eq!(other.cacheme.stats::<Item>().remote_invalidations, 0);
    assert_eq!(counts(&other), [0, 0, 3, 0, 0]);
    assert_eq!(counts(&theirs), [3, 0, 0, 0, 0]);
    assert_eq!(counts(&ours), [0; 5], "nobody counts what they say themselves");
}

#[tokio::test(start_paused = true)]
async fn c3_each_kind_handles_its_own_keys_only() {
    let (ours, theirs, source) = pair().await;
    let kinds = ["messages-one", "messages-two"].map(|name| dynamic(name, "remote"));
    let nodes: Vec<DynamicNode<u64>> = kinds.iter().map(|kind| kind.node(&1)).collect();
    let (item, older, local) = (
        Item::new(1, &source),
        OlderItem { number: 1 },
        LocalItem::new(1, &source),
    );
    let (number, text) = (Of { id: 1_u64 }, Of { id: "1".to_owned() });
    set_here(&theirs, &nodes).await;
    set_here(&theirs, std::slice::from_ref(&item)).await;
    set_here(&theirs, std::slice::from_ref(&older)).await;
    set_here(&theirs, std::slice::from_ref(&local)).await;
    set_here(&theirs, std::slice::from_ref(&number)).await;
    set_here(&theirs, std::slice::from_ref(&text)).await;
    let told = || -> Vec<(String, u64)> {
        let stats = theirs.cacheme.all_stats().into_iter();
        let told = stats.filter(|stats| stats.remote_invalidations > 0);
        told.map(|stats| {
            (
                stats.name.rsplit("::").next().unwrap().to_owned(),
                stats.remote_invalidations,
            )
        })
        .collect()
    };
    ours.cacheme.invalidate(&nodes[1]).await.unwrap();
    ours.cacheme.invalidate(&number).await.unwrap();
    ours.cacheme
        .invalidate_all(&[Item::new(1, &source), Item::new(5, &source)])
        .await
        .unwrap();
    settle().await;
    let expected = [("Item", 2), ("OlderItem", 2), ("messages-two", 1), ("Of<u64>", 1)];
    assert_eq!(told(), expected.map(|(name, told)| (name.to_owned(), told)));
    assert!(holds(&theirs, &nodes[0]).await && holds(&theirs, &text).await && holds(&theirs, &local).await);
    assert!(
        !holds(&theirs, &nodes[1]).await && !holds(&theirs, &number).await && !holds(&theirs, &item).await
    );
    assert!(
        !holds(&theirs, &older).await,
        "another release has the key in another version"
    );
}

/// Instances of one process on one bus are told apart as processes are.
#[tokio::test(start_paused = true)]
async fn c3_each_instance_on_a_bus_receives_the_changes_of_the_others() {
    let (ours, theirs, source) = pair().await;
    let third = ours.neighbour().await;
    let node = Item::new(1, &source);
    for world in [&ours, &theirs, &third] {
        world.cacheme.get(&node).await.unwrap();
    }
    ours.cacheme.set(&node, 7).await.unwrap();
    settle().await;
    assert!(holds(&ours, &node).await);
    for world in [&theirs, &third] {
        assert!(!holds(world, &node).await);
        assert_eq!(world.cacheme.get(&node).await.unwrap(), 7);
        assert_eq!(counts(world), [1, 0, 0, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn c3_a_chain_over_two_buses_receives_on_both_and_others_on_neither() {
    let (world, source) = (World::over(MemoryRemote::with_bus()).await, Source::default());
    let far = MemoryRemote::with_bus();
    let register = async |cacheme: &Cacheme| {
        let storage = Storage::remote(far.clone());
        cacheme.register_storage("far", storage).await.unwrap();
    };
    register(&world.cacheme).await;
    let kind = DynamicKind::new(
        Policy::<u64>::new("messages-two-buses", "")
            .tier("local", Some(60 * SECOND))
            .tier("remote", Some(60 * SECOND))
            .tier("far", Some(60 * SECOND))
            .serializer(Bincode),
    );
    let node = kind.unwrap().node(&1);
    let tap = Tap::on(&world.remote).await;
    world.cacheme.set(&node, 1).await.unwrap();
    let good = tap.take().await.remove(0);
    let mut known = fields(&good);
    known[0].1 = vec![0xAB; 16];
    let item = Item::new(1, &source);
    for remote in [&world.remote, &far] {
        set_here(&world, std::slice::from_ref(&node)).await;
        set_here(&world, std::slice::from_ref(&item)).await;
        remote.publish(&[message(&good, &known)]).await.unwrap();
        settle().await;
        world.remote.take_calls();
        world.cacheme.peek(&node).await.unwrap();
        assert_eq!(
            world.remote.take_calls(),
            [(Operation::Get, 1)],
            "its copy is gone"
        );
        assert!(holds(&world, &item).await);
    }
    // A kind that is not in the storage of a bus has nothing to hear there.
    let (_, known) = change_by_another(&world, &item).await;
    set_here(&world, std::slice::from_ref(&item)).await;
    far.publish(&[message(&good, &known)]).await.unwrap();
    settle().await;
    assert!(holds(&world, &item).await);
}

#[tokio::test(start_paused = true)]
async fn c3_a_change_elsewhere_of_many_long_keys_drops_no_more_than_their_kind() {
    let (ours, theirs, source) = pair().await;
    let (kept, item) = (LongItem::new("k", 4_000, &source), Item::new(1, &source));
    set_here(&theirs, std::slice::from_ref(&kept)).await;
    set_here(&theirs, std::slice::from_ref(&item)).await;
    let changed: Vec<LongItem> = (0..4_097)
        .map(|id| LongItem {
            name: format!("{id:03000}"),
            source: source.clone(),
        })
        .collect();
    ours.cacheme.invalidate_all(&changed[..4_096]).await.unwrap();
    settle().await;
    assert!(holds(&theirs, &kept).await, "so many are told apart");
    ours.cacheme.invalidate(&changed[4_096]).await.unwrap();
    settle().await;
    assert!(!holds(&theirs, &kept).await && holds(&theirs, &item).await);
}

#[tokio::test(start_paused = true)]
async fn c3_a_change_that_is_not_understood_fences_what_is_in_flight() {
    let (ours, theirs, source) = pair().await;
    let node = Item::new(1, &source);
    let (good, known) = change_by_another(&ours, &node).await;
    let gate = source.hold();
    let old = call(&theirs.cacheme, &node, &source, Caller::Get);
    gate.reached().await;
    let new = 1_000 + source.bump();
    let anything = [known[0].clone(), known[1].clone(), (0x80, Vec::new())];
    ours.remote.publish(&[message(&good, &anything)]).await.unwrap();
    settle().await;
    gate.open();
    assert_eq!(old.await.unwrap(), 1_000, "it began before");
    settle().await;
    assert_eq!(theirs.cacheme.get(&node).await.unwrap(), new);
}
