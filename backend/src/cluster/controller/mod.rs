//! The controller: who owns what in this cluster. A table in memory, rebuilt in every term from what the members say.
//!
//! Invariants, each of which a counterexample shows to be needed (`PROTOCOL.md`): before its first grant every incarnation
//! that was listed when the term was won has registered or is fenced; nothing is granted again before its owner released
//! it, registered without it, or was fenced; epochs of one term rise. It judges nobody: it is told who is in doubt and who
//! has been fenced.

mod drain;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use laniakea_config::ClusterTiming;
use laniakea_directory::MemberName;

use super::{Answer, BATCH_MAX, DrainRecord, Epoch, Incarnation, Message, Moment, OwnableId, Registration, Slots};
use crate::sabotage::{self, Sabotage};
use drain::Drains;
use table::{Place, Registrant, Table};

pub use drain::DrainOrder;

/// Ownables settled in one step. A thousand clients may wait for a member that is lost, or a hundred thousand.
const SETTLED_MAX: usize = 1024;

/// What happens to the controller.
#[derive(Debug)]
pub enum ControllerEvent {
    /// What was read after the term was won.
    Listed {
        /// Everybody among the living.
        living: Vec<Incarnation>,
        /// Who is being drained, as earlier terms recorded it.
        drained: BTreeSet<MemberName>,
    },
    /// A member tells a part of what it owns.
    Register {
        /// Who.
        from: Registering,
        /// What.
        part: Registration,
    },
    /// The session with a member ended; it keeps what it owns.
    Disconnected(Incarnation),
    /// A member wants ownables.
    Claims {
        /// Who.
        from: Incarnation,
        /// What; one answer for each.
        wanted: Vec<OwnableId>,
    },
    /// A member gives back.
    Releases {
        /// Who.
        from: Incarnation,
        /// What, under which epoch.
        released: Vec<(OwnableId, Epoch)>,
    },
    /// A member may be dead, or is not any more: who wants what it owns had better wait.
    Doubt {
        /// Who.
        incarnation: Incarnation,
        /// Whether there is doubt now.
        doubtful: bool,
    },
    /// The arbiter has removed this incarnation's live directory.
    Fenced(Incarnation),
    /// Somebody asks to drain a member, or to end that.
    Drain(DrainOrder),
    /// A member is about to leave.
    Leaving(Incarnation),
    /// The arbiter was asked to record who is drained.
    Recorded {
        /// In which term.
        term: u64,
        /// Which decision; `None` if that failed.
        number: Option<u64>,
    },
    /// A deadline may have passed.
    Timer,
}

/// Who registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registering {
    /// Which incarnation.
    pub incarnation: Incarnation,
    /// Its bit.
    pub slot: u8,
    /// Where it takes connections.
    pub handoff: SocketAddr,
}

/// What the controller wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum ControllerCommand {
    /// Tell a member.
    Tell {
        /// Whom.
        to: Incarnation,
        /// What.
        message: Message,
    },
    /// Fence a member although it may be alive.
    Condemn {
        /// Whom.
        incarnation: Incarnation,
        /// Why.
        offence: Offence,
    },
    /// Record who is being drained.
    Record(DrainRecord),
    /// All who were listed are registered or fenced: from now on there are grants.
    Gathered,
}

/// Why a member that may be alive is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// It did not release in time what was asked back.
    KeptRecalled,
    /// It claims to own what another one owns, or an epoch nobody can have granted.
    ContradictsTable,
    /// It did not register in time though it was reachable.
    NotRegistered,
    /// It stands outside the winning side.
    CutOff,
    /// It does not reach the storage, while the controller does.
    NoStorage,
}

/// One term's controller.
#[derive(Debug)]
pub struct Controller {
    term: u64,
    next_number: u64,
    timing: ClusterTiming,
    gathering: Gathering,
    table: Table,
    /// Claims of registered members that came before the first grant was allowed.
    early: Vec<(Place, OwnableId)>,
    drains: Drains,
    /// What became free, or its owner certain, and somebody may wait for.
    unsettled: VecDeque<OwnableId>,
    answers: BTreeMap<Place, Vec<(OwnableId, Answer)>>,
    commands: Vec<ControllerCommand>,
}

