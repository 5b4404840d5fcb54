//! The shape of a type, as its `Deserialize` implementation tells it.
//!
//! A deserializer that has no data answers every question with a sample value and takes notes. The idea is that of
//! [serde-reflection](https://docs.rs/serde-reflection), which cannot be used here: it overflows the stack on an enum
//! whose first variant holds the enum, gives up on the whole type at the first field that rejects its sample, and sees
//! only one variant of an enum inside a `Vec` or an `Option`.
//!
//! One deserialization sees one variant of each enum, and ends at the first sample that is rejected. So the type is
//! deserialized over and over, and a tree that outlives these passes keeps what is known:
//!
//! - an enum takes the variant that was tried least, until each is settled;
//! - where a sample is rejected the next pass offers another; a node out of samples is *dead*: known to
//!   yield no value;
//! - a struct reads its dead fields last, so that the others are seen nevertheless; an option with dead content is
//!   `None`, a sequence or map empty;
//! - a type that contains itself is cut where it occurs again. For a value there, an enum takes a variant that was
//!   seen to end; anything else is dead.
//!
//! Each pass settles something, kills something, or uses up a sample, all finitely many; budgets on passes, nodes and
//! depth hold whatever a `Deserialize` implementation does. Nothing depends on time or randomness.

use std::any::type_name;
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};

/// Deserializations of the whole type.
const MAX_PASSES: usize = 2_000;
/// Nodes visited, over all passes: some tens of milliseconds.
const MAX_VISITS: usize = 200_000;
/// Levels of nesting: bounds the stack, which a `Deserialize` implementation in a debug build uses generously.
const MAX_DEPTH: usize = 32;
/// Visits that a recursive occurrence waits for the enum around it to find a variant that ends.
const MAX_WAITS: u32 = 3;

const INTS: [u8; 3] = [1, 0, 2];
const CHARS: [char; 3] = ['a', 'A', '0'];
/// What types that parse a string commonly take.
const STRINGS: [&str; 14] = [
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
const SAMPLES: usize = STRINGS.len();

/// The shape of `V` as text. Equal for equal shapes, and only for these as far as serde tells.
pub(super) fn describe<V: DeserializeOwned>() -> String {
    let mut root = Node::default();
    let mut tracer = Tracer {
        visits_left: MAX_VISITS,
        blamed: false,
        ancestors: Vec::new(),
    };
    for _ in 0..MAX_PASSES {
        tracer.blamed = false;
        // The value is of no interest, and a failed pass has left its reason in the tree.
        drop(
            tracer.explore(&mut root, TypeId::of::<V>(), 0, false, |questions| {
                V::deserialize(questions)
            }),
        );
        if root.settled || tracer.visits_left == 0 {
            break;
        }
    }
    if !root.settled {
        root.opaque = true;
    }
    let mut text = String::new();
    root.describe(&mut text);
    text
}

/// What stands in the text for a type that serde does not describe.
#[derive(Clone, Copy, Default)]
struct TypeId {
    name: &'static str,
    size: usize,
    align: usize,
}

impl TypeId {
    fn of<T>() -> Self {
        Self {
            name: type_name::<T>(),
            size: size_of::<T>(),
            align: align_of::<T>(),
        }
    }
}

/// How the value of a node depends on its children.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// Not at all: scalars, options, sequences, maps.
    #[default]
    Free,
    /// All are needed, in order: tuples, newtypes.
    Ordered,
    /// All are needed, in any order: structs.
    Named,
    /// One is needed: enums.
    Choice,
    /// A type inside itself; its child is not part of the shape.
    Recursion,
}

/// A place in the shape of the type, and what the passes so far have found out about it.
#[derive(Default)]
struct Node {
    /// What the type asked for here; empty until it was visited.
    token: String,
    kind: Kind,
    children: Vec<Node>,
    type_id: TypeId,
    /// The type's name, size and alignment count, because serde does not tell (all of) its shape.
    opaque: bool,
    visited: bool,
    /// No pass will find out more.
    settled: bool,
    /// No pass will get a value.
    dead: bool,
    /// How many samples were rejected.
    rejected: usize,
    /// Visits that brought nothing: of a variant, or of a recursion without an end.
    failures: u32,
    /// The variant of an enum that was first seen to yield a value.
    ends_with: Option<usize>,
}

impl Node {
    fn child(&mut self, index: usize) -> &mut Self {
        if self.children.len() <= index {
            self.children.resize_with(index + 1, Self::default);
        }
        &mut self.children[index]
    }

    fn is(&mut self, kind: Kind, token: impl FnOnce() -> String) {
        if self.token.is_empty() {
            self.token = token();
            self.kind = kind;
        }
    }

