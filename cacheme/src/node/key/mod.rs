//! How a node becomes the bytes of its key.
//!
//! A key is written straight into a buffer on the stack. Fields are escaped so that two different nodes of one kind
//! never give the same key:
//!
//! * text keeps `A-Z a-z 0-9 _ . - @` and everything beyond ASCII; other bytes become `%XX`;
//! * numbers are decimal, `bool` is `true` or `false`;
//! * `None` is `~`, `Some(x)` is `x` (with one more `~` before it where `x` begins with one);
//! * tuples are `(a,b)`, lists `(a,b,)`.
//!
//! So a field never holds any ASCII character but letters, digits and `_ . - @ % ~ ( ) ,`. The text between two fields of a template holds
//! at least one other character, by which a reader could take the key apart again.

pub(crate) mod displayed;
mod form;
mod parts;
mod template;

use std::fmt::{self, Write as _};

pub use self::form::{KeyForm, Text};
pub(crate) use self::template::Template;

/// The bytes of a key that fit without the heap. Nearly every full key is shorter.
const INLINE: usize = 120;

/// The buffer that a node writes its key into.
///
/// Generated code uses it; a [`Node`](crate::Node) written by hand writes literals and [parts](Self::part) by turns.
///
/// ```
/// use cacheme::KeyWriter;
///
/// let mut key = KeyWriter::new();
/// key.literal("user:");
/// key.part(&42);
/// key.literal(":");
/// key.part("a:b");
/// assert_eq!(key.as_str(), "user:42:a%3Ab");
/// ```
#[derive(Clone)]
pub struct KeyWriter {
    inline: [u8; INLINE],
    len: usize,
    /// Takes the place of `inline` once a key has outgrown it.
    spilled: Vec<u8>,
}

impl KeyWriter {
    /// An empty key.
    #[must_use]
    #[inline]
    pub fn new() -> Self {
        Self {
            inline: [0; INLINE],
            len: 0,
            spilled: Vec::new(),
        }
    }

    /// The bytes written so far.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.inline.get(..self.len).unwrap_or(&self.spilled)
    }

    /// The text written so far.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only whole strings are written")
    }

    /// Writes `text` as it is: the fixed parts of a key.
    #[inline]
    pub fn literal(&mut self, text: &str) {
        self.push(text.as_bytes());
    }

    /// Writes a field, escaped.
    #[inline]
    pub fn part<P: KeyPart + ?Sized>(&mut self, part: &P) {
        part.write_to(self);
    }

    /// Writes text, escaped.
    pub fn text(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
            self.push(&rest[..at]);
            self.push(&escape(rest[at]));
            rest = &rest[at + 1..];
        }
        self.push(rest);
    }

    /// Writes the `Display` of a value, escaped. It is for types of other crates whose `Display` is different for all values.
    pub fn display(&mut self, value: &(impl fmt::Display + ?Sized)) {
        struct Escaped<'a>(&'a mut KeyWriter);
        impl fmt::Write for Escaped<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.text(text);
                Ok(())
            }
        }
        write!(Escaped(self), "{value}")
            .expect("a KeyWriter takes any text; the value's Display failed by itself");
    }

    /// Writes a value made of a fixed number of parts: `(a,b)`.
    ///
    /// ```
    /// # use cacheme::{KeyPart, KeyWriter};
    /// struct Point { x: i32, y: i32 }
    ///
    /// impl KeyPart for Point {
    ///     fn write_to(&self, key: &mut KeyWriter) {
    ///         key.tuple(&[&self.x, &self.y]);
    ///     }
    /// }
    /// ```
    pub fn tuple(&mut self, parts: &[&dyn AnyKeyPart]) {
        self.push(b"(");
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.push(b",");
            }
            part.write_any_to(self);
        }
        self.push(b")");
    }

    /// Writes a value made of any number of parts: `(a,b,)`.
    pub fn list<'a, P: KeyPart + ?Sized + 'a>(&mut self, parts: impl IntoIterator<Item = &'a P>) {
        self.push(b"(");
        for part in parts {
            part.write_to(self);
            self.push(b",");
        }
        self.push(b")");
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        // A key that has spilled is longer than `inline`, so that this finds no room.
        match self.inline.get_mut(self.len..end) {
            Some(room) => {
                copy(bytes, room);
                self.len = end;
            }
            None => self.push_spilled(bytes),
        }
    }

    #[cold]
    fn push_spilled(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            self.spilled.reserve(2 * INLINE + bytes.len());
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(bytes);
        self.len = self.spilled.len();
    }

    /// Inserts one byte at `at`.
    fn insert(&mut self, at: usize, byte: u8) {
        let tail = self.as_bytes()[at..].to_vec();
        self.push(b"~");
        let bytes = if self.spilled.is_empty() {
            &mut self.inline[..self.len]
        } else {
            &mut self.spilled[..]
        };
        bytes[at] = byte;
        bytes[at + 1..].copy_from_slice(&tail);
    }
}

/// `copy_from_slice` without a call for the few bytes that most parts of a key are: two moves that may overlap.
#[inline]
fn copy(from: &[u8], to: &mut [u8]) {
    #[inline]
    fn ends<const N: usize>(from: &[u8], to: &mut [u8]) {
        let tail = from.len() - N;
        to[..N].copy_from_slice(&from[..N]);
        to[tail..].copy_from_slice(&from[tail..]);
    }
    match from.len() {
        17..=32 => ends::<16>(from, to),
        8..=16 => ends::<8>(from, to),
        4..8 => ends::<4>(from, to),
        2..4 => ends::<2>(from, to),
        1 => to[0] = from[0],
        _ => to.copy_from_slice(from),
    }
}

