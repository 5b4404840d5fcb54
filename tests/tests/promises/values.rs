//! What becomes of values that a serializer cannot express, and of bytes that claim too much (R6, T2).

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cacheme::{
    Bincode, Cacheme, DynamicKind, DynamicNode, Error, Json, MsgPack, NotStored, Policy, Serializer, Storage,
};
use cacheme_storage::Envelope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tests::MemoryRemote;

use crate::world::{SECOND, World};

fn kind<V>(name: &'static str, serializer: impl Serializer) -> DynamicKind<V>
where
    V: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
{
    let policy = Policy::new(name, "").serializer(serializer);
    DynamicKind::new(policy.tier("remote", Some(60 * SECOND))).unwrap()
}

async fn load<V: Clone + Send + Sync + 'static>(cacheme: &Cacheme, node: &DynamicNode<V>, value: &V) -> V {
    cacheme.get_with(node, || async { value.clone() }).await
}

fn fills_and_undecodable(cacheme: &Cacheme) -> (u64, u64) {
    let stats = cacheme.all_stats();
    let (fills, undecodable) = stats[0]
        .tiers
        .iter()
        .map(|tier| (tier.fills, tier.undecodable))
        .fold((0, 0), |sum, tier| (sum.0 + tier.0, sum.1 + tier.1));
    (fills, undecodable)
}

/// Why values were not stored.
fn reasons(cacheme: &Cacheme) -> Vec<(NotStored, u64)> {
    cacheme.all_stats()[0].tiers[0].not_stored.iter().collect()
}

