//! A value as a serializer gets it from the codec: bounded in depth and size, and watched.
//!
//! The wrapper passes everything on. It holds for every serializer, those of other crates included.

mod parts;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use serde::ser::{self, Serialize, Serializer};

use self::parts::Parts;
use crate::codec::limits::{Exceeded, LEVELS, most};
use crate::codec::proofs::{Keys, Place};

/// One serialization of one value.
pub(super) struct Pass {
    proven: Arc<Keys>,
    /// Turns that are not proven.
    unproven: RefCell<Keys>,
    /// The turn before: a long sequence takes the same one for each element.
    last: Cell<u64>,
    /// `true` if the format writes the names of fields, so that a reader notices an absent one.
    names_fields: bool,
    /// Elements and bytes in strings so far: in most formats each takes a byte of the payload at least.
    filled: Cell<usize>,
    most: usize,
    exceeded: Cell<Option<Exceeded>>,
    findings: Cell<Findings>,
}

/// Findings that explain why a value does not come back.
#[derive(Clone, Copy, Default)]
pub(super) struct Findings {
    pub(super) human_readable: bool,
    /// A float is infinite or not a number.
    pub(super) not_finite: bool,
    /// A `Some` holds what many formats write as they write `None`.
    pub(super) empty_some: bool,
}

impl Pass {
    pub(super) fn new(proven: Arc<Keys>, names_fields: bool, largest: usize) -> Self {
        Self {
            proven,
            unproven: RefCell::default(),
            last: Cell::new(0),
            names_fields,
            filled: Cell::new(0),
            most: most(largest),
            exceeded: Cell::new(None),
            findings: Cell::default(),
        }
    }

    /// The value as the serializer gets it.
    pub(super) fn value<'p, T: Serialize + ?Sized>(&'p self, value: &'p T) -> impl Serialize + 'p {
        Root(Watched {
            value,
            pass: self,
            level: 1,
            place: Place::ROOT,
            in_some: false,
        })
    }

    /// Says whether nothing like the value came back before.
    pub(super) fn has_unproven(&self) -> bool {
        !self.unproven.borrow().is_empty()
    }

    pub(super) fn unproven(self) -> Keys {
        self.unproven.into_inner()
    }

    /// Says whether a reader finds more in the value than `bytes` bytes can stand for.
    pub(super) fn overfills(&self, bytes: usize) -> bool {
        self.filled.get() > most(bytes)
    }

    /// The limit that was exceeded, if that is why the serializer failed.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get()
    }

    pub(super) fn findings(&self) -> Findings {
        self.findings.get()
    }

    #[inline]
    fn take(&self, turn: Place) {
        let key = turn.key();
        if key != self.last.get() {
            self.last.set(key);
            if !self.proven.contains(key) {
                self.note_unproven(key);
            }
        }
    }

    #[cold]
    fn note_unproven(&self, key: u64) {
        self.unproven.borrow_mut().insert(key);
    }

    fn note(&self, note: impl FnOnce(&mut Findings)) {
        let mut findings = self.findings.get();
        note(&mut findings);
        self.findings.set(findings);
    }

    /// Takes note of an element, or of so many bytes.
    #[inline]
    fn fill<E: ser::Error>(&self, room: usize) -> Result<(), E> {
        let filled = self.filled.get().saturating_add(room);
        self.filled.set(filled);
        if filled <= self.most {
            Ok(())
        } else {
            Err(self.exceed(Exceeded::Size))
        }
    }

    #[cold]
    fn exceed<E: ser::Error>(&self, limit: Exceeded) -> E {
        self.exceeded.set(Some(limit));
        E::custom(limit)
    }
}

/// The whole value.
struct Root<'p, T: ?Sized>(Watched<'p, T>);

impl<T: Serialize + ?Sized> Serialize for Root<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let human_readable = serializer.is_human_readable();
        self.0
            .pass
            .note(|findings| findings.human_readable = human_readable);
        self.0.serialize(serializer)
    }
}

/// A value within the value.
struct Watched<'p, T: ?Sized> {
    value: &'p T,
    pass: &'p Pass,
    level: u8,
    /// The position of the value.
    place: Place,
    /// `true` if it is the content of a `Some`, newtypes around it not counted.
    in_some: bool,
}

impl<T: Serialize + ?Sized> Serialize for Watched<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_type = Place::of_type::<T>();
        self.value.serialize(Watch {
            inner: serializer,
            pass: self.pass,
            level: self.level,
            of_type,
            place: of_type.at(self.place),
            in_some: self.in_some,
        })
    }
}

/// The call that a type makes to serde at its place.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Turn {
    Bool = 1,
    I8,
    I16,
    I32,
    I64,
    I128,
    WideI128,
    U8,
    U16,
    U32,
    U64,
    U128,
    WideU128,
    F32,
    F64,
    NotFinite,
    Char,
    Str,
    Bytes,
    None,
    Some,
    Unit,
    UnitStruct,
    UnitVariant,
    Newtype,
    Variant,
    Seq,
    Tuple,
    Map,
    Key,
    Value,
    Struct,
    LeftOut,
}

impl Place {
    #[inline]
    fn to(self, turn: Turn) -> Self {
        self.turn(turn as u64)
    }

    #[inline]
    fn nth(self, turn: Turn, number: usize) -> Self {
        self.turn(turn as u64 ^ (number as u64) << 8)
    }
}

/// A serializer that watches.
struct Watch<'p, S> {
    inner: S,
    pass: &'p Pass,
    level: u8,
    /// The place of the type of the value.
    of_type: Place,
    /// The place of that type at the position of this value.
    place: Place,
    in_some: bool,
}

impl<'p, S: Serializer> Watch<'p, S> {
    #[inline]
    fn take(&self, turn: Turn) {
        self.pass.take(self.place.to(turn));
    }

