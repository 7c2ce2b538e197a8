//! What keeps a log short: snapshots, rotation, compaction, and the deletion of what nobody needs.
//!
//! A snapshot is written beside the log, on a thread of its own, while batches go on being committed: it describes a place
//! that the log has left behind. On the way it finds out which bodies are still needed, exactly, from the state itself;
//! nothing has to be counted when messages go.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::reclaim::{Content, Stage, victims};
use super::{Log, State, Unsaved};
use crate::sabotage::{self, Sabotage};
use crate::store::files::{Published, publish, read_snapshot_header};
use crate::store::format::layout::{BODIES, Name, body_path, parse_body_name};
use crate::store::format::record::MOVED_HEAD_BYTES;
use crate::store::format::segment::Seal;
use crate::store::format::snapshot::{SnapshotHeader, encode_discards};
use crate::store::format::{ALIGNMENT, COMPACTION_LEVEL, Position, checksum};
use crate::store::fs::Fs;
use crate::store::moves::Moves;
use crate::store::recover::SNAPSHOTS_KEPT;
use crate::store::{BodyRef, Reader, WriteError};

/// What a snapshot can be taken of.
pub trait Contents {
    /// The whole state as bytes, each body named by the place that `place` tells for it.
    fn encode_snapshot(&self, place: &dyn Fn(BodyRef) -> BodyRef) -> Vec<u8>;
    /// Every body the state names, in any order, as often as it names it.
    fn for_each_body(&self, visit: &mut dyn FnMut(BodyRef));
    /// How many bytes those bodies have, roughly and at once: tells when it is worth looking.
    fn body_bytes(&self) -> u64;
}

/// Body files deleted by one snapshot at most, so that it takes bounded time; the rest goes with the next.
const BODY_FILES_PER_SWEEP_MAX: usize = 4096;
/// A snapshot is due after so many bytes in body files: only a snapshot finds out which can be deleted.
const UNSAVED_FILE_BYTES_MAX: u64 = 256 << 20;

/// Upkeep that a snapshot has found worth doing: [`Log::batch`]es to be committed like any other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Bodies to be written again, each read and [pushed](crate::store::Batch::push_moved) in batches of bounded size.
    pub moves: Vec<BodyRef>,
    /// Whether a snapshot has to follow the mark.
    pub(in crate::store) ends_with_snapshot: bool,
}

/// A snapshot still to be written: everything it needs from the log, so that the log can go on meanwhile.
pub struct SnapshotJob<F: Fs> {
    fs: Arc<F>,
    dir: PathBuf,
    name: Name,
    epoch: u128,
    level: u16,
    position: Position,
    /// Whether every later state comes from the one at this place, so that what is useless there may be deleted.
    is_validated: bool,
    has_mark: bool,
    reader: Reader<F>,
    moves: Moves,
    older: Vec<Seal>,
    /// The newest snapshot so far, which will be the one to fall back to.
    previous: Option<(Name, Option<Position>)>,
    next_file: u64,
    /// How many body files there should be; `None` if that is not known.
    files: Option<u64>,
    unsaved: Unsaved,
    reclaim_bytes: u64,
    /// How often the log had been read back when this was begun.
    recoveries: u64,
}

/// A snapshot that was written, and what was learnt on the way.
pub struct SnapshotDone {
    name: Name,
    position: Position,
    has_mark: bool,
    previous: Option<(Name, Option<Position>)>,
    unsaved: Unsaved,
    state_bytes: u64,
    held: u64,
    /// All bodies of the state by the places it knows, and by the places they had.
    bodies: Vec<BodyRef>,
    places: Vec<BodyRef>,
    discards: BTreeMap<u64, u64>,
    files: Option<u64>,
    contents: Vec<Content>,
    /// What compaction has to win at least.
    least: u64,
    can_compact: bool,
    recoveries: u64,
}

