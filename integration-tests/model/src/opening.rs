//! How an owner opens a log: list, read, and after an unclean end seal what was read with a segment of its own.

use crate::history::{Epoch, History, Ownable, Who};
use crate::log::{End, Log, Segment};
use crate::mutant::Mutant;
use crate::state::{Broken, Found, Open, Owned, Stage, State};
use crate::world::World;

/// What came of an attempt to make the next segment.
pub(crate) enum Linked {
    /// It is there, under this number.
    Done(u8),
    /// A writer of old times has the name: the log has to be read again.
    Overtaken,
    /// The ownership is over, or there is no more room in this world: nothing happens.
    Never,
    /// The name was used, and its file deleted; the directory takes it again, and nobody will ever read what is put there.
    Reused,
}

impl World {
    /// Opening 1: the highest segment; its epoch has to be lower than the opener's. If it is not, the ownership is over.
    pub(crate) fn list(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let Owned { epoch, stage: Stage::Granted } = state.members[who].owned[ownable]? else { return None };
        let newest = state.logs[ownable].newest();
        if newest > 0 && !self.may_follow(state.logs[ownable].segment(newest), epoch) {
            return None;
        }
        self.at_stage(state, who, ownable, Stage::Listed { newest })
    }

    /// Opening 2 to 6: the newest good snapshot, the older segments up to their seals, the newest one to its end.
    pub(crate) fn read(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let Owned { epoch, stage: Stage::Listed { newest } } = state.members[who].owned[ownable]? else { return None };
        let log = &state.logs[ownable];
        if newest == 0 {
            return self.at_stage(state, who, ownable, Stage::Open(Open::default()));
        }
        // A file of a higher epoch tells an opener that its ownership is over, also one that finds nothing any more.
        let is_over = !self.may_follow(log.segment(log.newest()), epoch)
            || log.snapshots().iter().any(|snapshot| !snapshot.deleted && snapshot.epoch > epoch);
        let length = log.segment(newest).visible;
        let Ok(state_found) = log.read(newest, length, self.reading()) else {
            return (!is_over).then(|| State { broken: Some(Broken::FileGone), ..state.clone() });
        };
        let found = self.judge(log, newest, state_found);
        let is_settled = log.segment(newest).end == End::Visible || self.without(Mutant::LinkLate);
        let stage = if is_settled { Stage::Open(opened(0, found)) } else { Stage::Read(found) };
        self.at_stage(state, who, ownable, stage)
    }

    /// Opening 6: the last batch is in doubt, if no snapshot covers it and no orderly end stands behind it.
    fn judge(&self, log: &Log, newest: u8, state: History) -> Found {
        let segment = log.segment(newest);
        let snapshot = log.good_snapshot(newest, self.reading());
        let is_covered = snapshot > 0 && {
            let snapshot = log.snapshots()[usize::from(snapshot) - 1];
            snapshot.generation == newest && snapshot.length >= segment.visible
        };
        if segment.visible == 0 || segment.end == End::Visible || is_covered || self.without(Mutant::SkipCarry) {
            return Found { newest, seal: segment.visible, state, carried: History::default(), snapshot };
        }
        let (kept, seal) = (state.len() - 1, segment.visible - 1);
        Found { newest, seal, state: state.first(kept), carried: state.after(kept), snapshot }
    }

    /// Makes the next segment: at once after an unclean end, with the first write after an orderly one.
    pub(crate) fn link(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let Owned { epoch, stage } = state.members[who].owned[ownable]?;
        let (found, before) = match stage {
            Stage::Read(found) => (found, None),
            Stage::Open(open) if open.segment == 0 => (open.found, Some(open)),
            Stage::Granted | Stage::Listed { .. } | Stage::Open(_) => return None,
        };
        let snapshot = before.map_or(found.snapshot, |open| open.snapshot);
        let mut next = state.clone();
        let segment = self.header(&next.logs[ownable], (who, epoch), (found.newest, found.seal), snapshot);
        let written = found.carried.len();
        let segment = Segment { batches: found.carried, visible: written, durable: written, ..segment };
        let stage = match self.link_segment(&mut next.logs[ownable], found.newest, segment) {
            Linked::Done(generation) => match before {
                Some(open) => Stage::Open(Open { segment: generation, ..open }),
                None => Stage::Open(opened(generation, found)),
            },
            Linked::Overtaken => Stage::Granted,
            Linked::Never => return None,
            Linked::Reused => return self.reuse(state, who),
        };
        self.at_stage(&next, who, ownable, stage)
    }

    /// The header of the segment that follows `newest`, which counts up to `seal`. Two snapshots are kept in truth; with
    /// one, more is deleted.
    pub(crate) fn header(
        &self,
        log: &Log,
        (who, epoch): (Who, Epoch),
        (newest, seal): (u8, u8),
        snapshot: u8,
    ) -> Segment {
        let named = if newest > 0 { log.segment(newest).oldest } else { 1 };
        let needed = if snapshot > 0 { log.snapshots()[usize::from(snapshot) - 1].generation } else { 1 };
        Segment { epoch, writer: who as u8, seal, oldest: named.max(needed), ..Segment::default() }
    }

    /// Links a segment behind `newest`. Of two who want one name one succeeds; the other reads the winner's header.
    pub(crate) fn link_segment(&self, log: &mut Log, newest: u8, segment: Segment) -> Linked {
        if log.newest() > newest {
            let rival = log.segment(newest + 1);
            return match rival.epoch < segment.epoch || self.without(Mutant::IgnoreEpochs) {
                _ if rival.deleted => Linked::Reused,
                true => Linked::Overtaken,
                false => Linked::Never,
            };
        }
        if log.has_room(self.size.segments) { Linked::Done(log.link(segment)) } else { Linked::Never }
    }

    /// Whoever gets a used name has slept long; its next tick will fail, and nothing it does until then is seen. So it
    /// never takes another step; but if it could tick, the promise that names are used once would be broken.
    pub(crate) fn reuse(&self, state: &State, who: Who) -> Option<State> {
        state.live.has(who).then(|| State { broken: Some(Broken::NameReused), ..state.clone() })
    }

    fn may_follow(&self, segment: &Segment, epoch: Epoch) -> bool {
        segment.epoch < epoch || self.without(Mutant::IgnoreEpochs)
    }

    pub(crate) fn at_stage(&self, state: &State, who: Who, ownable: Ownable, stage: Stage) -> Option<State> {
        let mut next = state.clone();
        next.members[who].owned[ownable].as_mut()?.stage = stage;
        Some(next)
    }
}

/// A log that has just been opened: all that was found is on disk, and nothing may be shown before a tick.
fn opened(segment: u8, found: Found) -> Open {
    let state = found.state.then(found.carried);
    Open {
        segment,
        found,
        state,
        synced: state.len(),
        snapshot: found.snapshot,
        doomed: state.len() + 1,
        ..Open::default()
    }
}
