use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::codec::envelope::EnvelopeError;
use crate::codec::serializer::Flags;
use crate::error::Chain;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    id: u64,
    name: String,
    score: f32,
    parent: Option<Box<Profile>>,
    tags: BTreeMap<String, i16>,
    kind: Kind,
    raw: Vec<u8>,
    wide: Vec<u128>,
    unit: (),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Sized(i64),
    Pair(char, bool),
    Named { a: Option<String> },
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        any::<i64>().prop_map(Kind::Sized),
        any::<(char, bool)>().prop_map(|(letter, flag)| Kind::Pair(letter, flag)),
        any::<Option<String>>().prop_map(|a| Kind::Named { a }),
    ]
}

fn profiles() -> impl Strategy<Value = Profile> {
    let flat = (
        any::<(u64, String)>(),
        -1e6..1e6_f32,
        proptest::collection::btree_map(any::<String>(), any::<i16>(), 0..4),
        kinds(),
        // Repetition, so that compression has something to do.
        (any::<u8>(), 0..2_000_usize),
        proptest::collection::vec(any::<u128>(), 0..4),
    )
        .prop_map(|((id, name), score, tags, kind, (byte, times), wide)| Profile {
            id,
            name,
            score,
            parent: None,
            tags,
            kind,
            raw: vec![byte; times],
            wide,
            unit: (),
        })
        .boxed();
    (flat.clone(), proptest::option::of(flat)).prop_map(|(mut profile, parent)| {
        profile.parent = parent.map(Box::new);
        profile
    })
}

fn small() -> Profile {
    Profile {
        id: 7,
        name: "Ada".into(),
        score: 0.5,
        parent: None,
        tags: BTreeMap::from([("a".into(), -1)]),
        kind: Kind::Named { a: None },
        raw: vec![9; 3],
        wide: vec![0, u128::MAX],
        unit: (),
    }
}

fn comes_back<V: Clone + PartialEq + fmt::Debug>(codec: &Codec<V>, value: &V) {
    let bytes = codec.encode(value, 10, Some(20)).unwrap();
    let decoded = Decoded {
        value: value.clone(),
        created_ms: 10,
        expires_ms: Some(20),
    };
    assert_eq!(codec.decode(&bytes).unwrap(), decoded);
    codec.check(value).unwrap();
}

fn rejects_damage(codec: &Codec<Profile>, value: &Profile) {
    let good = codec.encode(value, 1, None).unwrap();
    for at in 0..good.len() {
        assert!(codec.decode(&good[..at]).is_err(), "cut at {at}");
        for flip in [0x01, 0x80, 0xFF] {
            let mut bytes = good.to_vec();
            bytes[at] ^= flip;
            assert!(codec.decode(&bytes).is_err(), "byte {at} changed");
        }
    }
}

/// Payloads that another program could have written: whatever comes of it, it is an answer.
fn survives(codec: &Codec<Profile>, payload: &[u8], flags: u8) {
    let envelope = Envelope {
        flags: Flags::from_bits(flags),
        fingerprint: codec.fingerprint(),
        created_ms: 0,
        expires_ms: None,
        payload,
    };
    let decoded = codec.decode(&envelope.encode().unwrap());
    assert!(
        !matches!(decoded, Err(DecodeError::Panicked { .. })),
        "{decoded:?}"
    );
}

/// The tests that every serializer passes.
macro_rules! serializer_tests {
    ($($name:ident: $serializer:expr;)*) => {$(
        mod $name {
            use super::*;

            fn codec() -> Codec<Profile> {
                Codec::new($serializer, "profile:{id}:v1")
            }

            #[test]
            fn t2_every_damage_is_a_miss() {
                rejects_damage(&codec(), &small());
            }

            #[test]
            fn r4_empty_values_are_values() {
                comes_back(&Codec::<()>::new($serializer, "n"), &());
                comes_back(&Codec::<Option<u8>>::new($serializer, "n"), &None);
                comes_back(&Codec::<String>::new($serializer, "n"), &String::new());
                comes_back(&Codec::<Vec<()>>::new($serializer, "n"), &vec![(); 3]);
            }

            #[test]
            fn order_of_a_hash_map_does_not_fail_the_check() {
                let map: HashMap<u32, String> = (0..200).map(|id| (id, id.to_string())).collect();
                for _ in 0..10 {
                    comes_back(&Codec::new($serializer, "n"), &map);
                }
            }

            #[test]
            fn bytes_after_the_value_are_an_error() {
                let mut payload = Vec::new();
                let flags = $serializer.serialize(&small(), &mut payload).unwrap();
                payload.push(b'7');
                assert!($serializer.deserialize::<Profile>(&payload, flags).is_err());
            }

            #[test]
            fn unknown_flags_are_an_error() {
                let mut payload = Vec::new();
                let flags = $serializer.serialize(&1_u8, &mut payload).unwrap();
                assert_eq!($serializer.deserialize::<u8>(&payload, flags).unwrap(), 1);
                for unknown in [Flags::user(0), Flags::from_bits(2)] {
                    assert!($serializer.deserialize::<u8>(&payload, flags | unknown).is_err());
                }
            }

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(64))]

                #[test]
                fn values_come_back(profile in profiles()) {
                    comes_back(&codec(), &profile);
                }

                #[test]
                fn t2_foreign_bytes_are_a_miss(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
                    prop_assert!(codec().decode(&bytes).is_err());
                }

                #[test]
                fn t2_foreign_payloads_do_no_harm(payload in proptest::collection::vec(any::<u8>(), 0..200), flags in 0..4_u8) {
                    survives(&codec(), &payload, flags);
                }

                #[test]
                fn t2_damaged_payloads_do_no_harm(profile in profiles(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
                    let mut payload = Vec::new();
                    let flags = $serializer.serialize(&profile, &mut payload).unwrap();
                    let at = at.index(payload.len());
                    payload[at] = byte;
                    survives(&codec(), &payload, flags.bits());
                    survives(&codec(), &payload[..at], flags.bits());
                }
            }
        }
    )*};
}

