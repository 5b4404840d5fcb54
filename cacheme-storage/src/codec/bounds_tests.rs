//! Depth and size, over all serializers and under compression.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::serializer::{Bincode, Compressed, Flags, Json, MsgPack, Serializer};
use crate::error::{BoxError, Chain};

/// A serializer of another crate: it bounds nothing.
#[derive(Clone, Copy)]
struct Foreign<S>(S);

impl<S: Serializer> Serializer for Foreign<S> {
    fn name(&self) -> &str {
        "foreign"
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        self.0.serialize(value, out)
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        self.0.deserialize(payload, flags)
    }
}

/// The payload within its envelope, as a storage keeps it.
fn envelope<V>(codec: &Codec<V>, payload: &[u8], flags: Flags) -> Bytes {
    let envelope = Envelope {
        flags,
        fingerprint: codec.fingerprint(),
        created_ms: 0,
        expires_ms: None,
        payload,
    };
    envelope.encode().unwrap()
}

fn packed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_le_bytes()[..], &lz4_flex::block::compress(payload)].concat()
}

/// On a thread with the stack of a worker of tokio.
fn on_a_small_stack<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn_scoped(scope, run)
            .unwrap()
            .join()
            .unwrap()
    })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

/// Nothing but what leaves no trace in many formats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Thin(Option<Box<Thin>>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Comment {
    text: String,
    author: Option<String>,
    votes: BTreeMap<String, i64>,
    replies: Vec<Comment>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Expr {
    Number(f64),
    Not(Box<Expr>),
    All(Vec<Expr>, u8),
    Any { of: Vec<Expr> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Block {
    Text { text: String },
    List { items: Vec<Block> },
}

/// Levels of a value that `around` was put around so often.
fn nested<V>(times: usize, innermost: V, around: impl Fn(V) -> V) -> V {
    (0..times).fold(innermost, |value, _| around(value))
}

fn comment(replies: Vec<Comment>) -> Comment {
    Comment {
        text: "a".repeat(10),
        author: Some("b".into()),
        votes: BTreeMap::from([("c".into(), 1)]),
        replies,
    }
}

/// The deepest value comes back, and the next deeper one is refused as such.
fn deepest<V>(codec: &Codec<V>, times: usize, make: impl Fn(usize) -> V)
where
    V: PartialEq + fmt::Debug,
{
    let value = make(times);
    let bytes = codec.encode(&value, 0, None).unwrap();
    assert!(codec.decode(&bytes).unwrap().value == value);
    let error = codec.encode(&make(times + 1), 0, None).unwrap_err();
    assert!(matches!(error, CodecError::TooDeep { .. }), "{error}");
}

macro_rules! over_all {
    ($($name:ident: $serializer:expr, $describes:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn t2_depth_is_bounded_alike_when_writing_and_reading() {
                on_a_small_stack(|| {
                    let make = |times| nested(times, Nest(vec![]), |nest| Nest(vec![nest]));
                    // A newtype and a sequence each.
                    deepest(&Codec::new($serializer, "n"), 62, make);
                    let make = |times| nested(times, Thin(None), |thin| Thin(Some(Box::new(thin))));
                    if !$describes {
                        deepest(&Codec::new($serializer, "n"), 63, make);
                    }
                    let make = |times| nested(times, comment(vec![]), |reply| comment(vec![reply]));
                    deepest(&Codec::new($serializer, "n"), 62, make);
                    let make = |times| nested(times, Expr::Number(1.0), |of| Expr::Not(Box::new(of)));
                    deepest(&Codec::new($serializer, "n"), 126, make);
                    let make = |times| nested(times, Expr::Number(1.0), |of| Expr::Any { of: vec![of] });
                    deepest(&Codec::new($serializer, "n"), 42, make);
                    let make = |times| nested(times, Expr::Number(1.0), |of| Expr::All(vec![of], 1));
                    deepest(&Codec::new($serializer, "n"), 42, make);
                    if $describes {
                        let make = |times| {
                            nested(times, Block::Text { text: "a".into() }, |block| Block::List { items: vec![block] })
                        };
                        deepest(&Codec::new($serializer, "n"), 63, make);
                        let make = |times| {
                            nested(times, serde_json::json!(1), |value| serde_json::json!([value]))
                        };
                        deepest(&Codec::new($serializer, "n"), 127, make);
                    }
                });
            }

            #[test]
            fn t2_an_honest_tree_that_is_far_too_deep_is_refused_and_not_read() {
                // Made and dropped on a large stack, which is not ours to bound; serialized and read on a small one.
                let run = || {
                    let deep = nested(12_000, comment(vec![]), |reply| comment(vec![reply]));
                    let codec = Codec::new($serializer, "n");
                    let error = codec.encode(&deep, 0, None).unwrap_err();
                    assert!(matches!(error, CodecError::TooDeep { .. }), "{error}");
                    let mut payload = Vec::new();
                    let flags = $serializer.serialize(&deep, &mut payload).unwrap();
                    let bytes = envelope(&codec, &payload, flags);
                    on_a_small_stack(|| Chain(&codec.decode(&bytes).unwrap_err()).to_string())
                };
                let large = std::thread::Builder::new().stack_size(1 << 30);
                let error = large.spawn(run).unwrap().join().unwrap();
                assert!(error.contains("128 levels") || error.contains("recursion limit"), "{error}");
            }

            #[test]
            fn t2_a_container_is_not_read_for_ever() {
                // In JSON and MessagePack a number is as many `Some`s as one likes.
                for payload in [&b"1"[..], &[1], &[1; 100_000], &[0x91; 100_000], &[b'['; 100_000]] {
                    let payloads = [(Flags::NONE, payload.to_vec()), (Flags::COMPRESSED, packed(payload))];
                    for (flags, payload) in payloads {
                        on_a_small_stack(|| {
                            let codec = Codec::<Thin>::new($serializer, "n");
                            assert!(codec.decode(&envelope(&codec, &payload, flags)).is_err());
                            let codec = Codec::<Nest>::new($serializer, "n");
                            assert!(codec.decode(&envelope(&codec, &payload, flags)).is_err());
                            let codec = Codec::<serde_json::Value>::new($serializer, "n");
                            let read = codec.decode(&envelope(&codec, &payload, flags));
                            assert!(read.is_err() || payload.len() < 20, "{read:?}");
                        });
                    }
                }
            }

            #[test]
            fn t2_elements_that_take_no_bytes_are_bounded() {
                let start = Instant::now();
                // Two lengths of eight bytes each, as bincode has them, and one as MessagePack has it.
                let claims = [&[253][..], &(1_u64 << 60).to_le_bytes(), &[253], &(1_u64 << 60).to_le_bytes()].concat();
                let array = [&[0xDD][..], &u32::MAX.to_be_bytes(), &[0xDD], &u32::MAX.to_be_bytes()].concat();
                for payload in [claims, array] {
                    for (flags, payload) in [(Flags::NONE, payload.clone()), (Flags::COMPRESSED, packed(&payload))] {
                        refuses::<Vec<()>>($serializer, &payload, flags);
                        refuses::<Vec<Nothing>>($serializer, &payload, flags);
                        refuses::<Vec<Hidden>>($serializer, &payload, flags);
                        refuses::<HashSet<()>>($serializer, &payload, flags);
                        refuses::<BTreeMap<(), Hidden>>($serializer, &payload, flags);
                        refuses::<Vec<Vec<()>>>($serializer, &payload, flags);
                        refuses::<Vec<[(); 32]>>($serializer, &payload, flags);
                        refuses::<String>($serializer, &payload, flags);
                        refuses::<Vec<u64>>($serializer, &payload, flags);
                        refuses::<Vec<Box<Thin>>>($serializer, &payload, flags);
                    }
                }
                assert!(start.elapsed() < Duration::from_secs(20));
            }

            #[test]
            fn t2_values_of_free_elements_are_written_as_far_as_they_can_be_read() {
                let codec = Codec::new($serializer, "n");
                let bytes = codec.encode(&vec![(); 60_000], 0, None).unwrap();
                assert_eq!(codec.decode(&bytes).unwrap().value.len(), 60_000);
                // Where each takes a byte there is no end but the largest value.
                match codec.encode(&vec![(); 600_000], 0, None) {
                    Ok(bytes) => assert_eq!(codec.decode(&bytes).unwrap().value.len(), 600_000),
                    Err(error) => assert!(matches!(error, CodecError::TooLarge { .. }) && !$describes, "{error}"),
                }
            }

            #[test]
            fn t2_the_largest_value_holds_when_writing_and_reading() {
                let codec = Codec::<String>::new($serializer, "n");
                let text = "a".repeat(10_000);
                let bytes = codec.encode_within(10_100, &text, 0, None).unwrap();
                assert_eq!(codec.decode_within(10_100, &bytes).unwrap().value, text);
                // Compressed or not: what counts is what it takes in the end.
                let error = codec.encode_within(9_999, &text, 0, None).unwrap_err();
                assert!(matches!(error, CodecError::TooLarge { largest: 9_999, .. }), "{error}");
                let error = codec.decode_within(9_999, &bytes).unwrap_err();
                assert!(matches!(error, DecodeError::TooLarge { largest: 9_999, .. }), "{error}");
            }

            #[test]
            fn t2_a_small_limit_lets_small_values_of_large_types_through() {
                let codec = Codec::<Vec<Roomy>>::new($serializer, "n");
                let value = vec![Roomy::default(); 40];
                let bytes = codec.encode_within(4_000, &value, 0, None).unwrap();
                assert_eq!(codec.decode_within(4_000, &bytes).unwrap().value, value);
            }
        }
    )*};
}

over_all! {
    bincode: Bincode, false;
    msgpack: MsgPack, true;
    json: Json, true;
    compressed_bincode: Compressed(Bincode), false;
    compressed_msgpack: Compressed(MsgPack), true;
    compressed_json: Compressed(Json), true;
    foreign_msgpack: Foreign(MsgPack), true;
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Nothing;

/// Takes room in memory and none in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Hidden {
    #[serde(skip)]
    cache: [u64; 32],
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Roomy {
    a: Option<[u64; 32]>,
    b: Option<[u64; 32]>,
    c: Option<[u64; 32]>,
}

fn refuses<V: Serialize + DeserializeOwned>(serializer: impl Serializer, payload: &[u8], flags: Flags) {
    let codec = Codec::<V>::new(serializer, "n");
    assert!(codec.decode(&envelope(&codec, payload, flags)).is_err());
}

#[test]
fn t2_a_length_that_was_made_up_is_refused_without_allocating_it() {
    // 253 says that eight bytes of length follow. What follows these makes the payload large.
    for (length, more) in [
        (1_u64 << 30, 0),
        (1 << 40, 100),
        (1 << 40, 5 << 20),
        (1 << 60, 0),
        (u64::MAX, 100),
    ] {
        let payload = [&[253][..], &length.to_le_bytes(), &vec![0; more]].concat();
        refuses::<String>(Bincode, &payload, Flags::NONE);
        refuses::<Vec<u64>>(Bincode, &payload, Flags::NONE);
        refuses::<ByteBuf>(Bincode, &payload, Flags::NONE);
    }
}

/// Asks for owned bytes, as `serde_bytes` does.
struct ByteBuf;

impl Serialize for ByteBuf {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&[])
    }
}

