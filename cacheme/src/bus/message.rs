//! The messages of a bus: [their format](crate::docs::consistency#messages) as code.
//!
//! A message is read as a whole before anything is done, and takes no more work than its own bytes.

use std::fmt;

use cacheme_storage::{BUS_MESSAGE_LIMIT, Bytes};

use crate::digest::Digest;

const MAGIC: [u8; 4] = [0xCA, b'B', b'U', b'S'];
const VERSION: u8 = 1;

/// The known types of fields.
mod field {
    pub(super) const SENDER: u8 = 0x01;
    pub(super) const PREFIX: u8 = 0x02;
    pub(super) const KIND: u8 = 0x03;
    pub(super) const KEY: u8 = 0x81;
    pub(super) const LONG_KEY: u8 = 0x82;
    /// Types from here on are changes, so a process that does not know one must not pass over it.
    pub(super) const CHANGE: u8 = 0x80;
}

/// Longer keys are published as their digest. Part of the format: a process that receives a digest compares it with longer keys only.
pub(crate) const LONGEST_KEY: usize = 3_000;

/// Names an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender(pub(super) [u8; 16]);

/// The beginning of every message of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) sender: Sender,
    /// The prefix of the instance.
    pub(super) prefix: Digest,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message<'m> {
    pub(super) head: Head,
    /// It has an unknown change that names no kind.
    pub(super) anything: bool,
    /// The changes of each kind, which is named by its template.
    pub(super) kinds: Vec<(Digest, Changes<'m>)>,
}

/// The changes of one kind. Keys are without prefix and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes<'m> {
    pub(crate) keys: Vec<&'m [u8]>,
    /// Keys of more than [`LONGEST_KEY`] bytes.
    pub(crate) long_keys: Vec<Digest>,
    /// It has an unknown change, which may concern any key.
    pub(crate) anything: bool,
}

/// The reason why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Another program wrote it, or it is torn.
    NotOurs,
    OtherVersion(u8),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("it is no message of Cacheme, or torn"),
            Self::OtherVersion(version) => {
                write!(
                    f,
                    "its format has version {version}, and this process knows {VERSION}"
                )
            }
        }
    }
}

impl Head {
    /// The messages for a change of these keys of a kind, as few as possible.
    pub(super) fn messages<'k>(&self, kind: Digest, keys: impl IntoIterator<Item = &'k [u8]>) -> Vec<Bytes> {
        let mut messages: Vec<Vec<u8>> = Vec::new();
        for key in keys {
            let long = (key.len() > LONGEST_KEY).then(|| Digest::of(key));
            let (field, value) = match &long {
                Some(digest) => (field::LONG_KEY, &digest.0[..]),
                None => (field::KEY, key),
            };
            let message = match messages.last_mut() {
                Some(last) if last.len() + FIELD_HEAD + value.len() <= BUS_MESSAGE_LIMIT => last,
                _ => messages.push_mut(self.begin(kind)),
            };
            write_field(message, field, value);
        }
        messages.into_iter().map(Bytes::from).collect()
    }

    fn begin(&self, kind: Digest) -> Vec<u8> {
        let mut message = [&MAGIC[..], &[VERSION]].concat();
        write_field(&mut message, field::SENDER, &self.sender.0);
        write_field(&mut message, field::PREFIX, &self.prefix.0);
        write_field(&mut message, field::KIND, &kind.0);
        message
    }
}

/// A type and a length.
const FIELD_HEAD: usize = 3;

fn write_field(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("a field is shorter than a message");
    message.push(field);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(value);
}

impl<'m> Message<'m> {
    pub(super) fn read(bytes: &'m [u8]) -> Result<Self, Unreadable> {
        let (version, fields) = bytes
            .strip_prefix(&MAGIC)
            .and_then(<[u8]>::split_first)
            .ok_or(Unreadable::NotOurs)?;
        if *version != VERSION {
            return Err(Unreadable::OtherVersion(*version));
        }
        // A server takes longer messages, but no process of ours writes them.
        if bytes.len() > BUS_MESSAGE_LIMIT {
            return Err(Unreadable::NotOurs);
        }
        Self::read_fields(fields).ok_or(Unreadable::NotOurs)
    }

