//! Rules 5 and 6: what a client is promised or shown. And what a crash does to what was not promised.

use crate::history::{Change, Ownable, Who};
use crate::log::End;
use crate::mutant::Mutant;
use crate::state::{Broken, Life, Member, Request, State};
use crate::world::World;

/// Mutants write things twice; somewhere that has to end.
const STATE_MAX: u8 = 7;

impl World {
    /// "Batch": written only when the one before is synced. A client hands its change in until somebody acknowledges it; what
    /// is there already is not written again.
    pub(crate) fn write(&self, state: &State, who: Who, ownable: Ownable, change: Change) -> Option<State> {
        let open = state.open(who, ownable).filter(|open| open.segment > 0)?;
        let segment = state.logs[ownable].segment(open.segment);
        let is_known = open.state.set().has(usize::from(change)) && !self.without(Mutant::ForgetDeliveryIds);
        let is_serial = segment.durable == segment.batches.len() || self.without(Mutant::WriteBeforeSync);
        let is_settled = state.clients[ownable].acknowledged.has(usize::from(change));
        if is_known || is_settled || !is_serial || open.state.len() >= STATE_MAX {
            return None;
        }
        let generation = open.segment;
        let mut next = state.clone();
        let segment = next.logs[ownable].segment_mut(generation);
        segment.batches = segment.batches.and(change);
        let clients = &mut next.clients[ownable];
        clients.tried = clients.tried.max(change);
        let open = next.open_mut(who, ownable)?;
        open.state = open.state.and(change);
        Some(next)
    }

    /// A kernel writes back what it likes, when it likes, whatever became of the process; so can a file server that got
    /// the bytes let others read them without having them on disk.
    pub(crate) fn write_back(&self, state: &State, ownable: Ownable, generation: u8) -> Option<State> {
        let mut next = state.clone();
        let segment = next.logs[ownable].segment_mut(generation);
        if segment.visible < segment.batches.len() {
            segment.visible += 1;
        } else if segment.end == End::Cached {
            segment.end = End::Visible;
        } else {
            return None;
        }
        Some(next)
    }

    /// What others could read, but was not synced, is gone, and so is the only host that could have sent it again.
    pub(crate) fn lose(&self, state: &State, ownable: Ownable, generation: u8) -> Option<State> {
        let segment = state.logs[ownable].segment(generation);
        if !self.size.losses || segment.visible == segment.durable {
            return None;
        }
        let writer = usize::from(segment.writer);
        let mut next = state.clone();
        let segment = next.logs[ownable].segment_mut(generation);
        segment.batches = segment.batches.first(segment.durable);
        segment.visible = segment.durable;
        next.members[writer] = Member { life: Life::Lost, ..Member::default() };
        Some(next)
    }

    /// Returns when all that was written before is on disk.
    pub(crate) fn sync(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let open = state.open(who, ownable).filter(|open| open.synced < open.state.len())?;
        let generation = open.segment;
        let mut next = state.clone();
        let segment = next.logs[ownable].segment_mut(generation);
        (segment.visible, segment.durable) = (segment.batches.len(), segment.batches.len());
        let open = next.open_mut(who, ownable)?;
        open.synced = open.state.len();
        Some(next)
    }

    /// Rule 5: succeeds if the live directory is there, and serves everything that was synced or read when it began. If it
    /// fails the process drops everything and ends: it never takes a step again, so that is no step here.
    pub(crate) fn tick(&self, state: &State, who: Who) -> Option<State> {
        if !state.live.has(who) {
            return None;
        }
        let mut next = state.clone();
        for ownable in 0..usize::from(self.size.ownables) {
            let Some(open) = next.open_mut(who, ownable) else { continue };
            open.ticked = Some(if self.without(Mutant::TickBeforeSync) { open.state.len() } else { open.synced });
            if let Some(request) = &mut open.request {
                request.ticked = true;
            }
        }
        (next.members[who] != state.members[who]).then_some(next)
    }

    /// Rule 5: what was synced before a tick that succeeded is acknowledged and published, at any time after it.
    pub(crate) fn answer(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let open = state.open(who, ownable)?;
        let ticked = if self.without(Mutant::AnswerWithoutTick) { Some(open.synced) } else { open.ticked };
        let reached = ticked?.min(open.synced);
        if open.shown.is_some_and(|shown| shown >= reached) {
            return None;
        }
        let told = open.state.first(reached);
        let mut next = state.clone();
        next.open_mut(who, ownable)?.shown = Some(reached);
        let clients = &mut next.clients[ownable];
        clients.acknowledged = clients.acknowledged.and(told.set());
        next.tell(ownable, told);
        Some(next)
    }

    /// Rule 6: a client asks, and what is validated is read for it.
    pub(crate) fn ask(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let open = state.open(who, ownable).filter(|open| self.size.reads && open.request.is_none())?;
        let validated = open.state.first(open.shown?);
        let read = if self.without(Mutant::ShowUnvalidated) { open.state } else { validated };
        let mut next = state.clone();
        let acknowledged = next.clients[ownable].acknowledged;
        next.open_mut(who, ownable)?.request = Some(Request { acknowledged, read, ticked: false });
        Some(next)
    }

    /// Rule 6: the reply leaves after a tick begun after the read.
    pub(crate) fn reply(&self, state: &State, who: Who, ownable: Ownable) -> Option<State> {
        let request = state.open(who, ownable)?.request?;
        if !request.ticked && !self.without(Mutant::ReplyWithoutTick) {
            return None;
        }
        let mut next = state.clone();
        next.open_mut(who, ownable)?.request = None;
        next.tell(ownable, request.read);
        if !request.read.set().has_all(request.acknowledged) {
            next.broken = Some(Broken::StaleRead);
        }
        Some(next)
    }
}
