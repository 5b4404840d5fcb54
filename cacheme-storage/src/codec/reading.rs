//! A value as a serializer makes it for the codec: bounded in depth and size, and watched.
//!
//! Any program that can write to a storage chooses the bytes, so nothing they claim is believed: reading stops at the same depth as
//! writing, at as many elements as the bytes can stand for, and at a bound on what the value takes in memory.
//!
//! A [`Serializer`](crate::Serializer) is asked for a type that can be deserialized and gets no place for a state of ours. So the
//! state of a read is this thread's.

use std::any::type_name;
use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::limits::{Exceeded, LEVELS, memory, most};
use crate::small_box::SmallBox;

thread_local! {
    static BUDGET: Budget = const {
        Budget {
            elements_left: Cell::new(0),
            memory_left: Cell::new(0),
            exceeded: Cell::new(None),
            unsure: Cell::new(None),
        }
    };
}

/// The budget that a read has left, and its findings.
struct Budget {
    elements_left: Cell<usize>,
    memory_left: Cell<usize>,
    exceeded: Cell<Option<Exceeded>>,
    unsure: Cell<Option<Unsure>>,
}

/// The reason why the read of one value says nothing of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsure {
    /// The type finds out what it is while it is read. Serde keeps such a value in a buffer in between, where this wrapper
    /// does not see what becomes of it.
    Buffered,
    /// The type did not read all that was written, or wanted more than there was: what it made up instead was right this time.
    MadeUp,
}

/// The read of one value in this thread. Reads within it have a budget of their own.
pub(super) struct Read {
    outer: Budget,
}

impl Read {
    /// Begins the read of `bytes` bytes, compression undone.
    pub(super) fn begin(bytes: usize, largest: usize) -> Self {
        let budget = Budget {
            elements_left: Cell::new(most(bytes)),
            memory_left: Cell::new(memory(largest)),
            exceeded: Cell::new(None),
            unsure: Cell::new(None),
        };
        BUDGET.with(|current| current.swap(&budget));
        Self { outer: budget }
    }

    /// The limit that was exceeded, if that is why the read failed.
    pub(super) fn exceeded(&self) -> Option<Exceeded> {
        BUDGET.with(|budget| budget.exceeded.get())
    }

    pub(super) fn unsure(&self) -> Option<Unsure> {
        BUDGET.with(|budget| budget.unsure.get())
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        BUDGET.with(|current| current.swap(&self.outer));
    }
}

impl Budget {
    fn swap(&self, other: &Self) {
        self.elements_left.swap(&other.elements_left);
        self.memory_left.swap(&other.memory_left);
        self.exceeded.swap(&other.exceeded);
        self.unsure.swap(&other.unsure);
    }

    #[inline]
    fn element<E: de::Error>(&self, size: usize) -> Result<(), E> {
        let left = self.elements_left.get().checked_sub(1);
        let left = left.ok_or_else(|| self.exceed(Exceeded::Size))?;
        self.elements_left.set(left);
        self.memory(size)
    }

    #[inline]
    fn memory<E: de::Error>(&self, size: usize) -> Result<(), E> {
        let left = self.memory_left.get().checked_sub(size);
        let left = left.ok_or_else(|| self.exceed(Exceeded::Size))?;
        self.memory_left.set(left);
        Ok(())
    }

    #[cold]
    fn exceed<E: de::Error>(&self, limit: Exceeded) -> E {
        self.exceeded.set(Some(limit));
        E::custom(limit)
    }
}

/// The value that was read. To be read between [`Read::begin`] and the drop of what that gave.
pub(super) struct Bounded<V>(pub(super) SmallBox<V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Bounded<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BUDGET.with(|budget| {
            let value = V::deserialize(Bound {
                inner: deserializer,
                budget,
                level: 1,
                is_key: false,
            });
            value.map(|value| Self(SmallBox::new(value)))
        })
    }
}

/// A deserializer, visitor, seed or part of one, with its level.
struct Bound<'b, I> {
    inner: I,
    budget: &'b Budget,
    level: u8,
    /// `true` if it stands for the key of a map.
    is_key: bool,
}

impl<'b, I> Bound<'b, I> {
    /// The level of what is in here.
    #[inline]
    fn enter<E: de::Error>(&self) -> Result<u8, E> {
        if self.level < LEVELS {
            Ok(self.level + 1)
        } else {
            Err(self.budget.exceed(Exceeded::Depth))
        }
    }

    #[inline]
    fn at<J>(&self, inner: J, level: u8) -> Bound<'b, J> {
        Bound {
            inner,
            budget: self.budget,
            level,
            is_key: false,
        }
    }
}