impl Default for KeyWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyWriter").field(&self.as_str()).finish()
    }
}

/// A type that can be a field of a key.
///
/// Two values that differ must write different text. Derive it for your own structs and enums with `#[derive(KeyPart)]`. Implemented for:
///
/// | types | text |
/// |---|---|
/// | integers, `bool`, `char`, text | themselves |
/// | `Option` | `~` or the value |
/// | lists, sets and maps in a fixed order (`Vec`, arrays, `VecDeque`, `BTreeSet`, `BTreeMap`) | `(a,b,)` |
/// | tuples of up to six parts, ranges | `(a,b)` |
/// | IP addresses, socket addresses | as they are displayed; `(ip,port,flow,scope)` for a socket address of version 6 |
/// | `Path` | its text; bytes that are not UTF-8 as `%XX` |
/// | `Duration` | nanoseconds |
/// | references and smart pointers of these | as their targets |
/// | `uuid::Uuid` (feature `uuid`) | as it is displayed |
/// | dates and times of `chrono` (feature `chrono`) and `time` (feature `time`) | instants in UTC, all others as they are displayed |
///
/// A template writes other types by their `Display`, or an `Option` of one: `{place:display}`.
///
/// Floating point numbers are left out since `NaN`s and zeros compare in ways that keys cannot. So are hash maps and sets, which have no
/// order.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a cache key",
    label = "not a `KeyPart`",
    note = "for a type of yours: `#[derive(cacheme::KeyPart)]`",
    note = "for a type whose `Display` tells all its values apart, or an `Option` of one: write `{{field:display}}` in the key template",
    note = "floating point numbers, `HashMap` and `HashSet` are left out on purpose: keep an integer, a `BTreeMap` or a `BTreeSet`"
)]
pub trait KeyPart {
    /// The texts that it may write.
    #[doc(hidden)]
    const FORM: KeyForm = KeyForm::ANY;

    /// Writes the value.
    fn write_to(&self, key: &mut KeyWriter);
}

/// A [`KeyPart`] of any type, for [`KeyWriter::tuple`]. Every key part is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a cache key",
    label = "not a `KeyPart`",
    note = "for a type of yours: `#[derive(cacheme::KeyPart)]`"
)]
pub trait AnyKeyPart {
    #[doc(hidden)]
    fn write_any_to(&self, key: &mut KeyWriter);
}

#[diagnostic::do_not_recommend]
impl<P: KeyPart + ?Sized> AnyKeyPart for P {
    fn write_any_to(&self, key: &mut KeyWriter) {
        self.write_to(key);
    }
}

/// Whether text keeps this byte.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@') || byte >= 0x80
}

/// Whether a field may hold this byte.
const fn is_field_byte(byte: u8) -> bool {
    is_plain(byte) || matches!(byte, b'%' | b'~' | b'(' | b')' | b',')
}

fn escape(byte: u8) -> [u8; 3] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn written(part: &(impl KeyPart + ?Sized)) -> String {
        let mut key = KeyWriter::new();
        key.part(part);
        key.as_str().to_owned()
    }

    #[test]
    fn fields_read_well() {
        assert_eq!(written(&-7i64), "-7");
        assert_eq!(written(&u128::MAX), u128::MAX.to_string());
        assert_eq!(written("ann@example.org"), "ann@example.org");
        assert_eq!(written("a:b c%"), "a%3Ab%20c%25");
        assert_eq!(written("żółw"), "żółw");
        assert_eq!(written(&(1, "x", None::<u8>)), "(1,x,~)");
        assert_eq!(written(&vec!["", "a"]), "(,a,)");
        assert_eq!(written(&IpAddr::from([127, 0, 0, 1])), "127.0.0.1");
    }

    #[test]
    fn options_nest_without_meeting() {
        let values: [Option<Option<Option<&str>>>; 6] = [
            None,
            Some(None),
            Some(Some(None)),
            Some(Some(Some(""))),
            Some(Some(Some("~"))),
            Some(Some(Some("~~"))),
        ];
        let mut seen = HashMap::new();
        for value in values {
            assert_eq!(seen.insert(written(&value), value), None);
        }
    }

    #[test]
    fn long_keys_spill_and_stay_whole() {
        let text = "é:".repeat(32 * 1024);
        assert_eq!(written(&text), "é%3A".repeat(32 * 1024));
        let tilde = Some(Some("a".repeat(INLINE)));
        assert_eq!(written(&tilde), "a".repeat(INLINE));
        for len in INLINE - 2..INLINE + 2 {
            let mut key = KeyWriter::new();
            key.literal(&"x".repeat(len));
            key.part(&Some(None::<u8>));
            assert_eq!(key.as_str(), format!("{}~~", "x".repeat(len)));
        }
    }

    proptest! {
        #[test]
        fn c4_different_fields_never_meet(
            a in any::<(Option<String>, Vec<String>, (String, Option<Option<String>>))>(),
            b in any::<(Option<String>, Vec<String>, (String, Option<Option<String>>))>(),
        ) {
            prop_assert_eq!(a == b, written(&a) == written(&b));
        }

        #[test]
        fn c4_near_fields_never_meet(
            a in proptest::collection::vec("[a~%,():]{0,3}", 0..3),
            b in proptest::collection::vec("[a~%,():]{0,3}", 0..3),
        ) {
            prop_assert_eq!(a == b, written(&a) == written(&b));
        }

        #[test]
        fn c4_fields_hold_no_separator(value in any::<(Option<String>, Vec<char>, i64)>()) {
            prop_assert!(written(&value).bytes().all(is_field_byte));
        }
    }
}
