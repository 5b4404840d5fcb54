//! Fingerprints, which distinguish the payloads of one type, shape, serializer and node from all others.

mod questions;
mod shape;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::DeserializeOwned;

use self::shape::Shape;

/// A 64-bit digest of a value type's serde shape, the serializer's name and the node's identity.
///
/// The shape is what the type asks of a serde deserializer: names of structs, fields, enums and variants, in order, and the
/// types of fields, nested. A renamed field, a changed type, another order: each gives another fingerprint. Where
/// the type lives (module, crate) does not matter.
///
/// Parts of the shape that serde does not tell (types that find out what they are while being read: untagged and internally tagged
/// enums, `flatten`, `serde_json::Value`; types that take none of the sample values they are given) count with their
/// [`type_name`](std::any::type_name), size and alignment instead. A change inside of these can go unnoticed
/// when it changes none of the three; give the node a new version then.
///
/// The same in every process and every run of a program. Computing it deserializes `V` from sample values, in bounded
/// time; a panic in a `Deserialize` implementation on the way is caught.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of `V` as `serializer` writes it for `node`.
    #[must_use]
    pub fn of<V: DeserializeOwned>(serializer: &str, node: &str) -> Self {
        Traced::of::<V>(serializer, node).fingerprint
    }

    /// The fingerprint with this number, as read from an envelope.
    #[must_use]
    pub const fn from_u64(fingerprint: u64) -> Self {
        Self(fingerprint)
    }

    /// The fingerprint as a number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// The result of tracing the shape of a type.
pub(crate) struct Traced {
    pub(crate) fingerprint: Fingerprint,
    /// The name of the first type within it, or its own, that finds out what it is while it is read.
    pub(crate) found_out: Option<&'static str>,
    /// The names of the fields of each struct in it, in order.
    structs: Vec<&'static [&'static str]>,
}

impl Traced {
    pub(crate) fn of<V: DeserializeOwned>(serializer: &str, node: &str) -> Self {
        let shape = Shape::of::<V>();
        let mut hash = Fnv1a::new();
        for part in [serializer, node, &shape.text()] {
            hash.write(&(part.len() as u64).to_le_bytes());
            hash.write(part.as_bytes());
        }
        Self {
            fingerprint: Fingerprint(hash.0),
            found_out: shape.found_out(),
            structs: shape.structs(),
        }
    }

    /// Says whether a struct within the type reads these fields, in this order.
    pub(crate) fn has_struct(&self, fields: &[&str]) -> bool {
        self.structs.iter().any(|names| {
            let mut names = names.iter();
            fields.iter().all(|field| names.any(|name| name == field))
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; RFC 9923): written into stored values, so it must never change, which the hashers
/// of the standard library do not promise.
struct Fnv1a(u64);

impl Fnv1a {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
