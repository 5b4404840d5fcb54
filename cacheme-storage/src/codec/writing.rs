//! A value as a serializer gets it from the codec: bounded in depth and size, and watched.
//!
//! The wrapper passes everything on. It holds for every serializer, those of other crates included.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use serde::ser::{self, Serialize, Serializer};

use super::limits::{Exceeded, LEVELS, most};
use super::proofs::{Keys, Place};

/// One serialization of one value.
pub(super) struct Pass {
    proven: Arc<Keys>,
    /// Turns that are not proven.
    unproven: RefCell<Keys>,
    /// The turn before: a long sequence takes the same one for each element.
    last: Cell<u64>,
    /// Whether the format writes the names of fields, so that a reader notices an absent one.
    names_fields: bool,
    /// Elements and bytes in strings so far: in most formats each takes a byte of the payload at least.
    filled: Cell<usize>,
    most: usize,
    exceeded: Cell<Option<Exceeded>>,
    facts: Cell<Facts>,
}

/// Findings that explain why a value does not come back.
#[derive(Clone, Copy, Default)]
pub(super) struct Facts {
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
            facts: Cell::default(),
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

    /// Whether nothing like the value came back before.
    pub(super) fn has_unproven(&self) -> bool {
        !self.unproven.borrow().is_empty()
    }

    pub(super) fn unproven(self) -> Keys {
        self.unproven.into_inner()
    }

    /// Whether a reader finds more in the value than `bytes` bytes can stand for.
    pub(super) fn overfills(&self, bytes: usize) -> bool {
        self.filled.get() > most(bytes)
    }

    /// The limit that was exceeded, if that is why the serializer failed.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get()
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts.get()
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

    fn note(&self, note: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.get();
        note(&mut facts);
        self.facts.set(facts);
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
        self.0.pass.note(|facts| facts.human_readable = human_readable);
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
    /// Whether it is the content of a `Some`, newtypes around it not counted.
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
            self.pass.note(|facts| facts.empty_some = true);
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
                self.pass.note(|facts| facts.not_finite = true);
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

/// The parts of a sequence, map, tuple or struct.
struct Parts<'p, P> {
    inner: P,
    pass: &'p Pass,
    level: u8,
    /// The place of the type whose parts these are.
    of_type: Place,
    /// Parts so far, where they have no name.
    number: usize,
}

impl<'p, P> Parts<'p, P> {
    #[inline]
    fn part<'a, T: ?Sized>(&self, value: &'a T, place: Place) -> Watched<'a, T>
    where
        'p: 'a,
    {
        Watched {
            value,
            pass: self.pass,
            level: self.level,
            place,
            in_some: false,
        }
    }
}

impl<S: ser::SerializeSeq> ser::SerializeSeq for Parts<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.pass.fill(1)?;
        let element = self.part(value, self.of_type.to(Turn::Seq));
        self.inner.serialize_element(&element)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

macro_rules! numbered {
    ($($part:ident $method:ident;)*) => {$(
        impl<S: ser::$part> ser::$part for Parts<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let part = self.part(value, self.of_type.nth(Turn::Tuple, self.number));
                self.number += 1;
                self.inner.$method(&part)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

numbered! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl<S: ser::SerializeMap> ser::SerializeMap for Parts<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.pass.fill(1)?;
        let key = self.part(key, self.of_type.to(Turn::Key));
        self.inner.serialize_key(&key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.part(value, self.of_type.to(Turn::Value));
        self.inner.serialize_value(&value)
    }

    #[inline]
    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), S::Error> {
        self.pass.fill(1)?;
        let key = self.part(key, self.of_type.to(Turn::Key));
        let value = self.part(value, self.of_type.to(Turn::Value));
        self.inner.serialize_entry(&key, &value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

macro_rules! named {
    ($($part:ident)*) => {$(
        impl<S: ser::$part> ser::$part for Parts<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let field = self.part(value, self.of_type.field(name));
                self.inner.serialize_field(name, &field)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                if !self.pass.names_fields {
                    return Err(left_out(name));
                }
                self.pass.take(self.of_type.field(name).to(Turn::LeftOut));
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }

/// The reader of a format without names would take the next field's bytes for this field, and now and then they fit.
fn left_out<E: ser::Error>(field: &str) -> E {
    E::custom(format_args!(
        "field `{field}` is left out (`skip_serializing_if`), which this format cannot express; `MsgPack` and `Json`, \
         which name each field, can where the field has a default"
    ))
}
