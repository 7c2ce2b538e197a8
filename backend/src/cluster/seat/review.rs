//! From evidence to action: whom to call, when to look at the directory, whom to fence, when to campaign, how long reads
//! may go without a tick. Run after everything that says something about who is alive; asking twice does no harm.

use super::{
    ArbiterCall, Command, Contact, Controller, ControllerEvent, Gone, Incarnation, Moment, Notice, Offence, Peer, Seat,
    Slots, Survey,
};
use crate::cluster::{Candidacy, ClusterView, Graph, MemberView, Verdict, winning_side};
use crate::sabotage::{self, Sabotage};

/// How many fenced incarnations of a member are remembered. An older one that still runs is fenced again.
const BURIED_MAX: usize = 16;

impl Seat {
    /// When to step with [`super::Event::Timer`] at the latest.
    #[must_use]
    pub fn deadline(&self, now: Moment) -> Moment {
        if self.leaving {
            return now + self.timing.ping;
        }
        let contacts = self.contacts.values().filter_map(|contact| contact.deadline(now, &self.timing));
        let look = (self.wants_to_look(now) && self.watch.looking.is_none()).then_some(self.watch.look_due);
        let controller = self.controller.as_ref().and_then(Controller::deadline);
        let inherited = self.inherited.values().min().copied();
        contacts
            .chain(look)
            .chain(controller)
            .chain(inherited)
            .chain(self.election.deadline())
            .fold(self.watch.ping_due, Moment::min)
    }

    /// If this process stood still, the silence it remembers is its own.
    pub(super) fn notice_stall(&mut self, now: Moment) {
        let stood = now.since(self.watch.stepped);
        self.watch.stepped = self.watch.stepped.max(now);
        // A live process steps at least once per ping.
        if stood < 3 * self.timing.ping {
            return;
        }
        for contact in self.contacts.values_mut() {
            contact.excuse(now);
            contact.outside = None;
        }
        self.watch.looked = None;
        self.notice(Notice::Stalled(stood));
    }

    pub(super) fn review(&mut self, now: Moment) {
        if self.leaving {
            return;
        }
        self.bury_replaced(now);
        self.forget(now);
        self.release_inherited(now);
        self.call(now);
        self.fence_myself();
        self.publish(now);
        let side = self.side(now);
        self.note_outsiders(now, side);
        if self.controller.is_some() {
            self.guard(now, side);
        } else {
            self.campaign(now, side);
        }
        self.look(now);
        self.renew_lease(now);
        self.show(now);
    }

    /// A fellow is certainly gone: look at the directory before anything is concluded from it.
    pub(super) fn bury(&mut self, now: Moment, incarnation: &Incarnation, how: Gone) {
        let Some(contact) = self.contacts.get_mut(incarnation) else { return };
        let is_news = contact.how_gone().is_none_or(|was| was == Gone::Missing && how != Gone::Missing);
        if !is_news {
            return;
        }
        contact.bury(now, how);
        self.watch.gave_up = now;
        self.notice(Notice::Lost { incarnation: incarnation.clone(), how });
        self.look_at_once(now);
    }

    /// Of several incarnations of one member only the latest lives.
    fn bury_replaced(&mut self, now: Moment) {
        let is_replaced = |one: &Incarnation| {
            let mut others = self.contacts.keys().chain(&self.buried).chain([&self.me.incarnation]);
            others.any(|other| one.is_older_than(other))
        };
        let replaced: Vec<_> = self.contacts.keys().filter(|one| is_replaced(one)).cloned().collect();
        for incarnation in replaced {
            self.bury(now, &incarnation, Gone::Replaced);
        }
    }

    /// Dials who is not linked, pings who is.
    fn call(&mut self, now: Moment) {
        for contact in self.contacts.values_mut() {
            if contact.begin_dialling(now) {
                self.commands.push(Command::Dial(contact.peer.clone()));
            }
        }
        if now >= self.watch.ping_due {
            self.watch.ping_due = now + self.timing.ping;
            for link in self.contacts.values().filter_map(|contact| contact.dialled).collect::<Vec<_>>() {
                self.ping(now, link);
            }
        }
    }

