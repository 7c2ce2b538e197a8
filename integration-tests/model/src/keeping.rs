//! What keeps a log short: snapshots, rotation, deletion. Each may come long after the ownership has ended.

use crate::history::{Ownable, Who};
use crate::log::Snapshot;
use crate::mutant::Mutant;
use crate::opening::Linked;
use crate::state::{Open, Stage, State};
use crate::world::World;

impl World {
    /// "Snapshot": describes what is on disk, validated or not. What it replaces is doomed.
    pub(crate) fn snapshot(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let epoch = state.members[who].owned[ownable]?.epoch;
        let open = state.open(who, ownable)?;
        let log = &state.logs[ownable];
        let (generation, length) = place(open, state, ownable);
        let is_new = match open.snapshot {
            0 => true,
            number => log.snapshots()[usize::from(number) - 1].state.len() < open.state.len(),
        };
        let has_room = log.snapshots().len() < usize::from(self.size.snapshots);
        if !has_room || generation == 0 || open.state.is_empty() || open.synced < open.state.len() || !is_new {
            return None;
        }
        let mut next = state.clone();
        let snapshot = Snapshot { epoch, generation, length, state: open.state, deleted: false };
        let number = next.logs[ownable].save(snapshot);
        let open = next.open_mut(who, ownable)?;
        (open.snapshot, open.doomed) = (number, open.state.len() + 1);
        Some(next)
    }

    /// Goes on in a new segment, whose header leaves out what the snapshot makes needless.
    pub(crate) fn rotate(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let epoch = state.members[who].owned[ownable]?.epoch;
        let open = *state.open(who, ownable).filter(|open| open.segment > 0 && open.snapshot > 0)?;
        let (generation, length) = place(&open, state, ownable);
        let snapshot = state.logs[ownable].snapshots()[usize::from(open.snapshot) - 1];
        if (snapshot.generation, snapshot.length) != (generation, length)
            || open.synced < open.state.len()
            || length == 0
        {
            return None;
        }
        let mut next = state.clone();
        let segment = self.header(&next.logs[ownable], (who, epoch), (generation, length), open.snapshot);
        match self.link_segment(&mut next.logs[ownable], generation, segment) {
            Linked::Done(generation) => {
                let open = next.open_mut(who, ownable)?;
                (open.segment, open.doomed) = (generation, open.state.len() + 1);
                Some(next)
            }
            Linked::Overtaken => self.at_stage(state, who, ownable, Stage::Granted),
            Linked::Never => None,
            Linked::Reused => self.reuse(state, who),
        }
    }

    /// "Deleting": a segment that the owner's header does not name any more.
    pub(crate) fn delete_segment(&self, state: &State, who: Who, ownable: Ownable, generation: u8) -> Option<State> {
        let open = state.open(who, ownable).filter(|open| open.segment > 0)?;
        let log = &state.logs[ownable];
        let is_named = generation >= log.segment(open.segment).oldest;
        if is_named || log.segment(generation).deleted || !self.is_proven(open) {
            return None;
        }
        let mut next = state.clone();
        next.logs[ownable].segment_mut(generation).deleted = true;
        Some(next)
    }

    /// "Deleting": a snapshot older than the owner's own, if its name carries no higher epoch.
    pub(crate) fn delete_snapshot(&self, state: &State, who: Who, ownable: Ownable, number: u8) -> Option<State> {
        let epoch = state.members[who].owned[ownable]?.epoch;
        let open = state.open(who, ownable).filter(|open| number < open.snapshot)?;
        let snapshot = state.logs[ownable].snapshots()[usize::from(number) - 1];
        if snapshot.deleted || snapshot.epoch > epoch || !self.is_proven(open) {
            return None;
        }
        let mut next = state.clone();
        next.logs[ownable].delete_snapshot(number);
        Some(next)
    }

    /// "Deleting": only when a batch that was written after the file had become useless has been validated.
    fn is_proven(&self, open: &Open) -> bool {
        open.shown.is_some_and(|shown| shown >= open.doomed) || self.without(Mutant::DeleteAtOnce)
    }
}

/// The place behind the last batch: segment, and number of batches in it.
fn place(open: &Open, state: &State, ownable: Ownable) -> (u8, u8) {
    match open.segment {
        0 => (open.found.newest, open.found.seal),
        own => (own, state.logs[ownable].segment(own).batches.len()),
    }
}