#[cfg(feature = "bincode")]
serializer_tests! { bincode: crate::codec::serializer::Bincode; }
#[cfg(feature = "msgpack")]
serializer_tests! { msgpack: crate::codec::serializer::MsgPack; }
#[cfg(feature = "json")]
serializer_tests! { json: crate::codec::serializer::Json; }
#[cfg(all(feature = "compression", feature = "bincode"))]
serializer_tests! { compressed_bincode: crate::codec::serializer::Compressed(crate::codec::serializer::Bincode); }
#[cfg(all(feature = "compression", feature = "msgpack"))]
serializer_tests! { compressed_msgpack: crate::codec::serializer::Compressed(crate::codec::serializer::MsgPack); }
#[cfg(all(feature = "compression", feature = "json"))]
serializer_tests! { compressed_json: crate::codec::serializer::Compressed(crate::codec::serializer::Json); }

#[cfg(feature = "bincode")]
mod limits_of_bincode {
    use crate::codec::serializer::Bincode;

    use super::*;

    #[test]
    fn large_honest_values_pass_the_limit() {
        comes_back(&Codec::new(Bincode, "n"), &vec![0_u128; 100_000]);
        comes_back(&Codec::new(Bincode, "n"), &vec![String::new(); 100_000]);
        comes_back(&Codec::new(Bincode, "n"), &vec![7_u8; 1 << 20]);
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u8),
    }

    #[derive(Serialize, Deserialize)]
    struct Flat {
        id: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }

    #[derive(Serialize, Deserialize)]
    struct Skips {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<u8>,
        b: u8,
        c: Vec<u8>,
    }

    #[test]
    fn what_cannot_be_read_back_is_said_with_the_serializer_that_would_do() {
        let error = Codec::new(Bincode, "n").check(&Untagged::Number(1)).unwrap_err();
        assert!(matches!(error, CodecError::NotReadable { .. }), "{error:?}");
        let message = Chain(&error).to_string();
        for part in [
            "`bincode2`",
            "Untagged",
            "serializer = MsgPack",
            "serializer = Json",
        ] {
            assert!(message.contains(part), "{message}");
        }
        // Bincode refuses to write a map whose length it is not told.
        let flat = Flat {
            id: 1,
            rest: BTreeMap::new(),
        };
        assert!(Codec::new(Bincode, "n").check(&flat).is_err());
    }

    #[test]
    fn c4_a_skipped_field_does_not_read_back_as_its_neighbour() {
        // [1, 2, 9, 0] would read as a = Some(2), b = 9, c = [], and be written as the same bytes again.
        let skipped = Skips {
            a: None,
            b: 1,
            c: vec![9, 0],
        };
        let error = Codec::new(Bincode, "n")
            .encode(&vec![Some(skipped)], 0, None)
            .unwrap_err();
        assert!(Chain(&error).to_string().contains("field `a`"), "{error}");
        let whole = Skips {
            a: Some(1),
            b: 1,
            c: vec![],
        };
        Codec::new(Bincode, "n").check(&whole).unwrap();
    }

    #[cfg(feature = "msgpack")]
    #[test]
    fn msgpack_takes_what_bincode_does_not() {
        Codec::new(crate::codec::serializer::MsgPack, "n")
            .check(&Untagged::Number(1))
            .unwrap();
        let rest = BTreeMap::from([("x".to_owned(), 1)]);
        Codec::new(crate::codec::serializer::MsgPack, "n")
            .check(&Flat { id: 1, rest })
            .unwrap();
        let skipped = Skips {
            a: None,
            b: 1,
            c: vec![9, 0],
        };
        Codec::new(crate::codec::serializer::MsgPack, "n")
            .check(&skipped)
            .unwrap();
    }
}

