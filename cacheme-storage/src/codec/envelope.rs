use bytes::Bytes;

use crate::codec::fingerprint::Fingerprint;
use crate::codec::serializer::Flags;

/// The first four bytes of a value that Cacheme wrote to a remote storage.
///
/// Not valid UTF-8, so that no text is ever taken for a value.
pub const ENVELOPE_MAGIC: [u8; 4] = [0xCA, b'V', b'A', b'L'];

/// The first four bytes of a lease, which a remote storage keeps in the place of a value.
///
/// Shares no byte with [`ENVELOPE_MAGIC`], so that no torn value is taken for a lease. The bytes after it are the
/// storage's own business.
pub const LEASE_MAGIC: [u8; 4] = [0xF7, b'l', b's', b'e'];

/// The version of the byte layout below. Values of any other version are misses.
const FORMAT_VERSION: u8 = 1;

/// The offset of the checksum, which ends the checksummed part of the header.
const CHECKSUM_AT: usize = 36;

/// The header before the payload in a remote storage, and the payload itself.
///
/// | offset | bytes | field |
/// |---:|---:|---|
/// | 0 | 4 | [`ENVELOPE_MAGIC`] |
/// | 4 | 1 | format version, 1 |
/// | 5 | 1 | [`Flags`] of the payload |
/// | 6 | 2 | reserved, 0 |
/// | 8 | 8 | [`Fingerprint`] of type, serializer and node |
/// | 16 | 8 | created at, in milliseconds since the Unix epoch |
/// | 24 | 8 | expires at, in milliseconds since the Unix epoch; 0 is never |
/// | 32 | 4 | length of the payload |
/// | 36 | 4 | CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes 0 to 35 and the payload |
/// | 40 | … | payload |
///
/// Numbers are little-endian. The length is exact: a value that was cut short or appended to does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The flags by which the payload is to be read.
    pub flags: Flags,
    /// The type, serializer and node of the payload.
    pub fingerprint: Fingerprint,
    /// The time at which the value was created, in milliseconds since the Unix epoch by the storage's clock.
    pub created_ms: u64,
    /// The time at which the value expires, in milliseconds since the Unix epoch by the storage's clock; `None` is never.
    pub expires_ms: Option<u64>,
    /// The serialized value.
    pub payload: &'a [u8],
}

/// The reason why bytes are not an envelope that we can use. Each is a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Another program wrote the bytes, or they were torn at their beginning.
    #[error("not written by Cacheme")]
    NotOurs,
    /// A lease, not a value.
    #[error("a lease, not a value")]
    Lease,
    /// Shorter than it was written.
    #[error("truncated: {found} bytes of {expected}")]
    Truncated {
        /// The number of bytes that there should be, as far as is known.
        expected: usize,
        /// The number of bytes that there are.
        found: usize,
    },
    /// Longer than it was written.
    #[error("{extra} bytes after its end")]
    Trailing {
        /// The number of bytes past the end.
        extra: usize,
    },
    /// Written by a version of Cacheme with another byte layout.
    #[error("format version {0}, this is version {FORMAT_VERSION}")]
    OtherVersion(u8),
    /// The bytes changed after they were written.
    #[error("checksum does not match")]
    Checksum,
    /// Written for another type, another shape of the type, another serializer or another node.
    #[error("written for another type ({found}, expected {expected})")]
    OtherType {
        /// The fingerprint in the envelope.
        found: Fingerprint,
        /// The fingerprint that was asked for.
        expected: Fingerprint,
    },
}

/// The payload is longer than an envelope can record (4 GiB less one byte).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("payload of {size} bytes, an envelope takes up to {}", u32::MAX)]
pub struct PayloadTooLarge {
    /// Length of the payload in bytes.
    pub size: usize,
}

impl<'a> Envelope<'a> {
    /// Length of the header in bytes.
    pub const HEADER_LEN: usize = 40;