    /// What everybody may read in the directory: who answers us.
    fn publish(&mut self, now: Moment) {
        let sees = self.sees(now);
        if self.shown.sees != sees {
            self.shown.sees = sees;
            self.commands.push(Command::Publish(sees));
        }
    }

    /// The winning side among all who have a seat and are not known to be dead: nobody yields to who cannot go on.
    fn side(&self, now: Moment) -> Slots {
        let mut graph = Graph::new();
        let counts = |contact: &&Contact| contact.has_seat() && !self.is_dead(now, contact);
        for contact in self.contacts.values().filter(counts) {
            graph.insert(contact.peer.slot, contact.sees);
        }
        graph.insert(self.me.slot, self.shown.sees);
        winning_side(&graph, self.controller_slot())
    }

    /// Dead is who is gone, or neither speaks nor ticks.
    fn is_dead(&self, now: Moment, contact: &Contact) -> bool {
        match contact.verdict(now, &self.timing) {
            Verdict::Gone(_) => true,
            Verdict::Silent => contact.has_stopped_ticking(&self.timing),
            Verdict::Alive | Verdict::Doubtful | Verdict::Suspect => false,
        }
    }

    fn note_outsiders(&mut self, now: Moment, side: Slots) {
        for contact in self.contacts.values_mut() {
            let is_outside = !side.contains(contact.peer.slot);
            contact.outside = is_outside.then(|| contact.outside.unwrap_or(now));
        }
    }

    /// The controller's watch over everybody who is listed or linked.
    fn guard(&mut self, now: Moment, side: Slots) {
        self.run_controller(now, ControllerEvent::Timer);
        for incarnation in self.contacts.keys().cloned().collect::<Vec<_>>() {
            self.tell_doubt(now, &incarnation);
            if self.is_to_be_fenced(now, &incarnation, side) {
                self.fence(incarnation);
            } else if let Some(offence) = self.offence(now, &incarnation, side) {
                self.condemn(now, &incarnation, offence);
            }
        }
    }

    /// Claims on what a doubtful member owns wait until its fate is certain.
    fn tell_doubt(&mut self, now: Moment, incarnation: &Incarnation) {
        let timing = self.timing;
        let Some(contact) = self.contacts.get_mut(incarnation) else { return };
        let doubtful = contact.condemned.is_some() || contact.verdict(now, &timing) != Verdict::Alive;
        if std::mem::replace(&mut contact.doubt_told, doubtful) != doubtful {
            self.run_controller(now, ControllerEvent::Doubt { incarnation: incarnation.clone(), doubtful });
        }
    }

    fn is_to_be_fenced(&self, now: Moment, incarnation: &Incarnation, side: Slots) -> bool {
        let contact = self.contacts.get(incarnation).filter(|contact| contact.cooling.is_none());
        let Some(contact) = contact else { return false };
        match contact.verdict(now, &self.timing) {
            Verdict::Gone(_) if self.is_certainly_dead(contact) => true,
            // Its lease needs our answers, and has had none since.
            Verdict::Gone(_) if contact.was_met() => {
                contact.gone_since().is_some_and(|since| now.since(since) >= self.timing.lease_over())
            }
            Verdict::Gone(_) => true,
            Verdict::Silent => self.may_judge(now, side),
            Verdict::Alive | Verdict::Doubtful | Verdict::Suspect => {
                contact.condemned.is_some_and(|since| now.since(since) >= self.timing.lease_over())
            }
        }
    }

