//! The types that are parts of a key without further ado.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{KeyForm, KeyPart, KeyWriter, Text, escape};

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl KeyPart for $integer {
            const FORM: KeyForm = KeyForm::NUMBER;

            #[inline]
            fn write_to(&self, key: &mut KeyWriter) {
                key.push(itoa::Buffer::new().format(*self).as_bytes());
            }
        }
    )*};
}
integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

macro_rules! non_zeros {
    ($($integer:ident)*) => {$(
        impl KeyPart for std::num::$integer {
            const FORM: KeyForm = KeyForm::NUMBER;

            #[inline]
            fn write_to(&self, key: &mut KeyWriter) {
                self.get().write_to(key);
            }
        }
    )*};
}
non_zeros!(NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU128 NonZeroUsize);
non_zeros!(NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroI128 NonZeroIsize);

impl KeyPart for str {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        key.text(self);
    }
}

impl KeyPart for String {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        key.text(self);
    }
}

impl KeyPart for char {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        key.text(self.encode_utf8(&mut [0; 4]));
    }
}

impl KeyPart for bool {
    const FORM: KeyForm = KeyForm::one_of(&[Text::Word("true"), Text::Word("false")]);

    fn write_to(&self, key: &mut KeyWriter) {
        key.literal(if *self { "true" } else { "false" });
    }
}

impl KeyPart for () {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        key.literal("()");
    }
}

macro_rules! displayed {
    ($($type:ty)*) => {$(
        impl KeyPart for $type {
            const FORM: KeyForm = KeyForm::ESCAPED;

            fn write_to(&self, key: &mut KeyWriter) {
                key.display(self);
            }
        }
    )*};
}
displayed!(IpAddr Ipv4Addr Ipv6Addr SocketAddrV4);
#[cfg(feature = "uuid")]
displayed!(uuid::Uuid);
// Their texts are those of ISO 8601.
#[cfg(feature = "chrono")]
displayed!(chrono::NaiveDate chrono::NaiveTime chrono::Weekday);
#[cfg(feature = "time")]
displayed!(time::Date time::Time time::Weekday time::UtcOffset);

macro_rules! pointers {
    ($($pointer:ty)*) => {$(
        impl<P: KeyPart + ?Sized> KeyPart for $pointer {
            const FORM: KeyForm = P::FORM;

            #[inline]
            fn write_to(&self, key: &mut KeyWriter) {
                (**self).write_to(key);
            }
        }
    )*};
}
pointers!(&P &mut P Box<P> Rc<P> Arc<P>);

impl<P: KeyPart + ToOwned + ?Sized> KeyPart for Cow<'_, P> {
    const FORM: KeyForm = P::FORM;

    fn write_to(&self, key: &mut KeyWriter) {
        (**self).write_to(key);
    }
}

impl<P: KeyPart> KeyPart for Option<P> {
    const FORM: KeyForm = P::FORM.optional();

    fn write_to(&self, key: &mut KeyWriter) {
        let start = key.len;
        match self {
            None => key.literal("~"),
            Some(part) => {
                part.write_to(key);
                if key.as_bytes().get(start) == Some(&b'~') {
                    key.insert(start, b'~');
                }
            }
        }
    }
}

impl<P: KeyPart> KeyPart for [P] {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        key.list(self);
    }
}

macro_rules! lists {
    ($($list:ident)*) => {$(
        impl<P: KeyPart> KeyPart for $list<P> {
            const FORM: KeyForm = KeyForm::GROUP;

            fn write_to(&self, key: &mut KeyWriter) {
                key.list(self);
            }
        }
    )*};
}
lists!(Vec VecDeque BTreeSet);

impl<K: KeyPart, V: KeyPart> KeyPart for BTreeMap<K, V> {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        key.literal("(");
        for entry in self {
            entry.write_to(key);
            key.literal(",");
        }
        key.literal(")");
    }
}