    /// The level of what is in this value.
    #[inline]
    fn enter(&self, levels: u8) -> Result<u8, S::Error> {
        match self.level + levels {
            level if level <= LEVELS => Ok(level),
            _ => Err(self.pass.exceed(Exceeded::Depth)),
        }
    }

    /// `None` and what else may be written like it.
    fn empty(&self, turn: Turn) {
        self.take(turn);
        if self.in_some {
            self.pass.note(|findings| findings.empty_some = true);
        }
    }

    /// Content that formats may write as if there were nothing around it.
    #[inline]
    fn transparent<'a, T: ?Sized>(&self, value: &'a T, turn: Turn, level: u8) -> Watched<'a, T>
    where
        'p: 'a,
    {
        let place = self.place.to(turn);
        self.pass.take(place);
        Watched {
            value,
            pass: self.pass,
            level,
            place,
            in_some: matches!(turn, Turn::Some) || self.in_some,
        }
    }

    #[inline]
    fn parts<P>(
        self,
        levels: u8,
        of_type: Place,
        make: impl FnOnce(S) -> Result<P, S::Error>,
    ) -> Result<Parts<'p, P>, S::Error> {
        Ok(Parts {
            level: self.enter(levels)?,
            pass: self.pass,
            of_type,
            number: 0,
            inner: make(self.inner)?,
        })
    }
}

macro_rules! scalars {
    ($($method:ident $type:ty, $turn:ident;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.take(Turn::$turn);
            self.inner.$method(value)
        }
    )*};
}

/// Numbers that some formats keep only in part.
macro_rules! numbers {
    ($($method:ident $type:ty, $is_plain:expr => $plain:ident, $other:ident;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            let is_plain: fn($type) -> bool = $is_plain;
            self.take(if is_plain(value) { Turn::$plain } else { Turn::$other });
            self.inner.$method(value)
        }
    )*};
}

macro_rules! floats {
    ($($method:ident $type:ty, $turn:ident;)*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            if value.is_finite() {
                self.take(Turn::$turn);
            } else {
                self.take(Turn::NotFinite);
                self.pass.note(|findings| findings.not_finite = true);
            }
            self.inner.$method(value)
        }
    )*};
}

impl<'p, S: Serializer> Serializer for Watch<'p, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'p, S::SerializeSeq>;
    type SerializeTuple = Parts<'p, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'p, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'p, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'p, S::SerializeMap>;
    type SerializeStruct = Parts<'p, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'p, S::SerializeStructVariant>;

    scalars! {
        serialize_bool bool, Bool;
        serialize_i8 i8, I8;
        serialize_i16 i16, I16;
        serialize_i32 i32, I32;
        serialize_i64 i64, I64;
        serialize_u8 u8, U8;
        serialize_u16 u16, U16;
        serialize_u32 u32, U32;
        serialize_u64 u64, U64;
        serialize_char char, Char;
    }

    numbers! {
        serialize_i128 i128, |value| i64::try_from(value).is_ok() => I128, WideI128;
        serialize_u128 u128, |value| u64::try_from(value).is_ok() => U128, WideU128;
    }

    floats! {
        serialize_f32 f32, F32;
        serialize_f64 f64, F64;
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<S::Ok, S::Error> {
        self.take(Turn::Str);
        self.pass.fill(value.len())?;
        self.inner.serialize_str(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        self.take(Turn::Bytes);
        self.pass.fill(value.len())?;
        // Some formats read it as a sequence.
        self.enter(1)?;
        self.inner.serialize_bytes(value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.take(Turn::Str);
        self.inner.collect_str(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.empty(Turn::None);
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let level = self.enter(1)?;
        let content = self.transparent(value, Turn::Some, level);
        self.inner.serialize_some(&content)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.empty(Turn::Unit);
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.empty(Turn::UnitStruct);
        self.inner.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.pass.take(self.place.nth(Turn::UnitVariant, index as usize));
        self.enter(1)?;
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let level = self.enter(1)?;
        let content = self.transparent(value, Turn::Newtype, level);
        self.inner.serialize_newtype_struct(name, &content)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.pass.take(self.place.nth(Turn::Variant, index as usize));
        let content = Watched {
            value,
            pass: self.pass,
            level: self.enter(1)?,
            place: self.of_type.nth(Turn::Variant, index as usize),
            in_some: false,
        };
        self.inner
            .serialize_newtype_variant(name, index, variant, &content)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.take(Turn::Seq);
        let of_type = self.of_type;
        self.parts(1, of_type, |inner| inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.pass.take(self.place.nth(Turn::Tuple, len));
        let of_type = self.of_type;
        self.parts(1, of_type, |inner| inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.pass.take(self.place.nth(Turn::Tuple, len));
        let of_type = self.of_type;
        self.parts(1, of_type, |inner| inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let turn = self.place.nth(Turn::Variant, index as usize);
        self.pass.take(turn.nth(Turn::Tuple, len));
        let of_type = self.of_type.nth(Turn::Variant, index as usize);
        self.parts(2, of_type, |inner| {
            inner.serialize_tuple_variant(name, index, variant, len)
        })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.take(Turn::Map);
        let of_type = self.of_type;
        self.parts(1, of_type, |inner| inner.serialize_map(len))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.pass.take(self.place.nth(Turn::Struct, len));
        let of_type = self.of_type;
        self.parts(1, of_type, |inner| inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let turn = self.place.nth(Turn::Variant, index as usize);
        self.pass.take(turn.nth(Turn::Struct, len));
        let of_type = self.of_type.nth(Turn::Variant, index as usize);
        self.parts(2, of_type, |inner| {
            inner.serialize_struct_variant(name, index, variant, len)
        })
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}
