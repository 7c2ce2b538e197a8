//! Reading a log back: after a clean end, after a crash, and when another member's ownership was ended by force.
//!
//! Recovery is one and the same in all three cases. It writes nothing, repairs nothing in place and may be repeated at
//! any point. It tells a torn tail from corruption by the rule that a batch is written only when the one before is on
//! disk: whatever stands behind a bad batch proves that the bad batch was good once.

mod replay;
mod scan;
mod snapshots;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use self::scan::{Entry, Scan, ScannedBatch, entries, inline_bytes};
pub use self::snapshots::{SNAPSHOTS_KEPT, is_in_chain, read_snapshot};

use self::replay::Replay;
use self::snapshots::choose_snapshot;
use super::blob::{BodyRef, Reader};
use super::files::{ReadError, read_segment_header};
use super::format::batch::HEADER_BYTES;
use super::format::layout::Name;
use super::format::segment::{Seal, SegmentHeader};
use super::format::{FormatError, Position};
use super::fs::Fs;
use crate::sabotage::{self, Sabotage};

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
    /// Bodies that were moved behind the snapshot: where they were, and where they are.
    pub moves: Vec<(BodyRef, BodyRef)>,
    pub replayed_records: u64,
}

/// A batch that is to be written once more.
#[derive(Debug)]
pub struct Carry {
    pub records: Vec<u8>,
    pub count: u32,
}

/// Reads what a log says, without the right to write and without writing anything. What its owner adds meanwhile is not
/// in it; whoever is not the owner may show it only as what was once there.
///
/// # Errors
/// See [`OpenError`].
pub fn look<F: Fs>(fs: Arc<F>, dir: &Path) -> Result<(Recovered, Reader<F>), OpenError> {
    let Found { mut recovered, end, carry, mut moves, .. } = recover(&*fs, dir, u128::MAX, None)?;
    let records = carry.map(|carry| carry.records).unwrap_or_default();
    for entry in entries(&records, end.generation, end.offset + HEADER_BYTES as u64).flatten() {
        match entry {
            Entry::Change(record) => recovered.records.push(record),
            Entry::Moved(from, to) => moves.push((from, to)),
            Entry::Mark => {}
        }
    }
    let reader = Reader::new(fs, dir);
    reader.note_moves(moves);
    Ok((recovered, reader))
}

/// How often the files may change under an opener's eyes before it gives up: it is hardly the owner then.
const CHANGES_MAX: usize = 16;

/// Reads the log of `dir` for the ownership `epoch`.
///
/// Who is not the owner any more, and reads slowly, may miss files that its successor has deleted meanwhile. So nothing is
/// called damaged while the names change.
pub fn recover<F: Fs>(fs: &F, dir: &Path, epoch: u128, own: Option<Own>) -> Result<Found, OpenError> {
    let mut names = names_in(fs, dir)?;
    for _ in 0..CHANGES_MAX {
        let read = read_log(fs, dir, &names, epoch, own);
        let Err(OpenError::Quarantined(_)) = read else { return read };
        let now = names_in(fs, dir)?;
        if now == names {
            return read;
        }
        names = now;
    }
    Err(OpenError::Io(io::Error::other("somebody else changes the files")))
}

/// The names of the log's files, in order; none where there is no log.
pub fn names_in<F: Fs>(fs: &F, dir: &Path) -> io::Result<Vec<Name>> {
    match fs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => {
            let mut names: Vec<Name> = other?.iter().filter_map(|name| Name::parse(name)).collect();
            names.sort_unstable();
            Ok(names)
        }
    }
}

fn read_log<F: Fs>(fs: &F, dir: &Path, names: &[Name], epoch: u128, own: Option<Own>) -> Result<Found, OpenError> {
    if names.is_empty() {
        return Ok(Found { settled: true, ..Found::default() });
    }
    let Some(generation) = newest_segment(names) else {
        return match names.iter().find(|name| matches!(name, Name::Snapshot { .. })) {
            Some(name) => Err(OpenError::Quarantined(Damage::new(*name, 0, "a snapshot without any segment"))),
            None => Ok(Found { settled: true, garbage: names.to_vec(), ..Found::default() }),
        };
    };
    let newest = open_segment(fs, dir, generation)?;
    let own = own.filter(|own| own.nonce == newest.header.nonce);
    let stale = newest.header.epoch > epoch || (newest.header.epoch == epoch && own.is_none());
    if stale && !sabotage::on(Sabotage::IgnoreEpochs) {
        return Err(OpenError::Stale);
    }
    let mut chosen = choose_snapshot(fs, dir, epoch, names, &newest)?;
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
