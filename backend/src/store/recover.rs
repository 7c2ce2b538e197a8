//! Reading a log back: after a clean end, after a crash, and when another member's ownership was ended by force.
//!
//! Recovery is one and the same in all three cases. It writes nothing, repairs nothing in place and may be repeated at
//! any point. It tells a torn tail from corruption by the rule that a batch is written only when the one before is on
//! disk: whatever stands behind a bad batch proves that the bad batch was good once.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::blob::BodyRef;
use super::files::{ReadError, read_segment_header, read_snapshot_header, read_to};
use super::format::batch::{self, BatchHeader};
use super::format::layout::Name;
use super::format::record::{RawBody, Records};
use super::format::segment::{Seal, SegmentHeader};
use super::format::snapshot::{HEADER_BYTES, SnapshotHeader, decode_discards};
use super::format::{ALIGNMENT, FormatError, Position, checksum};
use super::fs::{Fs, FsFile};
use super::sabotage::{self, Sabotage};

/// One change as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The bytes of the change.
    pub payload: Vec<u8>,
    /// The body it brought along.
    pub body: Option<BodyRef>,
}

/// What an ownable held when it was opened.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The state at some point; `None` for a new ownable or one without a snapshot yet.
    pub snapshot: Option<Vec<u8>>,
    /// The changes since then, in order.
    pub records: Vec<Record>,
    /// What recovery saw and did.
    pub report: Report,
}

/// What recovery saw and did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// The newest segment found; 0 for a new ownable.
    pub generation: u64,
    /// The last batch.
    pub seq: u64,
    /// The batch at which the snapshot was taken; 0 without one.
    pub snapshot_seq: u64,
    /// How many bytes of log were read behind the snapshot.
    pub replayed_bytes: u64,
    /// How many bytes at the end belonged to a batch that was never completed.
    pub torn_bytes: u64,
    /// Whether the last owner ended in order.
    pub clean: bool,
    /// Whether the last batch was written once more, because its writer may not have synced it.
    pub carried: bool,
    /// How many snapshots could not be read and were passed over.
    pub damaged_snapshots: u32,
    /// How many files belong to nobody any more.
    pub garbage_files: usize,
}

/// Where and how a log is damaged. Its bytes are kept as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} at {offset}: {what}")]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}