impl<P: KeyPart, const N: usize> KeyPart for [P; N] {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        key.list(self);
    }
}

macro_rules! tuples {
    ($(($($part:ident)+))*) => {$(
        impl<$($part: KeyPart),+> KeyPart for ($($part,)+) {
            const FORM: KeyForm = KeyForm::GROUP;

            #[allow(non_snake_case, reason = "the type parameters double as names of the parts")]
            fn write_to(&self, key: &mut KeyWriter) {
                let ($($part,)+) = self;
                key.tuple(&[$($part),+]);
            }
        }
    )*};
}
tuples!((A)(A B)(A B C)(A B C D)(A B C D E)(A B C D E F));

macro_rules! ranges {
    ($($range:ident($($end:ident),+);)*) => {$(
        impl<P: KeyPart> KeyPart for std::ops::$range<P> {
            const FORM: KeyForm = KeyForm::GROUP;

            fn write_to(&self, key: &mut KeyWriter) {
                key.tuple(&[$(&self.$end),+]);
            }
        }
    )*};
}
ranges! {
    Range(start, end);
    RangeFrom(start);
    RangeTo(end);
    RangeToInclusive(end);
}

impl<P: KeyPart> KeyPart for std::ops::RangeInclusive<P> {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        key.tuple(&[self.start(), self.end()]);
    }
}

impl KeyPart for SocketAddrV6 {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        // Its `Display` leaves the flow out.
        key.tuple(&[self.ip(), &self.port(), &self.flowinfo(), &self.scope_id()]);
    }
}

impl KeyPart for SocketAddr {
    const FORM: KeyForm = KeyForm::one_of(&[Text::Escaped, Text::Group]);

    fn write_to(&self, key: &mut KeyWriter) {
        match self {
            Self::V4(address) => address.write_to(key),
            Self::V6(address) => address.write_to(key),
        }
    }
}

impl KeyPart for Path {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        for chunk in self.as_os_str().as_encoded_bytes().utf8_chunks() {
            key.text(chunk.valid());
            for byte in chunk.invalid() {
                key.push(&escape(*byte));
            }
        }
    }
}

impl KeyPart for PathBuf {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        self.as_path().write_to(key);
    }
}

macro_rules! numbered {
    ($($type:ty: $number:expr;)*) => {$(
        impl KeyPart for $type {
            const FORM: KeyForm = KeyForm::NUMBER;

            fn write_to(&self, key: &mut KeyWriter) {
                let number: fn(&Self) -> _ = $number;
                number(self).write_to(key);
            }
        }
    )*};
}
numbered!(Duration: Self::as_nanos;);
#[cfg(feature = "time")]
numbered! {
    time::Duration: |duration| duration.whole_nanoseconds();
    time::OffsetDateTime: |time| time.unix_timestamp_nanos();
    time::PrimitiveDateTime: |time| time.assume_utc().unix_timestamp_nanos();
}

#[cfg(feature = "chrono")]
impl KeyPart for chrono::NaiveDateTime {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        // That of ISO 8601, where `Display` has a space.
        key.display(&format_args!("{self:?}"));
    }
}

/// Two of one instant are equal, whatever their time zones are.
#[cfg(feature = "chrono")]
impl<Z: chrono::TimeZone> KeyPart for chrono::DateTime<Z> {
    const FORM: KeyForm = KeyForm::ESCAPED;

    fn write_to(&self, key: &mut KeyWriter) {
        self.naive_utc().write_to(key);
    }
}

#[cfg(feature = "chrono")]
impl KeyPart for chrono::TimeDelta {
    const FORM: KeyForm = KeyForm::GROUP;