    /// Dead beyond doubt: nothing of it can answer a client any more.
    fn is_certainly_dead(&self, contact: &Contact) -> bool {
        let takes = |new: &Peer| {
            let old = &contact.peer;
            old.incarnation.is_older_than(&new.incarnation) && old.control == new.control
        };
        match contact.how_gone() {
            Some(Gone::Refused | Gone::Left) => true,
            // On one address only one process listens; on two machines two of one member may live for a moment.
            Some(Gone::Replaced) => {
                takes(&self.me) || self.contacts.values().any(|one| one.was_met() && takes(&one.peer))
            }
            Some(Gone::Missing) | None => false,
        }
    }

    /// Its live directory is gone. What it owned is free when no lease can be left.
    pub(super) fn on_fenced(&mut self, now: Moment, incarnation: &Incarnation, lease_left: bool) {
        self.notice(Notice::Fenced(incarnation.clone()));
        self.remember_fenced(incarnation);
        if *incarnation == self.me.incarnation {
            return self.commands.push(Command::Publish(Slots::NONE));
        }
        match self.contacts.get_mut(incarnation) {
            Some(contact) if lease_left => contact.cooling = Some(now + self.timing.lease_over()),
            _ => self.free(now, incarnation),
        }
        self.hang_up(incarnation);
    }

    fn free(&mut self, now: Moment, incarnation: &Incarnation) {
        self.hang_up(incarnation);
        self.remember_fenced(incarnation);
        self.watch.gave_up = now;
        if self.contacts.remove(incarnation).is_some_and(|contact| contact.cooling.is_some()) {
            self.ask(ArbiterCall::Cooled(incarnation.clone()));
        }
        self.run_controller(now, ControllerEvent::Fenced(incarnation.clone()));
    }

    /// An earlier controller fenced these and did not live to see their leases end. Or it died between the mark and the
    /// fence: who lives is a contact, or is this member itself, and keeps what it owns.
    fn inherit(&mut self, now: Moment, cooling: Vec<Incarnation>) {
        for incarnation in cooling.into_iter().filter(|one| *one != self.me.incarnation) {
            let until = now + self.timing.lease_over();
            self.inherited.entry(incarnation).or_insert(until);
        }
    }

    fn release_inherited(&mut self, now: Moment) {
        let over: Vec<_> =
            self.inherited.iter().filter(|(_, until)| **until <= now).map(|(one, _)| one.clone()).collect();
        for incarnation in over {
            self.inherited.remove(&incarnation);
            self.ask(ArbiterCall::Cooled(incarnation.clone()));
            if !self.contacts.contains_key(&incarnation) {
                self.run_controller(now, ControllerEvent::Fenced(incarnation));
            }
        }
    }

    /// What a fenced incarnation says does not count, should it still run.
    fn remember_fenced(&mut self, incarnation: &Incarnation) {
        self.buried.insert(incarnation.clone());
        let of_member = self.buried.iter().filter(|one| one.member == incarnation.member);
        let surplus = of_member.clone().count().saturating_sub(BURIED_MAX);
        for old in of_member.take(surplus).cloned().collect::<Vec<_>>() {
            self.buried.remove(&old);
        }
    }

    /// Who is fenced, or gone without us, is forgotten when no lease can be left.
    fn forget(&mut self, now: Moment) {
        let is_controller = self.controller.is_some();
        let is_over = |contact: &Contact| match (contact.cooling, contact.missing) {
            (Some(until), _) => until <= now,
            // A controller forgets nobody without a fence.
            (None, Some(since)) if !is_controller => {
                self.is_certainly_dead(contact) || now.since(since) >= self.timing.lease_over()
            }
            (None, _) => false,
        };
        let over: Vec<_> = self.contacts.iter().filter(|(_, one)| is_over(one)).map(|(one, _)| one.clone()).collect();
        for incarnation in over {
            self.free(now, &incarnation);
        }
    }

