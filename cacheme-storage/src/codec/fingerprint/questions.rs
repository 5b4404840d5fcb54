//! The deserializer that has no data: answers every question with a sample value and notes it in the tree of
//! [`shape`](super::shape).

use std::any::type_name;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::shape::{Ancestor, AsksData, Kind, Node, Tracer, TypeId};

/// Visits that a recursive occurrence waits for the enum around it to find a variant that ends.
const MAX_WAITS: u32 = 3;

const INTS: [u8; 3] = [1, 0, 2];
const CHARS: [char; 3] = ['a', 'A', '0'];
/// Strings that types which parse a string commonly take.
pub(super) const STRINGS: [&str; 14] = [
    "",
    "1",
    "a",
    "1.0.0",
    "2000-01-01",
    "00:00:00",
    "2000-01-01T00:00:00",
    "2000-01-01T00:00:00Z",
    "127.0.0.1",
    "127.0.0.1:80",
    "http://localhost/",
    "00000000-0000-4000-8000-000000000001",
    "UTC",
    "en",
];
/// Lengths of common binary ids: UUID, integers, ObjectId, SHA-1, SHA-256.
const BYTES: [&[u8]; 7] = [&[], &[1; 16], &[1; 4], &[1; 8], &[1; 12], &[1; 20], &[1; 32]];

/// The deserializer: what a type asks it at one node.
pub(super) struct Questions<'t> {
    pub(super) tracer: &'t mut Tracer,
    pub(super) node: &'t mut Node,
    /// Samples rejected here or by a type around here: where in the lists to begin.
    pub(super) rejected: usize,
    /// Inside of a recursion: the shortest value will do.
    pub(super) ending: bool,
}

impl Questions<'_> {
    fn sample<T: Copy>(&self, samples: &[T]) -> T {
        samples[self.rejected % samples.len()]
    }

    /// Says whether `T` is being read around here already, and if so, what is known of it.
    fn recursion<T>(&self) -> Option<(usize, Option<usize>)> {
        let ancestors = &self.tracer.ancestors;
        let at = ancestors
            .iter()
            .rposition(|ancestor| ancestor.type_name == type_name::<T>())?;
        Some((ancestors.len() - at, ancestors[at].ends_with))
    }

    /// Notes the container of `T` that is read here, or, if that is what a `T` is being read for, a recursion.
    fn enter<T>(&mut self, kind: Kind, token: impl FnOnce() -> String) -> Result<(), Stop> {
        if let Some((levels, _)) = self.recursion::<T>() {
            self.node.is(Kind::Recursion, || format!("^{levels}"));
            self.node.die();
            self.tracer.blamed = true;
            return Err(Stop);
        }
        self.node.is(kind, token);
        self.tracer.ancestors.push(Ancestor {
            type_name: type_name::<T>(),
            ends_with: self.node.ends_with,
        });
        Ok(())
    }

    fn leaf(&mut self, token: &'static str) {
        self.node.is(Kind::Free, || token.to_owned());
    }

    /// Goes on at the only child, on behalf of a visitor that reads the content itself.
    fn inner<T>(self, read: impl FnOnce(Questions<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
        let child = self.node.child(0);
        self.tracer
            .explore(child, TypeId::of::<T>(), self.rejected, self.ending, read)
    }

    fn children(&mut self, order: Vec<usize>, names: &'static [&'static str]) -> Children<'_> {
        Children {
            tracer: &mut *self.tracer,
            node: &mut *self.node,
            rejected: self.rejected,
            ending: self.ending,
            order: order.into_iter(),
            names,
            current: 0,
        }
    }

    /// Makes the children before they are visited, so that those which were not reached count as unsettled.
    fn expect_children(&mut self, count: usize) {
        if let Some(last) = count.checked_sub(1) {
            self.node.child(last);
        }
    }

    fn tuple<'de, V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.expect_children(len);
        visitor.visit_seq(self.children((0..len).collect(), &[]))
    }

    /// Reads fields in their order, or, where one is dead, by name with the dead ones last.
    fn fields<'de, V: Visitor<'de>>(
        mut self,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.fields = names;
        self.expect_children(names.len());
        let mut order: Vec<usize> = (0..names.len()).collect();
        let dead = |node: &mut Node, index: usize| node.child(index).dead;
        if order.iter().any(|&index| dead(self.node, index)) {
            order.sort_by_key(|&index| dead(self.node, index));
            visitor.visit_map(self.children(order, names))
        } else {
            visitor.visit_seq(self.children(order, names))
        }
    }
}