    /// Reads the header of `bytes` and checks it, the length and the checksum; copies nothing.
    ///
    /// # Errors
    ///
    /// All of [`EnvelopeError`] but [`OtherType`](EnvelopeError::OtherType).
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        match bytes.first_chunk() {
            Some(&ENVELOPE_MAGIC) => {}
            Some(&LEASE_MAGIC) => return Err(EnvelopeError::Lease),
            Some(_) => return Err(EnvelopeError::NotOurs),
            None if ENVELOPE_MAGIC.starts_with(bytes) => {
                return Err(EnvelopeError::Truncated {
                    expected: Self::HEADER_LEN,
                    found: bytes.len(),
                });
            }
            None => return Err(EnvelopeError::NotOurs),
        }
        // The version comes before the length: another version may have another header.
        if let Some(&version) = bytes.get(4).filter(|&&version| version != FORMAT_VERSION) {
            return Err(EnvelopeError::OtherVersion(version));
        }
        let Some((header, payload)) = bytes.split_first_chunk::<{ Envelope::HEADER_LEN }>() else {
            return Err(EnvelopeError::Truncated {
                expected: Self::HEADER_LEN,
                found: bytes.len(),
            });
        };
        let recorded = usize::try_from(u32_at(header, 32)).unwrap_or(usize::MAX);
        if payload.len() < recorded {
            return Err(EnvelopeError::Truncated {
                expected: recorded.saturating_add(Self::HEADER_LEN),
                found: bytes.len(),
            });
        }
        if payload.len() > recorded {
            return Err(EnvelopeError::Trailing {
                extra: payload.len() - recorded,
            });
        }
        if checksum(header, payload) != u32_at(header, CHECKSUM_AT) {
            return Err(EnvelopeError::Checksum);
        }
        let expires_ms = u64_at(header, 24);
        Ok(Self {
            flags: Flags::from_bits(header[5]),
            fingerprint: Fingerprint::from_u64(u64_at(header, 8)),
            created_ms: u64_at(header, 16),
            expires_ms: (expires_ms != 0).then_some(expires_ms),
            payload,
        })
    }

    /// Returns the envelope if its fingerprint is `expected`.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::OtherType`].
    pub fn expect(self, expected: Fingerprint) -> Result<Self, EnvelopeError> {
        if self.fingerprint == expected {
            Ok(self)
        } else {
            Err(EnvelopeError::OtherType {
                found: self.fingerprint,
                expected,
            })
        }
    }

    /// The envelope as bytes. Copies the payload; [`EnvelopeWriter`] does not.
    ///
    /// # Errors
    ///
    /// [`PayloadTooLarge`].
    pub fn encode(&self) -> Result<Bytes, PayloadTooLarge> {
        let mut writer = EnvelopeWriter::with_capacity(self.payload.len());
        writer.payload().extend_from_slice(self.payload);
        writer.finish(self.flags, self.fingerprint, self.created_ms, self.expires_ms)
    }
}

/// Writes an envelope whose payload is serialized right where it stays.
///
/// ```
/// use cacheme_storage::{Envelope, EnvelopeWriter, Fingerprint, Flags};
///
/// let mut writer = EnvelopeWriter::with_capacity(5);
/// writer.payload().extend_from_slice(b"value");
/// let bytes = writer.finish(Flags::NONE, Fingerprint::from_u64(7), 1_000, None)?;
/// assert_eq!(Envelope::decode(&bytes)?.payload, b"value");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EnvelopeWriter {
    /// Room for the header, then the payload.
    buffer: Vec<u8>,
}

impl EnvelopeWriter {
    /// A writer with room for a payload of this many bytes; it grows as needed.
    #[must_use]
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(Envelope::HEADER_LEN + payload);
        buffer.resize(Envelope::HEADER_LEN, 0);
        Self { buffer }
    }

    /// The buffer for the payload: append to it. The bytes that are there already are the header's and must stay.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes the header.
    ///
    /// An `expires_ms` of `Some(0)` is kept as `Some(1)`: long expired either way, while 0 stands for never.
    ///
    /// # Errors
    ///
    /// [`PayloadTooLarge`].
    ///
    /// # Panics
    ///
    /// When the room for the header was removed from [`payload`](Self::payload).
    pub fn finish(
        mut self,
        flags: Flags,
        fingerprint: Fingerprint,
        created_ms: u64,
        expires_ms: Option<u64>,
    ) -> Result<Bytes, PayloadTooLarge> {
        let (header, payload) = self
            .buffer
            .split_first_chunk_mut::<{ Envelope::HEADER_LEN }>()
            .expect("a payload is appended after the header");
        let size = payload.len();
        let length = u32::try_from(size).map_err(|_| PayloadTooLarge { size })?;
        let expires_ms = expires_ms.map_or(0, |at| at.max(1));
        header[..4].copy_from_slice(&ENVELOPE_MAGIC);
        header[4] = FORMAT_VERSION;
        header[5] = flags.bits();
        header[8..16].copy_from_slice(&fingerprint.as_u64().to_le_bytes());
        header[16..24].copy_from_slice(&created_ms.to_le_bytes());
        header[24..32].copy_from_slice(&expires_ms.to_le_bytes());
        header[32..36].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(header, payload);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        Ok(Bytes::from(self.buffer))
    }
}

fn checksum(header: &[u8; Envelope::HEADER_LEN], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKSUM_AT]), payload)
}

fn u32_at(header: &[u8; Envelope::HEADER_LEN], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_le_bytes(bytes)
}