/// Whose registration or fence the first grant waits for.
#[derive(Debug, PartialEq, Eq)]
enum Gathering {
    /// The living have not been listed yet.
    Unlisted,
    Awaiting(BTreeSet<Incarnation>),
    Done,
}

impl Controller {
    /// The controller of a term that was won. Only a seat that holds the term's record may make one.
    #[must_use]
    pub(crate) fn new(term: u64, timing: ClusterTiming) -> Self {
        Self {
            term,
            next_number: 1,
            timing,
            gathering: Gathering::Unlisted,
            table: Table::default(),
            early: Vec::new(),
            drains: Drains::default(),
            unsettled: VecDeque::new(),
            answers: BTreeMap::new(),
            commands: Vec::new(),
        }
    }

    /// Its term.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// Says whether grants are being given.
    #[must_use]
    pub fn is_granting(&self) -> bool {
        self.gathering == Gathering::Done
    }

    /// Whom the first grant waits for; nobody knows before the living were listed.
    #[must_use]
    pub fn awaited(&self) -> Vec<Incarnation> {
        match &self.gathering {
            Gathering::Awaiting(awaited) => awaited.iter().cloned().collect(),
            Gathering::Unlisted | Gathering::Done => Vec::new(),
        }
    }

    /// Who is registered.
    #[must_use]
    pub fn registered(&self) -> Slots {
        self.table.registrants.values().filter(|one| one.is_registered).map(|one| one.slot).collect()
    }

    /// Says whether `incarnation` is registered.
    #[must_use]
    pub fn has_registered(&self, incarnation: &Incarnation) -> bool {
        self.table.find(incarnation).is_some_and(|(_, registrant)| registrant.is_registered)
    }

    /// How many grants it has given.
    #[must_use]
    pub const fn granted_count(&self) -> u64 {
        self.next_number - 1
    }

    /// How many ownables have an owner.
    #[must_use]
    pub fn owned_count(&self) -> usize {
        self.table.owned_count()
    }

    /// Everything that is owned, in order.
    #[must_use]
    pub fn owners(&self) -> Vec<(OwnableId, MemberName, Epoch)> {
        self.table.listing()
    }