impl<F: Fs> SnapshotJob<F> {
    /// Writes the snapshot of `state`, which has to be the one after the last batch when the job was begun, and deletes
    /// body files that nobody names.
    ///
    /// # Errors
    /// See [`WriteError`]. The log is not harmed by any.
    pub fn run(mut self, state: &impl Contents) -> Result<SnapshotDone, WriteError> {
        let bodies = bodies_of(state);
        let moves = std::mem::take(&mut self.moves);
        let mut places: Vec<BodyRef> = bodies.iter().map(|body| moves.locate(*body)).collect();
        places.sort_unstable();
        places.dedup();
        let discards = self.discards(&places);
        let encoded = match sabotage::on(Sabotage::ForgetMoves) {
            true => state.encode_snapshot(&|body| body),
            false => state.encode_snapshot(&|body| moves.locate(body)),
        };
        self.write(&encoded, &discards)?;
        self.place_previous();
        let files = self.sweep_bodies(&places);
        Ok(SnapshotDone {
            contents: self.contents(&places),
            least: self.reclaim_bytes.max(2 * encoded.len() as u64),
            can_compact: self.level >= COMPACTION_LEVEL,
            recoveries: self.recoveries,
            name: self.name,
            position: self.position,
            has_mark: self.has_mark,
            previous: self.previous,
            unsaved: self.unsaved,
            state_bytes: encoded.len() as u64,
            held: state.body_bytes(),
            bodies,
            places,
            discards,
            files,
        })
    }

    fn write(&self, state: &[u8], discards: &BTreeMap<u64, u64>) -> Result<(), WriteError> {
        let discards = encode_discards(discards.iter().map(|(generation, bytes)| (*generation, *bytes)));
        let header = SnapshotHeader {
            level: self.level,
            epoch: self.epoch,
            position: self.position,
            state_length: state.len() as u64,
            state_checksum: checksum(state, 0),
            discards_length: discards.len() as u64,
            discards_checksum: checksum(&discards, 0),
        };
        let mut rest = vec![0; state.len().next_multiple_of(ALIGNMENT) - state.len()];
        rest.extend_from_slice(&discards);
        rest.extend_from_slice(&header.footer());
        let temporary = Name::Temporary { epoch: self.epoch, nonce: self.fs.nonce() };
        match publish(&*self.fs, &self.dir, temporary, self.name, &[&header.encode(), state, &rest])? {
            Published::Done(_) => Ok(()),
            // Written by this very ownership before the log was opened again; now its name is made sure of.
            Published::Taken => Ok(self.fs.sync_dir(&self.dir)?),
        }
    }

    /// The segments up to the place of the snapshot, the one being written last.
    fn segments(&self) -> impl Iterator<Item = Seal> + '_ {
        self.older.iter().copied().chain([Seal::from(self.position)])
    }

    /// How many bytes of bodies nobody names, by segment.
    fn discards(&self, places: &[BodyRef]) -> BTreeMap<u64, u64> {
        let living = living_bytes(places, 0);
        let dead = |seal: Seal| seal.body_bytes.saturating_sub(living.get(&seal.generation).copied().unwrap_or(0));
        self.segments().map(|seal| (seal.generation, dead(seal))).filter(|(_, bytes)| *bytes > 0).collect()
    }

    fn contents(&self, places: &[BodyRef]) -> Vec<Content> {
        let living = living_bytes(places, MOVED_HEAD_BYTES);
        let content = |seal: Seal| Content {
            generation: seal.generation,
            length: seal.length,
            living: living.get(&seal.generation).copied().unwrap_or(0),
        };
        self.segments().map(content).collect()
    }

    /// Finds out what the snapshot to fall back to still needs.
    fn place_previous(&mut self) {
        if let Some((name, position @ None)) = &mut self.previous {
            let header = self.fs.open(&name.within(&self.dir)).ok().and_then(|file| read_snapshot_header(&file).ok());
            *position = header.map(|header| header.position);
        }
    }

    /// Deletes body files that no message names: of messages that were expunged, and of batches that never were. Returns
    /// how many there are left, if that is known.
    ///
    /// Only files of earlier ownerships, and of this one up to the place of the snapshot: no state that is still to come
    /// can name them, since only the batch that a body file was written for ever makes its name known.
    fn sweep_bodies(&self, places: &[BodyRef]) -> Option<u64> {
        let needed: BTreeSet<(u128, u64)> = places.iter().filter_map(file_of).collect();
        let expected = needed.len() as u64;
        if !self.is_validated && !sabotage::on(Sabotage::DeleteUnvalidated) {
            return None;
        }
        if self.files == Some(expected) {
            return Some(expected);
        }
        let names = match self.fs.list(&self.dir.join(BODIES)) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(0),
            Err(_) => return None,
        };
        let is_ours =
            |(epoch, number): &(u128, u64)| *epoch < self.epoch || (*epoch == self.epoch && *number < self.next_file);
        let useless: Vec<(u128, u64)> = names
            .iter()
            .filter_map(|name| parse_body_name(name))
            .filter(is_ours)
            .filter(|file| !needed.contains(file))
            .collect();
        let mut is_clean = useless.len() <= BODY_FILES_PER_SWEEP_MAX;
        for (epoch, number) in useless.into_iter().take(BODY_FILES_PER_SWEEP_MAX) {
            // What cannot be deleted now is found again by the next snapshot that looks.
            is_clean &= self.fs.unlink(&body_path(&self.dir, epoch, number)).is_ok();
            self.reader.forget_body(epoch, number);
        }
        is_clean.then_some(expected)
    }
}