    /// Why a member that answers must go nevertheless.
    fn offence(&self, now: Moment, incarnation: &Incarnation, side: Slots) -> Option<Offence> {
        let is_settled =
            |contact: &&Contact| contact.condemned.is_some() || contact.cooling.is_some() || contact.is_gone();
        let contact = self.contacts.get(incarnation).filter(|contact| !is_settled(contact))?;
        let controller = self.controller.as_ref()?;
        if contact.outside.is_some_and(|since| now.since(since) >= self.timing.dead) && self.may_judge(now, side) {
            return Some(Offence::CutOff);
        }
        if contact.storage_age > self.timing.storage_lost && self.storage_is_fine(now) {
            return Some(Offence::NoStorage);
        }
        let is_late = now.since(self.watch.won) >= self.timing.release && controller.awaited().contains(incarnation);
        is_late.then_some(Offence::NotRegistered)
    }

    /// Only the winning side judges, by a graph it has just read.
    fn may_judge(&self, now: Moment, side: Slots) -> bool {
        side.contains(self.me.slot) && self.has_looked(now)
    }

    fn fence(&mut self, incarnation: Incarnation) {
        if self.fencing.contains_key(&incarnation) {
            return;
        }
        // Who never met us may not know that it needs our answers: its lease ends only because its ticks fail.
        let is_over = |one: &Contact| one.was_met() || self.is_certainly_dead(one);
        let lease_left = !self.contacts.get(&incarnation).is_some_and(is_over) && !sabotage::on(Sabotage::GrantLeased);
        self.fencing.insert(incarnation.clone(), lease_left);
        self.notice(Notice::Fencing(incarnation.clone()));
        self.ask(ArbiterCall::Fence { incarnation, under: self.term(), lease_left });
    }

    /// From now on its pings extend no lease; when the last one has run out it is fenced.
    pub(super) fn condemn(&mut self, now: Moment, incarnation: &Incarnation, offence: Offence) {
        if *incarnation == self.me.incarnation {
            return self.resign(now, offence);
        }
        let Some(contact) = self.contacts.get_mut(incarnation) else { return };
        if contact.condemned.is_none() {
            contact.condemned = Some(now);
            self.notice(Notice::Condemned { incarnation: incarnation.clone(), offence });
            self.run_controller(now, ControllerEvent::Disconnected(incarnation.clone()));
            self.tell_doubt(now, incarnation);
        }
    }

    /// This controller is the offender: it is one no more, and has itself fenced like anybody. A fellow goes on; if there is
    /// none, nobody wants what was kept.
    fn resign(&mut self, now: Moment, offence: Offence) {
        let me = self.me.incarnation.clone();
        let is_alone = self.controller.as_ref().is_none_or(|one| one.registered().without(self.me.slot).is_empty());
        if is_alone {
            return self.run_controller(now, ControllerEvent::Doubt { incarnation: me, doubtful: false });
        }
        self.notice(Notice::Condemned { incarnation: me, offence });
        self.end_term();
        self.resigned = true;
        // The lease ends before the fence is asked for.
        self.renew_lease(now);
        self.fence_myself();
    }

    /// Asks until it is done, or until there is another controller; then a tick tells the process.
    fn fence_myself(&mut self) {
        let me = &self.me.incarnation;
        if self.resigned && !self.buried.contains(me) && !self.fencing.contains_key(me) {
            let incarnation = me.clone();
            self.fencing.insert(incarnation.clone(), false);
            self.notice(Notice::Fencing(incarnation.clone()));
            self.ask(ArbiterCall::Fence { incarnation, under: self.term(), lease_left: false });
        }
    }

    fn campaign(&mut self, now: Moment, side: Slots) {
        let may_stand = self.may_judge(now, side) && self.storage_is_fine(now) && self.controller_is_lost(now, side);
        let rivals = self.controller_slot().map_or(side, |slot| side.without(slot));
        let rank = rivals.iter().take_while(|slot| *slot < self.me.slot).count();
        let wait = self.timing.stagger * u32::try_from(rank).unwrap_or(u32::MAX);
        let candidacy = may_stand.then(|| Candidacy { term: self.term(), wait });
        if let Some(term) = self.election.consider(now, candidacy) {
            self.ask(ArbiterCall::WinTerm { term, candidate: self.me.incarnation.clone() });
        }
    }

