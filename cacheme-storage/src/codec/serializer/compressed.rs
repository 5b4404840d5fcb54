use lz4_flex::block;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::serializer::{Flags, Serializer};
use crate::error::BoxError;

/// Payloads shorter than this are not worth the time: the tens of bytes saved cost no network packet.
const THRESHOLD: usize = 512;

/// Another serializer, its payloads compressed with LZ4 where that makes them smaller.
///
/// A payload below 512 bytes, or one that does not shrink, stays as it is. It has the name of the serializer inside and tells
/// the two kinds apart by [`Flags::COMPRESSED`], so turning compression on loses nothing that is cached; turning it off
/// makes the compressed values misses.
///
/// A compressed payload is the length of the original (4 bytes, little-endian) and an LZ4 block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressed<S>(
    /// The serializer inside.
    pub S,
);

impl<S: Serializer> Serializer for Compressed<S> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn is_self_describing(&self) -> bool {
        self.0.is_self_describing()
    }

    fn plain_len(&self, payload: &[u8], flags: Flags) -> usize {
        if !flags.contains(Flags::COMPRESSED) {
            return self.0.plain_len(payload, flags);
        }
        let length = payload.first_chunk().copied().map_or(0, u32::from_le_bytes);
        usize::try_from(length).unwrap_or(usize::MAX)
    }

    fn serialize<T: Serialize + ?Sized>(&self, value: &T, out: &mut Vec<u8>) -> Result<Flags, BoxError> {
        let start = out.len();
        let flags = self.0.serialize(value, out)?;
        if flags.contains(Flags::COMPRESSED) {
            return Ok(flags);
        }
        let plain = &out[start..];
        let (true, Ok(length)) = (plain.len() >= THRESHOLD, u32::try_from(plain.len())) else {
            return Ok(flags);
        };
        let packed = block::compress(plain);
        if packed.len() + size_of_val(&length) >= plain.len() {
            return Ok(flags);
        }
        out.truncate(start);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&packed);
        Ok(flags | Flags::COMPRESSED)
    }

    fn deserialize<T: DeserializeOwned>(&self, payload: &[u8], flags: Flags) -> Result<T, BoxError> {
        if !flags.contains(Flags::COMPRESSED) {
            return self.0.deserialize(payload, flags);
        }
        let plain = decompress(payload)?;
        self.0.deserialize(&plain, flags.without(Flags::COMPRESSED))
    }
}

/// Unpacks a compressed payload; allocates no more than its bytes can stand for.
fn decompress(payload: &[u8]) -> Result<Vec<u8>, BoxError> {
    // A byte of an LZ4 block adds 255 bytes to a match at most; a token and its offset add a few dozen more.
    const MOST_PER_BYTE: usize = 255;
    const MOST_PER_BLOCK: usize = 64;

    let Some((length, packed)) = payload.split_first_chunk() else {
        return Err("the compressed payload has no length".into());
    };
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    let most = packed
        .len()
        .saturating_mul(MOST_PER_BYTE)
        .saturating_add(MOST_PER_BLOCK);
    if length > most {
        return Err(format!("{} compressed bytes cannot stand for {length}", packed.len()).into());
    }
    let plain = block::decompress(packed, length)?;
    if plain.len() == length {
        Ok(plain)
    } else {
        Err(format!("decompressed to {} bytes of {length}", plain.len()).into())
    }
}