#[cfg(all(feature = "compression", feature = "json"))]
mod compression {
    use crate::codec::serializer::{Compressed, Json};

    use super::*;

    #[test]
    fn turning_it_on_loses_nothing_that_is_cached() {
        let plain = Codec::<Vec<u8>>::new(Json, "n");
        let compressed = Codec::<Vec<u8>>::new(Compressed(Json), "n");
        let value = vec![1; 5_000];
        let written_before = plain.encode(&value, 0, None).unwrap();
        assert_eq!(compressed.decode(&written_before).unwrap().value, value);
        let written_after = compressed.encode(&value, 0, None).unwrap();
        assert!(written_after.len() < written_before.len() / 10);
        let error = plain.decode(&written_after).unwrap_err();
        assert!(Chain(&error).to_string().contains("compressed"), "{error}");
    }

    #[test]
    fn small_and_incompressible_payloads_stay_as_they_are() {
        let flags = |text: &str| {
            let mut payload = Vec::new();
            Compressed(Json).serialize(text, &mut payload).unwrap()
        };
        assert_eq!(flags(&"a".repeat(100)), Flags::NONE);
        assert_eq!(flags(&"a".repeat(10_000)), Flags::COMPRESSED);
        let mut state = 1_u32;
        let noise: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from_u32(0x4E00 + (state >> 16) % 20_000).unwrap()
        })
        .take(400)
        .collect();
        assert_eq!(flags(&noise), Flags::NONE);
    }

    #[test]
    fn the_best_compressible_payload_comes_back() {
        comes_back(&Codec::new(Compressed(Json), "n"), &" ".repeat(8 << 20));
    }

    #[test]
    fn a_length_that_was_made_up_is_refused() {
        let payload = [&u32::MAX.to_le_bytes()[..], &[0; 100]].concat();
        let error = Compressed(Json)
            .deserialize::<String>(&payload, Flags::COMPRESSED)
            .unwrap_err();
        assert!(error.to_string().contains("cannot stand for"), "{error}");
    }
}

#[cfg(feature = "json")]
mod user_code {
    use serde::{Deserializer, Serializer as SerdeSerializer};

    use crate::codec::serializer::Json;

    use super::*;

    struct Panics;

    impl Serialize for Panics {
        fn serialize<S: SerdeSerializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("no")
        }
    }

    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("no {}", "way")
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let codec = Codec::<Panics>::new(Json, "n");
        let error = codec.encode(&Panics, 0, None).unwrap_err();
        assert!(
            matches!(&error, CodecError::Panicked { message, .. } if message == "no"),
            "{error}"
        );
        let envelope = Envelope {
            flags: Flags::NONE,
            fingerprint: codec.fingerprint(),
            created_ms: 0,
            expires_ms: None,
            payload: b"1",
        };
        let error = codec.decode(&envelope.encode().unwrap()).map(|_| ()).unwrap_err();
        assert!(
            matches!(&error, DecodeError::Panicked { message, .. } if message == "no way"),
            "{error}"
        );
    }

    #[test]
    fn a_value_that_json_does_not_keep_is_found() {
        // JSON writes NaN as null.
        let error = Codec::new(Json, "n").check(&f32::NAN).unwrap_err();
        assert!(!error.to_string().contains("serializer = Json"), "{error}");
        Codec::new(Json, "n").check(&1.5_f32).unwrap();
    }

    #[test]
    fn c4_another_type_shape_serializer_or_node_is_a_miss() {
        let bytes = Codec::new(Json, "n").encode(&7_u32, 0, None).unwrap();
        let reason = |decoded: Result<(), DecodeError>| match decoded.unwrap_err() {
            DecodeError::Envelope(EnvelopeError::OtherType { .. }) => {}
            other => panic!("{other}"),
        };
        reason(Codec::<i64>::new(Json, "n").decode(&bytes).map(|_| ()));
        reason(Codec::<u32>::new(Json, "m").decode(&bytes).map(|_| ()));
        #[cfg(feature = "msgpack")]
        reason(
            Codec::<u32>::new(crate::codec::serializer::MsgPack, "n")
                .decode(&bytes)
                .map(|_| ()),
        );
    }

    /// Uses no more of a value than a runtime may know of it.
    fn runtime_only<V: Clone + Send + Sync + 'static>(codec: Codec<V>, value: &V) -> V {
        fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
        shared(&codec);
        codec
            .decode(&codec.encode(value, 0, None).unwrap())
            .unwrap()
            .value
    }

    #[test]
    fn a_codec_needs_no_bounds_where_it_is_used() {
        assert_eq!(runtime_only(Codec::new(Json, "n"), &5_u8), 5);
    }
}