fn bodies_of(state: &impl Contents) -> Vec<BodyRef> {
    let mut bodies = Vec::new();
    state.for_each_body(&mut |body| bodies.push(body));
    // Copies of a message share its body.
    bodies.sort_unstable();
    bodies.dedup();
    bodies
}

/// How many bytes of needed bodies each segment has, with so many more for each body.
fn living_bytes(places: &[BodyRef], more: u64) -> BTreeMap<u64, u64> {
    let mut living = BTreeMap::new();
    for place in places {
        if let BodyRef::Inline { generation, length, .. } = place {
            *living.entry(*generation).or_default() += u64::from(*length) + more;
        }
    }
    living
}

fn file_of(place: &BodyRef) -> Option<(u128, u64)> {
    match place {
        BodyRef::File { epoch, number, .. } => Some((*epoch, *number)),
        BodyRef::Inline { .. } => None,
    }
}

impl<F: Fs> Log<F> {
    /// Whether so much was written or freed since the last snapshot that it is time for another. `held` is how many
    /// bytes of bodies the state holds now.
    #[must_use]
    pub fn snapshot_due(&self, held: u64) -> bool {
        let Unsaved { bytes, records, file_bytes, snapshot_bytes, has_mark, .. } = self.unsaved;
        has_mark
            || bytes >= self.limits.snapshot_bytes.max(snapshot_bytes)
            || records >= self.limits.snapshot_records
            || file_bytes >= UNSAVED_FILE_BYTES_MAX
            || (self.current.is_some() && records > 0 && self.end.offset >= self.limits.segment_bytes)
            || (records > 0 && self.freed(held) >= self.limits.reclaim_bytes.max(held))
    }

    /// Whether a snapshot is worth its bytes when there is nothing else to do: enough was written since the last one,
    /// measured by what a snapshot costs, or enough was freed.
    #[must_use]
    pub fn snapshot_worthwhile(&self, held: u64) -> bool {
        let Unsaved { bytes, records, snapshot_bytes, .. } = self.unsaved;
        records > 0
            && (bytes.saturating_mul(IDLE_SNAPSHOT_SHARE) >= snapshot_bytes
                || self.freed(held) >= self.limits.reclaim_bytes)
    }

    /// How many changes were written since the last snapshot: what an opening would have to replay.
    #[must_use]
    pub fn unsaved_records(&self) -> u64 {
        self.unsaved.records
    }

    /// How many bytes of bodies went since the last snapshot, as far as that can be told.
    fn freed(&self, held: u64) -> u64 {
        let Some(before) = self.held else { return 0 };
        (before + self.unsaved.body_bytes).saturating_sub(held)
    }

    /// Tells how many bytes of bodies the state holds that was recovered.
    pub fn begin_holding(&mut self, held: u64) {
        self.held = Some(held);
    }

