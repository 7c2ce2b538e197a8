//! The log of one ownable: one writer, batches in order, each made durable before the next.
//!
//! A `Log` is the right to write under one epoch. It is made by opening, ended by [`Log::close`], and after any error of
//! the disk it only serves to be opened again. Three types mark how far a batch has come: [`Appended`], [`Synced`] and
//! [`Stored`]; nothing may be promised to anybody before the last. Whether the writer still is the owner is not known
//! here: that is what the tick between `Synced` and `Stored` proves.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::{Batch, Place};
use super::blob::{self, BodyRef, Reader};
use super::files::{Published, make_dir, publish, read_segment_header};
use super::format::batch::{self as frame, BatchHeader, HEADER_BYTES};
use super::format::layout::Name;
use super::format::record::INLINE_BODY_BYTES_MAX;
use super::format::segment::{Seal, SegmentHeader};
use super::format::snapshot::{SnapshotHeader, encode_discards};
use super::format::{ALIGNMENT, Position, checksum};
use super::fs::{Fs, FsFile};
use super::recover::{Carry, Found, OpenError, Own, Recovered, SNAPSHOTS_KEPT, records, recover};
use super::sabotage::{self, Sabotage};

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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            snapshot_bytes: 8 << 20,
            snapshot_records: 10_000,
            inline_body_bytes: INLINE_BODY_BYTES_MAX,
        }
    }
}

/// A batch that is in the file, perhaps not yet on disk.
#[derive(Debug)]
#[must_use = "a batch that is not synced is not safe"]
pub struct Appended {
    seq: u64,
}

/// A batch that survives a crash, if its writer was the owner.
#[derive(Debug)]
#[must_use = "a batch counts only when its writer has been found to be the owner still"]
pub struct Synced {
    seq: u64,
}

/// A batch that is part of the ownable for ever: its writer was the owner after it had been synced.
#[derive(Debug)]
pub struct Stored {
    seq: u64,
}

impl Stored {
    /// The number of the batch, from 1.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Why a batch or a snapshot was not written. If the log [is poisoned](Log::is_poisoned) by it, only [`Log::reopen`] is
/// left.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another ownership has written to it: give the ownable up.
    #[error("write the log: another ownership has written to it")]
    Stale,
    /// The storage is full. Nothing was written that counts; a smaller batch may still fit.
    #[error("write the log: storage is full")]
    Full(#[source] io::Error),
    /// The disk failed, or a writer of old times took the next segment's name: open the log again.
    #[error("write the log")]
    Io(#[source] io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Io(error),
        }
    }
}

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
    /// Files to be deleted once batch `.0` is stored.
    doomed: Vec<(u64, Name)>,
}

/// What was written since the last snapshot.
#[derive(Debug, Clone, Copy, Default)]
struct Unsaved {
    bytes: u64,
    records: u64,
    snapshot_bytes: u64,
}

/// Why a new segment did not come to be.
enum LinkError {
    Stale,
    /// A writer with a lower epoch has the name.
    Overtaken,
    Io(io::Error),
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
        (self.end, self.name_in_doubt, self.older, self.acked) = (end, name_in_doubt, older, acked);
        (self.snapshots, self.discards) = (found.snapshots, found.discards);
        self.unsaved = Unsaved {
            bytes: recovered.report.replayed_bytes,
            records: found.replayed_records,
            snapshot_bytes: recovered.snapshot.as_ref().map_or(0, |state| state.len() as u64),
        };
        self.doomed = found.garbage.into_iter().map(|name| (end.seq + 1, name)).collect();
        if settled {
            return Ok(recovered);
        }
        self.link_segment(carry.as_ref())?;
        if let Some(carry) = carry {
            let base = self.end.offset - frame::framed_bytes(carry.records.len() as u64) + HEADER_BYTES as u64;
            recovered.records.extend(records(&carry.records, self.end.generation, base).flatten());
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
        self.next_file = batch.place.next_file + batch.files.len() as u64;
        if self.current.is_none() {
            self.link_segment(None).map_err(|error| match error {
                LinkError::Stale => WriteError::Stale,
                LinkError::Overtaken => WriteError::Io(io::Error::other("a late writer took the next segment")),
                LinkError::Io(error) => WriteError::from(error),
            })?;
        }
        let here = (self.end.generation, self.end.offset);
        assert!((batch.place.generation, batch.place.offset) == here, "a batch is written where it was begun");
        let written = self.write_here(batch);
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
        self.append(batch.frame, batch.count, batch.inline_bytes)?;
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
        self.acked = self.acked.max(synced.seq);
        Stored { seq: synced.seq }
    }

