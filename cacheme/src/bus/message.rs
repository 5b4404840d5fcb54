//! What is told: a version, who tells it, and full keys, each after its length.

use cacheme_storage::{BUS_MESSAGE_LIMIT, Bytes};

use crate::flight::FullKey;

const VERSION: u8 = 1;
const HEAD: usize = 1 + size_of::<Sender>();
const LENGTH: usize = size_of::<u16>();

/// Names an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender(pub(super) [u8; 16]);

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'m> {
    pub(super) sender: Sender,
    /// None if there was one too long for a message: then anything may have changed.
    pub(super) keys: Vec<&'m [u8]>,
}

impl Sender {
    /// As few messages as it takes.
    pub(super) fn messages(&self, keys: &[FullKey]) -> Vec<Bytes> {
        let begin = || {
            let mut message = Vec::with_capacity(BUS_MESSAGE_LIMIT.min(HEAD + keys.len() * 64));
            message.push(VERSION);
            message.extend_from_slice(&self.0);
            message
        };
        let is_too_long = |key: &FullKey| HEAD + LENGTH + key.len() > BUS_MESSAGE_LIMIT;
        if keys.iter().any(is_too_long) {
            return vec![begin().into()];
        }
        let mut messages = Vec::new();
        let mut message = begin();
        for key in keys {
            if message.len() + LENGTH + key.len() > BUS_MESSAGE_LIMIT {
                messages.push(std::mem::replace(&mut message, begin()).into());
            }
            let length = u16::try_from(key.len()).expect("it fits into a message");
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(key);
        }
        messages.push(message.into());
        messages
    }
}

impl<'m> Message<'m> {
    /// `None` for what is torn, or of another version.
    pub(super) fn read(message: &'m [u8]) -> Option<Self> {
        let rest = message.strip_prefix(&[VERSION])?;
        let (sender, mut rest) = rest.split_first_chunk()?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk()?;
            let (key, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            keys.push(key);
            rest = after;
        }
        let sender = Sender(*sender);
        Some(Self { sender, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender = Sender([7; 16]);

    fn key(length: usize) -> FullKey {
        vec![b'k'; length].into()
    }

    fn read(messages: &[Bytes]) -> Vec<&[u8]> {
        let keys = messages.iter().flat_map(|message| {
            assert!(message.len() <= BUS_MESSAGE_LIMIT);
            let read = Message::read(message).expect("it is in our language");
            assert_eq!(read.sender, SENDER);
            read.keys
        });
        keys.collect()
    }

    #[test]
    fn c3_keys_come_back_from_messages_whatever_their_number_and_length() {
        let longest = BUS_MESSAGE_LIMIT - HEAD - LENGTH;
        for lengths in [vec![1], vec![0, 1, longest, 3], vec![40; 1_000], vec![longest; 3]] {
            let keys: Vec<FullKey> = lengths.iter().map(|length| key(*length)).collect();
            let messages = SENDER.messages(&keys);
            assert_eq!(read(&messages), keys.iter().map(|key| &**key).collect::<Vec<_>>());
        }
        assert_eq!(SENDER.messages(&vec![key(40); 1_000]).len(), 11);
    }

    #[test]
    fn c3_a_key_too_long_for_a_message_is_told_as_all_keys() {
        let too_long = SENDER.messages(&[key(1), key(BUS_MESSAGE_LIMIT)]);
        assert_eq!(too_long.len(), 1);
        assert_eq!(read(&too_long), Vec::<&[u8]>::new());
    }

    #[test]
    fn c3_what_is_torn_or_of_another_version_is_not_understood() {
        let good = SENDER.messages(&[key(3)]).remove(0);
        for end in (0..good.len()).filter(|end| *end != HEAD) {
            assert_eq!(Message::read(&good[..end]), None, "{end}");
        }
        let later = [&[VERSION + 1], &good[1..]].concat();
        assert_eq!(Message::read(&later), None);
    }
}