    fn controller_is_lost(&self, now: Moment, side: Slots) -> bool {
        let Some(record) = self.member.adopted() else { return true };
        if record.controller == self.me.incarnation {
            return false;
        }
        // Who is neither listed nor linked any more has left or was fenced.
        let Some(contact) = self.controller_contact() else { return true };
        match contact.verdict(now, &self.timing) {
            Verdict::Gone(_) => true,
            Verdict::Silent => contact.has_stopped_ticking(&self.timing) || !side.contains(contact.peer.slot),
            Verdict::Alive | Verdict::Doubtful | Verdict::Suspect => {
                contact.outside.is_some_and(|since| now.since(since) >= self.timing.dead)
                    || contact.storage_age > self.timing.storage_lost
            }
        }
    }

    fn storage_is_fine(&self, now: Moment) -> bool {
        now.since(self.watch.ticked) < self.timing.storage_fine
    }

    fn controller_slot(&self) -> Option<u8> {
        let controller = &self.member.adopted()?.controller;
        if *controller == self.me.incarnation {
            return Some(self.me.slot);
        }
        self.controller_contact().map(|contact| contact.peer.slot)
    }

    /// Says whether the directory was read after the newest evidence, and lately.
    fn has_looked(&self, now: Moment) -> bool {
        self.watch.looked.is_some_and(|at| at >= self.watch.evidence && now.since(at) < self.timing.suspect)
    }

    /// Something happened that the directory may explain.
    pub(super) fn look_at_once(&mut self, now: Moment) {
        self.watch.evidence = now;
        self.watch.look_due = now;
    }

    fn wants_to_look(&self, now: Moment) -> bool {
        let knows_controller = self.controller_slot().is_some();
        let must_list = self.controller.as_ref().is_some_and(|controller| !controller.is_granting());
        let odd = |contact: &Contact| {
            contact.is_in_doubt(now, &self.timing)
                || contact.outside.is_some()
                || contact.storage_age > self.timing.storage_lost
        };
        !self.leaving && (!knows_controller || must_list || self.contacts.values().any(odd))
    }

    fn look(&mut self, now: Moment) {
        if self.watch.looking.is_none() && self.watch.look_due <= now && self.wants_to_look(now) {
            self.watch.looking = Some((now, self.controller.as_ref().map(Controller::term)));
            self.watch.look_due = now + self.timing.ping;
            self.ask(ArbiterCall::Survey);
        }
    }

    /// The directory was read.
    pub(super) fn on_survey(&mut self, now: Moment, began: Moment, survey: Survey) {
        let (asked, office) = self.watch.looking.take().unwrap_or((began, None));
        self.watch.looked = Some(asked);
        let mut listed = Vec::with_capacity(survey.live.len());
        for entry in survey.live {
            listed.push(entry.peer.incarnation.clone());
            if !self.is_known_dead(&entry.peer) {
                let create = || Contact::new(now, entry.peer.clone());
                let contact = self.contacts.entry(entry.peer.incarnation.clone()).or_insert_with(create);
                contact.find();
                if let Some(tick) = entry.tick {
                    contact.observe_tick(tick.counter, began, now);
                    contact.sees = tick.sees;
                }
            }
        }
        if let Some(record) = &survey.term {
            self.adopt(now, record);
        }
        self.miss(now, asked, &listed);
        // Only a list read in office names everybody who may own something from before. All of them are contacts now,
        // but for who is known to be fenced; and who was fenced a moment ago is one until its lease is over.
        if office.is_some() && office == self.controller.as_ref().map(Controller::term) {
            self.inherit(now, survey.cooling);
            let known = self.contacts.keys().chain(self.inherited.keys()).chain([&self.me.incarnation]);
            let awaited = known.cloned().collect();
            self.run_controller(now, ControllerEvent::Listed { living: awaited, drained: survey.drained });
        }
    }

