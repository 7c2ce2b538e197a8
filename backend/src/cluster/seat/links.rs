//! Links as sessions: who is at the other end, which side may say what, and what begins and ends with a link.

use super::{
    Command, Contact, Controller, ControllerEvent, Gone, Incarnation, MemberEvent, Message, Moment, Peer, Seat, Slots,
};
use crate::cluster::{Health, Ping, Pong};
use crate::sabotage::{self, Sabotage};

/// Names a link for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Who dialled a link: the end that asks as a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We did.
    Dialled,
    /// The other end did.
    Accepted,
}

impl Seat {
    pub(super) fn on_link_up(&mut self, now: Moment, link: LinkId, side: Side, peer: Peer) {
        let incarnation = peer.incarnation.clone();
        if self.buried.contains(&incarnation) || incarnation == self.me.incarnation {
            return self.commands.push(Command::HangUp(link));
        }
        self.links.insert(link, (incarnation.clone(), side));
        let contact = self.contacts.entry(incarnation.clone()).or_insert_with(|| Contact::new(now, peer));
        contact.link_up(now);
        let before = match side {
            Side::Dialled => {
                contact.end_dialling();
                contact.dialled.replace(link)
            }
            Side::Accepted => {
                contact.reached_us(now);
                contact.accepted.replace(link)
            }
        };
        if let Some(before) = before {
            self.links.remove(&before);
            self.commands.push(Command::HangUp(before));
        }
        match side {
            Side::Dialled => {
                self.ping(now, link);
                if self.is_controller(&incarnation) {
                    self.register(now);
                }
            }
            Side::Accepted => self.run_controller(now, ControllerEvent::Disconnected(incarnation)),
        }
    }

    pub(super) fn on_link_down(&mut self, now: Moment, link: LinkId) {
        let timing = self.timing;
        let Some((incarnation, side)) = self.links.remove(&link) else { return };
        let Some(contact) = self.contacts.get_mut(&incarnation) else { return };
        match side {
            Side::Dialled => contact.dialled = None,
            Side::Accepted => contact.accepted = None,
        }
        contact.link_ended(now, &timing);
        let other = contact.dialled;
        match side {
            Side::Dialled if self.is_controller(&incarnation) => self.run_member(now, MemberEvent::ControllerLost),
            Side::Dialled => {}
            Side::Accepted => self.run_controller(now, ControllerEvent::Disconnected(incarnation)),
        }
        // If the process at the other end died, the link that is left says so at once.
        if let Some(other) = other {
            self.ping(now, other);
        }
        self.look_at_once(now);
    }

    pub(super) fn on_dial_failed(&mut self, now: Moment, incarnation: &Incarnation, refused: bool) {
        let timing = self.timing;
        let Some(contact) = self.contacts.get_mut(incarnation) else { return };
        contact.unreachable(now, &timing);
        if refused && contact.dialled.is_none() && contact.accepted.is_none() {
            self.bury(now, incarnation, Gone::Refused);
        }
    }

    pub(super) fn on_received(&mut self, now: Moment, link: LinkId, message: Message) {
        let Some((incarnation, side)) = self.links.get(&link).cloned() else { return };
        let Some(contact) = self.contacts.get_mut(&incarnation) else { return };
        contact.hear(now);
        match (side, message) {
            (side, Message::News(record)) => {
                let is_repeated = self.member.adopted() == Some(&record) && record.controller == incarnation;
                self.adopt(now, &record);
                // It has just taken office: what it was told before went unheard.
                if side == Side::Dialled && is_repeated {
                    self.register_again(now);
                }
            }
            (Side::Accepted, Message::Ping(ping)) => self.on_ping(now, link, &incarnation, ping),
            (Side::Accepted, Message::Left) => self.bury(now, &incarnation, Gone::Left),
            (Side::Accepted, request) => {
                // A condemned member is not spoken with any more: its fence is on the way.
                if contact.condemned.is_none() {
                    let peer = contact.peer.clone();
                    self.on_request(now, &peer, request);
                }
            }
            (Side::Dialled, Message::Pong(pong)) => self.on_pong(now, &incarnation, pong),
            (Side::Dialled, Message::Owners { request, owned, last }) => {
                self.commands.push(Command::Owners { request, owned, last });
            }
            (Side::Dialled, Message::Drained { request, drained }) => {
                self.commands.push(Command::Drained { request, drained });
            }
            (Side::Dialled, answer) => {
                if self.is_controller(&incarnation) || sabotage::on(Sabotage::AcceptOldGrants) {
                    self.run_member(now, MemberEvent::Heard(answer));
                }
            }
        }
    }

