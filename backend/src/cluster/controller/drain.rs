//! Draining: who is to own nothing, and what is asked back from them.
//!
//! Who is being drained is a set of member names. The controller orders all commands, so however many people contradict one
//! another there is one set; each decision is recorded on the shared filesystem before anybody is answered, and everybody
//! is answered with the set as recorded. So a drain outlives the controller, and the member's own process. Who leaves says
//! so itself, for this one run.

use std::collections::BTreeSet;

use laniakea_directory::MemberName;

use super::{Controller, ControllerCommand, Incarnation, Message, Moment, OwnableId, Place, Registrant};
use crate::cluster::{DrainRecord, Epoch, Roster};

/// Recalls one member works on at a time; the others follow as it releases. What somebody claims is recalled besides.
pub(super) const RECALLS_MAX: usize = 64;

/// Commands that wait for their record at most; more than people give. Who is not answered asks again.
const ASKED_MAX: usize = 64;

/// Who is being drained, and how far that is recorded.
#[derive(Debug, Default)]
pub(super) struct Drains {
    members: BTreeSet<MemberName>,
    /// Counts the decisions of this term.
    number: u64,
    recorded: Option<u64>,
    recording: Option<u64>,
    /// The last attempt failed: not before then.
    retry: Option<Moment>,
    /// Commands that came before the first grant was allowed.
    early: Vec<DrainOrder>,
    /// Who waits for the record, and by which name.
    asked: Vec<(Incarnation, u64)>,
    /// What everybody was told last.
    told: Roster,
}

/// Somebody's command to drain a member, or to end that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOrder {
    /// Who passes it on.
    pub from: Incarnation,
    /// Repeated in the answer.
    pub request: u64,
    /// Whom.
    pub member: MemberName,
    /// Begin or end.
    pub on: bool,
}

impl Drains {
    /// What an earlier term recorded.
    pub(super) fn inherit(&mut self, drained: BTreeSet<MemberName>) {
        self.members = drained;
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.retry
    }
}

impl Controller {
    /// Who is being drained.
    #[must_use]
    pub const fn drained(&self) -> &BTreeSet<MemberName> {
        &self.drains.members
    }

    pub(super) fn on_drain(&mut self, now: Moment, order: DrainOrder) {
        if !self.is_granting() {
            if self.drains.early.len() < ASKED_MAX {
                self.drains.early.push(order);
            }
            return;
        }
        let DrainOrder { from, request, member, on } = order;
        let drains = &mut self.drains;
        let is_news = if on { drains.members.insert(member) } else { drains.members.remove(&member) };
        if is_news {
            drains.number += 1;
        }
        if drains.asked.len() < ASKED_MAX {
            drains.asked.push((from, request));
        }
        self.review_drains(now);
        self.record_drains(now);
    }

    /// From now on there are grants, and recalls. What an earlier term decided is recorded anew, so that nothing its
    /// controller writes late can come to count.
    pub(super) fn begin_draining(&mut self, now: Moment) {
        self.review_drains(now);
        for order in std::mem::take(&mut self.drains.early) {
            self.on_drain(now, order);
        }
        self.record_drains(now);
    }

    pub(super) fn on_leaving(&mut self, now: Moment, incarnation: &Incarnation) {
        if let Some((_, registrant)) = self.table.find_mut(incarnation) {
            registrant.leaving = true;
            self.review_drains(now);
        }
    }

    /// Applies who is drained to who is there. As long as nobody else can serve, who is drained does.
    pub(super) fn review_drains(&mut self, now: Moment) {
        if !self.is_granting() {
            return;
        }
        let drained = &self.drains.members;
        let is_drained = |one: &Registrant| drained.contains(&one.incarnation.member);
        let mut registrants = self.table.registrants.values();
        let is_served = registrants.any(|one| one.is_registered && !one.leaving && !is_drained(one));
        let mut begun = Vec::new();
        for (place, registrant) in &mut self.table.registrants {
            let withheld = registrant.leaving || (is_served && is_drained(registrant));
            if std::mem::replace(&mut registrant.withheld, withheld) != withheld {
                registrant.recalls.clear();
                begun.extend(withheld.then_some(*place));
            }
        }
        for place in begun {
            self.recall_all(now, place);
        }
        self.tell_roster();
    }

