//! Going along the chain of segments from a snapshot to the end of the log.

use std::path::Path;

use super::scan::{Entry, Scan, ScannedBatch, entries};
use super::{Carry, Damage, Found, OpenError, OpenSegment, Own, Record, Recovered, Report, open_segment};
use crate::sabotage::{self, Sabotage};
use crate::store::blob::BodyRef;
use crate::store::files::read_to;
use crate::store::format::Position;
use crate::store::format::batch::HEADER_BYTES;
use crate::store::format::segment::Seal;
use crate::store::fs::{Fs, FsFile};

/// Goes along the chain of segments, batch by batch.
pub(super) struct Replay<'a, F: Fs> {
    fs: &'a F,
    dir: &'a Path,
    snapshot_seq: u64,
    pub at: Position,
    acked: u64,
    records: Vec<Record>,
    moves: Vec<(BodyRef, BodyRef)>,
    /// How many records were read, the store's own as well.
    count: u64,
    replayed_bytes: u64,
}

impl<'a, F: Fs> Replay<'a, F> {
    pub fn begin(fs: &'a F, dir: &'a Path, start: Option<Position>) -> Self {
        let at = start.unwrap_or_default();
        Self {
            fs,
            dir,
            snapshot_seq: at.seq,
            at,
            acked: 0,
            records: Vec::new(),
            moves: Vec::new(),
            count: 0,
            replayed_bytes: 0,
        }
    }

    /// Reads what counts of an older segment. All of it has to be there.
    pub fn sealed_segment(&mut self, seal: &Seal) -> Result<(), OpenError> {
        if self.at.generation == seal.generation && self.at.offset == seal.length {
            return Ok(());
        }
        let segment = open_segment(self.fs, self.dir, seal.generation)?;
        let start = self.enter(&segment)?;
        let limit = if sabotage::on(Sabotage::SkipSeal) { None } else { Some(seal.length) };
        let bytes = read_to(&segment.file, start, limit)?;
        let mut scan = Scan::new(&segment.header, &bytes, self.at);
        while let Some(batch) = scan.next_batch().map_err(OpenError::Quarantined)? {
            self.take(&segment, &batch)?;
        }
        self.at = scan.at;
        if sabotage::on(Sabotage::SkipSeal) {
            return Ok(());
        }
        let complete = (self.at.offset, self.at.chain) == (seal.length, seal.chain);
        if !complete {
            let what = "bytes that were sealed are missing or changed";
            return Err(OpenError::Quarantined(Damage::new(segment.name(), self.at.offset, what)));
        }
        Ok(())
    }

    /// Reads the newest segment to its end, wherever that is.
    pub fn newest_segment(mut self, segment: &OpenSegment<F::File>, own: Option<Own>) -> Result<Found, OpenError> {
        let start = self.enter(segment)?;
        let limit = own.filter(|_| !sabotage::on(Sabotage::TrustFailedSync)).map(|own| own.synced);
        let bytes = read_to(&segment.file, start, limit)?;
        if bytes.is_empty() && segment.file.length()? < start {
            let what = "the segment ends before its snapshot";
            return Err(OpenError::Quarantined(Damage::new(segment.name(), start, what)));
        }
        let mut scan = Scan::new(&segment.header, &bytes, self.at);
        let mut last = None;
        let mut before_last = self.so_far();
        while let Some(batch) = scan.next_batch().map_err(OpenError::Quarantined)? {
            before_last = self.so_far();
            self.take(segment, &batch)?;
            last = Some(batch);
        }
        let torn_bytes = scan.torn_bytes().map_err(OpenError::Quarantined)?;
        if limit.is_some_and(|limit| scan.at.offset != limit) {
            let what = "bytes that were synced are missing or changed";
            return Err(OpenError::Quarantined(Damage::new(segment.name(), scan.at.offset, what)));
        }
        self.at = scan.at;
        if self.acked.max(segment.header.acked) > self.at.seq {
            let what = "a batch that was acknowledged is missing";
            return Err(OpenError::Quarantined(Damage::new(segment.name(), self.at.offset, what)));
        }

        let clean = last.as_ref().is_some_and(|batch| batch.header.records == 0);
        let trusting = sabotage::on(Sabotage::SkipCarry) || sabotage::on(Sabotage::LinkLate);
        let mut carry = None;
        match last {
            // What the writer itself has synced is not in doubt.
            _ if own.is_some() => {}
            // The batch that ends an ownership says nothing that would have to be kept.
            Some(batch) if clean => self.at = batch.before,
            // All batches but the last were synced, because another followed; a snapshot proves it as well.
            Some(batch) if batch.header.seq > self.snapshot_seq && !trusting => {
                self.at = batch.before;
                let (records, moves, count) = before_last;
                self.records.truncate(records);
                self.moves.truncate(moves);
                self.count = count;
                carry = Some(Carry { records: batch.records.to_vec(), count: batch.header.records });
            }
            _ => {}
        }
        let settled = clean || own.is_some() || sabotage::on(Sabotage::LinkLate);
        let report = Report {
            generation: segment.generation(),
            seq: self.at.seq + u64::from(carry.is_some()),
            replayed_bytes: self.replayed_bytes,
            torn_bytes,
            clean,
            carried: carry.is_some(),
            ..Report::default()
        };
        Ok(Found {
            end: self.at,
            name_in_doubt: self.at.offset == segment.header_bytes,
            older: segment.header.seals.clone(),
            acked: self.acked.max(segment.header.acked),
            carry,
            settled,
            replayed_records: self.count,
            moves: self.moves,
            recovered: Recovered { snapshot: None, records: self.records, report },
            ..Found::default()
        })
    }

    /// Steps from the end of one segment to the beginning of the next. Returns where to read on.
    fn enter(&mut self, segment: &OpenSegment<F::File>) -> Result<u64, OpenError> {
        let (header, name) = (&segment.header, segment.name());
        if self.at.generation == header.generation {
            // In the middle of a segment, behind the snapshot.
            return Ok(self.at.offset);
        }
        if (header.first_seq, header.chain) != (self.at.seq + 1, self.at.chain) {
            return Err(OpenError::Quarantined(Damage::new(
                name,
                0,
                "the segment does not continue what is before it",
            )));
        }
        self.at = Position { generation: header.generation, offset: segment.header_bytes, body_bytes: 0, ..self.at };
        Ok(segment.header_bytes)
    }

    fn so_far(&self) -> (usize, usize, u64) {
        (self.records.len(), self.moves.len(), self.count)
    }

    fn take(&mut self, segment: &OpenSegment<F::File>, batch: &ScannedBatch<'_>) -> Result<(), OpenError> {
        let base = batch.header.offset + HEADER_BYTES as u64;
        for entry in entries(batch.records, segment.generation(), base) {
            let damaged = |what| OpenError::Quarantined(Damage::new(segment.name(), batch.header.offset, what));
            self.count += 1;
            match entry.map_err(damaged)? {
                Entry::Change(record) => self.records.push(record),
                Entry::Moved(from, to) => self.moves.push((from, to)),
                Entry::Mark => {}
            }
        }
        self.acked = self.acked.max(batch.header.acked);
        self.replayed_bytes += batch.header.framed_bytes();
        Ok(())
    }
}
