use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::{Fingerprint, Shape};

fn of<V: DeserializeOwned>() -> Fingerprint {
    Fingerprint::of::<V>("serializer", "node")
}

fn text<V: DeserializeOwned>() -> String {
    Shape::of::<V>().text()
}

/// Declares types of the same name in modules of their own, so that names differ in nothing but the module.
macro_rules! shapes {
    ($($module:ident { $($body:tt)* })*) => {$(
        mod $module {
            #![allow(dead_code, unused_imports)]
            use super::*;
            #[derive(Serialize, Deserialize)]
            $($body)*
        }
    )*};
}

shapes! {
    base { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    same { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    renamed_field { pub(super) struct Item { key: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    changed_type { pub(super) struct Item { id: i32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    no_option { pub(super) struct Item { id: u32, name: String, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    added_field { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool), more: bool }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    reordered { pub(super) struct Item { name: Option<String>, id: u32, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    other_tuple { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (bool, i64) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
    renamed_variant { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Bare, Sized(u8), Boxed { side: i16 } } }
    changed_variant { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u16), Boxed { side: i16 } } }
    changed_last_variant { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: u16 } } }
    reordered_variants { pub(super) struct Item { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Sized(u8), Plain, Boxed { side: i16 } } }
    renamed_type { pub(super) struct Thing { id: u32, name: Option<String>, kind: Vec<Kind>, at: (i64, bool) }
        #[derive(Serialize, Deserialize)] pub(super) enum Kind { Plain, Sized(u8), Boxed { side: i16 } } }
}

#[test]
fn c4_every_change_of_shape_changes_the_fingerprint() {
    let all = [
        ("base", of::<base::Item>()),
        ("renamed_field", of::<renamed_field::Item>()),
        ("changed_type", of::<changed_type::Item>()),
        ("no_option", of::<no_option::Item>()),
        ("added_field", of::<added_field::Item>()),
        ("reordered", of::<reordered::Item>()),
        ("other_tuple", of::<other_tuple::Item>()),
        ("renamed_variant", of::<renamed_variant::Item>()),
        ("changed_variant", of::<changed_variant::Item>()),
        ("changed_last_variant", of::<changed_last_variant::Item>()),
        ("reordered_variants", of::<reordered_variants::Item>()),
        ("renamed_type", of::<renamed_type::Thing>()),
    ];
    for (at, (name, fingerprint)) in all.iter().enumerate() {
        for (other_name, other) in &all[at + 1..] {
            assert_ne!(fingerprint, other, "{name} and {other_name}");
        }
    }
}

#[test]
fn the_module_of_a_type_does_not_count() {
    assert_eq!(text::<base::Item>(), text::<same::Item>());
    assert_eq!(of::<base::Item>(), of::<same::Item>());
}

#[test]
fn serializer_and_node_count() {
    let fingerprint = Fingerprint::of::<u8>("bincode2", "node");
    assert_ne!(fingerprint, Fingerprint::of::<u8>("json", "node"));
    assert_ne!(fingerprint, Fingerprint::of::<u8>("bincode2", "other"));
    assert_ne!(Fingerprint::of::<u8>("a", "bc"), Fingerprint::of::<u8>("ab", "c"));
}

/// Stored values outlive the program: this number must not change with the code, the compiler or the machine.
#[test]
fn the_fingerprint_is_the_same_for_ever() {
    assert_eq!(
        text::<base::Item>(),
        r#"struct "Item"["id", "name", "kind", "at"](u32,option(str,),seq(enum "Kind"["Plain", "Sized", "Boxed"](unit,newtype(u8,),struct ["side"](i16,),),),tuple 2(i64,bool,),)"#
    );
    assert_eq!(of::<base::Item>().to_string(), "ea05c7a893b71aa8");
}

#[test]
fn scalars_and_containers_differ() {
    let texts = [
        text::<bool>(),
        text::<u8>(),
        text::<u16>(),
        text::<u32>(),
        text::<u64>(),
        text::<u128>(),
        text::<i8>(),
        text::<i16>(),
        text::<i32>(),
        text::<i64>(),
        text::<i128>(),
        text::<f32>(),
        text::<f64>(),
        text::<char>(),
        text::<String>(),
        text::<()>(),
        text::<Option<u8>>(),
        text::<Option<Option<u8>>>(),
        text::<Vec<u8>>(),
        text::<[u8; 2]>(),
        text::<[u8; 3]>(),
        text::<(u8, i8)>(),
        text::<HashMap<String, u8>>(),
        text::<HashMap<u8, String>>(),
        text::<Vec<(String, u8)>>(),
        text::<Result<u8, String>>(),
    ];
    for (at, text) in texts.iter().enumerate() {
        assert!(!texts[at + 1..].contains(text), "{text}");
        assert!(!text.contains('='), "{text} holds a type's name");
    }
    assert_eq!(text::<HashMap<String, u8>>(), text::<BTreeMap<String, u8>>());
}

#[derive(Deserialize)]
#[allow(dead_code)]
enum Expr {
    Add(Box<Expr>, Box<Expr>),
    Not(Box<Expr>, f32),
    All { parts: Vec<Expr>, weight: f64 },
    Num(i64),
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Tree {
    left: Option<Box<Tree>>,
    children: Vec<Tree>,
    by_name: HashMap<String, Tree>,
    leaf: u8,
}

#[derive(Deserialize)]
#[allow(dead_code)]
enum Endless {
    More(Box<Endless>),
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Even(Option<Box<Odd>>);

#[derive(Deserialize)]
#[allow(dead_code)]
struct Odd {
    even: Even,
    tag: i8,
}

#[test]
fn types_inside_themselves_are_cut() {
    assert_eq!(
        text::<Expr>(),
        r#"enum "Expr"["Add", "Not", "All", "Num"](tuple 2(^1,^1,),tuple 2(^1,f32,),struct ["parts", "weight"](seq(^2,),f64,),newtype(i64,),)"#
    );
    assert_eq!(
        text::<Tree>(),
        r#"struct "Tree"["left", "children", "by_name", "leaf"](option(^2,),seq(^2,),map(str,^2,),u8,)"#
    );
    assert_eq!(
        text::<Even>(),
        r#"newtype "Even"[](option(struct "Odd"["even", "tag"](^3,i8,),),)"#
    );
    assert_eq!(text::<Endless>(), r#"enum "Endless"["More"](newtype(^1,),)"#);
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Picky<T> {
    never: Never,
    count: NonZeroU32,
    address: std::net::IpAddr,
    behind: T,
}

/// Takes no sample.
struct Never;

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "the only one" {
            Ok(Self)
        } else {
            Err(D::Error::custom("not the one"))
        }
    }
}

/// Takes a sample that is not the first.
struct Version(#[allow(dead_code)] u8);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let major = text
            .split('.')
            .nth(2)
            .ok_or_else(|| D::Error::custom("not a version"))?;
        major.parse().map(Self).map_err(D::Error::custom)
    }
}

#[test]
fn a_type_that_takes_no_sample_counts_by_name_and_hides_nothing_else() {
    let picky = text::<Picky<u32>>();
    assert!(
        picky.contains("str=") && picky.contains("tests::Never/0/1"),
        "{picky}"
    );
    assert_ne!(picky, text::<Picky<f32>>());
    assert_eq!(picky.matches('=').count(), 1, "{picky}");
    assert_eq!(text::<(Version, NonZeroU32)>(), "tuple 2(str,u32,)");
    let blocked = text::<(Never, u8)>();
    assert_ne!(
        blocked,
        text::<(Never, i8)>(),
        "behind a dead element the name counts"
    );
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a Deserialize implementation that panics")
    }
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Holder<T> {
    panics: Panics,
    behind: T,
}

#[test]
fn a_panic_counts_by_name() {
    let holder = text::<Holder<u8>>();
    assert!(holder.contains("tests::Panics"), "{holder}");
    assert_ne!(holder, text::<Holder<u16>>());
}

type Eight<T> = [Box<T>; 8];

#[test]
fn the_work_is_bounded() {
    let wide = text::<Eight<Eight<Eight<Eight<Eight<Eight<u8>>>>>>>();
    assert!(wide.contains('='), "what is too large counts by name");

    type Deep<T> = Option<Vec<Option<Vec<Option<Vec<Option<Vec<T>>>>>>>>;
    let deep = text::<Deep<Deep<Deep<Deep<Deep<u8>>>>>>();
    assert!(deep.contains('='), "what is too deep counts by name");
    assert_ne!(deep, text::<Deep<Deep<Deep<Deep<Deep<i8>>>>>>());
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code)]
enum Untagged<T> {
    Number(T),
    Text(String),
}

#[derive(Deserialize)]
#[serde(tag = "type")]
#[allow(dead_code)]
enum Tagged {
    A { a: u8 },
    B { b: u8 },
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Rest {
    x: u8,
}

#[test]
fn shapes_found_out_while_reading_count_by_name() {
    assert_ne!(text::<Untagged<u8>>(), text::<Untagged<u16>>());
    for text in [
        text::<Untagged<u8>>(),
        text::<Tagged>(),
        text::<Flat>(),
        text::<serde_json::Value>(),
    ] {
        assert!(text.contains('='), "{text}");
    }
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Aliased {
    #[serde(alias = "identifier", alias = "key")]
    id: u32,
    #[serde(default)]
    count: u64,
    #[serde(skip)]
    cache: Option<u8>,
}

#[test]
fn attributes_of_serde_are_no_obstacle() {
    let aliased = text::<Aliased>();
    assert!(!aliased.contains('='), "{aliased}");
    assert!(aliased.contains("(u32,u64,"), "{aliased}");
}
