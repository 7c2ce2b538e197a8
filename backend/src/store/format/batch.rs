//! The frame around the changes that are written and synced together.

use super::fields::{Fields, PutFields, pad};
use super::{ALIGNMENT, FormatError, checksum};

/// The header of a batch.
pub const HEADER_BYTES: usize = 64;
/// The chain checksum behind the records.
pub const TRAILER_BYTES: usize = 8;

const MAGIC: [u8; 4] = *b"LKB1";
/// What the header's own checksum covers.
const CHECKED_BYTES: usize = 60;

/// What a batch begins with. Its own checksum makes the length trustworthy before the records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The bytes of all records, without padding.
    pub length: u32,
    /// The ownership that writes; the same as in the segment's header.
    pub epoch: u128,
    /// The number of this batch in the whole log, from 1.
    pub seq: u64,
    /// The highest batch known to be validated when this one was written.
    pub acked: u64,
    /// The chain checksum before this batch.
    pub chain: u64,
    /// Where in the segment's file this header is.
    pub offset: u64,
    /// How many records there are; none in the batch that ends an ownership in order.
    pub records: u32,
}

impl BatchHeader {
    /// Writes the header over the first bytes of `frame`; `nonce` is the segment's.
    pub fn encode_into(&self, frame: &mut [u8], nonce: u64) {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put(&MAGIC);
        out.put_u32(self.length);
        out.put_u128(self.epoch);
        out.put_u64(self.seq);
        out.put_u64(self.acked);
        out.put_u64(self.chain);
        out.put_u64(self.offset);
        out.put_u32(self.records);
        let sum = header_sum(&out, nonce);
        out.put_u32(sum);
        assert!(out.len() == HEADER_BYTES && frame.len() >= HEADER_BYTES, "a batch has room for its header");
        for (to, from) in frame.iter_mut().zip(out) {
            *to = from;
        }
    }

    /// Reads the header of a batch that stands at `offset` of the segment with this nonce.
    ///
    /// # Errors
    /// If there is none, or it is damaged, or it belongs elsewhere.
    pub fn decode(bytes: &[u8], offset: u64, nonce: u64) -> Result<Self, FormatError> {
        let mut fields = Fields::new(bytes);
        let checked = Fields::new(bytes).bytes(CHECKED_BYTES)?;
        if fields.bytes(MAGIC.len())? != MAGIC {
            return Err(FormatError::Damaged("no batch here"));
        }
        let (length, epoch, seq) = (fields.u32()?, fields.u128()?, fields.u64()?);
        let (acked, chain, written_at, records) = (fields.u64()?, fields.u64()?, fields.u64()?, fields.u32()?);
        if fields.u32()? != header_sum(checked, nonce) {
            return Err(FormatError::Damaged("checksum of a batch header"));
        }
        if written_at != offset {
            return Err(FormatError::Damaged("a batch header out of place"));
        }
        Ok(Self { length, epoch, seq, acked, chain, offset, records })
    }

    /// How many bytes the whole batch takes in the file.
    #[must_use]
    pub fn framed_bytes(&self) -> u64 {
        framed_bytes(u64::from(self.length))
    }
}

/// How many bytes a batch takes in the file whose records take `length`.
#[must_use]
pub fn framed_bytes(length: u64) -> u64 {
    (HEADER_BYTES + TRAILER_BYTES) as u64 + length.next_multiple_of(ALIGNMENT as u64)
}

/// Completes a frame: room for the header, then the records. Returns the chain checksum after it.
pub fn seal(frame: &mut Vec<u8>, header: &BatchHeader, nonce: u64) -> u64 {
    assert!(frame.len() == HEADER_BYTES + header.length as usize, "the header tells the length of the records");
    header.encode_into(frame, nonce);
    pad(frame);
    let chain = checksum(frame, header.chain);
    frame.put_u64(chain);
    chain
}

/// Reads the batch at the front of `bytes`. Returns its header, its records and the chain checksum after it.
///
/// # Errors
/// If it is incomplete or damaged in any byte.
pub fn open(bytes: &[u8], offset: u64, nonce: u64) -> Result<(BatchHeader, &[u8], u64), FormatError> {
    let header = BatchHeader::decode(bytes, offset, nonce)?;
    let framed = usize::try_from(header.framed_bytes()).map_err(|_| FormatError::Damaged("cut short"))?;
    let mut fields = Fields::new(bytes);
    let checked = fields.bytes(framed - TRAILER_BYTES)?;
    let chain = checksum(checked, header.chain);
    if fields.u64()? != chain {
        return Err(FormatError::Damaged("checksum of a batch"));
    }
    let mut fields = Fields::new(checked);
    fields.bytes(HEADER_BYTES)?;
    Ok((header, fields.bytes(header.length as usize)?, chain))
}

fn header_sum(checked: &[u8], nonce: u64) -> u32 {
    checksum(checked, nonce) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 77;

    fn header(length: usize) -> BatchHeader {
        BatchHeader { length: length as u32, epoch: 9, seq: 4, acked: 3, chain: 55, offset: 4096, records: 1 }
    }

    fn frame(records: &[u8]) -> (Vec<u8>, u64) {
        let mut frame = vec![0; HEADER_BYTES];
        frame.extend_from_slice(records);
        let chain = seal(&mut frame, &header(records.len()), NONCE);
        (frame, chain)
    }

    #[test]
    fn a_batch_is_read_back_whatever_its_length() {
        for length in 0..40 {
            let records = vec![length as u8; length];
            let (bytes, chain) = frame(&records);
            assert_eq!(bytes.len() as u64, framed_bytes(length as u64));
            assert_eq!(open(&bytes, 4096, NONCE), Ok((header(length), records.as_slice(), chain)));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (good, _) = frame(b"thirteen byte");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bytes, 4096, NONCE).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_copied_to_another_place_or_segment_is_no_batch() {
        let (bytes, _) = frame(b"abc");
        assert!(open(&bytes, 4104, NONCE).is_err());
        assert!(open(&bytes, 4096, NONCE + 1).is_err());
    }
}