impl Damage {
    pub(super) fn new(name: Name, offset: u64, what: &'static str) -> Self {
        Self { file: name.to_string(), offset, what }
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An ownership at least as new has written to it: give the ownable up.
    #[error("open the log: another ownership has written to it")]
    Stale,
    /// It is damaged. Its bytes are kept as they are, and nothing is written, until a person has looked.
    #[error("open the log: quarantined")]
    Quarantined(#[source] Damage),
    /// A newer program wrote it.
    #[error("open the log: it needs feature level {0}, newer than this program")]
    Newer(u16),
    /// The disk failed; try again.
    #[error("open the log")]
    Io(#[from] io::Error),
}

/// The segment that the one who recovers has written itself, and how much of it is surely on disk.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    pub nonce: u64,
    pub synced: u64,
}

/// All that is needed to go on from what was found.
#[derive(Debug, Default)]
pub struct Found {
    pub recovered: Recovered,
    /// Where the newest segment is to be sealed.
    pub end: Position,
    /// Whether the newest segment may lose its name: nothing in it proves that its directory was synced.
    pub name_in_doubt: bool,
    /// The segments older than the newest.
    pub older: Vec<Seal>,
    pub acked: u64,
    /// The records of the last batch, if it is not surely on disk.
    pub carry: Option<Carry>,
    /// Whether nobody can be writing to the newest segment any more.
    pub settled: bool,
    /// Good snapshots, newest first.
    pub snapshots: Vec<(Name, Option<Position>)>,
    /// Files that belong to nobody any more.
    pub garbage: Vec<Name>,
    /// Bytes of discarded bodies by segment.
    pub discards: BTreeMap<u64, u64>,
    pub replayed_records: u64,
}

/// A batch that is to be written once more.
#[derive(Debug)]
pub struct Carry {
    pub records: Vec<u8>,
    pub count: u32,
}

/// Reads the log of `dir` for the ownership `epoch`.
pub fn recover<F: Fs>(fs: &F, dir: &Path, epoch: u128, own: Option<Own>) -> Result<Found, OpenError> {
    let names = match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Found { settled: true, ..Found::default() });
        }
        other => other?.iter().filter_map(|name| Name::parse(name)).collect::<Vec<_>>(),
    };
    let Some(generation) = newest_segment(&names) else {
        return match names.iter().find(|name| matches!(name, Name::Snapshot { .. })) {
            Some(name) => Err(OpenError::Quarantined(Damage::new(*name, 0, "a snapshot without any segment"))),
            None => Ok(Found { settled: true, garbage: names, ..Found::default() }),
        };
    };
    let newest = open_segment(fs, dir, generation)?;
    let own = own.filter(|own| own.nonce == newest.header.nonce);
    let stale = newest.header.epoch > epoch || (newest.header.epoch == epoch && own.is_none());
    if stale && !sabotage::on(Sabotage::IgnoreEpochs) {
        return Err(OpenError::Stale);
    }
    let mut chosen = choose_snapshot(fs, dir, epoch, &names, &newest)?;
    let mut replay = Replay::begin(fs, dir, chosen.header.map(|header| header.position));
    let first = replay.at.generation;
    for seal in newest.header.seals.iter().filter(|seal| seal.generation >= first) {
        replay.sealed_segment(seal)?;
    }
    let mut found = replay.newest_segment(&newest, own)?;
    let keep = |name: &Name| match *name {
        Name::Segment { generation } => {
            generation == newest.generation() || newest.header.seals.iter().any(|seal| seal.generation == generation)
        }
        Name::Snapshot { .. } => chosen.kept.iter().any(|(kept, _)| kept == name),
        Name::Temporary { epoch: writer, .. } => writer > epoch,
    };
    found.garbage = names.iter().filter(|name| !keep(name)).copied().collect();
    found.recovered.snapshot = chosen.state.take();
    found.recovered.report.snapshot_seq = chosen.header.map_or(0, |header| header.position.seq);
    found.recovered.report.damaged_snapshots = chosen.damaged;
    found.recovered.report.garbage_files = found.garbage.len();
    found.discards = chosen.discards;
    found.snapshots = chosen.kept;
    Ok(found)
}

fn newest_segment(names: &[Name]) -> Option<u64> {
    names.iter().filter_map(|name| if let Name::Segment { generation } = name { Some(*generation) } else { None }).max()
}

/// A segment with its header read.
pub struct OpenSegment<T> {
    pub file: T,
    pub header: SegmentHeader,
    pub header_bytes: u64,
}

impl<T> OpenSegment<T> {
    pub fn name(&self) -> Name {
        Name::Segment { generation: self.generation() }
    }

    fn generation(&self) -> u64 {
        self.header.generation
    }
}

/// Opens a segment and reads its header.
pub fn open_segment<F: Fs>(fs: &F, dir: &Path, generation: u64) -> Result<OpenSegment<F::File>, OpenError> {
    let name = Name::Segment { generation };
    let file = match fs.open(&name.within(dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Quarantined(Damage::new(name, 0, "the segment is missing")));
        }
        other => other?,
    };
    match read_segment_header(&file) {
        Ok((header, _)) if header.generation != generation => {
            Err(OpenError::Quarantined(Damage::new(name, 0, "the segment bears another's name")))
        }
        Ok((header, header_bytes)) => Ok(OpenSegment { file, header, header_bytes }),
        Err(error) => Err(refuse(error, name, 0)),
    }
}