fn listed(what: &str, name: &str, parts: &[&str]) -> String {
    format!("{what} {name:?}{parts:?}")
}

macro_rules! scalars {
    ($($ask:ident $answer:ident $token:literal $sample:expr;)*) => {$(
        fn $ask<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
            self.leaf($token);
            let sample: fn(&Self) -> _ = $sample;
            visitor.$answer(sample(&self))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Questions<'_> {
    type Error = Stop;

    scalars! {
        deserialize_bool visit_bool "bool" |this| this.sample(&[false, true]);
        deserialize_i8 visit_i8 "i8" |this| this.sample(&INTS) as i8;
        deserialize_i16 visit_i16 "i16" |this| i16::from(this.sample(&INTS));
        deserialize_i32 visit_i32 "i32" |this| i32::from(this.sample(&INTS));
        deserialize_i64 visit_i64 "i64" |this| i64::from(this.sample(&INTS));
        deserialize_i128 visit_i128 "i128" |this| i128::from(this.sample(&INTS));
        deserialize_u8 visit_u8 "u8" |this| this.sample(&INTS);
        deserialize_u16 visit_u16 "u16" |this| u16::from(this.sample(&INTS));
        deserialize_u32 visit_u32 "u32" |this| u32::from(this.sample(&INTS));
        deserialize_u64 visit_u64 "u64" |this| u64::from(this.sample(&INTS));
        deserialize_u128 visit_u128 "u128" |this| u128::from(this.sample(&INTS));
        deserialize_f32 visit_f32 "f32" |this| f32::from(this.sample(&INTS));
        deserialize_f64 visit_f64 "f64" |this| f64::from(this.sample(&INTS));
        deserialize_char visit_char "char" |this| this.sample(&CHARS);
        deserialize_str visit_borrowed_str "str" |this| this.sample(&STRINGS);
        deserialize_string visit_borrowed_str "str" |this| this.sample(&STRINGS);
        deserialize_bytes visit_borrowed_bytes "bytes" |this| this.sample(&BYTES);
        deserialize_byte_buf visit_borrowed_bytes "bytes" |this| this.sample(&BYTES);
    }

    /// The type will be what the data is.
    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf("any");
        self.node.opaque = true;
        self.node.asks_data = AsksData::ForItself;
        match self.rejected % 4 {
            0 => visitor.visit_unit(),
            1 => visitor.visit_u64(1),
            2 => visitor.visit_borrowed_str(STRINGS[1]),
            _ => visitor.visit_map(self.children(Vec::new(), &[])),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf("ignored");
        self.node.asks_data = AsksData::ForItself;
        visitor.visit_unit()
    }

    /// A key that is a field's name where there was no list of fields: a flattened struct, which is known to nobody but
    /// itself.
    fn deserialize_identifier<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf("identifier");
        self.node.opaque = true;
        self.node.asks_data = AsksData::ForAField;
        visitor.visit_borrowed_str(self.sample(&STRINGS))
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.is(Kind::Free, || listed("unit", name, &[]));
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Free, || "option".into())?;
        if self.ending || self.node.child(0).dead {
            visitor.visit_none()
        } else {
            self.inner(|content| visitor.visit_some(content))
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Ordered, || listed("newtype", name, &[]))?;
        self.inner(|content| visitor.visit_newtype_struct(content))
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Free, || "seq".into())?;
        let elements = usize::from(!self.ending && !self.node.child(0).dead);
        self.tuple(elements, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Ordered, || format!("tuple {len}"))?;
        self.tuple(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Ordered, || format!("{} {len}", listed("tuple", name, &[])))?;
        self.tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Free, || "map".into())?;
        let dead = self.node.child(0).dead || self.node.child(1).dead;
        let order = if self.ending || dead { vec![] } else { vec![0, 1] };
        visitor.visit_map(Entries(self.children(order, &[])))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.enter::<V::Value>(Kind::Named, || listed("struct", name, fields))?;
        self.fields(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if let Some((levels, ends_with)) = self.recursion::<V::Value>() {
            return self.recurse(levels, ends_with, variants, visitor);
        }
        self.enter::<V::Value>(Kind::Choice, || listed("enum", name, variants))?;
        if variants.is_empty() {
            self.node.die();
            self.tracer.blamed = true;
            return Err(Stop);
        }
        self.expect_children(variants.len());
        let unsettled = |index: &usize| !self.node.children[*index].settled;
        let least_tried = |index: &usize| self.node.children[*index].failures;
        let chosen = (0..variants.len())
            .filter(unsettled)
            .min_by_key(least_tried)
            .or(self.node.ends_with)
            .unwrap_or(0);
        let type_id = TypeId::of::<V::Value>();
        let variant = &mut self.node.children[chosen];
        let outcome = self
            .tracer
            .explore(variant, type_id, self.rejected, self.ending, |content| {
                visitor.visit_enum(Variant {
                    name: variants[chosen],
                    content,
                })
            });
        match outcome {
            Ok(_) => self.node.ends_with = self.node.ends_with.or(Some(chosen)),
            Err(Stop) => self.node.children[chosen].failures += 1,
        }
        outcome
    }

    /// Binary formats are the default, and what they are given decides the bytes.
    fn is_human_readable(&self) -> bool {
        false
    }
}