    /// `None` for a field that ends after the message, or is not what its type says.
    fn read_fields(mut rest: &'m [u8]) -> Option<Self> {
        let (mut sender, mut prefix, mut anything) = (None, None, false);
        let mut kinds: Vec<(Digest, Changes<'m>)> = Vec::new();
        while !rest.is_empty() {
            let ([field, length @ ..], after) = rest.split_first_chunk::<FIELD_HEAD>()?;
            let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = after;
            let named_last = kinds.last_mut().map(|(_, changes)| changes);
            match *field {
                field::SENDER if sender.is_none() => sender = Some(Sender(value.try_into().ok()?)),
                field::PREFIX if prefix.is_none() => prefix = Some(digest(value)?),
                field::SENDER | field::PREFIX => return None,
                field::KIND => kinds.push((digest(value)?, Changes::default())),
                field::KEY => named_last?.keys.push(value),
                field::LONG_KEY => named_last?.long_keys.push(digest(value)?),
                field::CHANGE.. => match named_last {
                    Some(changes) => changes.anything = true,
                    None => anything = true,
                },
                // It is no change.
                _ => {}
            }
        }
        Some(Self {
            head: Head {
                sender: sender?,
                prefix: prefix?,
            },
            anything,
            kinds,
        })
    }

    /// Whether it was understood as its sender meant it.
    pub(super) fn is_understood(&self) -> bool {
        !self.anything && self.kinds.iter().all(|(_, changes)| !changes.anything)
    }
}

fn digest(value: &[u8]) -> Option<Digest> {
    value.try_into().ok().map(Digest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: Head = Head {
        sender: Sender([7; 16]),
        prefix: Digest([8; 16]),
    };
    const KIND: Digest = Digest([9; 16]);

    fn write(keys: &[Vec<u8>]) -> Vec<Bytes> {
        HEAD.messages(KIND, keys.iter().map(Vec::as_slice))
    }

    /// The changes in all messages together, which are of one kind.
    fn read(messages: &[Bytes]) -> Changes<'_> {
        let mut all = Changes::default();
        for message in messages {
            assert!(message.len() <= BUS_MESSAGE_LIMIT);
            let message = Message::read(message).expect("it is of the known version");
            assert_eq!((message.head, message.anything), (HEAD, false));
            assert!(message.is_understood());
            let [(kind, changes)] = &message.kinds[..] else {
                panic!("{message:?}")
            };
            assert_eq!(*kind, KIND);
            all.keys.extend(&changes.keys);
            all.long_keys.extend(&changes.long_keys);
        }
        all
    }

    /// Its type and its value.
    type Field<'f> = (u8, &'f [u8]);