fn refuse(error: ReadError, name: Name, offset: u64) -> OpenError {
    match error {
        ReadError::Format(FormatError::Newer(level)) => OpenError::Newer(level),
        ReadError::Format(FormatError::Damaged(what)) => OpenError::Quarantined(Damage::new(name, offset, what)),
        ReadError::Io(error) => OpenError::Io(error),
    }
}

/// The snapshot that recovery begins with, if any.
#[derive(Default)]
struct Chosen {
    header: Option<SnapshotHeader>,
    state: Option<Vec<u8>>,
    discards: BTreeMap<u64, u64>,
    kept: Vec<(Name, Option<Position>)>,
    damaged: u32,
}

/// How many snapshots an ownable keeps: the newest, and one to fall back to.
pub const SNAPSHOTS_KEPT: usize = 2;

fn choose_snapshot<F: Fs>(
    fs: &F,
    dir: &Path,
    epoch: u128,
    names: &[Name],
    newest: &OpenSegment<F::File>,
) -> Result<Chosen, OpenError> {
    let mut candidates: Vec<Name> =
        names.iter().filter(|name| matches!(name, Name::Snapshot { .. })).copied().collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    let mut chosen = Chosen::default();
    for name in candidates {
        if matches!(name, Name::Snapshot { epoch: writer, .. } if writer > epoch) {
            return Err(OpenError::Stale);
        }
        if chosen.header.is_some() {
            if chosen.kept.len() < SNAPSHOTS_KEPT {
                let trim = newest.header.seals.len() >= SEALS_WORTH_TRIMMING;
                let position = if trim { position_of(fs, dir, name, &newest.header) } else { None };
                chosen.kept.push((name, position));
            }
            continue;
        }
        match read_snapshot(fs, dir, name) {
            Ok((header, state, discards)) if is_in_chain(&header.position, &newest.header) => {
                chosen.kept.push((name, Some(header.position)));
                (chosen.header, chosen.state, chosen.discards) = (Some(header), Some(state), discards);
            }
            // Written by somebody who was not the owner any more.
            Ok(_) => {}
            Err(ReadError::Format(FormatError::Damaged(_))) => chosen.damaged += 1,
            Err(error) => return Err(refuse(error, name, 0)),
        }
    }
    Ok(chosen)
}

/// From this many old segments on, recovery finds out which of them could be left out.
const SEALS_WORTH_TRIMMING: usize = 8;

/// The place that the snapshot to fall back to describes, if it can be told. The rest of it is read when it is needed.
fn position_of<F: Fs>(fs: &F, dir: &Path, name: Name, newest: &SegmentHeader) -> Option<Position> {
    let header = read_snapshot_header(&fs.open(&name.within(dir)).ok()?).ok()?;
    let named = Name::Snapshot { seq: header.position.seq, epoch: header.epoch };
    (named == name && is_in_chain(&header.position, newest)).then_some(header.position)
}

/// Whether a snapshot describes a place that every later owner has accepted.
pub fn is_in_chain(position: &Position, newest: &SegmentHeader) -> bool {
    if position.generation == newest.generation {
        return true;
    }
    let seal = newest.seals.iter().find(|seal| seal.generation == position.generation);
    seal.is_some_and(|seal| {
        position.offset < seal.length || (position.offset == seal.length && position.chain == seal.chain)
    })
}

type Snapshot = (SnapshotHeader, Vec<u8>, BTreeMap<u64, u64>);

