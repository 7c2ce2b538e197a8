//! Batch by batch through the bytes of one segment, to the first that is not good, and what to think of that one.

use super::{Damage, Record};
use crate::store::blob::BodyRef;
use crate::store::format::batch::{self, BatchHeader};
use crate::store::format::layout::Name;
use crate::store::format::record::{Purpose, RawBody, RawRecord, Records};
use crate::store::format::segment::SegmentHeader;
use crate::store::format::{ALIGNMENT, FormatError, Position};

/// What a record comes to.
pub enum Entry {
    /// A change of the state.
    Change(Record),
    /// A body stands elsewhere from now on.
    Moved(BodyRef, BodyRef),
    /// Nothing.
    Mark,
}

/// Reads the records of a batch whose first record stands at `base` in the segment's file.
pub fn entries(bytes: &[u8], generation: u64, base: u64) -> impl Iterator<Item = Result<Entry, &'static str>> + '_ {
    Records::new(bytes).map(move |record| {
        let record = record.map_err(|error| match error {
            FormatError::Damaged(what) => what,
            FormatError::Newer(_) => "a record of a newer program",
        })?;
        let body = match record.body {
            RawBody::Absent => None,
            RawBody::Inline { offset, bytes, .. } => {
                Some(BodyRef::Inline { generation, offset: base + offset as u64, length: bytes.len() as u32 })
            }
            RawBody::File(file) => Some(BodyRef::File { epoch: file.epoch, number: file.number, length: file.length }),
        };
        match (record.purpose, body) {
            (Purpose::Change, body) => Ok(Entry::Change(Record { payload: record.payload.to_vec(), body })),
            (Purpose::Mark, _) => Ok(Entry::Mark),
            (Purpose::Moved { generation: old, offset }, Some(to @ BodyRef::Inline { length, .. }))
                if old < generation =>
            {
                Ok(Entry::Moved(BodyRef::Inline { generation: old, offset, length }, to))
            }
            (Purpose::Moved { .. }, _) => Err("a body that was moved from a later place"),
        }
    })
}

/// A batch within the bytes of a segment.
pub struct ScannedBatch<'a> {
    pub header: BatchHeader,
    pub records: &'a [u8],
    /// The place before it.
    pub before: Position,
}

/// Reads batches from the bytes of one segment until one is not good.
pub struct Scan<'a> {
    segment: &'a SegmentHeader,
    rest: &'a [u8],
    pub at: Position,
}

impl<'a> Scan<'a> {
    /// Begins at a place in the segment; `bytes` are what stands from there on.
    pub fn new(segment: &'a SegmentHeader, bytes: &'a [u8], at: Position) -> Self {
        Self { segment, rest: bytes, at }
    }

    /// The next good batch; `None` at the first place where there is none.
    pub fn next_batch(&mut self) -> Result<Option<ScannedBatch<'a>>, Damage> {
        let Ok((header, records, chain)) = batch::open(self.rest, self.at.offset, self.segment.nonce) else {
            return Ok(None);
        };
        let expected = (self.segment.epoch, self.at.seq + 1, self.at.chain);
        if (header.epoch, header.seq, header.chain) != expected || header.acked > self.at.seq {
            return Err(self.damage("the batch does not continue what is before it"));
        }
        let before = self.at;
        let framed = header.framed_bytes();
        self.rest = self.rest.get(framed as usize..).unwrap_or_default();
        self.at = Position {
            seq: header.seq,
            generation: before.generation,
            offset: before.offset + framed,
            chain,
            body_bytes: before.body_bytes + inline_bytes(records),
        };
        Ok(Some(ScannedBatch { header, records, before }))
    }

    /// How many bytes stand behind the last good batch, if they can be the remains of one that was never completed.
    pub fn torn_bytes(&self) -> Result<u64, Damage> {
        if self.rest.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        // Batches are serial: a header of a later one proves that this place was good when it was written.
        let later = (ALIGNMENT..self.rest.len()).step_by(ALIGNMENT).any(|skipped| {
            let bytes = self.rest.get(skipped..).unwrap_or_default();
            BatchHeader::decode(bytes, self.at.offset + skipped as u64, self.segment.nonce).is_ok()
        });
        if later {
            return Err(self.damage("a bad batch in front of a good one"));
        }
        Ok(self.rest.len() as u64)
    }

    fn damage(&self, what: &'static str) -> Damage {
        Damage::new(Name::Segment { generation: self.at.generation }, self.at.offset, what)
    }
}

pub fn inline_bytes(records: &[u8]) -> u64 {
    let length = |record: RawRecord<'_>| match record.body {
        RawBody::Inline { bytes, .. } => bytes.len() as u64,
        RawBody::Absent | RawBody::File(_) => 0,
    };
    Records::new(records).flatten().map(length).sum()
}