impl Questions<'_> {
    /// An enum inside itself.
    fn recurse<'de, V: Visitor<'de>>(
        self,
        levels: usize,
        ends_with: Option<usize>,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.is(Kind::Recursion, || format!("^{levels}"));
        let Some(chosen) = ends_with.filter(|_| !self.ending) else {
            self.node.failures += 1;
            if self.ending || self.node.failures >= MAX_WAITS {
                self.node.die();
            }
            self.tracer.blamed = true;
            return Err(Stop);
        };
        let type_id = TypeId::of::<V::Value>();
        let outcome = self
            .tracer
            .explore(self.node.child(0), type_id, self.rejected, true, |content| {
                visitor.visit_enum(Variant {
                    name: variants[chosen],
                    content,
                })
            });
        if self.node.child(0).dead {
            self.node.die();
        }
        outcome
    }
}

/// Children of a node, read one after the other.
struct Children<'t> {
    tracer: &'t mut Tracer,
    node: &'t mut Node,
    rejected: usize,
    ending: bool,
    /// Indices of the children that remain.
    order: std::vec::IntoIter<usize>,
    /// Their names, where they have any.
    names: &'static [&'static str],
    /// The child whose key was read last.
    current: usize,
}

impl Children<'_> {
    fn read<'de, T: DeserializeSeed<'de>>(&mut self, index: usize, seed: T) -> Result<T::Value, Stop> {
        let child = self.node.child(index);
        self.tracer.explore(
            child,
            TypeId::of::<T::Value>(),
            self.rejected,
            self.ending,
            |questions| seed.deserialize(questions),
        )
    }
}

impl<'de> de::SeqAccess<'de> for Children<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some(index) = self.order.next() else {
            return Ok(None);
        };
        self.read(index, seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.order.len())
    }
}

/// Fields by name.
impl<'de> de::MapAccess<'de> for Children<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some(index) = self.order.next() else {
            return Ok(None);
        };
        self.current = index;
        let name = self.names.get(index).copied().unwrap_or_default();
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        self.read(self.current, seed)
    }
}

/// The one entry of a map: its key is the first child, its value the second.
struct Entries<'t>(Children<'t>);

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        de::SeqAccess::next_element_seed(&mut self.0, seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        self.0.order.next();
        self.0.read(1, seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.order.len() / 2)
    }
}

/// One variant of an enum.
struct Variant<'t> {
    name: &'static str,
    /// The node that describes its content.
    content: Questions<'t>,
}

impl<'de, 't> de::EnumAccess<'de> for Variant<'t> {
    type Error = Stop;
    type Variant = Questions<'t>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Questions<'t>), Stop> {
        let name: StrDeserializer<'_, Stop> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self.content))
    }
}

impl<'de> de::VariantAccess<'de> for Questions<'_> {
    type Error = Stop;

    fn unit_variant(mut self) -> Result<(), Stop> {
        self.leaf("unit");
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, Stop> {
        self.node.is(Kind::Ordered, || "newtype".into());
        self.children(vec![], &[]).read(0, seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Stop> {
        self.node.is(Kind::Ordered, || format!("tuple {len}"));
        self.tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.is(Kind::Named, || format!("struct {fields:?}"));
        self.fields(fields, visitor)
    }
}

/// Ends a pass. Why is noted in the tree.
#[derive(Debug)]
pub(super) struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample value was rejected")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