/// Reads and checks a whole snapshot.
pub fn read_snapshot<F: Fs>(fs: &F, dir: &Path, name: Name) -> Result<Snapshot, ReadError> {
    let file = fs.open(&name.within(dir))?;
    let header = read_snapshot_header(&file)?;
    if name != (Name::Snapshot { seq: header.position.seq, epoch: header.epoch }) {
        return Err(FormatError::Damaged("the snapshot bears another's name").into());
    }
    let length = file.length()?;
    let (Some(expected), Some(tables)) = (header.file_bytes(), header.discards_offset()) else {
        return Err(FormatError::Damaged("impossible lengths in a snapshot").into());
    };
    if length != expected {
        return Err(FormatError::Damaged("a snapshot without its end").into());
    }
    let state_length =
        usize::try_from(header.state_length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut state = vec![0; state_length];
    file.read_exact_at(&mut state, HEADER_BYTES as u64)?;
    let state_end = HEADER_BYTES as u64 + header.state_length;
    let rest = read_to(&file, state_end, Some(length))?;
    let (padding, rest) = rest.split_at_checked((tables - state_end) as usize).unwrap_or_default();
    let (discards, footer) = rest.split_at_checked(header.discards_length as usize).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) || footer != header.footer() {
        return Err(FormatError::Damaged("a snapshot without its end").into());
    }
    if checksum(&state, 0) != header.state_checksum || checksum(discards, 0) != header.discards_checksum {
        return Err(FormatError::Damaged("checksum of a snapshot").into());
    }
    let discards = decode_discards(discards)?.into_iter().collect();
    Ok((header, state, discards))
}

/// Goes along the chain of segments, batch by batch.
struct Replay<'a, F: Fs> {
    fs: &'a F,
    dir: &'a Path,
    snapshot_seq: u64,
    at: Position,
    acked: u64,
    records: Vec<Record>,
    replayed_bytes: u64,
}

impl<'a, F: Fs> Replay<'a, F> {
    fn begin(fs: &'a F, dir: &'a Path, start: Option<Position>) -> Self {
        let at = start.unwrap_or_default();
        Self { fs, dir, snapshot_seq: at.seq, at, acked: 0, records: Vec::new(), replayed_bytes: 0 }
    }

    /// Reads what counts of an older segment. All of it has to be there.
    fn sealed_segment(&mut self, seal: &Seal) -> Result<(), OpenError> {
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
    fn newest_segment(mut self, segment: &OpenSegment<F::File>, own: Option<Own>) -> Result<Found, OpenError> {
        let start = self.enter(segment)?;
        let limit = own.filter(|_| !sabotage::on(Sabotage::TrustFailedSync)).map(|own| own.synced);
        let bytes = read_to(&segment.file, start, limit)?;
        if bytes.is_empty() && segment.file.length()? < start {
            let what = "the segment ends before its snapshot";
            return Err(OpenError::Quarantined(Damage::new(segment.name(), start, what)));
        }
        let mut scan = Scan::new(&segment.header, &bytes, self.at);
        let mut last = None;
        let mut before_last = self.records.len();
        while let Some(batch) = scan.next_batch().map_err(OpenError::Quarantined)? {
            before_last = self.records.len();
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
                self.records.truncate(before_last);
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
            replayed_records: self.records.len() as u64,
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

    fn take(&mut self, segment: &OpenSegment<F::File>, batch: &ScannedBatch<'_>) -> Result<(), OpenError> {
        let base = batch.header.offset + batch::HEADER_BYTES as u64;
        for record in records(batch.records, segment.generation(), base) {
            self.records.push(
                record
                    .map_err(|what| OpenError::Quarantined(Damage::new(segment.name(), batch.header.offset, what)))?,
            );
        }
        self.acked = self.acked.max(batch.header.acked);
        self.replayed_bytes += batch.header.framed_bytes();
        Ok(())
    }
}

/// Reads the records of a batch whose first record stands at `base` in the segment's file.
pub fn records(bytes: &[u8], generation: u64, base: u64) -> impl Iterator<Item = Result<Record, &'static str>> + '_ {
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
        Ok(Record { payload: record.payload.to_vec(), body })
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
    let length = |record: super::format::record::RawRecord<'_>| match record.body {
        RawBody::Inline { bytes, .. } => bytes.len() as u64,
        RawBody::Absent | RawBody::File(_) => 0,
    };
    Records::new(records).flatten().map(length).sum()
}
