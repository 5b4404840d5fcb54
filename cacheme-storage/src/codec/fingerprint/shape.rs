//! The shape of a type, as its `Deserialize` implementation tells it.
//!
//! A deserializer that has no data answers every question with a sample value and takes notes. The idea is that of
//! [serde-reflection](https://docs.rs/serde-reflection). That crate cannot be used here. Its version 0.6.0
//!
//! - overflows the stack on an enum whose first variant holds the enum, which no caller can catch;
//! - gives up on the whole type at the first field that rejects its sample;
//! - sees one variant of an enum within a struct, a `Vec` or an `Option` (of `IpAddr`, say), unless its caller names that
//!   enum. A codec knows the type of the whole value only;
//! - keeps containers by their names alone, and a value may hold two types of one name;
//! - brings `serde_json` and `thiserror` 1 into builds without them. It has 4 900 lines, and these two files 800.
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
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;

use super::questions::{Questions, STRINGS, Stop};

/// Deserializations of the whole type.
const MAX_PASSES: usize = 2_000;
/// Nodes visited, over all passes: some tens of milliseconds.
const MAX_VISITS: usize = 200_000;
/// Levels of nesting: bounds the stack, which a `Deserialize` implementation in a debug build uses generously.
const MAX_DEPTH: usize = 32;
/// Samples that a type may reject at one place; as many as the longest list has.
const SAMPLES: usize = STRINGS.len();

/// The shape of a type, as far as serde tells.
pub(super) struct Shape(Node);

impl Shape {
    pub(super) fn of<V: DeserializeOwned>() -> Self {
        let mut root = trace::<V>();
        if !root.settled {
            root.opaque = true;
        }
        Self(root)
    }

    /// Equal for equal shapes, and only for these.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.0.describe(&mut text);
        text
    }

    /// The names of the fields of each struct, in order.
    pub(super) fn structs(&self) -> Vec<&'static [&'static str]> {
        let mut structs = Vec::new();
        self.0.collect_structs(&mut structs);
        structs
    }

    /// The name of the first type that asks the data what it is.
    pub(super) fn found_out(&self) -> Option<&'static str> {
        self.0.found_out()
    }
}

fn trace<V: DeserializeOwned>() -> Node {
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
    root
}

/// The text for a type that serde does not describe.
#[derive(Clone, Copy, Default)]
pub(super) struct TypeId {
    name: &'static str,
    size: usize,
    align: usize,
}

impl TypeId {
    pub(super) fn of<T>() -> Self {
        Self {
            name: type_name::<T>(),
            size: size_of::<T>(),
            align: align_of::<T>(),
        }
    }
}

/// The way in which the value of a node depends on its children.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Kind {
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

/// The question of a type to the data, what it is. Not every format can tell.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum AsksData {
    #[default]
    No,
    /// For its own value.
    ForItself,
    /// For the name of a field, on behalf of the struct around it.
    ForAField,
}

/// A place in the shape of the type, and what the passes so far have found out about it.
#[derive(Default)]
pub(super) struct Node {
    /// The requests of the type at this node; empty until it was visited.
    token: String,
    /// The names of the fields of a struct.
    pub(super) fields: &'static [&'static str],
    pub(super) asks_data: AsksData,
    kind: Kind,
    pub(super) children: Vec<Node>,
    type_id: TypeId,
    /// The type's name, size and alignment count, because serde does not tell (all of) its shape.
    pub(super) opaque: bool,
    visited: bool,
    /// No pass will find out more.
    pub(super) settled: bool,
    /// No pass will get a value.
    pub(super) dead: bool,
    /// The number of samples that were rejected.
    rejected: usize,
    /// Visits that brought nothing: of a variant, or of a recursion without an end.
    pub(super) failures: u32,
    /// The variant of an enum that was first seen to yield a value.
    pub(super) ends_with: Option<usize>,
}

impl Node {
    pub(super) fn child(&mut self, index: usize) -> &mut Self {
        if self.children.len() <= index {
            self.children.resize_with(index + 1, Self::default);
        }
        &mut self.children[index]
    }

    pub(super) fn is(&mut self, kind: Kind, token: impl FnOnce() -> String) {
        if self.token.is_empty() {
            self.token = token();
            self.kind = kind;
        }
    }

    pub(super) fn die(&mut self) {
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

    /// Concludes about this node from its children, after a pass that got a value here or did not.
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

    fn collect_structs(&self, structs: &mut Vec<&'static [&'static str]>) {
        if self.kind == Kind::Named && !structs.contains(&self.fields) {
            structs.push(self.fields);
        }
        self.children
            .iter()
            .for_each(|child| child.collect_structs(structs));
    }

    fn found_out(&self) -> Option<&'static str> {
        if self.asks_data == AsksData::ForItself {
            return Some(self.type_id.name);
        }
        self.children.iter().find_map(|child| match child.asks_data {
            AsksData::ForAField => Some(self.type_id.name),
            _ => child.found_out(),
        })
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
pub(super) struct Ancestor {
    pub(super) type_name: &'static str,
    pub(super) ends_with: Option<usize>,
}

pub(super) struct Tracer {
    visits_left: usize,
    /// Somewhere below, the reason of the error under way has been noted.
    pub(super) blamed: bool,
    pub(super) ancestors: Vec<Ancestor>,
}

impl Tracer {
    /// Runs the user's code that reads a value of `type_id` at `node`, and notes what came of it.
    pub(super) fn explore<T>(
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