    /// Whether so much was written since the last snapshot that it is time for another.
    #[must_use]
    pub fn snapshot_due(&self) -> bool {
        let Unsaved { bytes, records, snapshot_bytes } = self.unsaved;
        bytes >= self.limits.snapshot_bytes.max(snapshot_bytes)
            || records >= self.limits.snapshot_records
            || (self.current.is_some() && records > 0 && self.end.offset >= self.limits.segment_bytes)
    }

    /// How many changes were written since the last snapshot: what an opening would have to replay.
    #[must_use]
    pub fn unsaved_records(&self) -> u64 {
        self.unsaved.records
    }

    /// Writes the state as of the last batch, so that the next opening need not read what came before; begins a new
    /// segment when the present one is long enough; deletes files that nobody needs.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn snapshot(&mut self, state: &[u8]) -> Result<(), WriteError> {
        assert!(self.state != State::Unsynced, "a snapshot describes what is on disk");
        if self.state == State::Poisoned {
            return Err(WriteError::Io(io::Error::other("the log failed before")));
        }
        if self.end.seq == 0 {
            return Ok(());
        }
        let name = Name::Snapshot { seq: self.end.seq, epoch: self.epoch };
        self.write_snapshot(name, state)?;
        self.prepared = None;
        self.unsaved = Unsaved { snapshot_bytes: state.len() as u64, ..Unsaved::default() };
        self.snapshots.retain(|(kept, _)| *kept != name);
        self.snapshots.insert(0, (name, Some(self.end)));
        for (old, _) in self.snapshots.drain(SNAPSHOTS_KEPT.min(self.snapshots.len())..) {
            self.doomed.push((self.end.seq + 1, old));
        }
        if self.current.is_some() && self.end.offset >= self.limits.segment_bytes {
            self.rotate()?;
        }
        self.sweep();
        Ok(())
    }

    fn write_snapshot(&self, name: Name, state: &[u8]) -> Result<(), WriteError> {
        let discards = encode_discards(self.discards.iter().map(|(generation, bytes)| (*generation, *bytes)));
        let header = SnapshotHeader {
            epoch: self.epoch,
            position: self.end,
            state_length: state.len() as u64,
            state_checksum: checksum(state, 0),
            discards_length: discards.len() as u64,
            discards_checksum: checksum(&discards, 0),
        };
        let mut rest = vec![0; state.len().next_multiple_of(ALIGNMENT) - state.len()];
        rest.extend_from_slice(&discards);
        rest.extend_from_slice(&header.footer());
        let temporary = Name::Temporary { epoch: self.epoch, nonce: self.fs.nonce() };
        match publish(&*self.fs, &self.dir, temporary, name, &[&header.encode(), state, &rest])? {
            Published::Done(_) => Ok(()),
            // Written by this very ownership before the log was opened again; now its name is made sure of.
            Published::Taken => Ok(self.fs.sync_dir(&self.dir)?),
        }
    }

    /// Goes on in a new segment.
    fn rotate(&mut self) -> Result<(), WriteError> {
        self.state = State::Poisoned;
        self.link_segment(None).map_err(|error| match error {
            LinkError::Stale => WriteError::Stale,
            LinkError::Overtaken => WriteError::Io(io::Error::other("the next segment belongs to the past")),
            LinkError::Io(error) => WriteError::from(error),
        })?;
        self.state = State::Ready;
        Ok(())
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

    /// Takes note of bodies that no message names any more, neither in its own mailbox nor as a copy in another.
    ///
    /// To be called when the batch that expunged the last of them is [`Stored`]. The bytes are only counted here;
    /// compaction reclaims them.
    pub fn discard(&mut self, bodies: impl Iterator<Item = BodyRef>) {
        for body in bodies {
            if let BodyRef::Inline { generation, length, .. } = body {
                *self.discards.entry(generation).or_default() += u64::from(length);
            }
        }
    }

    /// How many bytes of the log are bodies that no message names any more: what compaction could win.
    #[must_use]
    pub fn discarded_bytes(&self) -> u64 {
        self.discards.values().sum()
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

    /// The header of the segment that continues this log.
    fn next_header(&self) -> SegmentHeader {
        let needed = self.oldest_needed();
        let mut seals = self.older.clone();
        if self.end.generation > 0 {
            seals.push(Seal::from(self.end));
        }
        seals.retain(|seal| seal.body_bytes > 0 || seal.generation >= needed);
        SegmentHeader {
            epoch: self.epoch,
            generation: self.end.generation + 1,
            nonce: self.fs.nonce(),
            first_seq: self.end.seq + 1,
            chain: self.end.chain,
            acked: self.acked,
            snapshot: self.snapshots.first().map(|(name, _)| *name),
            seals,
            identity: self.fs.identity().to_owned(),
        }
    }

    /// The oldest segment that an opening could have to replay: the one of the snapshot to fall back to.
    fn oldest_needed(&self) -> u64 {
        match (self.snapshots.len() >= SNAPSHOTS_KEPT, self.snapshots.last()) {
            (true, Some((_, Some(position)))) => position.generation,
            _ => 0,
        }
    }

    /// Makes the next segment, with the batch that is to be carried over already inside.
    fn link_segment(&mut self, carry: Option<&Carry>) -> Result<(), LinkError> {
        let header = self.prepared.take().unwrap_or_else(|| self.next_header());
        assert!(
            header.generation == self.end.generation + 1 && header.chain == self.end.chain,
            "segments are in order"
        );
        let (name, nonce) = (Name::Segment { generation: header.generation }, header.nonce);
        if header.generation == 1 {
            make_dir(&*self.fs, &self.dir).map_err(LinkError::Io)?;
        }
        if self.name_in_doubt && !sabotage::on(Sabotage::SkipOldNameSync) {
            // The new header says that the old segment is there; so it has to stay.
            self.fs.sync_dir(&self.dir).map_err(LinkError::Io)?;
        }
        let header_bytes = header.encode();
        let mut end =
            Position { generation: header.generation, offset: header_bytes.len() as u64, body_bytes: 0, ..self.end };
        let mut carried = Vec::new();
        if let Some(carry) = carry {
            carried.resize(HEADER_BYTES, 0);
            carried.extend_from_slice(&carry.records);
            let batch = BatchHeader { offset: end.offset, ..self.batch_header(carry.records.len(), carry.count) };
            end.chain = frame::seal(&mut carried, &batch, nonce);
            end.seq = batch.seq;
            end.offset += carried.len() as u64;
            end.body_bytes = super::recover::inline_bytes(&carry.records);
        }
        self.attempted = Some(Own { nonce, synced: end.offset });
        let temporary = Name::Temporary { epoch: self.epoch, nonce };
        let published = publish(&*self.fs, &self.dir, temporary, name, &[&header_bytes, &carried]);
        let file = match published {
            Ok(Published::Done(file)) => file,
            Ok(Published::Taken) => self.look_at_rival(name, nonce)?,
            Err(error) => return Err(LinkError::Io(error)),
        };
        let file = Arc::new(file);
        self.forget_unneeded(&header);
        self.reader.remember_segment(header.generation, Arc::clone(&file));
        self.older = header.seals;
        self.end = end;
        self.name_in_doubt = false;
        self.current = Some(Current { file, nonce, synced: end.offset });
        Ok(())
    }

    /// Somebody's file has the name: tells whose it is.
    fn look_at_rival(&self, name: Name, nonce: u64) -> Result<F::File, LinkError> {
        let file = self.fs.open(&name.within(&self.dir)).map_err(LinkError::Io)?;
        match read_segment_header(&file) {
            // The link was made and its answer was lost. This handle cannot write: let the log be opened again.
            Ok((header, _)) if header.nonce == nonce => Err(LinkError::Io(io::Error::other("the answer was lost"))),
            Ok((header, _)) if header.epoch < self.epoch || sabotage::on(Sabotage::IgnoreEpochs) => {
                Err(LinkError::Overtaken)
            }
            Ok(_) => Err(LinkError::Stale),
            Err(error) => Err(LinkError::Io(io::Error::other(error))),
        }
    }

    /// Dooms the segments that the new header does not name any more, and forgets what was discarded in them.
    fn forget_unneeded(&mut self, header: &SegmentHeader) {
        let sealed: Vec<u64> = header.seals.iter().map(|seal| seal.generation).collect();
        let gone = self
            .older
            .iter()
            .map(|seal| seal.generation)
            .chain((self.end.generation > 0).then_some(self.end.generation));
        for generation in gone.filter(|generation| !sealed.contains(generation)) {
            self.discards.remove(&generation);
            self.doomed.push((header.first_seq, Name::Segment { generation }));
        }
    }

    /// Deletes what has no use any more, as far as a later batch was stored: then its publisher was the owner.
    fn sweep(&mut self) {
        let acked = self.acked;
        let (ripe, waiting) = std::mem::take(&mut self.doomed).into_iter().partition(|(after, _)| *after <= acked);
        self.doomed = waiting;
        for (_, name) in ripe as Vec<(u64, Name)> {
            // What cannot be deleted now is found again at the next opening.
            let _ = self.fs.unlink(&name.within(&self.dir));
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