    /// The beginning of a message, and further fields.
    fn by_hand(fields: &[Field<'_>]) -> Vec<u8> {
        let mut message = [&MAGIC[..], &[VERSION]].concat();
        fields
            .iter()
            .for_each(|(field, value)| write_field(&mut message, *field, value));
        message
    }

    const SENDER_FIELD: Field<'static> = (field::SENDER, &[7; 16]);
    const PREFIX_FIELD: Field<'static> = (field::PREFIX, &[8; 16]);
    const KIND_FIELD: Field<'static> = (field::KIND, &[9; 16]);

    #[test]
    fn c3_keys_come_back_from_messages_whatever_their_number_and_length() {
        for lengths in [
            vec![],
            vec![1],
            vec![0, 1, LONGEST_KEY, 3],
            vec![40; 1_000],
            vec![LONGEST_KEY; 3],
            vec![LONGEST_KEY + 1, 5, 10_000_000, 0],
        ] {
            let keys: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'k'; *length]).collect();
            let messages = write(&keys);
            let changes = read(&messages);
            let (long, short): (Vec<&[u8]>, Vec<&[u8]>) = keys
                .iter()
                .map(Vec::as_slice)
                .partition(|key| key.len() > LONGEST_KEY);
            assert_eq!(changes.keys, short);
            assert_eq!(
                changes.long_keys,
                long.into_iter().map(Digest::of).collect::<Vec<_>>()
            );
        }
        assert_eq!(write(&vec![vec![b'k'; 40]; 1_000]).len(), 12);
        assert_eq!(write(&vec![vec![b'k'; 5_000]; 200]).len(), 1);
    }

    /// Byte by byte, as other releases write and read it.
    #[test]
    fn c3_the_format_stays_as_it_is() {
        let messages = write(&[b"user:1".to_vec(), vec![b'k'; LONGEST_KEY + 1]]);
        let digest = Digest::of(&vec![b'k'; LONGEST_KEY + 1]);
        let expected = [
            &b"\xCABUS\x01"[..],
            b"\x01\x00\x10\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07",
            b"\x02\x00\x10\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08",
            b"\x03\x00\x10\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09",
            b"\x81\x00\x06user:1",
            b"\x82\x00\x10",
            &digest.0,
        ]
        .concat();
        assert_eq!(messages, [Bytes::from(expected)]);
    }

    #[test]
    fn c3_unknown_fields_are_passed_over_unless_they_say_that_something_changed() {
        let key: Field<'_> = (field::KEY, b"k");
        let (skippable, change): (Field<'_>, Field<'_>) = ((0x7F, b"later"), (0xFF, b"later"));
        let other_kind: Field<'_> = (field::KIND, &[10; 16]);
        let skipped = by_hand(&[
            skippable,
            SENDER_FIELD,
            skippable,
            PREFIX_FIELD,
            KIND_FIELD,
            skippable,
            key,
            (0x04, b""),
        ]);
        let message = Message::read(&skipped).expect("the unknown fields are no changes");
        assert!(message.is_understood());
        assert_eq!(message.kinds[0].1.keys, [b"k"]);

        let of_kind = by_hand(&[
            SENDER_FIELD,
            PREFIX_FIELD,
            other_kind,
            key,
            KIND_FIELD,
            change,
            key,
        ]);
        let message = Message::read(&of_kind).expect("it names what has changed");
        assert!(!message.is_understood() && !message.anything);
        assert!(!message.kinds[0].1.anything, "another kind was named since");
        assert!(message.kinds[1].1.anything);
        assert_eq!(message.kinds[1].1.keys, [b"k"]);

        for fields in [
            [SENDER_FIELD, PREFIX_FIELD, change, KIND_FIELD, key],
            [change, SENDER_FIELD, PREFIX_FIELD, KIND_FIELD, key],
        ] {
            let of_prefix = by_hand(&fields);
            let message = Message::read(&of_prefix).expect("it names what has changed");
            assert!(!message.is_understood() && message.anything);
            assert!(!message.kinds[0].1.anything);
        }
    }

    #[test]
    fn c3_what_is_torn_foreign_too_long_or_of_another_version_is_not_understood() {
        let good = write(&[b"key".to_vec()]).remove(0);
        let last = good.len() - FIELD_HEAD - 3;
        // Where a field ends, a message may.
        let ends = [last - FIELD_HEAD - 16, last];
        for end in (0..good.len()).filter(|end| !ends.contains(end)) {
            assert_eq!(Message::read(&good[..end]), Err(Unreadable::NotOurs), "{end}");
        }
        let mut later = good.to_vec();
        later[MAGIC.len()] = VERSION + 1;
        assert_eq!(Message::read(&later), Err(Unreadable::OtherVersion(VERSION + 1)));
        let whole = [SENDER_FIELD, PREFIX_FIELD, KIND_FIELD];
        for wrong in [
            &[SENDER_FIELD, KIND_FIELD][..],
            &[PREFIX_FIELD, KIND_FIELD],
            &[SENDER_FIELD, PREFIX_FIELD, (field::KEY, b"of no kind")],
            &[SENDER_FIELD, PREFIX_FIELD, (field::LONG_KEY, &[1; 16])],
            &[whole[0], whole[1], whole[2], (field::LONG_KEY, &[1; 15])],
            &[whole[0], whole[1], (field::KIND, &[9; 17])],
            &[whole[0], whole[1], whole[2], SENDER_FIELD],
            &[whole[0], whole[1], whole[2], PREFIX_FIELD],
        ] {
            assert_eq!(
                Message::read(&by_hand(wrong)),
                Err(Unreadable::NotOurs),
                "{wrong:?}"
            );
        }
        let longest = vec![b'k'; BUS_MESSAGE_LIMIT - good.len() + 3];
        let mut full = by_hand(&[SENDER_FIELD, PREFIX_FIELD, KIND_FIELD, (field::KEY, &longest)]);
        assert_eq!(full.len(), BUS_MESSAGE_LIMIT);
        assert!(Message::read(&full).is_ok());
        write_field(&mut full, 0x7F, b"");
        assert_eq!(Message::read(&full), Err(Unreadable::NotOurs));
    }

    /// A field by its type and length, sensible more often than not.
    fn some_field() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let field = prop_oneof![Just(1_u8), Just(2), Just(3), Just(0x81), Just(0x82), any::<u8>()];
        let value = prop_oneof![
            proptest::collection::vec(any::<u8>(), 16),
            proptest::collection::vec(any::<u8>(), 0..40),
        ];
        (field, value)
    }

    proptest! {
        #[test]
        fn c3_any_keys_come_back(keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..100)) {
            let messages = write(&keys);
            prop_assert_eq!(read(&messages).keys, keys.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn c3_any_bytes_are_read_safely_and_give_no_more_than_they_are(
            fields in proptest::collection::vec(some_field(), 0..60),
            whole in any::<bool>(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
            end in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = by_hand(&[SENDER_FIELD, PREFIX_FIELD, KIND_FIELD]);
            if !whole {
                bytes.truncate(MAGIC.len() + 1);
            }
            for (field, value) in &fields {
                write_field(&mut bytes, *field, value);
            }
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if !damage.is_empty() {
                bytes.truncate(end.index(bytes.len() + 1));
            }
            if let Ok(message) = Message::read(&bytes) {
                let fields = message.kinds.iter().map(|(_, changes)| 1 + changes.keys.len() + changes.long_keys.len());
                prop_assert!(fields.sum::<usize>() * FIELD_HEAD <= bytes.len());
                let keys = message.kinds.iter().flat_map(|(_, changes)| &changes.keys);
                prop_assert!(keys.map(|key| key.len()).sum::<usize>() <= bytes.len());
            }
        }

        #[test]
        fn c3_bytes_of_others_say_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            prop_assume!(!bytes.starts_with(&MAGIC));
            prop_assert_eq!(Message::read(&bytes), Err(Unreadable::NotOurs));
        }
    }
}