    /// When to step with [`ControllerEvent::Timer`].
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        // The past: at once, between other events.
        let unsettled = (!self.unsettled.is_empty()).then(Moment::default);
        let recalls = self.table.registrants.values().filter_map(Registrant::recall_due);
        recalls.chain(self.drains.deadline()).chain(unsettled).min()
    }

    /// Takes one step.
    pub fn step(&mut self, now: Moment, event: ControllerEvent) -> Vec<ControllerCommand> {
        // Before the event: the step that fences is not to be longer for it.
        self.table.sweep();
        match event {
            ControllerEvent::Listed { living, drained } => self.on_listed(now, living, drained),
            ControllerEvent::Register { from, part } => self.on_register(now, &from, part),
            ControllerEvent::Disconnected(who) => self.on_disconnected(now, &who),
            ControllerEvent::Claims { from, wanted } => self.on_claims(now, &from, wanted),
            ControllerEvent::Releases { from, released } => self.on_releases(now, &from, released),
            ControllerEvent::Doubt { incarnation, doubtful } => self.on_doubt(&incarnation, doubtful),
            ControllerEvent::Fenced(incarnation) => self.on_fenced(now, &incarnation),
            ControllerEvent::Drain(order) => self.on_drain(now, order),
            ControllerEvent::Leaving(incarnation) => self.on_leaving(now, &incarnation),
            ControllerEvent::Recorded { term, number } => self.on_recorded(now, term, number),
            ControllerEvent::Timer => self.on_timer(now),
        }
        self.settle_more(now);
        self.flush_answers();
        std::mem::take(&mut self.commands)
    }

    fn on_listed(&mut self, now: Moment, living: Vec<Incarnation>, drained: BTreeSet<MemberName>) {
        if self.gathering == Gathering::Unlisted {
            self.drains.inherit(drained);
            let mut awaited: BTreeSet<_> = living.into_iter().filter(|one| !self.has_registered(one)).collect();
            if sabotage::on(Sabotage::GrantUngathered) {
                awaited.clear();
            }
            self.gathering = Gathering::Awaiting(awaited);
            self.check_gathered(now);
        }
    }

    fn on_register(&mut self, now: Moment, from: &Registering, part: Registration) {
        if part.term != self.term {
            return;
        }
        let place = self.table.place(from);
        let Some(registrant) = self.table.registrants.get_mut(&place) else { return };
        if part.first {
            registrant.begin_registration(part.leaving);
            self.early.retain(|(who, _)| *who != place);
        }
        let Some(estate) = &mut registrant.estate else { return };
        estate.extend(part.owned);
        if part.last {
            self.finish_registration(now, place, &from.incarnation);
        }
    }

    /// The list is complete: it replaces what the table says of this member.
    fn finish_registration(&mut self, now: Moment, place: Place, incarnation: &Incarnation) {
        let Some(estate) = self.table.registrants.get_mut(&place).and_then(|one| one.estate.take()) else { return };
        let impossible = |(ownable, epoch): &(OwnableId, Epoch)| {
            epoch.term > self.term || self.table.owner(ownable).is_some_and(|owner| owner.place != place)
        };
        if estate.iter().any(impossible) {
            return self.condemn(incarnation, Offence::ContradictsTable);
        }
        let freed = self.table.replace_estate(place, &estate);
        let Some(registrant) = self.table.registrants.get_mut(&place) else { return };
        registrant.is_registered = true;
        // What was recalled before this session is recalled anew.
        registrant.withheld = false;
        self.tell(incarnation, Message::Registered { term: self.term });
        self.tell_roster_to(incarnation);
        self.unsettled.extend(freed);
        // What was recalled on the last session is so no more: whoever waits for it is answered, or makes it be recalled anew.
        self.unsettled.extend(self.table.parked_at(place));
        self.review_drains(now);
        if let Gathering::Awaiting(awaited) = &mut self.gathering {
            awaited.remove(incarnation);
        }
        self.check_gathered(now);
    }

    /// Nobody of the listed is missing any more: the early claims are answered.
    fn check_gathered(&mut self, now: Moment) {
        if matches!(&self.gathering, Gathering::Awaiting(awaited) if awaited.is_empty()) {
            self.gathering = Gathering::Done;
            self.commands.push(ControllerCommand::Gathered);
            self.begin_draining(now);
            for (place, ownable) in std::mem::take(&mut self.early) {
                self.decide(now, place, ownable);
            }
        }
    }

    fn on_disconnected(&mut self, now: Moment, who: &Incarnation) {
        let Some((place, registrant)) = self.table.find_mut(who) else { return };
        registrant.is_registered = false;
        registrant.estate = None;
        self.table.unpark(place);
        self.early.retain(|(claimant, _)| *claimant != place);
        self.review_drains(now);
    }

    fn on_claims(&mut self, now: Moment, from: &Incarnation, wanted: Vec<OwnableId>) {
        let Some((place, registrant)) = self.table.find_mut(from) else { return };
        if !registrant.is_registered {
            return;
        }
        if !self.is_granting() {
            return self.early.extend(wanted.into_iter().map(|ownable| (place, ownable)));
        }
        for ownable in wanted {
            self.decide(now, place, ownable);
        }
    }

    /// The one fast transaction.
    fn decide(&mut self, now: Moment, claimant: Place, ownable: OwnableId) {
        assert!(self.is_granting(), "a claim was decided before all were gathered");
        let Some(owner) = self.table.owner(&ownable) else { return self.grant(claimant, ownable) };
        let Some(registrant) = self.table.registrants.get(&owner.place) else { return };
        if sabotage::on(Sabotage::GrantUnfenced) && registrant.doubtful && owner.place != claimant {
            self.table.give_back(&ownable, owner.place, owner.epoch);
            return self.grant(claimant, ownable);
        }
        let (place, epoch) = (owner.place, owner.epoch);
        let is_uncertain = registrant.doubtful || registrant.has_recalled(&ownable);
        if is_uncertain && place != claimant {
            return self.table.park(ownable, claimant);
        }
        if registrant.withheld && place != claimant {
            return self.move_to(now, claimant, ownable, (place, epoch));
        }
        let (member, handoff) = (registrant.incarnation.member.clone(), registrant.handoff);
        self.answer(claimant, ownable, Answer::Owned { member, handoff, epoch });
    }

    /// The owner gives back all it has; this next, for somebody wants it.
    fn move_to(&mut self, now: Moment, claimant: Place, ownable: OwnableId, (place, epoch): (Place, Epoch)) {
        if self.table.registrants.get(&claimant).is_some_and(|one| one.withheld) {
            return self.answer(claimant, ownable, Answer::Draining);
        }
        self.table.park(ownable, claimant);
        // Who is not connected hears of it when it registers.
        if self.table.registrants.get(&place).is_some_and(|one| one.is_registered) {
            self.recall(now, place, vec![(ownable, epoch)]);
        }
    }

    fn grant(&mut self, claimant: Place, ownable: OwnableId) {
        let Some(registrant) = self.table.registrants.get(&claimant) else { return };
        if registrant.withheld {
            return self.answer(claimant, ownable, Answer::Draining);
        }
        let epoch = Epoch { term: self.term, number: self.next_number };
        self.next_number += 1;
        self.table.take(ownable, claimant, epoch);
        self.answer(claimant, ownable, Answer::Granted(epoch));
    }

    /// An ownable became free, or its owner certain: whoever waited for it is answered, first come first served.
    fn settle(&mut self, now: Moment, ownable: OwnableId) {
        for claimant in self.table.parked.remove(&ownable).unwrap_or_default() {
            self.decide(now, claimant, ownable);
        }
    }

    /// Settles some of what is to be settled; the rest follows in the next steps, so that none takes long.
    fn settle_more(&mut self, now: Moment) {
        for _ in 0..SETTLED_MAX {
            let Some(ownable) = self.unsettled.pop_front() else { return };
            self.settle(now, ownable);
        }
    }

    fn on_releases(&mut self, now: Moment, from: &Incarnation, released: Vec<(OwnableId, Epoch)>) {
        let Some((place, registrant)) = self.table.find_mut(from) else { return };
        if let Some(estate) = &mut registrant.estate {
            estate.retain(|one| !released.contains(one));
        }
        for (ownable, epoch) in released {
            if self.table.give_back(&ownable, place, epoch) {
                self.settle(now, ownable);
            }
        }
        self.recall_more(now, place);
    }

    fn on_doubt(&mut self, incarnation: &Incarnation, doubtful: bool) {
        let Some((place, registrant)) = self.table.find_mut(incarnation) else { return };
        let before = std::mem::replace(&mut registrant.doubtful, doubtful);
        if before && !doubtful {
            self.unsettled.extend(self.table.parked_at(place));
        }
    }

    fn on_fenced(&mut self, now: Moment, incarnation: &Incarnation) {
        let awaited = self.table.remove(incarnation);
        self.review_drains(now);
        self.unsettled.extend(awaited);
        if let Gathering::Awaiting(awaited) = &mut self.gathering {
            awaited.remove(incarnation);
        }
        self.check_gathered(now);
    }

    fn on_timer(&mut self, now: Moment) {
        self.retry_record(now);
        let late = |one: &&mut Registrant| one.recall_due().is_some_and(|due| due <= now);
        let mut offenders = Vec::new();
        for registrant in self.table.registrants.values_mut().filter(late) {
            registrant.doubtful = true;
            registrant.recalled.clear();
            registrant.recalls.clear();
            offenders.push(registrant.incarnation.clone());
        }
        for incarnation in offenders {
            self.condemn(&incarnation, Offence::KeptRecalled);
        }
    }

    fn condemn(&mut self, incarnation: &Incarnation, offence: Offence) {
        self.commands.push(ControllerCommand::Condemn { incarnation: incarnation.clone(), offence });
    }

    fn tell(&mut self, to: &Incarnation, message: Message) {
        self.commands.push(ControllerCommand::Tell { to: to.clone(), message });
    }

    fn answer(&mut self, claimant: Place, ownable: OwnableId, answer: Answer) {
        self.answers.entry(claimant).or_default().push((ownable, answer));
    }

    /// All answers of one step to one member travel together.
    fn flush_answers(&mut self) {
        for (place, mut answers) in std::mem::take(&mut self.answers) {
            let Some(registrant) = self.table.registrants.get(&place) else { continue };
            let to = registrant.incarnation.clone();
            while !answers.is_empty() {
                let rest = answers.split_off(answers.len().min(BATCH_MAX));
                let message = Message::Answers { term: self.term, answers };
                self.commands.push(ControllerCommand::Tell { to: to.clone(), message });
                answers = rest;
            }
        }
    }
}

#[cfg(test)]
mod drain_test;
#[cfg(test)]
mod storm_test;
#[cfg(test)]
mod tests;