    /// Begins a snapshot of the place behind the last batch. `None` if nothing was ever written, or the log has failed.
    ///
    /// The log may be written to while the job runs, and has to be told how it ended.
    pub fn begin_snapshot(&mut self) -> Option<SnapshotJob<F>> {
        assert!(self.state != State::Unsynced, "a snapshot describes what is on disk");
        if self.state == State::Poisoned || self.end.seq == 0 {
            return None;
        }
        let unsaved = self.unsaved;
        self.unsaved.has_mark = false;
        let name = Name::Snapshot { seq: self.end.seq, epoch: self.epoch };
        Some(SnapshotJob {
            fs: Arc::clone(&self.fs),
            dir: self.dir.clone(),
            name,
            epoch: self.epoch,
            level: self.limits.level,
            position: self.end,
            is_validated: self.is_end_settled && self.acked >= self.end.seq,
            has_mark: unsaved.has_mark,
            moves: self.reader.moves(),
            reader: self.reader.clone(),
            older: self.older.clone(),
            previous: self.snapshots.iter().find(|(kept, _)| *kept != name).copied(),
            next_file: self.next_file,
            files: self.files.map(|files| files + unsaved.files),
            unsaved,
            reclaim_bytes: self.limits.reclaim_bytes,
            recoveries: self.recoveries,
        })
    }

    /// Ends a snapshot. If it was written, begins a new segment when the present one is long enough, or an older one can
    /// be left out; deletes files that nobody needs. Returns the upkeep that is to be done next, if any: its moves
    /// committed, then a [mark](crate::store::Batch::push_mark). If it was not, compaction begins anew with a later one.
    ///
    /// # Errors
    /// Whatever the snapshot failed of, and see [`WriteError`].
    pub fn end_snapshot(&mut self, written: Result<SnapshotDone, WriteError>) -> Result<Option<Upkeep>, WriteError> {
        assert!(self.state != State::Unsynced, "a segment begins between two batches");
        let done = written.inspect_err(|_| self.stage = Stage::Idle)?;
        if done.recoveries != self.recoveries {
            // The log was read back meanwhile, with this snapshot or without it, and reckons from what it found.
            return Ok(None);
        }
        let upkeep = self.adopt_snapshot(done);
        if self.state != State::Poisoned
            && self.current.is_some()
            && (self.end.offset >= self.limits.segment_bytes || upkeep.is_some() || self.has_droppable())
        {
            self.rotate()?;
        }
        self.sweep();
        Ok(upkeep)
    }

    /// Reckons with a snapshot from now on.
    fn adopt_snapshot(&mut self, mut done: SnapshotDone) -> Option<Upkeep> {
        let SnapshotDone { name, position, previous, .. } = done;
        self.unsaved = self.unsaved.since(&done.unsaved, done.state_bytes);
        self.held = Some(done.held);
        self.files = done.files;
        self.discards = std::mem::take(&mut done.discards);
        self.reader.retain_moves(done.bodies.iter().copied());
        let superseded = self
            .snapshots
            .iter()
            .map(|(old, _)| *old)
            .filter(|old| *old != name && previous.is_none_or(|(kept, _)| kept != *old));
        self.doomed.extend(superseded.map(|old| (self.end.seq + 1, old)));
        self.snapshots = [(name, Some(position))].into_iter().chain(previous).take(SNAPSHOTS_KEPT).collect();
        // A header that was prepared names what was needed before.
        self.prepared = None;
        if self.state == State::Poisoned { None } else { self.next_stage(&done) }
    }

    /// How far compaction is now, and what is to be done about it.
    fn next_stage(&mut self, done: &SnapshotDone) -> Option<Upkeep> {
        match self.stage {
            Stage::Idle => self.begin_compaction(done),
            Stage::Moving if done.has_mark => {
                self.stage = Stage::Settling;
                Some(Upkeep { moves: Vec::new(), ends_with_snapshot: true })
            }
            Stage::Settling if done.has_mark => {
                self.stage = Stage::Idle;
                // The new header leaves the old segments out; the batch behind it proves that its writer was the owner.
                Some(Upkeep { moves: Vec::new(), ends_with_snapshot: false })
            }
            Stage::Moving | Stage::Settling => None,
        }
    }