    /// Everything a registrant owns is to be given back, a few at a time.
    pub(super) fn recall_all(&mut self, now: Moment, place: Place) {
        let owned = self.table.estate(place);
        let Some(registrant) = self.table.registrants.get_mut(&place) else { return };
        registrant.recalls = owned.into_iter().filter(|(one, _)| !registrant.recalled.contains_key(one)).collect();
        self.recall_more(now, place);
    }

    /// Keeps a bounded number of recalls under way.
    pub(super) fn recall_more(&mut self, now: Moment, place: Place) {
        let Some(registrant) = self.table.registrants.get_mut(&place).filter(|one| one.is_registered) else { return };
        let room = RECALLS_MAX.saturating_sub(registrant.recalled.len());
        if room == 0 || registrant.recalls.is_empty() {
            return;
        }
        let (owners, under_way) = (&self.table.owners, &registrant.recalled);
        // What somebody claimed meanwhile is recalled already, and its time runs.
        let is_next = |(ownable, epoch): &(OwnableId, Epoch)| {
            let is_owned = owners.get(ownable).is_some_and(|owner| owner.place == place && owner.epoch == *epoch);
            is_owned && !under_way.contains_key(ownable)
        };
        let recalls = &mut registrant.recalls;
        let recalled = std::iter::from_fn(|| recalls.pop_front()).filter(is_next).take(room).collect();
        self.recall(now, place, recalled);
    }

    /// Asks a registrant to give these back.
    pub(super) fn recall(&mut self, now: Moment, place: Place, recalled: Vec<(OwnableId, Epoch)>) {
        let Some(registrant) = self.table.registrants.get_mut(&place).filter(|_| !recalled.is_empty()) else { return };
        let due = now + self.timing.release;
        registrant.recalled.extend(recalled.iter().map(|(ownable, _)| (*ownable, due)));
        let incarnation = registrant.incarnation.clone();
        self.tell(&incarnation, Message::Recalls { term: self.term, recalled });
    }

    /// Tells one who has just registered.
    pub(super) fn tell_roster_to(&mut self, incarnation: &Incarnation) {
        let roster = self.drains.told.clone();
        self.tell(incarnation, Message::Roster { term: self.term, roster });
    }

    fn tell_roster(&mut self) {
        let registrants = self.table.registrants.values();
        let leaving = registrants.clone().filter(|one| one.leaving).map(|one| one.incarnation.clone()).collect();
        let roster = Roster { drained: self.drains.members.clone(), leaving };
        if self.drains.told != roster {
            let listening: Vec<_> =
                registrants.filter(|one| one.is_registered).map(|one| one.incarnation.clone()).collect();
            self.drains.told = roster;
            listening.iter().for_each(|one| self.tell_roster_to(one));
        }
    }

    /// Has the newest decision recorded; one at a time, so that the newest is the last.
    fn record_drains(&mut self, now: Moment) {
        let drains = &mut self.drains;
        if drains.recorded == Some(drains.number) {
            return self.answer_orders();
        }
        if drains.recording.is_none() && drains.retry.is_none_or(|at| at <= now) {
            drains.retry = None;
            drains.recording = Some(drains.number);
            let record = DrainRecord { term: self.term, number: drains.number, drained: drains.members.clone() };
            self.commands.push(ControllerCommand::Record(record));
        }
    }

    pub(super) fn on_recorded(&mut self, now: Moment, term: u64, number: Option<u64>) {
        if term != self.term {
            return;
        }
        self.drains.recording = None;
        match number {
            Some(_) => self.drains.recorded = number,
            None => self.drains.retry = Some(now + self.timing.ping),
        }
        self.record_drains(now);
    }

    pub(super) fn retry_record(&mut self, now: Moment) {
        if self.drains.retry.is_some_and(|at| at <= now) {
            self.record_drains(now);
        }
    }

    fn answer_orders(&mut self) {
        for (from, request) in std::mem::take(&mut self.drains.asked) {
            let message = Message::Drained { request, drained: self.drains.members.clone() };
            self.tell(&from, message);
        }
    }
}