    /// Nothing is to be expected of myself, nor of who is fenced: a listing may be old.
    fn is_known_dead(&self, peer: &Peer) -> bool {
        peer.incarnation == self.me.incarnation || self.buried.contains(&peer.incarnation)
    }

    /// Who was known when the survey was asked for and is not listed has no live directory any more.
    fn miss(&mut self, now: Moment, asked: Moment, listed: &[Incarnation]) {
        let is_missing = |(one, contact): (&Incarnation, &Contact)| {
            (contact.watched() < asked && !listed.contains(one)).then(|| one.clone())
        };
        for incarnation in self.contacts.iter().filter_map(is_missing).collect::<Vec<_>>() {
            // A listing is no proof: if this seat is the controller, a fence follows.
            if let Some(contact) = self.contacts.get_mut(&incarnation) {
                contact.missing.get_or_insert(now);
            }
            self.bury(now, &incarnation, Gone::Missing);
        }
    }

    /// Reads go without a tick as long as everybody who might order our fence has answered us lately, as has the
    /// filesystem.
    fn renew_lease(&mut self, now: Moment) {
        let lease = self.lease(now).filter(|until| *until > now);
        if self.shown.lease != lease {
            self.shown.lease = lease;
            self.commands.push(Command::Lease(lease));
        }
    }

    fn lease(&self, now: Moment) -> Option<Moment> {
        // Until all are gathered somebody may still take grants of an earlier controller, which may have us fenced.
        if self.controller.as_ref().is_some_and(|controller| !controller.is_granting()) {
            return None;
        }
        // Whoever was given up may have had us fenced before, and have granted what we own: only a tick since then tells.
        if !self.member.is_registered() || self.watch.ticked < self.watch.gave_up {
            return None;
        }
        let (confirmed, registered) = match &self.controller {
            Some(controller) => (self.watch.ticked, controller.registered()),
            None => self.registered?,
        };
        let living = self.contacts.values().filter(|contact| !contact.is_gone());
        let everybody = living.map(|contact| contact.peer.slot).collect::<Slots>().or(registered).without(self.me.slot);
        let ticked = if sabotage::on(Sabotage::LeaseWithoutTick) { now } else { self.watch.ticked };
        let confirmed = if self.controller.is_some() { ticked } else { confirmed };
        let mut oldest = confirmed.min(ticked);
        for slot in everybody.iter().filter(|_| !sabotage::on(Sabotage::LeaseWithoutFellows)) {
            let of_slot = |contact: &&Contact| contact.peer.slot == slot && !contact.is_gone();
            oldest = oldest.min(self.contacts.values().find(of_slot)?.leased()?);
        }
        Some(oldest + self.timing.read_lease)
    }

    /// Shows the rest of the process who is there.
    fn show(&mut self, now: Moment) {
        let alive = |contact: &&Contact| {
            let verdict = contact.verdict(now, &self.timing);
            contact.was_met() && matches!(verdict, Verdict::Alive | Verdict::Doubtful)
        };
        let fellows = self.contacts.values().filter(alive).map(|contact| &contact.peer);
        let mut members: Vec<_> = fellows.chain([&self.me]).map(member_view).collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        let view = ClusterView {
            member: self.me.incarnation.member.clone(),
            incarnation: self.me.incarnation.number,
            term: self.term(),
            controller: self.member.adopted().map(|record| record.controller.member.clone()),
            registered: self.member.is_registered(),
            members,
            roster: self.member.roster().clone(),
        };
        if self.shown.view.as_ref() != Some(&view) {
            self.shown.view = Some(view.clone());
            self.commands.push(Command::View(view));
        }
    }
}

fn member_view(peer: &Peer) -> MemberView {
    MemberView {
        name: peer.incarnation.member.clone(),
        incarnation: peer.incarnation.number,
        control: peer.control,
        handoff: peer.handoff,
    }
}

#[cfg(test)]
#[path = "review_test.rs"]
mod tests;