    fn on_ping(&mut self, now: Moment, link: LinkId, from: &Incarnation, ping: Ping) {
        self.learn(now, from, &ping.health);
        let lease = self.contacts.get(from).is_some_and(|contact| contact.condemned.is_none() && !contact.is_gone());
        let registered = self
            .controller
            .as_ref()
            .filter(|controller| lease && controller.is_granting() && controller.has_registered(from))
            .map(Controller::registered);
        let pong = Pong { sent: ping.sent, health: self.health(now), lease, registered };
        self.send(link, Message::Pong(pong));
    }

    fn on_pong(&mut self, now: Moment, from: &Incarnation, pong: Pong) {
        self.learn(now, from, &pong.health);
        if let Some(contact) = self.contacts.get_mut(from) {
            contact.answer(pong.sent, pong.lease);
        }
        if self.is_controller(from) {
            // Without a registration in this very term there is no lease.
            let of_this_term = pong.health.term.is_some_and(|record| record.term == self.term());
            let is_unheard =
                of_this_term && pong.lease && pong.registered.is_none() && pong.sent > self.watch.registered;
            self.registered = pong.registered.filter(|_| of_this_term).map(|registered| (pong.sent, registered));
            if is_unheard {
                self.register_again(now);
            }
        }
    }

    /// The controller was told all that is owned before it knew that it is the controller.
    fn register_again(&mut self, now: Moment) {
        if !self.member.is_registered() {
            self.register(now);
        }
    }

    /// Tells the controller all that is owned.
    pub(super) fn register(&mut self, now: Moment) {
        self.watch.registered = now;
        self.run_member(now, MemberEvent::ControllerReached);
    }

    fn learn(&mut self, now: Moment, from: &Incarnation, health: &Health) {
        if let Some(contact) = self.contacts.get_mut(from) {
            contact.learn(health);
        }
        if let Some(record) = &health.term {
            self.adopt(now, record);
        }
    }

    /// Asks the other end of a link for a sign of life.
    pub(super) fn ping(&mut self, now: Moment, link: LinkId) {
        let health = self.health(now);
        self.send(link, Message::Ping(Ping { sent: now, health }));
    }

    fn health(&self, now: Moment) -> Health {
        // A controller that waits for the directory to be read can neither grant nor fence, however well it ticks.
        let reading = self.watch.looking.filter(|_| self.controller.is_some());
        let reached = reading.map_or(self.watch.ticked, |(asked, _)| self.watch.ticked.min(asked));
        let age = now.since(reached).as_millis();
        Health {
            term: self.member.adopted().cloned(),
            sees: self.sees(now),
            storage_age_ms: u32::try_from(age).unwrap_or(u32::MAX),
        }
    }

    /// The fellows that answer us, and ourselves, which says that we have a seat.
    pub(super) fn sees(&self, now: Moment) -> Slots {
        let seen = |contact: &&Contact| contact.is_seen(now, &self.timing);
        let fellows: Slots = self.contacts.values().filter(seen).map(|contact| contact.peer.slot).collect();
        fellows.with(self.me.slot)
    }

    /// Ends the links with a fellow that is fenced. Nothing it says counts any more.
    pub(super) fn hang_up(&mut self, incarnation: &Incarnation) {
        let Some(contact) = self.contacts.get_mut(incarnation) else { return };
        for link in [contact.dialled.take(), contact.accepted.take()].into_iter().flatten() {
            self.links.remove(&link);
            self.commands.push(Command::HangUp(link));
        }
    }

    fn is_controller(&self, incarnation: &Incarnation) -> bool {
        self.member.adopted().is_some_and(|record| record.controller == *incarnation)
    }
}
