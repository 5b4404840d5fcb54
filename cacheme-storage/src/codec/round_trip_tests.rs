//! Every value comes back as it was, or is refused when it is written, or its type is named by `check_type`: over all
//! serializers, and whatever the codec saw before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;
use crate::codec::serializer::{Bincode, Compressed, Json, MsgPack};
use crate::error::Chain;

/// Counts the `values` that are stored, one after the other by one codec. Panics if one comes back as another.
fn stored<V: fmt::Debug>(codec: &Codec<V>, values: &[V], same: impl Fn(&V, &V) -> bool) -> usize {
    let mut stored = 0;
    for value in values {
        match codec.encode(value, 0, None) {
            Ok(bytes) => {
                let back = codec.decode(&bytes).unwrap_or_else(|error| {
                    panic!(
                        "{} stored {value:?} and cannot read it: {error}",
                        codec.serializer()
                    )
                });
                assert!(
                    same(value, &back.value),
                    "{} stored {value:?} and read {:?}",
                    codec.serializer(),
                    back.value
                );
                stored += 1;
            }
            Err(CodecError::Serialize { .. } | CodecError::NotReadable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    stored
}

/// Counts the `values` that each serializer of this crate stores: Bincode, MessagePack, JSON; compressed or not.
fn stored_by_all<V>(values: &[V], same: impl Fn(&V, &V) -> bool) -> [usize; 3]
where
    V: fmt::Debug + Serialize + DeserializeOwned,
{
    let plain = [
        stored(&Codec::new(Bincode, "n"), values, &same),
        stored(&Codec::new(MsgPack, "n"), values, &same),
        stored(&Codec::new(Json, "n"), values, &same),
    ];
    let compressed = [
        stored(&Codec::new(Compressed(Bincode), "n"), values, &same),
        stored(&Codec::new(Compressed(MsgPack), "n"), values, &same),
        stored(&Codec::new(Compressed(Json), "n"), values, &same),
    ];
    assert_eq!(plain, compressed);
    plain
}

fn equal<V: PartialEq>(one: &V, other: &V) -> bool {
    one == other
}

/// For values with floats: tells zeros apart and finds `NaN`s alike.
fn shown<V: fmt::Debug>(one: &V, other: &V) -> bool {
    format!("{one:?}") == format!("{other:?}")
}

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => any::<u64>().prop_map(f64::from_bits),
        2 => -180.0..180.0_f64,
        1 => prop::sample::select(vec![
            f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, f64::MIN, f64::EPSILON,
        ]),
    ]
}

fn small_floats() -> impl Strategy<Value = f32> {
    prop_oneof![any::<u32>().prop_map(f32::from_bits), -180.0..180.0_f32]
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Wrapped<T>(T);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Outer<T> {
    Unit,
    New(T),
    Pair(T, u8),
    Named { of: T, more: Option<T> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged<T> {
    Unit,
    Named { of: T },
    Inner(Named<T>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent<T> {
    Unit,
    New(T),
    Pair(T, u8),
    Named { of: T },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<T> {
    Of(T),
    List(Vec<T>),
    Named { of: T },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Named<T> {
    of: T,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat<T> {
    id: u8,
    #[serde(flatten)]
    rest: Named<T>,
    #[serde(flatten)]
    more: Option<Other<T>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Other<T> {
    other: T,
}

/// One of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Around<T> {
    plain: T,
    option: Option<T>,
    twice: Option<Option<T>>,
    list: Vec<T>,
    map: BTreeMap<String, T>,
    outer: Outer<T>,
    adjacent: Adjacent<T>,
    tagged: Option<Tagged<T>>,
    untagged: Option<Untagged<T>>,
    flat: Option<Flat<T>>,
}

fn outer<T: Clone + fmt::Debug + 'static>(of: BoxedStrategy<T>) -> BoxedStrategy<Outer<T>> {
    prop_oneof![
        Just(Outer::Unit),
        of.clone().prop_map(Outer::New),
        (of.clone(), any::<u8>()).prop_map(|(of, number)| Outer::Pair(of, number)),
        (of.clone(), prop::option::of(of)).prop_map(|(of, more)| Outer::Named { of, more }),
    ]
    .boxed()
}

fn tagged<T: Clone + fmt::Debug + 'static>(of: BoxedStrategy<T>) -> BoxedStrategy<Tagged<T>> {
    prop_oneof![
        Just(Tagged::Unit),
        of.clone().prop_map(|of| Tagged::Named { of }),
        of.prop_map(|of| Tagged::Inner(Named { of })),
    ]
    .boxed()
}

fn adjacent<T: Clone + fmt::Debug + 'static>(of: BoxedStrategy<T>) -> BoxedStrategy<Adjacent<T>> {
    prop_oneof![
        Just(Adjacent::Unit),
        of.clone().prop_map(Adjacent::New),
        (of.clone(), any::<u8>()).prop_map(|(of, number)| Adjacent::Pair(of, number)),
        of.prop_map(|of| Adjacent::Named { of }),
    ]
    .boxed()
}

fn untagged<T: Clone + fmt::Debug + 'static>(of: BoxedStrategy<T>) -> BoxedStrategy<Untagged<T>> {
    prop_oneof![
        of.clone().prop_map(Untagged::Of),
        vec(of.clone(), 0..3).prop_map(Untagged::List),
        of.prop_map(|of| Untagged::Named { of }),
    ]
    .prop_filter("the first variant takes what it can", |value| match value {
        Untagged::Of(_) => true,
        Untagged::List(_) | Untagged::Named { .. } => type_name::<T>() != type_name::<Value>(),
    })
    .boxed()
}

fn flat<T: Clone + fmt::Debug + 'static>(of: BoxedStrategy<T>) -> BoxedStrategy<Flat<T>> {
    (any::<u8>(), of.clone(), prop::option::of(of))
        .prop_map(|(id, of, other)| Flat {
            id,
            rest: Named { of },
            more: other.map(|other| Other { other }),
        })
        .boxed()
}

fn around<T: Clone + fmt::Debug + 'static>(
    of: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Vec<Around<T>>> {
    let of = of.boxed();
    let plain = (
        of.clone(),
        prop::option::of(of.clone()),
        prop::option::of(prop::option::of(of.clone())),
        vec(of.clone(), 0..3),
        btree_map(any::<String>(), of.clone(), 0..3),
        outer(of.clone()),
        adjacent(of.clone()),
    );
    let asking = (
        prop::option::of(tagged(of.clone())),
        prop::option::of(untagged(of.clone())),
        prop::option::of(flat(of)),
    );
    let one = (plain, asking, 0..4_u8).prop_map(|(plain, asking, asks)| {
        let (plain, option, twice, list, map, outer, adjacent) = plain;
        let (tagged, untagged, flat) = asking;
        Around {
            plain,
            option,
            twice,
            list,
            map,
            outer,
            adjacent,
            // Often none of them: only such values can be stored by all.
            tagged: tagged.filter(|_| asks == 0),
            untagged: untagged.filter(|_| asks == 0),
            flat: flat.filter(|_| asks == 0),
        }
    });
    vec(one, 1..6).boxed()
}

/// A test for each kind of value in all positions: what is stored is the same.
macro_rules! in_all_positions {
    ($($name:ident: $strategy:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]

            #[test]
            fn $name(values in around($strategy)) {
                stored_by_all(&values, shown);
                // And each by itself, so that one does not hide what happens to another.
                let field = |pick: fn(&Around<_>) -> _| values.iter().map(pick).collect::<Vec<_>>();
                stored_by_all(&field(|around| around.twice.clone()), shown);
                let field = |pick: fn(&Around<_>) -> _| values.iter().map(pick).collect::<Vec<_>>();
                stored_by_all(&field(|around| around.outer.clone()), shown);
                let field = |pick: fn(&Around<_>) -> _| values.iter().map(pick).collect::<Vec<_>>();
                stored_by_all(&field(|around| around.adjacent.clone()), shown);
                let field = |pick: fn(&Around<_>) -> _| values.iter().map(pick).collect::<Vec<_>>();
                stored_by_all(&field(|around| around.tagged.clone()), shown);
                let field = |pick: fn(&Around<_>) -> _| values.iter().map(pick).collect::<Vec<_>>();
                stored_by_all(&field(|around| around.untagged.clone()), shown);
                let field = |pick: fn(&Around<_>) -> _| values.iter().map(pick).collect::<Vec<_>>();
                stored_by_all(&field(|around| around.flat.clone()), shown);
            }
        }
    )*};
}

in_all_positions! {
    r6_floats_come_back_or_are_refused: floats();
    r6_small_floats_come_back_or_are_refused: small_floats();
    r6_wide_integers_come_back_or_are_refused: prop_oneof![any::<u128>(), any::<u64>().prop_map(u128::from)];
    r6_signed_wide_integers_come_back_or_are_refused: prop_oneof![any::<i128>(), any::<i64>().prop_map(i128::from)];
    r6_nothing_within_something_comes_back_or_is_refused: any::<()>();
    r6_unit_structs_come_back_or_are_refused: any::<bool>().prop_map(|_| Unit);
    r6_options_within_come_back_or_are_refused: prop::option::of(any::<u8>()).prop_map(Wrapped);
    r6_maps_with_numbers_for_keys_come_back_or_are_refused: btree_map(any::<i32>(), any::<u8>(), 0..3);
    r6_maps_with_pairs_for_keys_come_back_or_are_refused: btree_map(any::<(u8, bool)>(), any::<u8>(), 0..3);
    r6_maps_with_characters_for_keys_come_back_or_are_refused: btree_map(any::<char>(), any::<u8>(), 0..3);
    r6_values_of_json_come_back_or_are_refused: values_of_json();
    r6_texts_come_back_or_are_refused: any::<String>();
}

fn values_of_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn r6_all_floats_are_kept_bit_for_bit_where_the_format_has_them(
        wide in vec(floats(), 1..50),
        narrow in vec(small_floats(), 1..50),
    ) {
        let all = |finite, count| [count, count, finite];
        let finite = wide.iter().filter(|float| float.is_finite()).count();
        let kept = stored_by_all(&wide, |one, other| one.to_bits() == other.to_bits());
        prop_assert_eq!(kept, all(finite, wide.len()));
        let finite = narrow.iter().filter(|float| float.is_finite()).count();
        let kept = stored_by_all(&narrow, |one, other| one.to_bits() == other.to_bits());
        prop_assert_eq!(kept, all(finite, narrow.len()));
    }

    #[test]
    fn r6_all_wide_integers_are_kept(unsigned in vec(any::<u128>(), 1..9), signed in vec(any::<i128>(), 1..9)) {
        prop_assert_eq!(stored_by_all(&unsigned, equal), [unsigned.len(); 3]);
        prop_assert_eq!(stored_by_all(&signed, equal), [signed.len(); 3]);
    }

    #[test]
    fn r6_hash_maps_and_sets_come_back_in_any_order(
        values in vec((prop::collection::hash_map(any::<u32>(), any::<String>(), 0..40), prop::collection::hash_set(any::<i64>(), 0..40)), 1..4),
    ) {
        prop_assert_eq!(stored_by_all(&values, equal::<(HashMap<u32, String>, HashSet<i64>)>), [values.len(); 3]);
    }

    #[test]
    fn r6_a_name_that_is_read_differently_loses_nothing(values in vec(any::<(u8, Option<u8>, u8)>(), 1..8)) {
        let renamed: Vec<_> = values.iter().map(|&(a, b, c)| Renamed { a: a % 2, b, c }).collect();
        let kept = stored_by_all(&renamed, equal);
        prop_assert_eq!(kept[0], values.len(), "bincode has no names");
        let swapped: Vec<_> = values.iter().map(|&(a, _, c)| Swapped { a: a % 2, c: c % 2 }).collect();
        stored_by_all(&swapped, equal);
        let tagged: Vec<_> = renamed.iter().map(|value| Tagged::Inner(Named { of: value.clone() })).collect();
        stored_by_all(&tagged, equal);
        let buffered: Vec<_> = renamed.iter().map(|value| Flat { id: 1, rest: Named { of: value.clone() }, more: None }).collect();
        stored_by_all(&buffered, equal);
    }

    #[test]
    fn r6_a_field_that_is_not_written_shifts_no_other(values in vec(any::<(u8, u8, u8, Vec<u8>)>(), 1..8)) {
        // A value is what its `Serialize` says of it.
        let said = |one: &Unwritten, other: &Unwritten| (one.a, &one.c) == (other.a, &other.c);
        let unwritten: Vec<_> = values.iter().map(|(a, b, _, c)| Unwritten { a: *a, b: *b, c: c.clone() }).collect();
        let kept = stored_by_all(&unwritten, said);
        prop_assert_eq!(&kept[1..], &[values.len(); 2]);
        let unread: Vec<_> = values.iter().map(|(a, b, _, c)| Unread { a: *a, b: b % 2, c: c.clone() }).collect();
        stored_by_all(&unread, equal);
        let pairs: Vec<_> = values.iter().map(|(a, b, c, _)| UnwrittenPair(*a, b % 2, c % 2)).collect();
        stored_by_all(&pairs, |one, other| (one.1, one.2) == (other.1, other.2));
        let buffered: Vec<_> = pairs.iter().cloned().map(Untagged::Of).collect();
        let pair = |value: &Untagged<UnwrittenPair>| match value {
            Untagged::Of(UnwrittenPair(_, a, b)) => Some((*a, *b)),
            _ => None,
        };
        stored_by_all(&buffered, |one, other| pair(one) == pair(other));
        let sometimes: Vec<_> = values.iter().map(|(a, b, c, _)| Sometimes(*a, b % 3, c % 3)).collect();
        stored_by_all(&sometimes, equal);
    }

    #[test]
    fn r6_a_field_that_is_left_out_at_times_is_kept_where_it_can_be(values in vec(any::<(Option<u8>, u8, Vec<u8>)>(), 1..8)) {
        let values: Vec<_> = values.into_iter().map(|(a, b, c)| Skips { a, b, c }).collect();
        let whole = values.iter().filter(|value| value.a.is_some()).count();
        prop_assert_eq!(stored_by_all(&values, equal), [whole, values.len(), values.len()]);
    }

    #[test]
    fn r6_flattened_entries_hide_no_field(values in vec((any::<u8>(), btree_map("id|x|y", any::<u8>(), 0..3)), 1..8)) {
        let values: Vec<_> = values.into_iter().map(|(id, rest)| Spread { id, rest }).collect();
        let clear = values.iter().filter(|value| !value.rest.contains_key("id")).count();
        prop_assert_eq!(stored_by_all(&values, equal), [0, clear, clear]);
    }

    #[test]
    fn r6_what_is_read_by_hand_loses_nothing(values in vec(any::<(u8, u8, bool, u128)>(), 1..8)) {
        let ignoring: Vec<_> = values.iter().map(|(a, b, _, _)| Ignoring { a: *a, b: b % 2 }).collect();
        stored_by_all(&ignoring, equal);
        let loose: Vec<_> = values.iter().map(|&(a, _, is_wide, wide)| Loose(if is_wide { wide } else { a.into() })).collect();
        stored_by_all(&loose, equal);
    }

    #[test]
    fn r6_variants_that_are_skipped_or_catch_all_lose_nothing(which in vec(0..4_u8, 1..8)) {
        let shifted: Vec<_> = which.iter().map(|which| match which {
            0 => Shifted::First,
            1 => Shifted::Second(1),
            _ => Shifted::Third(2),
        }).collect();
        stored_by_all(&shifted, equal);
        let renamed: Vec<_> = which.iter().map(|which| match which {
            0 => Caught::Known,
            1 => Caught::Renamed,
            _ => Caught::Else,
        }).collect();
        stored_by_all(&renamed, equal);
    }

    #[test]
    fn r6_an_untagged_number_is_the_number_that_was_written(values in vec(any::<(bool, u32, f64)>(), 1..8)) {
        let numbers: Vec<_> = values.iter().map(|&(whole, integer, float)| match whole {
            true => Number::Whole(u128::from(integer) << (integer % 97)),
            false => Number::Float(float),
        }).collect();
        stored_by_all(&numbers, shown);
    }

    #[test]
    fn r6_types_of_the_standard_library_come_back(values in vec(any::<(u32, Duration, std::net::IpAddr, BTreeSet<char>)>(), 1..5)) {
        let values: Vec<_> = values.into_iter().map(|(seconds, duration, address, letters)| {
            (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()), duration, address, letters)
        }).collect();
        prop_assert_eq!(stored_by_all(&values, equal), [values.len(); 3]);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Renamed {
    #[serde(rename(serialize = "x", deserialize = "y"), default)]
    a: u8,
    #[serde(rename(serialize = "z"))]
    b: Option<u8>,
    c: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Swapped {
    #[serde(rename(serialize = "c"))]
    a: u8,
    #[serde(rename(serialize = "a"))]
    c: u8,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unwritten {
    a: u8,
    #[serde(skip_serializing, default)]
    b: u8,
    c: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unread {
    a: u8,
    #[serde(skip_deserializing)]
    b: u8,
    c: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct UnwrittenPair(
    #[serde(skip_serializing, default)] u8,
    #[serde(default)] u8,
    #[serde(default)] u8,
);

fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sometimes(
    u8,
    #[serde(skip_serializing_if = "is_zero", default)] u8,
    #[serde(default)] u8,
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skips {
    #[serde(skip_serializing_if = "Option::is_none")]
    a: Option<u8>,
    b: u8,
    c: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Spread {
    id: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

/// Written as a map, read as a struct that has no use for one of its entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, u8>")]
struct Ignoring {
    a: u8,
    #[serde(default, rename = "c")]
    b: u8,
}

impl From<Ignoring> for BTreeMap<String, u8> {
    fn from(value: Ignoring) -> Self {
        Self::from([("a".to_owned(), value.a), ("b".to_owned(), value.b)])
    }
}

/// Takes whatever number there is.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Loose(u128);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl serde::de::Visitor<'_> for Number {
            type Value = Loose;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
                Ok(Loose(number.into()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
                Ok(Loose(number as u128))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shifted {
    #[serde(skip_deserializing)]
    First,
    Second(u8),
    Third(u8),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Caught {
    Known,
    #[serde(rename(serialize = "new", deserialize = "old"))]
    Renamed,
    #[serde(other)]
    Else,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(u128),
    Float(f64),
}

#[test]
fn r6_a_value_that_is_refused_costs_only_itself() {
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let late = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let codec = Codec::new(MsgPack, "n");
    for value in [early, late, early, late] {
        let encoded = codec.encode(&value, 0, None);
        assert_eq!(encoded.is_ok(), value == late, "{encoded:?}");
    }
    // Through every entrance to the fast path: before and after the like of it was seen.
    let codec = Codec::new(Json, "n");
    for value in [f64::NAN, 1.0, f64::NAN, f64::INFINITY, 2.0, f64::NAN] {
        let encoded = codec.encode(&Some(value), 0, None);
        assert_eq!(encoded.is_ok(), value.is_finite(), "{encoded:?}");
    }
}

#[test]
fn r6_what_is_known_to_come_back_is_not_read_again() {
    use std::cell::Cell;

    thread_local!(static READS: Cell<usize> = const { Cell::new(0) });

    #[derive(Serialize)]
    struct Counts {
        number: Option<u64>,
        list: Vec<u8>,
    }

    impl<'de> Deserialize<'de> for Counts {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            struct Counts {
                number: Option<u64>,
                list: Vec<u8>,
            }
            let Counts { number, list } = Counts::deserialize(deserializer)?;
            READS.set(READS.get() + 1);
            Ok(Self { number, list })
        }
    }

    let codec = Codec::new(MsgPack, "n");
    let _traced = codec.fingerprint();
    let reads = |number, list: &[u8]| {
        let before = READS.get();
        let list = list.to_vec();
        codec.encode(&Counts { number, list }, 0, None).unwrap();
        READS.get() - before
    };
    assert_eq!(reads(None, &[]), 1, "nothing was seen before");
    assert_eq!(reads(None, &[]), 0);
    assert_eq!(reads(Some(1), &[]), 1, "a number that is there");
    assert_eq!(reads(None, &[1, 2]), 1, "an element");
    assert_eq!(reads(Some(2), &[3; 1_000]), 0, "all of this was seen");
}

#[test]
fn r6_the_values_of_json_are_known_by_their_name() {
    let json = serde_json::json!({ "a": [1, null, "x", { "b": 1.5 }] });
    for codec in [Codec::new(MsgPack, "n"), Codec::new(Json, "n")] {
        codec.encode(&json, 0, None).unwrap();
        assert!(!codec.erased.looks_twice(&json), "{codec:?}");
        let other = serde_json::json!([true]);
        assert!(codec.erased.looks_twice(&other), "{codec:?}");
    }
    let tagged = Tagged::Named { of: 1 };
    let codec = Codec::new(MsgPack, "n");
    codec.encode(&tagged, 0, None).unwrap();
    assert!(codec.erased.looks_twice(&tagged));
}

#[test]
fn r6_a_type_that_a_serializer_cannot_read_is_named_without_a_value() {
    fn named<V: Serialize + DeserializeOwned>() -> String {
        Codec::<V>::new(MsgPack, "n").check_type().unwrap();
        Codec::<V>::new(Json, "n").check_type().unwrap();
        Codec::<V>::new(Compressed(MsgPack), "n").check_type().unwrap();
        let error = Codec::<V>::new(Compressed(Bincode), "n")
            .check_type()
            .unwrap_err();
        assert!(matches!(error, CodecError::NotReadable { .. }), "{error:?}");
        let error = Codec::<V>::new(Bincode, "n").check_type().unwrap_err();
        Chain(&error).to_string()
    }
    for (name, error) in [
        ("Tagged<u8>", named::<Tagged<u8>>()),
        ("Untagged<u8>>", named::<Vec<Option<Untagged<u8>>>>()),
        ("Flat<u8>", named::<(u8, Flat<u8>)>()),
        // A variant without content.
        ("Adjacent<u8>", named::<Adjacent<u8>>()),
        ("serde_json::value::Value", named::<Outer<Value>>()),
    ] {
        assert!(error.contains(&format!("{name}` finds out")), "{error}");
        assert!(error.contains("serializer = MsgPack"), "{error}");
    }
    Codec::<Around<u8>>::new(Bincode, "n").check_type().unwrap_err();
    Codec::<(Outer<u8>, Vec<Option<Named<u8>>>, Skips)>::new(Bincode, "n")
        .check_type()
        .unwrap();
}

#[test]
fn r6_advice_names_only_what_would_work() {
    fn advice<V: Serialize + DeserializeOwned>(codec: Codec<V>, value: V) -> String {
        let error = Chain(&codec.encode(&value, 0, None).unwrap_err()).to_string();
        for (name, works) in [
            ("Bincode`", Codec::new(Bincode, "n").check(&value).is_ok()),
            ("MsgPack`", Codec::new(MsgPack, "n").check(&value).is_ok()),
            ("Json`", Codec::new(Json, "n").check(&value).is_ok()),
        ] {
            assert!(works || !error.contains(name), "{name} does not work: {error}");
        }
        error
    }
    let works = |error: String, name: &str| assert!(error.contains(name), "{error}");
    works(
        advice(Codec::new(Bincode, "n"), Tagged::Named { of: 1 }),
        "MsgPack`",
    );
    works(
        advice(Codec::new(Bincode, "n"), serde_json::json!([1])),
        "MsgPack`",
    );
    works(advice(Codec::new(Json, "n"), f64::NAN), "MsgPack`");
    works(advice(Codec::new(Json, "n"), Some(())), "Bincode`");
    works(advice(Codec::new(MsgPack, "n"), Some(None::<u8>)), "Bincode`");
    works(
        advice(Codec::new(Json, "n"), BTreeMap::from([((1, 2), 3)])),
        "MsgPack`",
    );
    let flat = || Flat {
        id: 1,
        rest: Named { of: 1 },
        more: None,
    };
    works(advice(Codec::new(Bincode, "n"), flat()), "MsgPack`");
    let skips = Skips {
        a: None,
        b: 1,
        c: vec![],
    };
    works(advice(Codec::new(Bincode, "n"), skips), "MsgPack`");
    // Nothing helps.
    let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    advice(Codec::new(Bincode, "n"), early);
    advice(Codec::new(Json, "n"), Tagged::Named { of: u128::MAX });
    advice(Codec::new(MsgPack, "n"), Tagged::Named { of: u128::MAX });
    advice(Codec::new(MsgPack, "n"), Some(Value::Null));
    advice(Codec::new(Json, "n"), Untagged::Of(BTreeMap::from([(1, 2)])));
    advice(
        Codec::new(Json, "n"),
        Renamed {
            a: 1,
            b: Some(2),
            c: 3,
        },
    );
}
