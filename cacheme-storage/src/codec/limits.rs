//! Bounds of the depth and the size of a value, the same when it is written and when it is read.

use std::fmt;

/// The bytes that a value may take when nothing else is said.
pub(crate) const LARGEST_VALUE: usize = 256 << 20;

/// Levels of nesting in a value. A sequence, map, tuple, struct, newtype, enum or `Some` at one level has its content at the
/// next; a value at the last level holds nothing else.
///
/// Reading is recursive, and a level takes some kilobytes of stack in a debug build: this many fit into a thread of 2 MiB. JSON
/// parsers commonly stop at the same depth.
pub(super) const LEVELS: u8 = 128;

/// Elements that a payload of so many bytes may stand for: one a byte, and some that take no bytes, such as units in bincode.
pub(super) fn most(bytes: usize) -> usize {
    bytes.saturating_add(64 << 10)
}

/// Bytes of memory that a value may take when it is read, beside its strings.
///
/// A byte can stand for a struct of a kilobyte all of whose fields were left out, so the length of the payload does not bound the
/// memory that its value takes. What stands in something else counts more than once, and a limit on payloads may be small.
pub(super) fn memory(largest: usize) -> usize {
    largest.saturating_add(16 << 20).saturating_mul(4)
}

/// The limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Depth,
    Size,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth => write!(f, "it is nested deeper than {LEVELS} levels"),
            Self::Size => f.write_str("it holds more than the largest value may"),
        }
    }
}