    fn write_to(&self, key: &mut KeyWriter) {
        key.tuple(&[&self.num_seconds(), &self.subsec_nanos()]);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    fn written(part: &(impl KeyPart + ?Sized)) -> String {
        let mut key = KeyWriter::new();
        key.part(part);
        key.as_str().to_owned()
    }

    #[test]
    fn parts_of_the_standard_library_read_well() {
        assert_eq!(written(&BTreeSet::from([3, 1])), "(1,3,)");
        assert_eq!(written(&BTreeMap::from([("a", 1), ("b", 2)])), "((a,1),(b,2),)");
        assert_eq!(written(&VecDeque::from(["x"])), "(x,)");
        assert_eq!(written(&(1..5)), "(1,5)");
        assert_eq!(written(&(1..=5)), "(1,5)");
        assert_eq!(written(&(..=5)), "(5)");
        assert_eq!(written(&Duration::from_millis(1_500)), "1500000000");
        assert_eq!(written(Path::new("a b/c.txt")), "a%20b%2Fc.txt");
        assert_eq!(written(Path::new(OsStr::from_bytes(b"\xFFa%"))), "%FFa%25");
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        assert_eq!(written(&address), "127.0.0.1%3A80");
        let address: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(written(&address), "(%3A%3A1,80,0,0)");
    }

    #[test]
    fn c4_addresses_that_differ_in_what_is_not_displayed_have_different_keys() {
        let address = |flow, scope| SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, flow, scope);
        let texts = [(0, 0), (0, 1), (1, 0)].map(|(flow, scope)| written(&address(flow, scope)));
        assert_eq!(BTreeSet::from(texts).len(), 3);
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn identifiers_read_well() {
        let id = uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(written(&id), "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[cfg(feature = "chrono")]
    #[test]
    fn c4_times_of_chrono_are_their_instants() {
        use chrono::{DateTime, FixedOffset, NaiveDate, TimeDelta, Utc};

        let utc: DateTime<Utc> = "2024-02-29T23:30:00.25Z".parse().unwrap();
        let there: DateTime<FixedOffset> = "2024-03-01T01:30:00.25+02:00".parse().unwrap();
        assert_eq!(written(&utc), "2024-02-29T23%3A30%3A00.250");
        assert_eq!(written(&there), written(&utc));
        assert_eq!(written(&utc.naive_utc()), written(&utc));
        assert_ne!(written(&(utc + TimeDelta::nanoseconds(1))), written(&utc));
        assert_eq!(
            written(&NaiveDate::from_ymd_opt(2024, 2, 29).unwrap()),
            "2024-02-29"
        );
        assert_ne!(
            written(&TimeDelta::nanoseconds(1)),
            written(&TimeDelta::nanoseconds(-1))
        );
    }

    #[cfg(feature = "time")]
    #[test]
    fn c4_times_of_time_are_their_instants() {
        use time::{Date, Month, OffsetDateTime, UtcOffset};

        let utc = OffsetDateTime::from_unix_timestamp(1_709_249_400).unwrap();
        let there = utc.to_offset(UtcOffset::from_hms(2, 0, 0).unwrap());
        assert_eq!(written(&utc), "1709249400000000000");
        assert_eq!(written(&there), written(&utc));
        let day = Date::from_calendar_date(2024, Month::February, 29).unwrap();
        assert_eq!(written(&day), "2024-02-29");
    }

    proptest! {
        #[test]
        fn c4_different_parts_never_meet(
            a in any::<(BTreeMap<String, Option<u8>>, PathBuf, Duration, BTreeSet<char>)>(),
            b in any::<(BTreeMap<String, Option<u8>>, PathBuf, Duration, BTreeSet<char>)>(),
        ) {
            prop_assert_eq!(a.0 == b.0, written(&a.0) == written(&b.0));
            prop_assert_eq!(a.1.as_os_str() == b.1.as_os_str(), written(&a.1) == written(&b.1));
            prop_assert_eq!(a.2 == b.2, written(&a.2) == written(&b.2));
            prop_assert_eq!(a.3 == b.3, written(&a.3) == written(&b.3));
            prop_assert!(written(&a).bytes().all(super::super::is_field_byte));
        }
    }
}