macro_rules! scalars {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! containers {
    ($($method:ident($($name:ident: $type:ty),*) as $asked:expr;)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = Visit { visitor: self.at(visitor, self.level), asked: $asked };
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bound<'_, D> {
    type Error = D::Error;

    // Scalars hold no other values, so nothing bounds them.
    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_char
    }

    containers! {
        deserialize_any() as Asked::Anything;
        deserialize_str() as Asked::Sequence;
        deserialize_bytes() as Asked::Sequence;
        deserialize_option() as Asked::Sequence;
        deserialize_unit() as Asked::Sequence;
        deserialize_unit_struct(name: &'static str) as Asked::Sequence;
        deserialize_newtype_struct(name: &'static str) as Asked::Sequence;
        deserialize_seq() as Asked::Sequence;
        deserialize_tuple(len: usize) as Asked::Tuple(len);
        deserialize_tuple_struct(name: &'static str, len: usize) as Asked::Tuple(len);
        deserialize_map() as Asked::Map;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) as Asked::Struct;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) as Asked::Sequence;
    }

    // Asked for an owned string, a format may allocate as much as the bytes claim. Borrowed, it cannot.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        if self.is_key {
            // The key of a map is a field's name: what is flattened into the struct goes through serde's buffer.
            self.budget.unsure.set(Some(Unsure::Buffered));
        }
        self.inner.deserialize_identifier(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.budget.unsure.set(Some(Unsure::MadeUp));
        let visitor = Visit {
            visitor: self.at(visitor, self.level),
            asked: Asked::Anything,
        };
        self.inner.deserialize_ignored_any(visitor)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The kind of value that the type asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Anything,
    Sequence,
    Tuple(usize),
    Map,
    Struct,
}

/// The one type that asks for anything and goes through no buffer. Should the name change, its values are read back each time.
const JSON_VALUE: &str = "serde_json::value::Value";

/// A visitor.
struct Visit<'b, V> {
    visitor: Bound<'b, V>,
    asked: Asked,
}

impl<'b, V> Visit<'b, V> {
    /// Takes note of what is about to be visited, which holds other values.
    #[inline]
    fn enter<'de, E: de::Error>(&self) -> Result<u8, E>
    where
        V: Visitor<'de>,
    {
        let budget = self.visitor.budget;
        if self.asked == Asked::Anything && type_name::<V::Value>() != JSON_VALUE {
            budget.unsure.set(Some(Unsure::Buffered));
        }
        budget.memory(size_of::<V::Value>())?;
        self.visitor.enter()
    }
}

macro_rules! visits {
    ($($method:ident $type:ty;)*) => {$(
        #[inline]
        fn $method<E: de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Visit<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.inner.expecting(f)
    }

    visits! {
        visit_bool bool;
        visit_i8 i8;
        visit_i16 i16;
        visit_i32 i32;
        visit_i64 i64;
        visit_i128 i128;
        visit_u8 u8;
        visit_u16 u16;
        visit_u32 u32;
        visit_u64 u64;
        visit_u128 u128;
        visit_f32 f32;
        visit_f64 f64;
        visit_char char;
        visit_str &str;
        visit_borrowed_str &'de str;
        visit_string String;
        visit_bytes &[u8];
        visit_borrowed_bytes &'de [u8];
        visit_byte_buf Vec<u8>;
    }

    #[inline]
    fn visit_none<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: de::Error>(self) -> Result<V::Value, E> {
        self.visitor.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, content: D) -> Result<V::Value, D::Error> {
        let level = self.enter()?;
        let content = self.visitor.at(content, level);
        self.visitor.inner.visit_some(content)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, content: D) -> Result<V::Value, D::Error> {
        let level = self.enter()?;
        let content = self.visitor.at(content, level);
        self.visitor.inner.visit_newtype_struct(content)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let level = self.enter()?;
        let elements = Elements {
            elements: self.visitor.at(elements, level),
            asked: self.asked,
            number: 0,
        };
        self.visitor.inner.visit_seq(elements)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let level = self.enter()?;
        let entries = Entries {
            entries: self.visitor.at(entries, level),
            asked: self.asked,
        };
        self.visitor.inner.visit_map(entries)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let level = self.enter()?;
        let variant = self.visitor.at(variant, level);
        self.visitor.inner.visit_enum(variant)
    }
}

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Bound<'_, T> {
    type Value = T::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T::Value, D::Error> {
        self.inner.deserialize(Bound {
            inner: deserializer,
            budget: self.budget,
            level: self.level,
            is_key: self.is_key,
        })
    }
}

/// The elements of a sequence or tuple.
struct Elements<'b, A> {
    elements: Bound<'b, A>,
    asked: Asked,
    number: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.elements.at(seed, self.elements.level);
        let element = self.elements.inner.next_element_seed(seed)?;
        match (element.is_some(), self.asked) {
            (true, Asked::Tuple(_)) => self.number += 1,
            // As many as the type has fields.
            (true, Asked::Struct) => {}
            (true, _) => self.elements.budget.element(size_of::<T::Value>())?,
            (false, Asked::Tuple(len)) if self.number < len => {
                self.elements.budget.unsure.set(Some(Unsure::MadeUp));
            }
            (false, _) => {}
        }
        Ok(element)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.elements.inner.size_hint()
    }
}

/// The entries of a map, or the fields of a struct.
struct Entries<'b, A> {
    entries: Bound<'b, A>,
    asked: Asked,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let is_field = self.asked == Asked::Struct;
        let mut seed = self.entries.at(seed, self.entries.level);
        seed.is_key = !is_field;
        let key = self.entries.inner.next_key_seed(seed)?;
        if key.is_some() && !is_field {
            self.entries.budget.element(size_of::<K::Value>())?;
        }
        Ok(key)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.entries.at(seed, self.entries.level);
        let value = self.entries.inner.next_value_seed(seed)?;
        if self.asked != Asked::Struct {
            self.entries.budget.memory(size_of::<T::Value>())?;
        }
        Ok(value)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.entries.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bound<'b, A> {
    type Error = A::Error;
    type Variant = Bound<'b, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let (budget, level) = (self.budget, self.level);
        let seed = self.at(seed, level);
        let (variant, content) = self.inner.variant_seed(seed)?;
        let content = Bound {
            inner: content,
            budget,
            level,
            is_key: false,
        };
        Ok((variant, content))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bound<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.at(seed, self.level);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = Visit {
            visitor: self.at(visitor, self.level),
            asked: Asked::Tuple(len),
        };
        self.inner.tuple_variant(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = Visit {
            visitor: self.at(visitor, self.level),
            asked: Asked::Struct,
        };
        self.inner.struct_variant(fields, visitor)
    }
}
