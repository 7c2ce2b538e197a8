//! What keeps a log short: snapshots, rotation, and the deletion of what nobody needs.

use super::{Log, State, Unsaved};
use crate::store::files::{Published, publish};
use crate::store::format::layout::Name;
use crate::store::format::snapshot::{SnapshotHeader, encode_discards};
use crate::store::format::{ALIGNMENT, checksum};
use crate::store::fs::Fs;
use crate::store::recover::SNAPSHOTS_KEPT;
use crate::store::{BodyRef, WriteError};

impl<F: Fs> Log<F> {
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
            return Err(WriteError::Io(std::io::Error::other("the log failed before")));
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

    /// Takes note of bodies that no message names any more, neither in its own mailbox nor as a copy in another.
    ///
    /// To be called when the batch that expunged the last of them is [`Stored`](crate::store::Stored). The bytes are only counted here;
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

    /// Deletes what has no use any more, as far as a later batch was stored: then its publisher was the owner.
    pub(super) fn sweep(&mut self) {
        let acked = self.acked;
        let (ripe, waiting) = std::mem::take(&mut self.doomed).into_iter().partition(|(after, _)| *after <= acked);
        self.doomed = waiting;
        for (_, name) in ripe as Vec<(u64, Name)> {
            // What cannot be deleted now is found again at the next opening.
            let _ = self.fs.unlink(&name.within(&self.dir));
        }
    }
}
