//! Reading what can be read of a log that is damaged, for a person who wants the mail out. It only reads.
//!
//! Recovery stops at the first doubt, since what it returns has to be all. This goes on behind it: every batch has its own
//! checksums, so a good one is good wherever it stands, and what is missing in between is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::blob::{BodyRef, Reader};
use super::files::{ReadError, read_to};
use super::format::batch::{self, HEADER_BYTES};
use super::format::layout::Name;
use super::format::segment::SegmentHeader;
use super::format::{ALIGNMENT, FormatError};
use super::fs::Fs;
use super::recover::{
    Damage, Entry, OpenError, OpenSegment, Record, entries, is_in_chain, look, names_in, open_segment, read_snapshot,
};

/// What was read of a log.
pub struct Salvaged<F: Fs> {
    /// The newest state that is good; `None` if there is none.
    pub snapshot: Option<Vec<u8>>,
    /// All good changes since, in order. With damage, some may be missing in between.
    pub records: Vec<Record>,
    /// Reads bodies.
    pub reader: Reader<F>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// Whether `records` begin where the snapshot ends, and none is missing.
    pub is_complete: bool,
    /// Bytes of segments that are in no good batch: generation, first, one past the last.
    bad: Vec<(u64, u64, u64)>,
}

impl<F: Fs> Salvaged<F> {
    /// Whether the bytes of a body are known to be those that were written; nothing is known of bodies in files.
    pub fn is_doubtful(&self, body: BodyRef) -> bool {
        let BodyRef::Inline { generation, offset, length } = self.reader.locate(body) else { return false };
        let end = offset + u64::from(length);
        self.bad.iter().any(|(of, from, to)| *of == generation && offset < *to && *from < end)
    }
}

/// Reads all segments from end to end, and takes from them what is good.
///
/// # Errors
/// [`OpenError::Newer`] if a newer program wrote it, [`OpenError::Io`] if the disk fails. Damage is no error.
pub fn salvage<F: Fs>(fs: Arc<F>, dir: &Path) -> Result<Salvaged<F>, OpenError> {
    let mut gathered = Gathered::default();
    let names = names_in(&*fs, dir)?;
    let newest = gathered.segments(&*fs, dir, &names)?;
    let is_whole = match look(Arc::clone(&fs), dir) {
        Ok((recovered, reader)) => {
            return Ok(Salvaged {
                snapshot: recovered.snapshot,
                records: recovered.records,
                reader,
                damage: gathered.damage,
                is_complete: true,
                bad: gathered.bad,
            });
        }
        Err(OpenError::Quarantined(damage)) => {
            if gathered.damage.is_empty() {
                gathered.damage.push(damage);
            }
            false
        }
        Err(other) => return Err(other),
    };
    let (seq, snapshot) = gathered.snapshot(&*fs, dir, &names, newest.as_ref())?;
    let reader = Reader::new(fs, dir);
    let mut records = Vec::new();
    for entry in gathered.batches.split_off(&(seq + 1)).into_values().flatten() {
        match entry {
            Entry::Change(record) => records.push(record),
            Entry::Moved(from, to) => reader.note_moves(vec![(from, to)]),
            Entry::Mark => {}
        }
    }
    Ok(Salvaged { snapshot, records, reader, damage: gathered.damage, is_complete: is_whole, bad: gathered.bad })
}

/// What the segments hold.
#[derive(Default)]
struct Gathered {
    /// The records of each good batch.
    batches: BTreeMap<u64, Vec<Entry>>,
    damage: Vec<Damage>,
    bad: Vec<(u64, u64, u64)>,
}

impl Gathered {
    /// Reads every segment that counts. Returns the header of the newest that has a good one.
    fn segments<F: Fs>(&mut self, fs: &F, dir: &Path, names: &[Name]) -> Result<Option<SegmentHeader>, OpenError> {
        let mut segments = Vec::new();
        for name in names {
            let Name::Segment { generation } = name else { continue };
            match open_segment(fs, dir, *generation) {
                Ok(segment) => segments.push(segment),
                Err(OpenError::Quarantined(damage)) => self.damage.push(damage),
                Err(other) => return Err(other),
            }
        }
        let Some(newest) = segments.last().map(|segment| segment.header.clone()) else { return Ok(None) };
        for seal in &newest.seals {
            if !segments.iter().any(|segment| segment.header.generation == seal.generation) {
                let name = Name::Segment { generation: seal.generation };
                self.damage.push(Damage::new(name, 0, "the segment is missing, or its header is damaged"));
            }
        }
        for segment in &segments {
            let generation = segment.header.generation;
            let seal = newest.seals.iter().find(|seal| seal.generation == generation);
            if generation == newest.generation || seal.is_some() {
                self.segment::<F>(segment, seal.map(|seal| seal.length))?;
            }
        }
        Ok(Some(newest))
    }