    fn die(&mut self) {
        self.dead = true;
        self.settled = true;
    }

    /// Takes note that the node's own code, not a child's, rejected what it was given.
    fn reject(&mut self) {
        self.rejected += 1;
        if self.rejected >= SAMPLES {
            self.opaque = true;
            self.die();
        }
    }

    /// What follows for this node from its children, after a pass that got a value here or did not.
    fn conclude(&mut self, got_value: bool) {
        let all_settled = self.children.iter().all(|child| child.settled);
        // A value may need fewer children than were offered: a field has one name in the list for each of its aliases.
        let visited_settled = self.children.iter().all(|child| child.settled || !child.visited);
        let any_dead = self.children.iter().any(|child| child.dead);
        match self.kind {
            Kind::Recursion => self.settled |= got_value,
            Kind::Free => self.settled |= got_value && visited_settled,
            Kind::Choice if all_settled && self.ends_with.is_none() => self.die(),
            Kind::Choice => self.settled |= all_settled,
            Kind::Named | Kind::Ordered if got_value => self.settled |= visited_settled,
            Kind::Named if any_dead && all_settled => self.die(),
            Kind::Ordered if any_dead => {
                // The elements after the dead one cannot be seen.
                self.opaque |= !all_settled;
                self.die();
            }
            Kind::Named | Kind::Ordered => {}
        }
    }

    fn describe(&self, text: &mut String) {
        text.push_str(&self.token);
        if self.opaque {
            let TypeId { name, size, align } = self.type_id;
            write!(text, "={name}/{size}/{align}").expect("a String takes all that is written");
        }
        if self.kind != Kind::Recursion && !self.children.is_empty() {
            text.push('(');
            for child in &self.children {
                child.describe(text);
                text.push(',');
            }
            text.push(')');
        }
    }
}

/// A container on the way from the root to the node that is being visited.
struct Ancestor {
    type_name: &'static str,
    ends_with: Option<usize>,
}

struct Tracer {
    visits_left: usize,
    /// Somewhere below, the reason of the error under way has been noted.
    blamed: bool,
    ancestors: Vec<Ancestor>,
}

impl Tracer {
    /// Runs the user's code that reads a value of `type_id` at `node`, and notes what came of it.
    fn explore<T>(
        &mut self,
        node: &mut Node,
        type_id: TypeId,
        rejected: usize,
        ending: bool,
        read: impl FnOnce(Questions<'_>) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        node.type_id = type_id;
        node.visited = true;
        if self.visits_left == 0 || node.dead {
            self.blamed = true;
            return Err(Stop);
        }
        self.visits_left -= 1;
        let depth = self.ancestors.len();
        if depth >= MAX_DEPTH {
            node.opaque = true;
            node.die();
            self.blamed = true;
            return Err(Stop);
        }
        let rejected = rejected.max(node.rejected);
        // A panic leaves the tree with less known, never wrong, and the node gets no second visit.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            read(Questions {
                tracer: self,
                node,
                rejected,
                ending,
            })
        }));
        self.ancestors.truncate(depth);
        let Ok(outcome) = outcome else {
            self.blamed = true;
            node.opaque = true;
            node.die();
            return Err(Stop);
        };
        if outcome.is_ok() {
            // Whatever was rejected below, the type made do without it.
            self.blamed = false;
        } else if !self.blamed {
            self.blamed = true;
            node.reject();
        }
        node.conclude(outcome.is_ok());
        outcome
    }
}

/// The deserializer: what a type asks it at one node.
struct Questions<'t> {
    tracer: &'t mut Tracer,
    node: &'t mut Node,
    /// Samples rejected here or by a type around here: where in the lists to begin.
    rejected: usize,
    /// Inside of a recursion: the shortest value will do.
    ending: bool,
}

impl Questions<'_> {
    fn sample<T: Copy>(&self, samples: &[T]) -> T {
        samples[self.rejected % samples.len()]
    }

    /// Whether `T` is being read around here already, and if so, what is known of it.
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
        match self.rejected % 4 {
            0 => visitor.visit_unit(),
            1 => visitor.visit_u64(1),
            2 => visitor.visit_borrowed_str(STRINGS[1]),
            _ => visitor.visit_map(self.children(Vec::new(), &[])),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf("ignored");
        visitor.visit_unit()
    }

    /// A key that is a field's name where there was no list of fields: a flattened struct, which is known to nobody but
    /// itself.
    fn deserialize_identifier<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Stop> {
        self.leaf("identifier");
        self.node.opaque = true;
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
    /// Where its content is described.
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
struct Stop;

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
