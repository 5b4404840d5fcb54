//! A digest of what a value asks of serde, for telling whether a value came back.
//!
//! Not of its bytes: `Some(None)` and `None` are one in JSON. Elements and entries count whatever their order, since a hash map that
//! is built anew has another one. An integer counts by its value, a variant without content by its name: where an
//! untagged enum takes the first variant that fits, that is what the type says.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use serde::ser::{self, Serialize, Serializer};

/// A digest of the calls that a value makes to serde.
pub(super) struct Digest {
    pub(super) sum: u64,
    /// The names of the fields of each struct in it.
    pub(super) structs: BTreeSet<Vec<&'static str>>,
}

impl Digest {
    /// Of `value` as a format has it written that is for people or is not.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T, human_readable: bool) -> Result<Self, Failed> {
        let structs = RefCell::default();
        let sum = value.serialize(Summing {
            human_readable,
            structs: &structs,
        })?;
        let structs = structs.into_inner();
        Ok(Self { sum, structs })
    }
}

/// The error of the value's own `Serialize`.
#[derive(Debug)]
pub(super) struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl ser::Error for Failed {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[derive(Clone, Copy)]
struct Summing<'d> {
    human_readable: bool,
    structs: &'d RefCell<BTreeSet<Vec<&'static str>>>,
}

#[derive(Hash)]
enum Tag {
    Bool,
    Integer,
    F32,
    F64,
    Text,
    Bytes,
    None,
    Some,
    Unit,
    Newtype,
    Variant,
    Seq,
    Tuple,
    Map,
    Entry,
    Struct,
}

fn hash(tag: Tag, content: impl Hash) -> u64 {
    FixedState::with_seed(0).hash_one((tag, content))
}

macro_rules! scalars {
    ($($method:ident $type:ty, $tag:ident, $content:expr;)*) => {$(
        fn $method(self, value: $type) -> Result<u64, Failed> {
            let content: fn($type) -> _ = $content;
            Ok(hash(Tag::$tag, content(value)))
        }
    )*};
}

impl<'d> Serializer for Summing<'d> {
    type Ok = u64;
    type Error = Failed;
    type SerializeSeq = Sum<'d>;
    type SerializeTuple = Sum<'d>;
    type SerializeTupleStruct = Sum<'d>;
    type SerializeTupleVariant = Sum<'d>;
    type SerializeMap = Sum<'d>;
    type SerializeStruct = Sum<'d>;
    type SerializeStructVariant = Sum<'d>;

    scalars! {
        serialize_bool bool, Bool, |value| value;
        serialize_i8 i8, Integer, |value| (false, i128::from(value));
        serialize_i16 i16, Integer, |value| (false, i128::from(value));
        serialize_i32 i32, Integer, |value| (false, i128::from(value));
        serialize_i64 i64, Integer, |value| (false, i128::from(value));
        serialize_i128 i128, Integer, |value| (false, value);
        serialize_u8 u8, Integer, |value| (false, i128::from(value));
        serialize_u16 u16, Integer, |value| (false, i128::from(value));
        serialize_u32 u32, Integer, |value| (false, i128::from(value));
        serialize_u64 u64, Integer, |value| (false, i128::from(value));
        serialize_u128 u128, Integer, |value| (value > i128::MAX as u128, value as i128);
        serialize_f32 f32, F32, f32::to_bits;
        serialize_f64 f64, F64, f64::to_bits;
        serialize_unit_struct &'static str, Unit, |_| ();
    }

    fn serialize_char(self, value: char) -> Result<u64, Failed> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<u64, Failed> {
        Ok(hash(Tag::Text, value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<u64, Failed> {
        Ok(hash(Tag::Bytes, value))
    }

    fn serialize_none(self) -> Result<u64, Failed> {
        Ok(hash(Tag::None, ()))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Failed> {
        Ok(hash(Tag::Some, value.serialize(self)?))
    }

    fn serialize_unit(self) -> Result<u64, Failed> {
        Ok(hash(Tag::Unit, ()))
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<u64, Failed> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<u64, Failed> {
        Ok(hash(Tag::Newtype, value.serialize(self)?))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<u64, Failed> {
        Ok(hash(Tag::Variant, (variant, value.serialize(self)?)))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Sum<'d>, Failed> {
        Ok(self.sum(hash(Tag::Seq, ())))
    }

    fn serialize_tuple(self, len: usize) -> Result<Sum<'d>, Failed> {
        Ok(self.sum(hash(Tag::Tuple, len)))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Sum<'d>, Failed> {
        self.serialize_tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Sum<'d>, Failed> {
        Ok(self.sum(hash(Tag::Variant, (variant, len))))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Sum<'d>, Failed> {
        Ok(self.sum(hash(Tag::Map, ())))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Sum<'d>, Failed> {
        Ok(self.sum(hash(Tag::Struct, ())))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Sum<'d>, Failed> {
        Ok(self.sum(hash(Tag::Variant, variant)))
    }

    fn is_human_readable(&self) -> bool {
        self.human_readable
    }
}

impl<'d> Summing<'d> {
    fn sum(self, what: u64) -> Sum<'d> {
        Sum {
            summing: self,
            what,
            sum: 0,
            parts: 0,
            key: 0,
            fields: Vec::new(),
        }
    }
}

/// The digest of what has parts, as far as they are known.
struct Sum<'d> {
    summing: Summing<'d>,
    what: u64,
    sum: u64,
    parts: usize,
    /// The digest of the last key of a map.
    key: u64,
    /// The names of the fields of a struct.
    fields: Vec<&'static str>,
}

impl Sum<'_> {
    fn add(&mut self, part: u64) {
        self.sum = self.sum.wrapping_add(part);
        self.parts += 1;
    }

    fn total(self) -> Result<u64, Failed> {
        Ok(hash(Tag::Seq, (self.what, self.sum, self.parts)))
    }
}

impl ser::SerializeSeq for Sum<'_> {
    type Ok = u64;
    type Error = Failed;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let element = value.serialize(self.summing)?;
        self.add(hash(Tag::Entry, element));
        Ok(())
    }

    fn end(self) -> Result<u64, Failed> {
        self.total()
    }
}

macro_rules! numbered {
    ($($part:ident $method:ident;)*) => {$(
        impl ser::$part for Sum<'_> {
            type Ok = u64;
            type Error = Failed;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
                let part = value.serialize(self.summing)?;
                self.add(hash(Tag::Entry, (self.parts, part)));
                Ok(())
            }

            fn end(self) -> Result<u64, Failed> {
                self.total()
            }
        }
    )*};
}

numbered! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl ser::SerializeMap for Sum<'_> {
    type Ok = u64;
    type Error = Failed;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Failed> {
        self.key = key.serialize(self.summing)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failed> {
        let value = value.serialize(self.summing)?;
        self.add(hash(Tag::Entry, (self.key, value)));
        Ok(())
    }

    fn end(self) -> Result<u64, Failed> {
        self.total()
    }
}

macro_rules! named {
    ($($part:ident)*) => {$(
        impl ser::$part for Sum<'_> {
            type Ok = u64;
            type Error = Failed;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Failed> {
                let field = value.serialize(self.summing)?;
                self.add(hash(Tag::Entry, (name, field)));
                self.fields.push(name);
                Ok(())
            }

            fn end(mut self) -> Result<u64, Failed> {
                let fields = std::mem::take(&mut self.fields);
                self.summing.structs.borrow_mut().insert(fields);
                self.total()
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }
