//! The world between processes: dialling, delivery in order, cuts.

use super::*;
use crate::cluster::Answer;

impl World {
    pub(super) fn dial(&mut self, id: ProcessId, peer: Peer) {
        let link = self.network.new_link();
        let delay = self.random.latency(500, 20_000);
        self.after(delay, Happening::DialEnds { process: id, link, peer });
    }

    pub(super) fn dial_ends(&mut self, id: ProcessId, link: LinkId, peer: Peer) {
        let Some(process) = self.processes.get(&id).filter(|process| process.pulse != Pulse::Dead) else { return };
        let (host, me) = (process.host, process.peer.clone().unwrap());
        let there = usize::from(match peer.control.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        });
        let listening =
            |other: &&ProcessId| self.processes[other].host == there && self.processes[other].pulse != Pulse::Dead;
        let answering = self.processes.keys().find(listening).copied();
        let is_cut = self.network.is_cut(host, there) || self.network.is_cut(there, host);
        let joined =
            answering.and_then(|other| self.processes[&other].seat.as_ref().map(|seat| (other, seat.me().clone())));
        let is_awake = answering.is_some_and(|other| self.processes[&other].pulse == Pulse::Runs);
        let Some((other, answerer)) = joined.filter(|_| !is_cut && is_awake) else {
            let refused = !is_cut && answering.is_none();
            let wait = if refused { Duration::from_micros(300) } else { self.timing.suspect };
            let failed = Happening::DialFails { process: id, incarnation: peer.incarnation, refused };
            return self.after(wait, failed);
        };
        let theirs = self.network.new_link();
        let end = |process, host, link| End { process, host, link, closed: false };
        self.network.connect([end(id, host, link), end(other, there, theirs)]);
        if answerer.incarnation != peer.incarnation {
            let failed = Happening::DialFails { process: id, incarnation: peer.incarnation, refused: false };
            self.after(Duration::ZERO, failed);
        }
        self.after(Duration::ZERO, Happening::LinkUp { process: id, link, side: Side::Dialled, peer: answerer });
        self.after(Duration::ZERO, Happening::LinkUp { process: other, link: theirs, side: Side::Accepted, peer: me });
    }

    pub(super) fn send(&mut self, id: ProcessId, link: LinkId, message: Message) {
        let Some((connection, side)) = self.network.find(id, link) else { return };
        let Some(one) = self.network.connections.get_mut(&connection) else { return };
        if one.ends[1 - side].closed {
            return;
        }
        let is_grant = matches!(&message, Message::Answers { answers, .. }
            if answers.iter().any(|(_, answer)| matches!(answer, Answer::Granted(_))));
        one.under_way[1 - side].push_back(message);
        if is_grant && self.trouble && self.plan.troubles != Troubles::Controller && self.random.one_in(12) {
            *self.witness.seen.faults.entry("grant delayed").or_default() += 1;
            self.hold(connection, 1 - side);
        }
        let delay = self.random.latency(200, 20_000);
        self.after(delay, Happening::Delivery { connection, side: 1 - side });
    }

    /// Holds up what one end of a link is sent.
    pub(super) fn hold(&mut self, connection: u64, side: usize) {
        let span = if self.random.one_in(4) { (1_000_000, 6_000_000) } else { (20_000, 900_000) };
        let until = self.now + self.random.span(span.0, span.1);
        self.network.hold(connection, side, until);
    }

    pub(super) fn close(&mut self, connection: u64, side: usize) {
        if self.network.close(connection, side).is_some() {
            let delay = self.random.latency(200, 20_000);
            self.after(delay, Happening::Delivery { connection, side: 1 - side });
        }
    }

    /// Something arrives: the next message, or after the last one the link's end. Over a path that is cut nothing does.
    pub(super) fn deliver(&mut self, connection: u64, side: usize) {
        let Some(one) = self.network.connections.get_mut(&connection) else { return };
        let (to, from) = (one.ends[side], one.ends[1 - side]);
        if to.closed || self.network.is_cut(from.host, to.host) {
            return;
        }
        let Some(one) = self.network.connections.get_mut(&connection) else { return };
        let held = one.held[side].since(self.now);
        if !held.is_zero() {
            return self.after(held, Happening::Delivery { connection, side });
        }
        if let Some(message) = one.under_way[side].pop_front() {
            self.after(Duration::ZERO, Happening::Received { process: to.process, link: to.link, message });
        } else if one.ending[side] {
            self.network.close(connection, side);
            self.after(Duration::ZERO, Happening::LinkDown { process: to.process, link: to.link });
        }
    }

    /// What was sent over a path that was cut arrives now; peers that are gone are found to be.
    pub(super) fn resend(&mut self) {
        let all: Vec<_> = self.network.connections.keys().copied().collect();
        for connection in all {
            for side in [0, 1] {
                let Some(one) = self.network.connections.get_mut(&connection) else { continue };
                let other_dead = self.processes[&one.ends[1 - side].process].pulse == Pulse::Dead;
                one.ending[side] |= other_dead;
                let pending = one.under_way[side].len() + usize::from(one.ending[side]);
                for _ in 0..pending {
                    let delay = self.random.latency(200, 20_000);
                    self.after(delay, Happening::Delivery { connection, side });
                }
            }
        }
    }
}
