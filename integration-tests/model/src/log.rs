//! The files of one ownable (`FORMAT.md`), as little of them as decides who reads what.
//!
//! A batch holds one change. Of each segment's batches the first `durable` are on disk, the first `visible` can be read by
//! others, and the rest lies in the writer's cache, from where it may come at any time, however dead its process is.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::history::{Epoch, History};

/// The most segments an ownable can get.
pub const SEGMENTS_MAX: usize = 5;
/// The most snapshots an ownable can get.
pub const SNAPSHOTS_MAX: usize = 3;

/// A segment of the log. Its header never changes, and it comes to be with the header inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Segment {
    /// Under which epoch it is written.
    pub epoch: Epoch,
    /// Who writes it, and nobody else ever.
    pub writer: u8,
    /// How many batches of the segment before count: its sealed length.
    pub seal: u8,
    /// The oldest segment that the header still names.
    pub oldest: u8,
    /// What was ever written into it.
    pub batches: History,
    /// How many of the batches others can read.
    pub visible: u8,
    /// How many of the batches survive any crash.
    pub durable: u8,
    /// The batch without records that ends an ownership.
    pub end: End,
    /// Its file was deleted.
    pub deleted: bool,
}

/// The batch that ends an ownership in order. It is never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum End {
    /// Not written.
    #[default]
    Open,
    /// In the writer's cache.
    Cached,
    /// Others can read it.
    Visible,
}

/// The state after some batch, so that what came before need not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Snapshot {
    /// Who wrote it.
    pub epoch: Epoch,
    /// The place it describes: the segment.
    pub generation: u8,
    /// The place it describes: how many of the segment's batches are before it.
    pub length: u8,
    /// Everything up to there.
    pub state: History,
    /// Its file was deleted.
    pub deleted: bool,
}

/// The directory of one ownable.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    segments: [Segment; SEGMENTS_MAX],
    segment_count: u8,
    snapshots: [Snapshot; SNAPSHOTS_MAX],
    snapshot_count: u8,
}

/// A file that an opening needs is not there, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

impl Log {
    /// The number of the newest segment; 0 for a new ownable.
    #[must_use]
    pub fn newest(&self) -> u8 {
        self.segment_count
    }

    /// A segment by its number, from 1.
    #[must_use]
    pub fn segment(&self, generation: u8) -> &Segment {
        &self.segments[usize::from(generation) - 1]
    }

    /// A segment by its number, from 1, for its writer.
    pub fn segment_mut(&mut self, generation: u8) -> &mut Segment {
        &mut self.segments[usize::from(generation) - 1]
    }

    /// All segments ever made, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..usize::from(self.segment_count)]
    }

    /// Makes the next segment; the caller has made sure that the name is free.
    pub fn link(&mut self, segment: Segment) -> u8 {
        self.segments[usize::from(self.segment_count)] = segment;
        self.segment_count += 1;
        self.segment_count
    }

    /// Whether there can be another segment in this world.
    #[must_use]
    pub fn has_room(&self, segments_max: u8) -> bool {
        self.segment_count < segments_max
    }

    /// All snapshots ever made, in the order of their making.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots[..usize::from(self.snapshot_count)]
    }

    /// Writes a snapshot and returns its number, from 1.
    pub fn save(&mut self, snapshot: Snapshot) -> u8 {
        self.snapshots[usize::from(self.snapshot_count)] = snapshot;
        self.snapshot_count += 1;
        self.snapshot_count
    }

    /// Deletes a snapshot by its number, from 1.
    pub fn delete_snapshot(&mut self, number: u8) {
        self.snapshots[usize::from(number) - 1].deleted = true;
    }

    /// How much of a segment older than the one that decides counts: what the header of its successor says.
    fn sealed_length(&self, generation: u8, reading: Reading) -> u8 {
        if reading.beyond_seals {
            return self.segment(generation).visible;
        }
        self.segment(generation + 1).seal
    }

    /// The snapshot an opening that finds `newest` would begin with, by its number; 0 for none.
    #[must_use]
    pub fn good_snapshot(&self, newest: u8, reading: Reading) -> u8 {
        let is_good = |snapshot: &Snapshot| {
            let oldest = self.segment(newest).oldest;
            !snapshot.deleted
                && (reading.any_snapshot
                    || snapshot.generation == newest
                    || ((oldest..newest).contains(&snapshot.generation)
                        && snapshot.length <= self.sealed_length(snapshot.generation, reading)))
        };
        let numbered = (1..).zip(self.snapshots());
        let good = numbered.filter(|(_, snapshot)| is_good(snapshot));
        good.max_by_key(|(_, snapshot)| (snapshot.state.len(), snapshot.epoch)).map_or(0, |(number, _)| number)
    }

    /// What an opening finds that takes `newest` for the newest segment and reads `length` batches of it.
    ///
    /// # Errors
    /// If something is gone that it needs.
    pub fn read(&self, newest: u8, length: u8, reading: Reading) -> Result<History, Missing> {
        if newest == 0 {
            return Ok(History::default());
        }
        let number = self.good_snapshot(newest, reading);
        let (mut found, mut from, first) = match number {
            0 if self.segment(newest).oldest > 1 => return Err(Missing),
            0 => (History::default(), 0, 1),
            _ => {
                let snapshot = self.snapshots[usize::from(number) - 1];
                (snapshot.state, snapshot.length, snapshot.generation)
            }
        };
        for generation in first..=newest {
            let counts = if generation == newest { length } else { self.sealed_length(generation, reading) };
            if counts > from {
                let segment = self.segment(generation);
                let there = if reading.after_crash { segment.durable } else { segment.visible };
                if segment.deleted || there < counts {
                    return Err(Missing);
                }
                found = found.then(segment.batches.first(counts).after(from));
            }
            from = 0;
        }
        Ok(found)
    }

    /// What would be left of everything if all were opened now.
    ///
    /// # Errors
    /// If something is gone that is needed.
    pub fn left(&self, reading: Reading) -> Result<History, Missing> {
        let Some(newest) = self.segments().last() else { return Ok(History::default()) };
        self.read(self.newest(), if reading.after_crash { newest.durable } else { newest.visible }, reading)
    }
}

/// Only what is there counts: most states have few files.
impl Hash for Log {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.segments().hash(state);
        self.snapshots().hash(state);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("segments", &self.segments()).field("snapshots", &self.snapshots()).finish()
    }
}

/// How a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reading {
    /// Only what is on disk is there.
    pub after_crash: bool,
    /// Seals are not looked at (a mutant).
    pub beyond_seals: bool,
    /// Every snapshot counts, whatever place it describes (a mutant).
    pub any_snapshot: bool,
}
