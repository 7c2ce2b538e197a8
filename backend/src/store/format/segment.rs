//! The header of a segment: who writes it, and which bytes of the older segments count.

use super::fields::{Fields, PutFields, pad};
use super::layout::Name;
use super::{ALIGNMENT, FormatError, Position, checksum};
use crate::store::fs::IDENTITY_BYTES_MAX;

const MAGIC: &[u8; 8] = b"LKNSEG\r\n";
/// Everything before the list of seals.
const FIXED_BYTES: usize = 104;
const SEAL_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 8;
/// A log is compacted long before it has so many segments; a longer list is damage, not data.
const SEALS_MAX: usize = 65_536;

/// How much of an older segment counts, for ever. Bytes beyond were written by somebody who was not the owner any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The older segment.
    pub generation: u64,
    /// How many bytes of its file count.
    pub length: u64,
    /// The chain checksum there.
    pub chain: u64,
    /// How many of the bytes are bodies.
    pub body_bytes: u64,
}

impl From<Position> for Seal {
    fn from(end: Position) -> Self {
        Self { generation: end.generation, length: end.offset, chain: end.chain, body_bytes: end.body_bytes }
    }
}

/// What a segment begins with. Written before the segment has its name, so that nobody ever sees half of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What a program must know to open the log.
    pub level: u16,
    /// The ownership that writes this segment.
    pub epoch: u128,
    /// The segment's number.
    pub generation: u64,
    /// Tells this attempt to make the segment from any other, and the log's bytes from bytes of messages.
    pub nonce: u64,
    /// The number of the first batch here.
    pub first_seq: u64,
    /// The chain checksum before the first batch.
    pub chain: u64,
    /// The highest batch known to be validated.
    pub acked: u64,
    /// The newest snapshot known to be good.
    pub snapshot: Option<Name>,
    /// The older segments that are still needed, in order.
    pub seals: Vec<Seal>,
    /// The process that writes, for people.
    pub identity: String,
}

impl SegmentHeader {
    /// The length of the header that begins with these bytes, if they are enough to tell: at least [`Self::PEEK_BYTES`].
    ///
    /// # Errors
    /// If this is no segment, or a newer one.
    pub fn peek_length(bytes: &[u8]) -> Result<usize, FormatError> {
        let mut fields = Fields::new(bytes);
        fields.preamble(MAGIC)?;
        let length = fields.u32()? as usize;
        let longest = FIXED_BYTES + SEALS_MAX * SEAL_BYTES + IDENTITY_BYTES_MAX + ALIGNMENT + CHECKSUM_BYTES;
        if length < FIXED_BYTES + CHECKSUM_BYTES || length > longest || !length.is_multiple_of(ALIGNMENT) {
            return Err(FormatError::Damaged("impossible length of a segment header"));
        }
        Ok(length)
    }

    /// How many bytes [`Self::peek_length`] needs.
    pub const PEEK_BYTES: usize = 16;