impl<'de> Deserialize<'de> for ByteBuf {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl serde::de::Visitor<'_> for Any {
            type Value = ByteBuf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, _: &[u8]) -> Result<ByteBuf, E> {
                Ok(ByteBuf)
            }
        }
        deserializer.deserialize_byte_buf(Any)
    }
}

#[test]
fn t2_what_lz4_expands_to_is_bounded_by_the_largest_value() {
    let bomb = packed(&vec![b' '; 20 << 20]);
    assert!(bomb.len() < 1 << 20);
    let codec = Codec::<String>::new(Compressed(Json), "n");
    let error = codec
        .decode_within(1 << 20, &envelope(&codec, &bomb, Flags::COMPRESSED))
        .unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
}

#[test]
fn t2_a_byte_cannot_stand_for_endless_memory() {
    // Each `{}` of two bytes is a kilobyte and a half.
    #[derive(Clone, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Wide {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<[u64; 32]>,
        #[serde(skip)]
        b: Vec<u8>,
        #[serde(skip)]
        c: [[u64; 32]; 5],
    }
    let codec = Codec::<Vec<Wide>>::new(MsgPack, "n");
    let count = 1_u32 << 20;
    let payload = [&[0xDD][..], &count.to_be_bytes(), &vec![0x80; count as usize]].concat();
    let error = codec
        .decode_within(2 << 20, &envelope(&codec, &payload, Flags::NONE))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
    let error = codec
        .encode_within(2 << 20, &vec![Wide::default(); 100_000], 0, None)
        .unwrap_err();
    assert!(matches!(error, CodecError::TooLarge { .. }), "{error}");
}

#[test]
fn t2_a_read_within_a_read_has_limits_of_its_own() {
    /// Holds the envelope of another value, and reads it when it is read itself.
    #[derive(Debug)]
    struct Outer(Vec<u8>);

    impl Serialize for Outer {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let inner = Codec::new(MsgPack, "inner").encode(&self.0, 0, None).unwrap();
            serializer.collect_seq([inner.to_vec(), vec![7; 100_000]])
        }
    }

    impl<'de> Deserialize<'de> for Outer {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let [inner, _] = <[Vec<u8>; 2]>::deserialize(deserializer)?;
            let decoded = Codec::new(MsgPack, "inner").decode(&inner);
            Ok(Self(decoded.map_err(serde::de::Error::custom)?.value))
        }
    }

    let codec = Codec::new(MsgPack, "outer");
    let bytes = codec.encode(&Outer(vec![1; 200_000]), 0, None).unwrap();
    assert_eq!(codec.decode(&bytes).unwrap().value.0, vec![1; 200_000]);
}