    /// Whether the next snapshot is one of a compaction, and does not judge whether there should be one.
    #[cfg(test)]
    pub(in crate::store) fn is_compacting(&self) -> bool {
        self.stage != Stage::Idle
    }

    fn begin_compaction(&mut self, done: &SnapshotDone) -> Option<Upkeep> {
        let mut chosen = victims(&done.contents, done.least).filter(|_| done.can_compact)?;
        if self.end.generation == done.position.generation && self.end.offset > done.position.offset {
            // Bodies that came while the snapshot was written are in this segment, and it does not know of them.
            chosen.retain(|generation| *generation != done.position.generation);
            if done.contents.last().is_some_and(|newest| newest.waste() >= done.least.max(newest.living)) {
                // In the next snapshot this segment will be one of the old ones.
                return Some(Upkeep { moves: Vec::new(), ends_with_snapshot: true });
            }
        }
        let is_chosen =
            |place: &&BodyRef| matches!(place, BodyRef::Inline { generation, .. } if chosen.contains(generation));
        let moves: Vec<BodyRef> = done.places.iter().filter(is_chosen).copied().collect();
        if chosen.is_empty() {
            return None;
        }
        self.stage = Stage::Moving;
        Some(Upkeep { moves, ends_with_snapshot: true })
    }

    /// Whether a new header would leave a segment out.
    fn has_droppable(&self) -> bool {
        let needed = self.oldest_needed();
        self.older.iter().any(|seal| !self.is_needed(seal, needed))
    }

    /// Whether a segment has to stay: an opening may have to replay it, or it has bodies that somebody names.
    pub(super) fn is_needed(&self, seal: &Seal, oldest: u64) -> bool {
        if sabotage::on(Sabotage::DropLiving) {
            return seal.generation >= oldest;
        }
        seal.generation >= oldest || seal.body_bytes > self.discards.get(&seal.generation).copied().unwrap_or(0)
    }

    /// Writes a snapshot while nothing else is done. See [`Log::begin_snapshot`].
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn snapshot(&mut self, state: &impl Contents) -> Result<Option<Upkeep>, WriteError> {
        if self.state == State::Poisoned {
            return Err(WriteError::Io(io::Error::other("the log failed before")));
        }
        let Some(job) = self.begin_snapshot() else { return Ok(None) };
        self.end_snapshot(job.run(state))
    }

    /// How many bytes of the log are bodies that no message names any more, as of the last snapshot.
    #[must_use]
    pub fn discarded_bytes(&self) -> u64 {
        self.discards.values().sum()
    }

    /// Goes on in a new segment.
    fn rotate(&mut self) -> Result<(), WriteError> {
        self.state = State::Poisoned;
        self.link_segment(None)?;
        self.state = State::Ready;
        Ok(())
    }

    /// The oldest segment that an opening could have to replay: the one of the snapshot to fall back to.
    pub(super) fn oldest_needed(&self) -> u64 {
        match (self.snapshots.len() >= SNAPSHOTS_KEPT, self.snapshots.last()) {
            (true, Some((_, Some(position)))) => position.generation,
            _ => 0,
        }
    }

    /// Whether [`Log::sweep`] has something to delete.
    #[must_use]
    pub fn has_useless(&self) -> bool {
        self.doomed.iter().any(|(after, _)| *after <= self.acked)
    }

    /// Deletes what has no use any more, as far as a later batch was stored: then its publisher was the owner.
    pub fn sweep(&mut self) {
        let acked = self.acked;
        let (ripe, waiting) = std::mem::take(&mut self.doomed).into_iter().partition(|(after, _)| *after <= acked);
        self.doomed = waiting;
        for (_, name) in ripe as Vec<(u64, Name)> {
            // What cannot be deleted now is found again at the next opening.
            let _ = self.fs.unlink(&name.within(&self.dir));
            if let Name::Segment { generation } = name {
                self.reader.forget_segment(generation);
            }
        }
    }
}

/// With nothing else to do, a snapshot is written only if at least one in so many of its bytes was written to the log
/// since the last: a large account is not written down for one message.
const IDLE_SNAPSHOT_SHARE: u64 = 8;
