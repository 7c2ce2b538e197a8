//! The log of one ownable: one writer, batches in order, each made durable before the next.
//!
//! A `Log` is the right to write under one epoch. It is made by opening, ended by [`Log::close`], and after any error of
//! the disk it only serves to be opened again. Three types mark how far a batch has come: [`Appended`], [`Synced`] and
//! [`Stored`]; nothing may be promised to anybody before the last. Whether the writer still is the owner is not known
//! here: that is what the tick between `Synced` and `Stored` proves.

mod reclaim;
mod segments;
mod snapshots;
mod stages;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::snapshots::{Contents, SnapshotDone, SnapshotJob, Upkeep};
pub use self::stages::{Appended, Stored, Synced, WriteError};

use self::reclaim::Stage;
use self::segments::LinkError;
use super::batch::{Batch, Place};
use super::blob::{self, BodyRef, Reader};
use super::format::batch::{self as frame, BatchHeader, HEADER_BYTES};
use super::format::layout::Name;
use super::format::record::INLINE_BODY_BYTES_MAX;
use super::format::segment::{Seal, SegmentHeader};
use super::format::{FEATURE_LEVEL, Position};
use super::fs::{Fs, FsFile};
use super::recover::{Entry, Found, OpenError, Own, Recovered, entries, recover};
use crate::sabotage::{self, Sabotage};

/// When a log takes snapshots and begins new segments.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A segment this long is followed by another at the next snapshot.
    pub segment_bytes: u64,
    /// A snapshot is due after so many bytes of log, or as many as the last snapshot had, whichever is more: opening
    /// reads at most twice what it must, and writing snapshots at most doubles what is written.
    pub snapshot_bytes: u64,
    /// A snapshot is due after so many changes.
    pub snapshot_records: u64,
    /// A body up to this length lies in the log; at most [`INLINE_BODY_BYTES_MAX`].
    pub inline_body_bytes: usize,
    /// A log is compacted when at least so many of its bytes are useless, and more than half.
    pub reclaim_bytes: u64,
    /// Where overwriting is cheaper than appending, a segment is lengthened by zeros ahead of its batches: by as many bytes
    /// as it has, so many at most.
    pub room_bytes: u64,
    /// The feature level to write: no more than every member of the cluster knows.
    pub level: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            snapshot_bytes: 8 << 20,
            snapshot_records: 10_000,
            inline_body_bytes: INLINE_BODY_BYTES_MAX,
            // A compaction costs a dozen syncs, as much as a dozen deliveries; this much holds a thousand messages.
            reclaim_bytes: 4 << 20,
            room_bytes: ROOM.len() as u64,
            level: FEATURE_LEVEL,
        }
    }
}

/// What stands ahead of the batches.
static ROOM: [u8; 64 << 10] = [0; 64 << 10];

/// How far the last batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is on disk.
    Ready,
    /// It is in the file.
    Unsynced,
    /// Something failed; what is in the file is in doubt.
    Poisoned,
}

/// The segment this log writes to.
struct Current<F: Fs> {
    file: Arc<F::File>,
    nonce: u64,
    /// How much of it is surely on disk.
    synced: u64,
    /// How long the file is at least: between the end of the log and here stand zeros.
    length: u64,
}

/// The log of one ownable under one epoch.
pub struct Log<F: Fs> {
    fs: Arc<F>,
    dir: PathBuf,
    epoch: u128,
    limits: Limits,
    reader: Reader<F>,
    state: State,
    /// `None` until the first write of this ownership.
    current: Option<Current<F>>,
    /// The header of the segment that the first write will make.
    prepared: Option<SegmentHeader>,
    /// The nonce and header length of a segment that may or may not have got its name.
    attempted: Option<Own>,
    older: Vec<Seal>,
    /// The place behind the last batch written.
    end: Position,
    /// Whether the name of the newest segment may not be on disk yet.
    name_in_doubt: bool,
    acked: u64,
    next_file: u64,
    spare: Vec<u8>,
    unsaved: Unsaved,
    /// Good snapshots, newest first, with their place if it is known.
    snapshots: Vec<(Name, Option<Position>)>,
    discards: BTreeMap<u64, u64>,
    /// How many body files there were at the last snapshot; `None` if that is not known.
    files: Option<u64>,
    /// How many bytes of bodies the state held at the last snapshot, or when it was recovered.
    held: Option<u64>,
    stage: Stage,
    /// How often the log was read back: a snapshot that was begun before the last time is none of its business.
    recoveries: u64,
    /// Whether nothing stands behind the end that a successor could take for a batch: then what no batch before the end
    /// names, none will ever name.
    is_end_settled: bool,
    /// The moves of the batch that is not validated yet.
    moving: Vec<(BodyRef, BodyRef)>,
    /// Files to be deleted once batch `.0` is stored.
    doomed: Vec<(u64, Name)>,
}

