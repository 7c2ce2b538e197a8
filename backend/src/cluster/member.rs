//! One member's side of ownership: what it wants, what it owns, and what it tells its controller.
//!
//! Invariants: a grant is accepted only from the controller of the highest term adopted (I8); what is owned goes on being
//! owned whether or not a controller lives (I13); a grant nobody waits for any more goes back at once. Time plays no part.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{Answer, BATCH_MAX, Claim, Epoch, Grant, Message, OwnableId, Peer, Registration, Roster, TermRecord};
use crate::sabotage::{self, Sabotage};

/// Why a claim is refused without an owner to go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// This member is being drained.
    Draining,
    /// This member is leaving.
    Leaving,
}

/// What happens to the member machine.
#[derive(Debug)]
pub enum MemberEvent {
    /// There is this term.
    Term(TermRecord),
    /// The controller of the adopted term can be spoken to.
    ControllerReached,
    /// It cannot any more.
    ControllerLost,
    /// It said something.
    Heard(Message),
    /// Tasks of this process want ownables.
    Claims(Vec<(u64, OwnableId)>),
    /// A task does not want one any more.
    Abandon {
        /// The claim.
        request: u64,
        /// What it wanted.
        ownable: OwnableId,
    },
    /// Workers of this process have drained and committed, and give back.
    Releases(Vec<(OwnableId, Epoch)>),
    /// Nothing more is wanted; what is owned will be given back.
    Retire,
    /// Nothing more is wanted; give everything back.
    Leave,
}

/// What the member machine wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberCommand {
    /// Tell the controller of the adopted term.
    Tell(Message),
    /// Answer a claim.
    Answer {
        /// The claim.
        request: u64,
        /// The decision.
        outcome: Result<Claim, Refusal>,
    },
    /// Ask the worker of this ownable to drain and release.
    Recall(OwnableId),
}

/// How far the registration with the controller of the adopted term has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Away,
    Registering,
    Registered,
}

/// The claims that wait for one ownable.
type Waiting = SmallVec<[u64; 2]>;

/// One member's side of ownership.
#[derive(Debug)]
pub struct Member {
    me: Peer,
    adopted: Option<TermRecord>,
    session: Session,
    owned: HashMap<OwnableId, Epoch>,
    wanted: HashMap<OwnableId, Waiting>,
    roster: Roster,
    leaving: bool,
}

impl Member {
    /// A member that owns nothing and has adopted no term.
    #[must_use]
    pub fn new(me: Peer) -> Self {
        Self {
            me,
            adopted: None,
            session: Session::Away,
            owned: HashMap::new(),
            wanted: HashMap::new(),
            roster: Roster::default(),
            leaving: false,
        }
    }

    /// The highest term known.
    #[must_use]
    pub const fn adopted(&self) -> Option<&TermRecord> {
        self.adopted.as_ref()
    }