fn u64_at(header: &[u8; Envelope::HEADER_LEN], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(payload: &[u8]) -> Envelope<'_> {
        Envelope {
            flags: Flags::NONE,
            fingerprint: Fingerprint::from_u64(0x0123_4567_89AB_CDEF),
            created_ms: 1_700_000_000_000,
            expires_ms: Some(1_700_000_060_000),
            payload,
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = sample(b"hi").encode().unwrap();
        let mut expected = Vec::new();
        expected.extend_from_slice(&[0xCA, b'V', b'A', b'L', 1, 0, 0, 0]);
        expected.extend_from_slice(&0x0123_4567_89AB_CDEF_u64.to_le_bytes());
        expected.extend_from_slice(&1_700_000_000_000_u64.to_le_bytes());
        expected.extend_from_slice(&1_700_000_060_000_u64.to_le_bytes());
        expected.extend_from_slice(&2_u32.to_le_bytes());
        let mut summed = expected.clone();
        summed.extend_from_slice(b"hi");
        expected.extend_from_slice(&crc32c::crc32c(&summed).to_le_bytes());
        expected.extend_from_slice(b"hi");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn every_miss_has_its_reason() {
        let good = sample(b"payload").encode().unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            bytes
        };
        let decode = |bytes: &[u8]| Envelope::decode(bytes).unwrap_err();
        assert_eq!(decode(b"{\"json\": true}"), EnvelopeError::NotOurs);
        assert_eq!(decode(b"x"), EnvelopeError::NotOurs);
        assert_eq!(
            decode(b""),
            EnvelopeError::Truncated {
                expected: 40,
                found: 0
            }
        );
        assert_eq!(
            decode(&good[..39]),
            EnvelopeError::Truncated {
                expected: 40,
                found: 39
            }
        );
        assert_eq!(
            decode(&good[..45]),
            EnvelopeError::Truncated {
                expected: 47,
                found: 45
            }
        );
        assert_eq!(decode(&with(4, 2)), EnvelopeError::OtherVersion(2));
        assert_eq!(decode(&with(46, 0)), EnvelopeError::Checksum);
        assert_eq!(
            decode(&[&good[..], b"+"].concat()),
            EnvelopeError::Trailing { extra: 1 }
        );
        let other = Fingerprint::from_u64(1);
        assert_eq!(
            Envelope::decode(&good).unwrap().expect(other),
            Err(EnvelopeError::OtherType {
                found: sample(b"").fingerprint,
                expected: other
            })
        );
    }

    #[test]
    fn a_lease_differs_from_a_value() {
        assert_eq!(
            Envelope::decode(&[&LEASE_MAGIC[..], b"whatever follows"].concat()),
            Err(EnvelopeError::Lease)
        );
        assert!(
            ENVELOPE_MAGIC.iter().all(|byte| !LEASE_MAGIC.contains(byte)),
            "a torn value must not look like a lease"
        );
    }

    #[test]
    fn an_expiry_of_zero_is_not_never() {
        let expired = Envelope {
            expires_ms: Some(0),
            ..sample(b"")
        };
        let bytes = expired.encode().unwrap();
        assert_eq!(Envelope::decode(&bytes).unwrap().expires_ms, Some(1));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            bits in any::<u8>(),
            fingerprint in any::<u64>(),
            created_ms in any::<u64>(),
            expires_ms in proptest::option::of(1..=u64::MAX),
        ) {
            let envelope = Envelope {
                flags: Flags::from_bits(bits),
                fingerprint: Fingerprint::from_u64(fingerprint),
                created_ms,
                expires_ms,
                payload: &payload,
            };
            let bytes = envelope.encode().unwrap();
            prop_assert_eq!(Envelope::decode(&bytes), Ok(envelope));
        }

        #[test]
        fn any_changed_byte_and_any_cut_is_a_miss(payload in proptest::collection::vec(any::<u8>(), 0..40), flip in 1..=u8::MAX) {
            let good = sample(&payload).encode().unwrap();
            for at in 0..good.len() {
                let mut bytes = good.to_vec();
                bytes[at] ^= flip;
                prop_assert!(Envelope::decode(&bytes).is_err(), "byte {} changed", at);
                prop_assert!(Envelope::decode(&good[..at]).is_err(), "cut at {}", at);
            }
        }

        #[test]
        fn foreign_bytes_are_a_miss(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Envelope::decode(&bytes).is_err());
        }

        #[test]
        fn foreign_bytes_behind_our_magic_are_a_miss(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let ours = [&ENVELOPE_MAGIC[..], &[FORMAT_VERSION], &bytes].concat();
            prop_assert!(Envelope::decode(&ours).is_err());
        }
    }
}