    /// Writes the header down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let identity = self.identity.as_bytes();
        let identity = identity.get(..IDENTITY_BYTES_MAX).unwrap_or(identity);
        let length =
            (FIXED_BYTES + self.seals.len() * SEAL_BYTES + identity.len()).next_multiple_of(ALIGNMENT) + CHECKSUM_BYTES;
        let (snapshot_seq, snapshot_epoch) = match self.snapshot {
            Some(Name::Snapshot { seq, epoch }) => (seq, epoch),
            _ => (0, 0),
        };
        let mut out = Vec::with_capacity(length);
        out.put_preamble(MAGIC, self.level);
        out.put_u32(length as u32);
        out.put_u128(self.epoch);
        out.put_u64(self.generation);
        out.put_u64(self.nonce);
        out.put_u64(self.first_seq);
        out.put_u64(self.chain);
        out.put_u64(self.acked);
        out.put_u64(snapshot_seq);
        out.put_u128(snapshot_epoch);
        out.put_u32(identity.len() as u32);
        out.put_u32(self.seals.len() as u32);
        for seal in &self.seals {
            out.put_u64(seal.generation);
            out.put_u64(seal.length);
            out.put_u64(seal.chain);
            out.put_u64(seal.body_bytes);
        }
        out.put(identity);
        pad(&mut out);
        let sum = checksum(&out, 0);
        out.put_u64(sum);
        assert!(out.len() == length && self.seals.len() <= SEALS_MAX, "a segment header is as long as it says");
        out
    }

    /// Reads a whole header, exactly as long as [`Self::peek_length`] says.
    ///
    /// # Errors
    /// If it is damaged or newer than this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let length = Self::peek_length(bytes)?;
        let (body, sum) = bytes.split_at_checked(length - CHECKSUM_BYTES).ok_or(FormatError::Damaged("cut short"))?;
        if sum != checksum(body, 0).to_le_bytes() {
            return Err(FormatError::Damaged("checksum of a segment header"));
        }
        let mut fields = Fields::new(body);
        let level = fields.preamble(MAGIC)?;
        fields.u32()?;
        let (epoch, generation, nonce) = (fields.u128()?, fields.u64()?, fields.u64()?);
        let (first_seq, chain, acked) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (snapshot_seq, snapshot_epoch) = (fields.u64()?, fields.u128()?);
        let (identity_length, seal_count) = (fields.u32()? as usize, fields.u32()? as usize);
        let mut seals = Vec::with_capacity(seal_count.min(length / SEAL_BYTES));
        for _ in 0..seal_count {
            seals.push(Seal {
                generation: fields.u64()?,
                length: fields.u64()?,
                chain: fields.u64()?,
                body_bytes: fields.u64()?,
            });
        }
        let identity = String::from_utf8_lossy(fields.bytes(identity_length)?).into_owned();
        let in_order = seals.iter().map(|seal| seal.generation).chain([generation]).is_sorted_by(|a, b| a < b);
        if generation == 0 || first_seq == 0 || !in_order {
            return Err(FormatError::Damaged("impossible values in a segment header"));
        }
        let snapshot = (snapshot_seq > 0).then_some(Name::Snapshot { seq: snapshot_seq, epoch: snapshot_epoch });
        Ok(Self { level, epoch, generation, nonce, first_seq, chain, acked, snapshot, seals, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            level: 2,
            epoch: 5 << 64 | 3,
            generation: 7,
            nonce: 0x1234_5678_9abc_def0,
            first_seq: 90,
            chain: 1,
            acked: 88,
            snapshot: Some(Name::Snapshot { seq: 80, epoch: 4 }),
            seals: vec![
                Seal { generation: 2, length: 4096, chain: 8, body_bytes: 100 },
                Seal { generation: 6, length: 112, chain: 9, body_bytes: 0 },
            ],
            identity: "cluster-1-a.17".to_owned(),
        }
    }

    #[test]
    fn a_header_is_read_back_and_aligned() {
        let bytes = header().encode();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        assert_eq!(SegmentHeader::peek_length(&bytes[..16]), Ok(bytes.len()));
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_cut_short_is_noticed() {
        let good = header().encode();
        for length in 0..good.len() {
            assert!(SegmentHeader::decode(&good[..length]).is_err());
        }
    }

    #[test]
    fn a_newer_feature_level_is_refused_not_called_damage() {
        let mut bytes = header().encode();
        bytes[10] = 9;
        assert_eq!(SegmentHeader::decode(&bytes), Err(FormatError::Newer(9)));
    }

    #[test]
    fn an_overlong_identity_is_cut() {
        let long = SegmentHeader { identity: "x".repeat(1000), ..header() };
        assert_eq!(SegmentHeader::decode(&long.encode()).unwrap().identity.len(), IDENTITY_BYTES_MAX);
    }
}