/// What was written since the last snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Unsaved {
    bytes: u64,
    records: u64,
    /// Body files, and what is in them.
    files: u64,
    file_bytes: u64,
    /// Bytes of bodies that came, wherever they lie; moved ones did not come.
    body_bytes: u64,
    has_mark: bool,
    /// How long the last snapshot was.
    snapshot_bytes: u64,
}

impl Unsaved {
    /// What is left of it once what was `saved` is in a snapshot of this length.
    fn since(self, saved: &Self, snapshot_bytes: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(saved.bytes),
            records: self.records.saturating_sub(saved.records),
            files: self.files.saturating_sub(saved.files),
            file_bytes: self.file_bytes.saturating_sub(saved.file_bytes),
            body_bytes: self.body_bytes.saturating_sub(saved.body_bytes),
            has_mark: self.has_mark,
            snapshot_bytes,
        }
    }
}

/// How often writers of old times may take the next name before opening is given up. Each of them can do it once.
const OVERTAKEN_MAX: usize = 16;

impl<F: Fs> Log<F> {
    /// Opens the log of `dir` under `epoch`, which must be higher than any before.
    ///
    /// After a clean end nothing is created or written before the first batch. After any other, a new segment is made at
    /// once, so that the last owner, should it still be running, can add nothing any more to what was read.
    /// What was read may be shown to anybody only after a tick that was begun after this has returned.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(fs: Arc<F>, dir: &Path, epoch: u128) -> Result<(Self, Recovered), OpenError> {
        Self::open_with(fs, dir, epoch, Limits::default())
    }

    /// Opens a log with other limits than the usual ones.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(fs: Arc<F>, dir: &Path, epoch: u128, limits: Limits) -> Result<(Self, Recovered), OpenError> {
        assert!(limits.inline_body_bytes <= INLINE_BODY_BYTES_MAX, "a body in the log is short");
        let reader = Reader::new(Arc::clone(&fs), dir);
        let mut log = Self {
            fs,
            dir: dir.to_owned(),
            epoch,
            limits,
            reader,
            state: State::Ready,
            current: None,
            prepared: None,
            attempted: None,
            older: Vec::new(),
            end: Position::default(),
            name_in_doubt: false,
            acked: 0,
            next_file: 1,
            spare: Vec::new(),
            unsaved: Unsaved::default(),
            snapshots: Vec::new(),
            discards: BTreeMap::new(),
            files: None,
            held: None,
            stage: Stage::Idle,
            recoveries: 0,
            is_end_settled: false,
            moving: Vec::new(),
            doomed: Vec::new(),
        };
        let recovered = log.recover(None)?;
        Ok((log, recovered))
    }

    /// Opens the log again after a [`WriteError`], under the same epoch. What was synced is in it; what was not, is not.
    ///
    /// # Errors
    /// See [`OpenError`]. The right to write under this epoch is lost with it: claim the ownable anew.
    pub fn reopen(mut self) -> Result<(Self, Recovered), OpenError> {
        let own = match &self.current {
            Some(current) => Some(Own { nonce: current.nonce, synced: current.synced }),
            None => self.attempted,
        };
        // A failed segment is never written or synced again.
        self.current = None;
        let recovered = self.recover(own)?;
        Ok((self, recovered))
    }

    fn recover(&mut self, own: Option<Own>) -> Result<Recovered, OpenError> {
        for _ in 0..OVERTAKEN_MAX {
            let found = recover(&*self.fs, &self.dir, self.epoch, own)?;
            match self.adopt(found) {
                Ok(recovered) => return Ok(recovered),
                Err(LinkError::Overtaken) => {}
                Err(LinkError::Stale) => return Err(OpenError::Stale),
                Err(LinkError::Io(error)) => return Err(OpenError::Io(error)),
            }
        }
        Err(OpenError::Io(io::Error::other("the next segment is taken again and again")))
    }

    fn adopt(&mut self, found: Found) -> Result<Recovered, LinkError> {
        let Found { mut recovered, end, name_in_doubt, older, acked, carry, settled, .. } = found;
        assert!(carry.is_none() || !settled, "only the last batch of an unclean end is written again");
        self.state = State::Ready;
        self.prepared = None;
        self.recoveries += 1;
        self.is_end_settled = false;
        (self.end, self.name_in_doubt, self.older, self.acked) = (end, name_in_doubt, older, acked);
        (self.snapshots, self.discards) = (found.snapshots, found.discards);
        (self.files, self.held, self.stage, self.moving) = (None, None, Stage::Idle, Vec::new());
        self.reader.note_moves(found.moves);
        self.unsaved = Unsaved {
            bytes: recovered.report.replayed_bytes,
            records: found.replayed_records,
            snapshot_bytes: recovered.snapshot.as_ref().map_or(0, |state| state.len() as u64),
            ..Unsaved::default()
        };
        self.doomed = found.garbage.into_iter().map(|name| (end.seq + 1, name)).collect();
        if settled {
            return Ok(recovered);
        }
        self.link_segment(carry.as_ref())?;
        if let Some(carry) = carry {
            let base = self.end.offset - frame::framed_bytes(carry.records.len() as u64) + HEADER_BYTES as u64;
            for entry in entries(&carry.records, self.end.generation, base).flatten() {
                match entry {
                    Entry::Change(record) => recovered.records.push(record),
                    Entry::Moved(from, to) => self.reader.note_moves(vec![(from, to)]),
                    Entry::Mark => {}
                }
            }
        }
        Ok(recovered)
    }

    /// Begins a batch at the end of the log. It must be the next one written, or dropped.
    pub fn batch(&mut self) -> Batch {
        let (generation, offset) = match &self.current {
            Some(_) => (self.end.generation, self.end.offset),
            None => {
                let header = self.prepared.take().unwrap_or_else(|| self.next_header());
                let place = (header.generation, header.encode().len() as u64);
                self.prepared = Some(header);
                place
            }
        };
        let place = Place {
            generation,
            offset,
            epoch: self.epoch,
            next_file: self.next_file,
            inline_bytes_max: self.limits.inline_body_bytes,
        };
        Batch::begin(place, std::mem::take(&mut self.spare))
    }

    /// Writes a batch: its body files first, each synced, then all of its records at once. Before the first write of an
    /// ownership a new segment is made.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn write(&mut self, batch: Batch) -> Result<Appended, WriteError> {
        assert!(!batch.is_empty(), "a batch has changes");
        assert!(self.state != State::Unsynced, "a batch is written only when the one before is on disk");
        if self.state == State::Poisoned {
            return Err(WriteError::Io(io::Error::other("the log failed before")));
        }
        // Whatever fails from here on leaves the file in doubt.
        self.state = State::Poisoned;
        self.is_end_settled = false;
        self.next_file = batch.place.next_file + batch.files.len() as u64;
        if self.current.is_none() {
            self.link_segment(None)?;
        }
        self.sweep();
        let here = (self.end.generation, self.end.offset);
        assert!((batch.place.generation, batch.place.offset) == here, "a batch is written where it was begun");
        let written = self.write_here(batch);
        if written.is_err() {
            // What compaction had to move is moved no more, nor is its mark written; the next snapshot begins it anew.
            self.stage = Stage::Idle;
        }
        self.state = match &written {
            Ok(_) => State::Unsynced,
            // Half a batch stands at the end. The next one will stand in its place: no header in the half is that of a
            // later batch, so what remains of it will look torn.
            Err(WriteError::Full(_)) => State::Ready,
            Err(WriteError::Stale | WriteError::Io(_)) => State::Poisoned,
        };
        written
    }

    fn write_here(&mut self, batch: Batch) -> Result<Appended, WriteError> {
        blob::write_files(&*self.fs, &self.dir, self.epoch, &batch.files)?;
        let moved: u64 = batch.moves.iter().map(|(from, _)| from.len()).sum();
        let before = self.end.offset;
        self.append(batch.frame, batch.count, batch.inline_bytes)?;
        self.make_room(before)?;
        self.unsaved.files += batch.files.len() as u64;
        self.unsaved.file_bytes += batch.file_bytes;
        self.unsaved.body_bytes += batch.file_bytes + batch.inline_bytes - moved;
        self.unsaved.has_mark |= batch.has_mark;
        self.moving = batch.moves;
        Ok(Appended { seq: self.end.seq })
    }

    /// The number of the last batch written.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.end.seq
    }

    /// Whether something has failed that leaves in doubt what is in the file.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.state == State::Poisoned
    }

    /// Makes the written batch survive a crash.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn sync(&mut self, appended: Appended) -> Result<Synced, WriteError> {
        assert!(self.state == State::Unsynced && appended.seq == self.end.seq, "the last batch is the one to sync");
        self.state = State::Poisoned;
        let Some(current) = &mut self.current else { return Err(WriteError::Io(io::ErrorKind::NotFound.into())) };
        if !sabotage::on(Sabotage::SkipBatchSync) {
            current.file.sync_data()?;
        }
        current.synced = self.end.offset;
        self.state = State::Ready;
        Ok(Synced { seq: appended.seq })
    }

    /// Notes that the batch counts: a tick begun after [`Log::sync`] returned has succeeded.
    pub fn validated(&mut self, synced: Synced) -> Stored {
        assert!(synced.seq <= self.end.seq, "what is stored was written");
        self.is_end_settled = true;
        self.reader.note_moves(std::mem::take(&mut self.moving));
        self.acked = self.acked.max(synced.seq);
        Stored { seq: synced.seq }
    }

    /// Ends the log in order, before its ownable is released: the next opening need not make sure that nothing is added
    /// any more.
    ///
    /// Nothing depends on it, so it is not synced, and its failure is no error.
    pub fn close(mut self) {
        if self.state != State::Ready {
            return;
        }
        self.sweep();
        if self.current.is_some() {
            let room = Batch::begin(
                Place { generation: 0, offset: 0, epoch: 0, next_file: 0, inline_bytes_max: 0 },
                std::mem::take(&mut self.spare),
            );
            let _ = self.append(room.frame, 0, 0);
        }
    }

    /// A reader of bodies.
    #[must_use]
    pub fn reader(&self) -> Reader<F> {
        self.reader.clone()
    }

    /// Writes a complete frame at the end of the current segment.
    fn append(&mut self, mut frame: Vec<u8>, count: u32, inline_bytes: u64) -> Result<(), WriteError> {
        let Some(current) = &self.current else { return Err(WriteError::Io(io::ErrorKind::NotFound.into())) };
        let header = self.batch_header(frame.len() - HEADER_BYTES, count);
        let chain = frame::seal(&mut frame, &header, current.nonce);
        current.file.write_at(&frame, self.end.offset)?;
        self.end = Position {
            seq: header.seq,
            generation: self.end.generation,
            offset: self.end.offset + frame.len() as u64,
            chain,
            body_bytes: self.end.body_bytes + inline_bytes,
        };
        self.unsaved.bytes += frame.len() as u64;
        self.unsaved.records += u64::from(count);
        if frame.capacity() <= SPARE_BYTES_MAX {
            self.spare = frame;
        }
        Ok(())
    }

    /// Lengthens a segment that has grown, so that the next batches find room in it: what only overwrites is synced without
    /// the file's new length. A storage that is too full for that may still have room for batches.
    fn make_room(&mut self, before: u64) -> Result<(), WriteError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if self.end.offset <= current.length || !self.fs.overwrites_cheaply() {
            return Ok(());
        }
        let room = before.min(self.limits.room_bytes);
        let zeros = usize::try_from(room).ok().and_then(|room| ROOM.get(..room)).unwrap_or(&ROOM);
        match current.file.write_at(zeros, self.end.offset).map_err(WriteError::from) {
            Ok(()) => current.length = self.end.offset + zeros.len() as u64,
            Err(WriteError::Full(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn batch_header(&self, length: usize, records: u32) -> BatchHeader {
        assert!(u32::try_from(length).is_ok(), "a batch is shorter than 4 GiB");
        BatchHeader {
            length: length as u32,
            epoch: self.epoch,
            seq: self.end.seq + 1,
            acked: self.acked,
            chain: self.end.chain,
            offset: self.end.offset,
            records,
        }
    }
}

/// A larger buffer than this is not kept for the next batch.
const SPARE_BYTES_MAX: usize = 1 << 20;

impl<F: Fs> std::fmt::Debug for Log<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("epoch", &self.epoch)
            .field("state", &self.state)
            .field("end", &self.end)
            .field("acked", &self.acked)
            .finish_non_exhaustive()
    }
}