    fn segment<F: Fs>(&mut self, segment: &OpenSegment<F::File>, end: Option<u64>) -> Result<(), OpenError> {
        let (header, start) = (&segment.header, segment.header_bytes);
        let bytes = read_to(&segment.file, start, end)?;
        let (mut at, mut bad_from) = (0, None);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = start + at as u64;
            match batch::open(rest, offset, header.nonce) {
                Ok((good, records, _)) if good.epoch == header.epoch => {
                    self.note_bad(segment.name(), header.generation, bad_from.take(), offset);
                    let read = entries(records, header.generation, offset + HEADER_BYTES as u64);
                    self.batches.insert(good.seq, read.filter_map(Result::ok).collect());
                    at += good.framed_bytes() as usize;
                }
                // Zeros behind the end are no damage.
                Ok(_) | Err(_) if bad_from.is_none() && rest.iter().all(|byte| *byte == 0) => break,
                Ok(_) | Err(_) => {
                    bad_from.get_or_insert(offset);
                    at += ALIGNMENT;
                }
            }
        }
        self.note_bad(segment.name(), header.generation, bad_from, start + bytes.len() as u64);
        if let Some(end) = end.filter(|end| *end > start + bytes.len() as u64) {
            self.note_bad(segment.name(), header.generation, Some(start + bytes.len() as u64), end);
        }
        Ok(())
    }

    fn note_bad(&mut self, name: Name, generation: u64, from: Option<u64>, to: u64) {
        let Some(from) = from else { return };
        self.bad.push((generation, from, to));
        self.damage.push(Damage::new(name, from, "bytes that are in no good batch"));
    }

    /// The newest good snapshot, and the batch after which it was taken.
    fn snapshot<F: Fs>(
        &mut self,
        fs: &F,
        dir: &Path,
        names: &[Name],
        newest: Option<&SegmentHeader>,
    ) -> Result<(u64, Option<Vec<u8>>), OpenError> {
        let snapshots: BTreeSet<Name> =
            names.iter().filter(|name| matches!(name, Name::Snapshot { .. })).copied().collect();
        for name in snapshots.into_iter().rev() {
            match read_snapshot(fs, dir, name) {
                Ok((header, state, _)) if newest.is_none_or(|newest| is_in_chain(&header.position, newest)) => {
                    return Ok((header.position.seq, Some(state)));
                }
                Ok(_) => {}
                Err(ReadError::Format(FormatError::Damaged(what))) => self.damage.push(Damage::new(name, 0, what)),
                Err(ReadError::Format(FormatError::Newer(level))) => return Err(OpenError::Newer(level)),
                Err(ReadError::Io(error)) => return Err(OpenError::Io(error)),
            }
        }
        Ok((0, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Log, SimulatedFs};

    const DIR: &str = "/a";

    /// A log of ten changes with a body each, and where in its segment the batch of each begins.
    fn ten() -> (SimulatedFs, Vec<u64>) {
        let fs = SimulatedFs::new();
        let (mut log, _) = Log::open(Arc::new(fs.clone()), Path::new(DIR), 1).unwrap();
        let path = Path::new(DIR).join("seg.0000000000000001");
        let mut ends = Vec::new();
        for number in 0..10_u8 {
            let mut batch = log.batch();
            batch.push(&[number], Some(&[number; 20]));
            let appended = log.write(batch).unwrap();
            let synced = log.sync(appended).unwrap();
            log.validated(synced);
            ends.push(crate::store::FsFile::length(&crate::store::Fs::open(&fs, &path).unwrap()).unwrap());
        }
        log.close();
        (fs, ends)
    }

    fn read(fs: &SimulatedFs) -> (Vec<u8>, usize) {
        let salvaged = salvage(Arc::new(fs.clone()), Path::new(DIR)).unwrap();
        for record in &salvaged.records {
            let body = record.body.unwrap();
            assert!(!salvaged.is_doubtful(body));
            assert_eq!(salvaged.reader.read(body, 0..20).unwrap(), [record.payload[0]; 20]);
        }
        (salvaged.records.iter().map(|record| record.payload[0]).collect(), salvaged.damage.len())
    }

    #[test]
    fn what_is_whole_is_read_whole() {
        let (fs, _) = ten();
        assert_eq!(read(&fs), ((0..10).collect(), 0));
    }

    #[test]
    fn one_damaged_batch_costs_that_batch_whatever_bit_it_is() {
        let (fs, ends) = ten();
        let path = Path::new(DIR).join("seg.0000000000000001");
        let begin = ends[3] as usize * 8;
        for bit in begin..ends[4] as usize * 8 {
            fs.flip(&path, bit).unwrap();
            assert_eq!(read(&fs), ([0, 1, 2, 3, 5, 6, 7, 8, 9].into(), 1), "bit {bit}");
            fs.flip(&path, bit).unwrap();
        }
    }

    #[test]
    fn a_damaged_header_of_a_segment_is_told() {
        let (fs, _) = ten();
        fs.flip(&Path::new(DIR).join("seg.0000000000000001"), 20 * 8).unwrap();
        assert_eq!(read(&fs), (Vec::new(), 1));
    }
}
