//! The state of an ownable after one batch, as one immutable file: header, table, sections, footer.

use super::fields::{Fields, PutFields, pad};
use super::{ALIGNMENT, FormatError, Position, checksum};

const MAGIC: &[u8; 8] = b"LKNSNP\r\n";
const END_MAGIC: &[u8; 8] = b"LKNSEND\n";
/// The header with its checksum.
pub const HEADER_BYTES: usize = 128;
/// The footer.
pub const FOOTER_BYTES: usize = 24;

const CHECKED_BYTES: usize = HEADER_BYTES - 8;
const DISCARD_BYTES: usize = 16;

/// What a snapshot begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// What a program must know to read it.
    pub level: u16,
    /// The ownership that wrote it.
    pub epoch: u128,
    /// The place in the log that it describes.
    pub position: Position,
    /// The length of the state.
    pub state_length: u64,
    /// The checksum of the state.
    pub state_checksum: u64,
    /// The length of the table of discarded bytes.
    pub discards_length: u64,
    /// The checksum of that table.
    pub discards_checksum: u64,
}

impl SnapshotHeader {
    /// Writes the header down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put_preamble(MAGIC, self.level);
        out.put_u32(HEADER_BYTES as u32);
        out.put_u128(self.epoch);
        out.put_u64(self.position.seq);
        out.put_u64(self.position.generation);
        out.put_u64(self.position.offset);
        out.put_u64(self.position.chain);
        out.put_u64(self.position.body_bytes);
        out.put_u64(self.state_length);
        out.put_u64(self.state_checksum);
        out.put_u64(self.discards_length);
        out.put_u64(self.discards_checksum);
        out.resize(CHECKED_BYTES, 0);
        let sum = checksum(&out, 0);
        out.put_u64(sum);
        assert!(out.len() == HEADER_BYTES, "a snapshot header has one length");
        out
    }

    /// Reads the header at the front of `bytes`.
    ///
    /// # Errors
    /// If it is damaged or newer than this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(bytes);
        let level = fields.preamble(MAGIC)?;
        if fields.u32()? as usize != HEADER_BYTES {
            return Err(FormatError::Damaged("impossible length of a snapshot header"));
        }
        let checked = Fields::new(bytes).bytes(CHECKED_BYTES)?;
        let epoch = fields.u128()?;
        let position = Position {
            seq: fields.u64()?,
            generation: fields.u64()?,
            offset: fields.u64()?,
            chain: fields.u64()?,
            body_bytes: fields.u64()?,
        };
        let (state_length, state_checksum) = (fields.u64()?, fields.u64()?);
        let (discards_length, discards_checksum) = (fields.u64()?, fields.u64()?);
        fields.zeros(16)?;
        if fields.u64()? != checksum(checked, 0) {
            return Err(FormatError::Damaged("checksum of a snapshot header"));
        }
        Ok(Self { level, epoch, position, state_length, state_checksum, discards_length, discards_checksum })
    }

    /// How long the whole file is; `None` if no file can be.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        self.footer_offset()?.checked_add(FOOTER_BYTES as u64)
    }

    /// Where the table of discarded bytes begins; the state stands right behind the header.
    #[must_use]
    pub fn discards_offset(&self) -> Option<u64> {
        self.state_length.checked_next_multiple_of(ALIGNMENT as u64)?.checked_add(HEADER_BYTES as u64)
    }

    /// Where the footer begins.
    #[must_use]
    pub fn footer_offset(&self) -> Option<u64> {
        self.discards_offset()?.checked_add(self.discards_length.checked_next_multiple_of(ALIGNMENT as u64)?)
    }

    /// The footer, which is written last.
    #[must_use]
    pub fn footer(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.put(END_MAGIC);
        out.put_u64(self.file_bytes().unwrap_or_default());
        out.put_u64(checksum(&self.encode(), 1));
        out
    }
}

/// Writes down how many bytes of bodies in each segment nobody names any more.
#[must_use]
pub fn encode_discards(discards: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (generation, bytes) in discards {
        out.put_u64(generation);
        out.put_u64(bytes);
    }
    pad(&mut out);
    out
}

/// Reads what [`encode_discards`] wrote.
///
/// # Errors
/// If it is cut short.
pub fn decode_discards(bytes: &[u8]) -> Result<Vec<(u64, u64)>, FormatError> {
    let mut fields = Fields::new(bytes);
    let mut discards = Vec::with_capacity(bytes.len() / DISCARD_BYTES);
    while !fields.is_empty() {
        discards.push((fields.u64()?, fields.u64()?));
    }
    Ok(discards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SnapshotHeader {
        SnapshotHeader {
            level: 2,
            epoch: 6,
            position: Position { seq: 1, generation: 2, offset: 3, chain: 4, body_bytes: 5 },
            state_length: 9,
            state_checksum: 10,
            discards_length: 16,
            discards_checksum: 12,
        }
    }

    #[test]
    fn a_header_is_read_back() {
        assert_eq!(SnapshotHeader::decode(&header().encode()), Ok(header()));
        assert_eq!(header().file_bytes(), Some(128 + 16 + 16 + 24));
        assert_eq!(header().footer().len(), FOOTER_BYTES);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SnapshotHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn discards_are_read_back() {
        let discards = vec![(1, 100), (7, 3)];
        assert_eq!(decode_discards(&encode_discards(discards.iter().copied())), Ok(discards));
        assert!(decode_discards(&[0; 17]).is_err());
    }
}