    /// Who gets nothing new, as the controller said last.
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Says whether claims are being answered.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.session == Session::Registered
    }

    /// What is owned now, in order.
    #[must_use]
    pub fn owned(&self) -> Vec<(OwnableId, Epoch)> {
        let mut owned: Vec<_> = self.owned.iter().map(|(ownable, epoch)| (*ownable, *epoch)).collect();
        owned.sort_unstable();
        owned
    }

    /// The epoch `ownable` is owned under, if it is.
    #[must_use]
    pub fn epoch_of(&self, ownable: &OwnableId) -> Option<Epoch> {
        self.owned.get(ownable).copied()
    }

    /// Takes one step.
    pub fn step(&mut self, event: MemberEvent) -> Vec<MemberCommand> {
        match event {
            MemberEvent::Term(record) => self.on_term(record),
            MemberEvent::ControllerReached => self.register(),
            MemberEvent::ControllerLost => {
                self.session = Session::Away;
                if sabotage::on(Sabotage::OwnersNeedController) {
                    return self.owned().into_iter().map(|(ownable, _)| MemberCommand::Recall(ownable)).collect();
                }
                Vec::new()
            }
            MemberEvent::Heard(message) => self.on_message(message),
            MemberEvent::Claims(claims) => self.on_claims(claims),
            MemberEvent::Abandon { request, ownable } => {
                self.abandon(request, ownable);
                Vec::new()
            }
            MemberEvent::Releases(released) => self.on_releases(&released),
            MemberEvent::Retire => self.on_retire(),
            MemberEvent::Leave => self.on_leave(),
        }
    }

    /// A claim that was told will be answered, and its answer must find its place.
    fn abandon(&mut self, request: u64, ownable: OwnableId) {
        let Some(waiting) = self.wanted.get_mut(&ownable) else { return };
        waiting.retain(|one| *one != request);
        if waiting.is_empty() && self.session != Session::Registered {
            self.wanted.remove(&ownable);
        }
    }

    /// Adopts a higher term; a lower one is nothing new.
    fn on_term(&mut self, record: TermRecord) -> Vec<MemberCommand> {
        if self.adopted.as_ref().is_none_or(|known| known.term < record.term) {
            self.adopted = Some(record);
            self.session = Session::Away;
        }
        Vec::new()
    }

    /// Tells the controller all that is owned. Grants under way are not: whatever the controller sent on an earlier link,
    /// or in an earlier term, will never be accepted, so leaving it out gives it back.
    fn register(&mut self) -> Vec<MemberCommand> {
        let Some(term) = self.term() else { return Vec::new() };
        self.session = Session::Registering;
        let owned = self.owned();
        let parts = owned.len().div_ceil(BATCH_MAX).max(1);
        (0..parts)
            .map(|part| {
                let owned = owned.iter().skip(part * BATCH_MAX).take(BATCH_MAX).copied().collect();
                let (first, last) = (part == 0, part + 1 == parts);
                Registration { term, first, last, leaving: self.leaving, owned }
            })
            .map(|part| MemberCommand::Tell(Message::Register(part)))
            .collect()
    }

    fn on_message(&mut self, message: Message) -> Vec<MemberCommand> {
        match message {
            Message::Registered { term } if self.is_current(term, Session::Registering) => {
                self.session = Session::Registered;
                let mut wanted: Vec<_> = self.wanted.keys().copied().collect();
                wanted.sort_unstable();
                self.tell_claims(&wanted)
            }
            Message::Answers { term, answers }
                if self.is_current(term, Session::Registered) || sabotage::on(Sabotage::AcceptOldGrants) =>
            {
                self.on_answers(answers)
            }
            Message::Recalls { term, recalled } if self.is_current(term, Session::Registered) => {
                self.on_recalls(recalled)
            }
            Message::Roster { term, roster } if self.is_current(term, Session::Registered) => {
                self.roster = roster;
                Vec::new()
            }
            // Of another term, or said by somebody who mistakes us for the controller.
            Message::Registered { .. }
            | Message::Answers { .. }
            | Message::Recalls { .. }
            | Message::Roster { .. }
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::News(_)
            | Message::Register(_)
            | Message::Claims { .. }
            | Message::Releases { .. }
            | Message::Leaving { .. }
            | Message::Left
            | Message::Drain { .. }
            | Message::Drained { .. }
            | Message::ListOwners { .. }
            | Message::Owners { .. } => Vec::new(),
        }
    }

    fn on_answers(&mut self, answers: Vec<(OwnableId, Answer)>) -> Vec<MemberCommand> {
        let mut commands = Vec::with_capacity(answers.len());
        let mut unwanted = Vec::new();
        for (ownable, answer) in answers {
            let waiting = self.wanted.remove(&ownable).unwrap_or_default();
            match answer {
                Answer::Granted(epoch) if waiting.is_empty() || self.leaving => unwanted.push((ownable, epoch)),
                Answer::Granted(epoch) => self.accept(ownable, epoch, &waiting, &mut commands),
                Answer::Owned { member, handoff, epoch } => commands.extend(waiting.into_iter().map(|request| {
                    let claim = Claim::Owned { member: member.clone(), handoff, epoch };
                    MemberCommand::Answer { request, outcome: Ok(claim) }
                })),
                Answer::Draining => commands.extend(
                    waiting
                        .into_iter()
                        .map(|request| MemberCommand::Answer { request, outcome: Err(Refusal::Draining) }),
                ),
            }
        }
        commands.extend(self.tell_releases(unwanted));
        commands
    }

    /// The first task that waits gets the grant, the others learn that it is owned here.
    fn accept(&mut self, ownable: OwnableId, epoch: Epoch, waiting: &[u64], commands: &mut Vec<MemberCommand>) {
        let is_current = Some(epoch.term) >= self.term() || sabotage::on(Sabotage::AcceptOldGrants);
        assert!(is_current, "a grant below the adopted term was let through (I8)");
        let before = self.owned.insert(ownable, epoch);
        assert!(before.is_none(), "{ownable} was granted twice to one incarnation (I2)");
        for (place, request) in waiting.iter().enumerate() {
            let claim = if place == 0 { Claim::Granted(Grant::new(ownable, epoch)) } else { self.mine(epoch) };
            commands.push(MemberCommand::Answer { request: *request, outcome: Ok(claim) });
        }
    }

    fn on_recalls(&self, recalled: Vec<(OwnableId, Epoch)>) -> Vec<MemberCommand> {
        let (held, gone): (Vec<_>, Vec<_>) =
            recalled.into_iter().partition(|(ownable, epoch)| self.owned.get(ownable) == Some(epoch));
        let mut commands: Vec<_> = held.into_iter().map(|(ownable, _)| MemberCommand::Recall(ownable)).collect();
        commands.extend(self.tell_releases(gone));
        commands
    }

    fn on_claims(&mut self, claims: Vec<(u64, OwnableId)>) -> Vec<MemberCommand> {
        let mut commands = Vec::new();
        let mut new = Vec::new();
        for (request, ownable) in claims {
            let here = self.owned.get(&ownable).copied();
            if self.leaving {
                commands.push(MemberCommand::Answer { request, outcome: Err(Refusal::Leaving) });
            } else if let Some(epoch) = here {
                commands.push(MemberCommand::Answer { request, outcome: Ok(self.mine(epoch)) });
            } else {
                let waiting = self.wanted.entry(ownable).or_insert_with(|| {
                    new.push(ownable);
                    Waiting::new()
                });
                waiting.push(request);
            }
        }
        if self.session == Session::Registered {
            commands.extend(self.tell_claims(&new));
        }
        commands
    }

    fn on_releases(&mut self, released: &[(OwnableId, Epoch)]) -> Vec<MemberCommand> {
        let mut told = Vec::with_capacity(released.len());
        for (ownable, epoch) in released {
            if self.owned.get(ownable) == Some(epoch) {
                self.owned.remove(ownable);
                told.push((*ownable, *epoch));
            }
        }
        self.tell_releases(told)
    }

    /// Claims that were told keep their places for the answers, which nobody waits for any more.
    fn on_retire(&mut self) -> Vec<MemberCommand> {
        let mut requests: Vec<_> = self.wanted.values_mut().flat_map(std::mem::take).collect();
        requests.sort_unstable();
        let refuse = |request| MemberCommand::Answer { request, outcome: Err(Refusal::Leaving) };
        let mut commands: Vec<_> = requests.into_iter().map(refuse).collect();
        let is_news = !std::mem::replace(&mut self.leaving, true);
        if let (true, Some(term), true) = (is_news, self.term(), self.session != Session::Away) {
            commands.push(MemberCommand::Tell(Message::Leaving { term }));
        }
        commands
    }

    fn on_leave(&mut self) -> Vec<MemberCommand> {
        let mut commands = self.on_retire();
        let owned = self.owned();
        self.owned.clear();
        commands.extend(self.tell_releases(owned));
        commands
    }

    fn tell_claims(&self, wanted: &[OwnableId]) -> Vec<MemberCommand> {
        let Some(term) = self.term() else { return Vec::new() };
        let claims = wanted.chunks(BATCH_MAX).map(|part| Message::Claims { term, wanted: part.to_vec() });
        claims.map(MemberCommand::Tell).collect()
    }

    /// Tells what is given back. A registration on the way came before it on the same link, so the order is right; without
    /// one, the next registration will not list it.
    fn tell_releases(&self, released: Vec<(OwnableId, Epoch)>) -> Vec<MemberCommand> {
        let (Some(term), true) = (self.term(), self.session != Session::Away) else { return Vec::new() };
        let releases = released.chunks(BATCH_MAX).map(|part| Message::Releases { term, released: part.to_vec() });
        releases.map(MemberCommand::Tell).collect()
    }

    fn mine(&self, epoch: Epoch) -> Claim {
        Claim::Owned { member: self.me.incarnation.member.clone(), handoff: self.me.handoff, epoch }
    }

    fn is_current(&self, term: u64, session: Session) -> bool {
        self.term() == Some(term) && self.session == session
    }

    fn term(&self) -> Option<u64> {
        self.adopted.as_ref().map(|record| record.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fixture::{account, incarnation, peer};

    fn registered(term: u64) -> Member {
        let mut member = Member::new(peer("a", 1));
        member.step(MemberEvent::Term(TermRecord { term, controller: incarnation("c", 1) }));
        member.step(MemberEvent::ControllerReached);
        member.step(MemberEvent::Heard(Message::Registered { term }));
        member
    }

    fn granted(term: u64, number: u64) -> MemberEvent {
        let answers = vec![(account(1), Answer::Granted(Epoch { term, number }))];
        MemberEvent::Heard(Message::Answers { term, answers })
    }

    #[test]
    fn a_grant_of_an_older_term_is_not_accepted() {
        let mut member = registered(3);
        member.step(MemberEvent::Claims(vec![(1, account(1))]));
        member.step(MemberEvent::Term(TermRecord { term: 4, controller: incarnation("d", 1) }));
        assert_eq!(member.step(granted(3, 1)), []);
        assert_eq!(member.owned(), []);
        let told = member.step(MemberEvent::ControllerReached);
        let empty = Registration { term: 4, first: true, last: true, leaving: false, owned: vec![] };
        assert_eq!(told, [MemberCommand::Tell(Message::Register(empty))]);
        let told = member.step(MemberEvent::Heard(Message::Registered { term: 4 }));
        assert_eq!(told, [MemberCommand::Tell(Message::Claims { term: 4, wanted: vec![account(1)] })]);
    }

    #[test]
    fn one_of_two_tasks_gets_the_grant_and_the_other_the_address() {
        let mut member = registered(1);
        let told = member.step(MemberEvent::Claims(vec![(1, account(1)), (2, account(1))]));
        assert_eq!(told, [MemberCommand::Tell(Message::Claims { term: 1, wanted: vec![account(1)] })]);
        let answers = member.step(granted(1, 7));
        let [
            MemberCommand::Answer { request: 1, outcome: Ok(Claim::Granted(grant)) },
            MemberCommand::Answer { request: 2, outcome: Ok(Claim::Owned { epoch, .. }) },
        ] = &answers[..]
        else {
            panic!("{answers:?}")
        };
        assert_eq!((grant.epoch(), *epoch), (Epoch { term: 1, number: 7 }, Epoch { term: 1, number: 7 }));
    }

    #[test]
    fn a_grant_nobody_waits_for_goes_back_at_once() {
        let mut member = registered(1);
        member.step(MemberEvent::Claims(vec![(1, account(1))]));
        member.step(MemberEvent::Abandon { request: 1, ownable: account(1) });
        let back = Message::Releases { term: 1, released: vec![(account(1), Epoch { term: 1, number: 2 })] };
        assert_eq!(member.step(granted(1, 2)), [MemberCommand::Tell(back)]);
        assert_eq!(member.owned(), []);
    }

    #[test]
    fn what_is_owned_stays_owned_through_a_change_of_controller() {
        let mut member = registered(1);
        member.step(MemberEvent::Claims(vec![(1, account(1))]));
        member.step(granted(1, 2));
        member.step(MemberEvent::ControllerLost);
        member.step(MemberEvent::Term(TermRecord { term: 2, controller: incarnation("d", 1) }));
        let told = member.step(MemberEvent::ControllerReached);
        let owned = vec![(account(1), Epoch { term: 1, number: 2 })];
        let register = Registration { term: 2, first: true, last: true, leaving: false, owned };
        assert_eq!(told, [MemberCommand::Tell(Message::Register(register))]);
    }

    #[test]
    fn a_release_without_a_controller_is_told_by_leaving_it_out() {
        let mut member = registered(1);
        member.step(MemberEvent::Claims(vec![(1, account(1))]));
        member.step(granted(1, 2));
        member.step(MemberEvent::ControllerLost);
        assert_eq!(member.step(MemberEvent::Releases(vec![(account(1), Epoch { term: 1, number: 2 })])), []);
        let told = member.step(MemberEvent::ControllerReached);
        assert!(matches!(&told[..], [MemberCommand::Tell(Message::Register(part))] if part.owned.is_empty()));
    }

    #[test]
    fn a_large_estate_is_registered_in_parts() {
        let mut member = registered(1);
        for number in 0..=BATCH_MAX as u64 {
            member.owned.insert(account(u128::from(number)), Epoch { term: 1, number });
        }
        let told = member.step(MemberEvent::ControllerReached);
        let ends = told.iter().map(|command| match command {
            MemberCommand::Tell(Message::Register(part)) => (part.first, part.last, part.owned.len()),
            other => panic!("{other:?}"),
        });
        assert_eq!(ends.collect::<Vec<_>>(), [(true, false, BATCH_MAX), (false, true, 1)]);
    }
}