/// Each value reaches its caller; `true` are stored, and found by another process.
async fn each_by_itself<V>(kind: &DynamicKind<V>, values: &[(V, bool)])
where
    V: Clone + Send + Sync + PartialEq + std::fmt::Debug + 'static,
{
    let world = World::new().await;
    for (number, (value, is_stored)) in values.iter().enumerate() {
        let node = kind.node(&(number as u64));
        let given = load(&world.cacheme, &node, value).await;
        assert_eq!(format!("{given:?}"), format!("{value:?}"));
        let found = world.neighbour().await.cacheme.peek(&node).await.unwrap();
        assert_eq!(found.is_some(), *is_stored, "{value:?}");
        assert!(found.is_none_or(|found| found == *value), "{value:?}");
    }
    let stored = values.iter().filter(|(_, is_stored)| *is_stored).count() as u64;
    let refused = values.len() as u64 - stored;
    assert_eq!(fills_and_undecodable(&world.cacheme), (stored, refused));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    b: u8,
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn r6_a_value_that_cannot_be_stored_costs_only_itself_wherever_it_comes() {
    use std::os::unix::ffi::OsStringExt as _;

    let odd = PathBuf::from(std::ffi::OsString::from_vec(vec![0xFF, b'a']));
    let good = PathBuf::from("/tmp/a");
    let (first, later) = (
        [(odd.clone(), false), (good.clone(), true)],
        [(good, true), (odd, false)],
    );
    for values in [&first[..], &later, &[first.clone(), later.clone()].concat()] {
        each_by_itself(&kind("values-path-bincode", Bincode), values).await;
        each_by_itself(&kind("values-path-msgpack", MsgPack), values).await;
        each_by_itself(&kind("values-path-json", Json), values).await;
    }
    let early = SystemTime::UNIX_EPOCH - SECOND;
    let late = SystemTime::UNIX_EPOCH + SECOND;
    let values = [(early, false), (late, true), (early, false), (late, true)];
    each_by_itself(&kind("values-time", MsgPack), &values).await;
    let (with, without) = (Skips { a: Some(1), b: 2 }, Skips { a: None, b: 2 });
    let values = [
        (without.clone(), false),
        (with.clone(), true),
        (without.clone(), false),
    ];
    each_by_itself(&kind("values-skips", Bincode), &values).await;
    each_by_itself(
        &kind("values-skips-named", MsgPack),
        &[(without, true), (with, true)],
    )
    .await;
    let values = [
        (Some(f64::INFINITY), false),
        (Some(1.5), true),
        (None, true),
        (Some(0.1 + 0.2), true),
    ];
    each_by_itself(&kind("values-floats", Json), &values).await;
    let values = [
        (Some(None), false),
        (Some(Some(1_u8)), true),
        (None, true),
        (Some(None), false),
    ];
    each_by_itself(&kind("values-twice", MsgPack), &values).await;
}

#[tokio::test(start_paused = true)]
async fn r6_a_value_that_cannot_be_stored_leaves_no_older_one_behind() {
    let world = World::new().await;
    let node = kind("values-set", Json).node(&1_u8);
    world.cacheme.set(&node, 1.0).await.unwrap();
    world.cacheme.set(&node, f64::NAN).await.unwrap();
    assert_eq!(world.cacheme.peek(&node).await.unwrap(), None);
    world.cacheme.set(&node, 2.0).await.unwrap();
    assert_eq!(world.cacheme.peek(&node).await.unwrap(), Some(2.0));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Event {
    Created { by: String },
    Deleted,
}

#[tokio::test(start_paused = true)]
async fn r6_check_names_types_that_their_serializer_cannot_read() {
    let world = World::new().await;
    let events = kind::<Vec<Event>>("values-events", Bincode).node(&1_u8);
    let named = kind::<Vec<Event>>("values-events-named", MsgPack).node(&1_u8);
    let plain = kind::<Vec<Skips>>("values-plain", Bincode).node(&1_u8);
    let local = DynamicKind::new(
        Policy::<Vec<Event>>::new("values-events-local", "")
            .serializer(Bincode)
            .tier("local", None),
    );
    let local = local.unwrap().node(&1_u8);
    let wrong = |cacheme: &Cacheme| match cacheme.check() {
        Err(Error::Check(found)) => found.into_iter().map(|error| error.to_string()).collect(),
        _ => Vec::new(),
    };
    for node in [&events, &named, &local] {
        world.cacheme.peek(node).await.unwrap();
    }
    world.cacheme.peek(&plain).await.unwrap();
    let named: Vec<String> = wrong(&world.cacheme)
        .into_iter()
        .filter(|error| error.contains("finds out"))
        .collect();
    assert_eq!(named.len(), 1, "{named:#?}");
    for part in ["values-events`", "Event`", "bincode2", "serializer = MsgPack"] {
        assert!(named[0].contains(part), "{part}: {named:#?}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Comment {
    replies: Vec<Comment>,
}

fn thread(levels: usize) -> Comment {
    (0..levels).fold(Comment { replies: vec![] }, |comment, _| Comment {
        replies: vec![comment],
    })
}

#[tokio::test(start_paused = true)]
async fn t2_a_value_that_is_too_deep_is_handed_out_and_not_stored() {
    let values = [
        (thread(60), true),
        (thread(100), false),
        (thread(400), false),
        (thread(1), true),
    ];
    each_by_itself(&kind("values-deep-bincode", Bincode), &values).await;
    each_by_itself(&kind("values-deep-msgpack", MsgPack), &values).await;
    each_by_itself(&kind("values-deep-json", Json), &values).await;
    each_by_itself(&kind("values-deep-packed", cacheme::Compressed(Bincode)), &values).await;
    let world = World::new().await;
    let node = kind("values-deep-counted", MsgPack).node(&1_u8);
    load(&world.cacheme, &node, &thread(70)).await;
    assert_eq!(reasons(&world.cacheme), [(NotStored::TooDeep, 1)]);
}

#[tokio::test(start_paused = true)]
async fn t2_bytes_that_claim_too_much_or_go_too_deep_are_misses_and_overwritten() {
    let world = World::new().await;
    let node = kind::<Vec<Comment>>("values-claims", Bincode).node(&1_u8);
    world.cacheme.set(&node, vec![]).await.unwrap();
    let key = world.cacheme.full_key(&node);
    let claim = [&[253][..], &(1_u64 << 60).to_le_bytes()].concat();
    let right = world.remote.value(&key).unwrap();
    for payload in [claim, vec![1; 1 << 20]] {
        let envelope = Envelope {
            payload: &payload,
            ..Envelope::decode(&right).unwrap()
        };
        world.remote.put(&key, envelope.encode().unwrap());
        let reader = world.neighbour().await;
        assert_eq!(load(&reader.cacheme, &node, &vec![]).await, []);
        assert_eq!(fills_and_undecodable(&reader.cacheme).1, 1);
        assert_eq!(
            world.neighbour().await.cacheme.peek(&node).await.unwrap(),
            Some(vec![])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn t2_the_largest_value_of_a_storage_holds_when_writing_and_reading() {
    let remote = MemoryRemote::new();
    let over = |largest: Option<usize>| {
        let storage = Storage::remote(remote.clone());
        async move {
            let cacheme = Cacheme::builder().prefix("test").build().unwrap();
            let storage = match largest {
                Some(largest) => storage.with_largest_value(largest),
                None => storage,
            };
            cacheme.register_storage("remote", storage).await.unwrap();
            cacheme
        }
    };
    let kind = kind::<String>("values-large", MsgPack);
    let (large, small) = ("a".repeat(2_000), "b".repeat(900));
    let bounded = over(Some(1_000)).await;
    assert_eq!(load(&bounded, &kind.node(&1_u8), &large).await, large);
    assert_eq!(load(&bounded, &kind.node(&2_u8), &small).await, small);
    assert_eq!(fills_and_undecodable(&bounded), (1, 1));
    assert_eq!(reasons(&bounded), [(NotStored::TooLarge, 1)]);
    // Another process has another limit, and stores what this one does not read.
    let unbounded = over(None).await;
    assert_eq!(unbounded.peek(&kind.node(&1_u8)).await.unwrap(), None);
    assert_eq!(unbounded.peek(&kind.node(&2_u8)).await.unwrap(), Some(small));
    unbounded.set(&kind.node(&1_u8), large.clone()).await.unwrap();
    assert_eq!(bounded.peek(&kind.node(&1_u8)).await.unwrap(), None);
    assert_eq!(unbounded.peek(&kind.node(&1_u8)).await.unwrap(), Some(large));
}

#[test]
fn the_largest_value_is_an_option_of_every_remote_url() {
    for (text, bytes) in [
        ("1000", 1_000),
        ("64KiB", 64 << 10),
        ("3MiB", 3 << 20),
        ("1GiB", 1 << 30),
    ] {
        let url = format!("sqlite://:memory:?largest_value={text}&timeout=1s");
        assert_eq!(Storage::open(&url).unwrap().largest_value(), bytes);
    }
    let storage = Storage::open("sqlite://:memory:").unwrap();
    assert_eq!(storage.largest_value(), Storage::DEFAULT_LARGEST_VALUE);
    assert_eq!(storage.timeout(), Duration::from_millis(500));
    for text in ["0", "", "-1", "5 MiB", "MiB", "3MB", "99999999999GiB"] {
        let error = Storage::open(&format!("sqlite://:memory:?largest_value={text}")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`largest_value` must be a number of bytes"),
            "{error}"
        );
    }
}
